//! Runs a command for each selected package.

use std::collections::BTreeMap;

use crate::config::{Config, ConfigLayer, Error as ConfigError};
use crate::cx::Cx;
use crate::error::{Error, Result, ServiceError};
use crate::event::Event;
use crate::project::{self, PackageSelection, Project};

/// Rejects flags of cargo that one of the packages cannot use, before any of them is built.
pub(crate) fn check_cargo_flags(projects: &[Project], flags: &ConfigLayer) -> Result<()> {
    if projects.len() > 1 && !flags.cargo_flags.bins.is_empty() {
        let selected = projects.iter().map(|project| project.package.clone()).collect();
        return Err(project::Error::ProgramOfSeveral { selected }.into());
    }
    for project in projects {
        let config = Config::resolve_without_build(project, flags.clone());
        // Other errors are those of one service.
        if let Err(
            error @ (ConfigError::CargoFlagsUnused { .. } | ConfigError::ConflictingProfile { .. }),
        ) = config
        {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Rejects packages that have the same image as another one: each would deploy its program in
/// place of the other's. An invalid setting is an error of its package.
pub(crate) fn check_images(projects: &[Project], flags: &ConfigLayer) -> Result<()> {
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for project in projects {
        if let Ok(config) = Config::resolve_without_build(project, flags.clone()) {
            let image = config.image.name().to_string();
            packages.entry(image).or_default().push(project.package.clone());
        }
    }
    match packages.into_values().find(|packages| packages.len() > 1) {
        Some(selected) => Err(project::Error::SharedImage { selected }.into()),
        None => Ok(()),
    }
}

/// Returns the result for each package; fails if one of them fails. If there are several, events
/// and the error have the package.
pub(crate) fn collect<T>(
    cx: &Cx,
    projects: &[Project],
    mut run: impl FnMut(&Cx, &Project) -> Result<T>,
) -> Result<Vec<T>> {
    if let [project] = projects {
        return Ok(vec![run(cx, project)?]);
    }
    let run = |project: &Project| {
        let package = project.package.clone();
        run(&cx.for_service(&package), project).map_err(|error| {
            if error.is_interrupt() {
                error
            } else {
                Error::Services(vec![ServiceError { package, error }])
            }
        })
    };
    projects.iter().map(run).collect()
}

/// Runs a command for each package, one after another. If there are several, events have the
/// package, and a failure does not stop the others; only an interrupt does.
pub(crate) fn for_each(
    cx: &Cx,
    selection: &PackageSelection,
    projects: &[Project],
    mut run: impl FnMut(&Cx, &PackageSelection, &Project) -> Result<()>,
) -> Result<()> {
    if let [project] = projects {
        return run(cx, selection, project);
    }
    let mut failures = Vec::new();
    for project in projects {
        let package = project.package.clone();
        let cx = cx.for_service(&package);
        match run(&cx, &selection.of_package(&package), project) {
            Err(error) if error.is_interrupt() => return Err(error),
            Err(error) => {
                cx.emit(Event::Failed { message: error.to_string() });
                failures.push(ServiceError { package, error });
            }
            Ok(()) => {}
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Services(failures)) }
}

/// Joins the results of two commands for the same packages.
pub(crate) fn join(first: Result<()>, second: Result<()>) -> Result<()> {
    match (first, second) {
        (Err(Error::Services(mut failures)), Err(Error::Services(more))) => {
            failures.extend(more);
            Err(Error::Services(failures))
        }
        (first, second) => first.and(second),
    }
}
