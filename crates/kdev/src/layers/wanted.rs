//! The layers that a load needs, and the ones that it gets.

use std::collections::BTreeSet;

use kdev_core::image::built::BuiltImage;

use crate::layers::cache::{Layer, LayerCache};
use crate::layers::save::SharedSave;

/// The layers that a load needs.
pub(crate) struct WantedLayers<'a> {
    pub(crate) image: &'a BuiltImage,
    /// Where they must be stored.
    pub(crate) cache: &'a LayerCache,
    pub(crate) diff_ids: &'a BTreeSet<&'a str>,
    /// The layers that other nodes are missing, too, so that they are read only once.
    pub(crate) of_all_nodes: BTreeSet<String>,
    /// The archive of the whole image, which other nodes may be reading.
    pub(crate) shared_save: &'a SharedSave,
}

impl WantedLayers<'_> {
    /// Returns the layers of all nodes that are not in the cache.
    pub(crate) fn missing(&self) -> BTreeSet<&str> {
        let of_others = self.of_all_nodes.iter().map(String::as_str);
        let all = self.diff_ids.iter().copied().chain(of_others);
        all.filter(|id| self.cache.get(id).is_none()).collect()
    }

    /// Returns the configuration and the layers, if the cache has all of them.
    pub(crate) fn parts(&self) -> Option<ImageParts> {
        let config = self.cache.config(&self.image.config_digest)?;
        let layers = self.diff_ids.iter().map(|id| self.cache.get(id)).collect::<Option<_>>()?;
        Some(ImageParts { config, layers })
    }

    /// Returns whether these are all layers of the image.
    pub(crate) fn is_whole_image(&self) -> bool {
        self.diff_ids.len() >= self.image.layers.len()
    }
}

/// The content of a partial archive.
pub(crate) struct ImageParts {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
}

impl ImageParts {
    /// Returns the size of the layers in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}
