//! What the containers that run an image get.

use kdev_core::image::reference::Name;

use crate::image_fields::ImagePath;
use crate::pull_policy::PullPolicy;

/// What the containers that run an image get.
#[derive(Clone, Debug)]
pub struct ImageUpdate<'a> {
    /// Which containers: those whose image has this name, whatever its tag.
    pub name: &'a Name,
    /// The tag that their image gets.
    pub tag: &'a str,
    /// The pull policy that they get.
    pub policy: PullPolicy,
    /// Where else an image is named.
    pub paths: &'a [ImagePath],
}
