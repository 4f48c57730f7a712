//! Images that only the layer cache has, because the builder keeps the results of its builds.
//!
//! A build exports its new layers into the cache. If a node is missing a layer that is no longer
//! there, the same build runs again, without a placeholder for this layer: the builder has its
//! result.

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::layers::export;
use crate::layers::layout::Layout;
use crate::layers::unavailable::Unavailable;
use crate::layers::wanted::WantedLayers;

/// Runs the build of an image again, with an export into a directory.
pub(crate) type Rebuild<'a> = Box<dyn Fn(&Cx, &Layout) -> Result<(), Unavailable> + Sync + 'a>;

/// An image that a builder has exported.
pub(crate) struct BuildxSource<'a> {
    image: BuiltImage,
    rebuild: Option<Rebuild<'a>>,
}

impl<'a> BuildxSource<'a> {
    /// Without `rebuild`, only cached layers are available.
    pub(crate) fn new(image: BuiltImage, rebuild: Option<Rebuild<'a>>) -> Self {
        Self { image, rebuild }
    }

    pub(super) fn image(&self) -> &BuiltImage {
        &self.image
    }

    pub(super) fn has_rebuild(&self) -> bool {
        self.rebuild.is_some()
    }

    pub(super) fn fetch(&self, cx: &Cx, wanted: &WantedLayers) -> Result<(), Unavailable> {
        let Some(rebuild) = &self.rebuild else {
            return Err("the cache folder no longer has them".into());
        };
        let missing = wanted.missing();
        let layout =
            export::create_layout(cx, &self.image, wanted.cache, |id| missing.contains(id))
                .map_err(Unavailable::from)?;
        rebuild(cx, &layout)?;
        let platform = Some(self.image.platform.as_str());
        let exported = export::take(&layout, wanted.cache, platform)?;
        if wanted.parts().is_none() {
            let is_same = exported.image.config_digest == self.image.config_digest;
            return Err(if is_same {
                "the builder has not exported them".into()
            } else {
                "the cache folder no longer has them, and another build gave other layers".into()
            });
        }
        Ok(())
    }
}
