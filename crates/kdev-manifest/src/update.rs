//! The requested edit of image fields.

use kdev_core::image::reference::Name;

use crate::image_fields::ImagePath;
use crate::pull_policy::PullPolicy;

/// The new tag and pull policy of the containers that run an image.
#[derive(Clone, Debug)]
pub struct ImageUpdate<'a> {
    /// The name of the image whose containers are edited, regardless of the tag.
    pub name: &'a Name,
    /// The new tag.
    pub tag: &'a str,
    /// The new pull policy.
    pub policy: PullPolicy,
    /// Further image fields from the configuration.
    pub paths: &'a [ImagePath],
}
