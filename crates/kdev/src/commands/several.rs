//! Runs a command for each selected package.

use crate::cx::Cx;
use crate::error::{Error, Result, ServiceError};
use crate::event::Event;
use crate::project::{PackageSelection, Project};

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
