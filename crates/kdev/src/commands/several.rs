//! Runs a command for each selected package.

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
