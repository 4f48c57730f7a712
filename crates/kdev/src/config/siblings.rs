//! The images of the other packages of the workspace.

use kdev_core::image::reference::Name;

use crate::config::{Config, ConfigLayer};
use crate::project::Project;

/// The image of another package of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Sibling {
    pub(crate) package: String,
    pub(crate) image: Name,
}

/// Returns the images of the other packages that kdev can deploy: those with a Dockerfile or
/// settings. A package with invalid settings is left out; its own `up` reports them.
pub(crate) fn siblings(project: &Project, config: &Config) -> Vec<Sibling> {
    let others = project.siblings().into_iter().filter(Project::is_service);
    let image = |other: Project| {
        let other = Config::resolve_without_build(&other, ConfigLayer::default()).ok()?;
        Some(Sibling { package: other.package, image: other.image.name().clone() })
    };
    others.filter_map(image).filter(|sibling| sibling.image != *config.image.name()).collect()
}
