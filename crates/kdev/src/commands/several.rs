//! Runs a command for each selected package.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::config::{Config, ConfigLayer, Error as ConfigError};
use crate::cx::{BuildOutput, Cx};
use crate::error::{Error, Result, ServiceError};
use crate::event::{Event, Message};
use crate::parallel::join_thread;
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
    let results = projects.iter().map(|project| {
        let cx = cx.for_service(&project.package);
        let result = run(&cx, &selection.of_package(&project.package), project);
        report_failure(&cx, result)
    });
    join_results(projects, results)
}

/// Runs a command for all packages at the same time, otherwise like [`for_each`]. `run` gets the
/// index of its package. The same question is asked only once.
pub(crate) fn for_each_in_parallel(
    cx: &Cx,
    projects: &[Project],
    run: impl Fn(&Cx, usize) -> Result<()> + Sync,
) -> Result<()> {
    if projects.len() == 1 {
        return run(cx, 0);
    }
    let answers = Mutex::new(BTreeMap::new());
    let ask_once = |question: &str| {
        let ask = || cx.confirm(question).unwrap_or_default();
        *lock(&answers).entry(question.to_owned()).or_insert_with(ask)
    };
    let cx = if cx.can_confirm() { cx.with_confirmation_of(&ask_once) } else { cx.clone() };
    // A dry run prints the commands of one package after another.
    let printed: Vec<Mutex<Vec<Message>>> = projects.iter().map(|_| Mutex::default()).collect();
    let run_one = |index: usize| {
        let keep = |message| lock(&printed[index]).push(message);
        let cx = if cx.is_dry_run() { cx.with_events(&keep) } else { cx.clone() };
        let cx = cx.for_service(&projects[index].package).with_build_output(BuildOutput::Events);
        report_failure(&cx, run(&cx, index))
    };
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let run_one = &run_one;
        let threads: Vec<_> =
            (0..projects.len()).map(|index| scope.spawn(move || run_one(index))).collect();
        threads.into_iter().map(join_thread).collect()
    });
    printed.iter().flat_map(|one| std::mem::take(&mut *lock(one))).for_each(|it| cx.forward(it));
    join_results(projects, results)
}

fn report_failure(cx: &Cx, result: Result<()>) -> Result<()> {
    if let Err(error) = &result
        && !error.is_interrupt()
    {
        cx.emit(Event::Failed { message: error.to_string() });
    }
    result
}

/// Joins the results of the packages. An interrupt stops the iterator.
fn join_results(projects: &[Project], results: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let mut failures = Vec::new();
    for (project, result) in projects.iter().zip(results) {
        match result {
            Err(error) if error.is_interrupt() => return Err(error),
            Err(error) => failures.push(ServiceError { package: project.package.clone(), error }),
            Ok(()) => {}
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Services(failures)) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
