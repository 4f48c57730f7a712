//! Images that kdev has assembled. Their own layers are in the cache, and those of their base may
//! have to be brought there.

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::layers::base::BaseLayers;
use crate::layers::unavailable::Unavailable;
use crate::layers::wanted::WantedLayers;

/// Finds the base of an image.
pub(crate) type FindBase<'a> = Box<dyn Fn(&Cx) -> Result<BaseLayers, Unavailable> + Sync + 'a>;

/// An image that kdev has assembled.
pub(crate) struct AssembledSource<'a> {
    image: BuiltImage,
    find_base: Option<FindBase<'a>>,
}

impl<'a> AssembledSource<'a> {
    /// Without `find_base`, only cached layers are available.
    pub(crate) fn new(image: BuiltImage, find_base: Option<FindBase<'a>>) -> Self {
        Self { image, find_base }
    }

    pub(super) fn image(&self) -> &BuiltImage {
        &self.image
    }

    pub(super) fn fetch(&self, cx: &Cx, wanted: &WantedLayers) -> Result<(), Unavailable> {
        let lost = "the cache folder no longer has them";
        let Some(find_base) = &self.find_base else { return Err(lost.into()) };
        find_base(cx)?.fetch(cx, wanted.cache, &wanted.missing())?;
        let has_all = wanted.parts().is_some();
        has_all.then_some(()).ok_or_else(|| format!("{lost}, and they are not in the base").into())
    }
}
