//! Takes an image and gives its layers: from the cache, else from docker, which pushes what
//! is missing to an endpoint of ours; or all from an archive.
//!
//! - `archive.rs`: an archive that the user brings
//! - `cache.rs`: the layers that builds have changed
//! - `push.rs`: the endpoint that docker pushes to
//! - `save.rs`: one `docker save` for all nodes that need the whole image

pub(crate) mod archive;
pub(crate) mod cache;
mod error;
pub(crate) mod push;
pub(crate) mod save;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use kdev_core::image::archive::Files;
use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::docker::Docker;
use crate::layers::archive::UnpackedArchive;
use crate::layers::cache::{Layer, LayerCache};
use crate::layers::push::LayerRequest;
use crate::layers::save::SharedSave;

pub use error::Error;

/// What shall be loaded, with whoever has it.
pub(crate) enum ImageSource<'a> {
    Docker(&'a Docker, BuiltImage),
    Archive(UnpackedArchive),
}

impl ImageSource<'_> {
    pub(crate) fn image(&self) -> &BuiltImage {
        match self {
            Self::Docker(_, image) => image,
            Self::Archive(unpacked) => &unpacked.image,
        }
    }
}

/// The layers of one image.
pub(crate) struct LayerProvider<'a> {
    pub(crate) source: &'a ImageSource<'a>,
    pub(crate) image: &'a BuiltImage,
    /// Where layers lie that nodes are sent.
    layers: Option<LayerCache>,
    /// What is known of earlier loads.
    cache: Option<LayerCache>,
    /// Whether docker was asked for layers before, and had no answer. One
    /// thread at a time asks; the others find in the cache what it got.
    has_failed: Mutex<bool>,
    /// Layers of earlier builds that are here and not in the image, build by
    /// build, the newest first.
    pub(crate) previous_builds: Vec<Vec<Layer>>,
    /// docker's archive of all of it.
    pub(crate) shared_save: SharedSave,
}

/// What a thin archive is made of.
pub(crate) struct ImageParts {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
}

impl ImageParts {
    /// Bytes of the layers.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

impl<'a> LayerProvider<'a> {
    pub(crate) fn new(cx: &Cx, supply: &'a ImageSource<'a>) -> Self {
        let image = supply.image();
        let cache = cx.cache_dir().and_then(|dir| LayerCache::open_in(dir).ok());
        let old = cache.as_ref().map(|cache| previous_builds(cache, image)).unwrap_or_default();
        let layers = match supply {
            ImageSource::Archive(unpacked) => Some(unpacked.layers.clone()),
            // Without a cache images go whole: slower, but all the same.
            ImageSource::Docker(..) if !image.layers.is_empty() => cache.clone(),
            ImageSource::Docker(..) => None,
        };
        Self {
            source: supply,
            image,
            layers,
            cache,
            has_failed: Mutex::new(false),
            previous_builds: old,
            shared_save: SharedSave::default(),
        }
    }

    /// Whether it can be had only layer by layer.
    pub(crate) fn is_archive(&self) -> bool {
        matches!(self.source, ImageSource::Archive(_))
    }

    /// How many bytes a second last went to a host.
    pub(crate) fn rate(&self, host: &str) -> Option<f64> {
        self.cache.as_ref()?.rate(host)
    }

    pub(crate) fn record_rate(&self, host: &str, rate: f64) {
        if let Some(cache) = &self.cache {
            cache.record_rate(host, rate);
        }
    }

    /// Lets docker push what it has never pushed: most likely what nodes will
    /// ask for, and they are only being reached. A large image that is all new
    /// is not worth it; then docker just learns names for the layers, so that
    /// the next load is thin.
    pub(crate) fn prefetch(&self, cx: &Cx) {
        if cx.is_dry_run() {
            return;
        }
        let _one_at_a_time = self.has_failed.lock();
        self.push(cx, &LayerRequest::Unpushed);
    }

    /// The configuration and these layers. `None` where that is impossible: then
    /// the image goes whole.
    pub(crate) fn parts(&self, cx: &Cx, wanted: &BTreeSet<&str>) -> Option<ImageParts> {
        let mut refused = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = self.cached(wanted) {
            return Some(parts);
        }
        if *refused {
            return None;
        }
        let layers = self.layers.as_ref()?;
        let lacking = wanted.iter().filter(|diff_id| layers.get(diff_id).is_none());
        let lacking = lacking.map(|diff_id| (*diff_id).to_owned()).collect();
        let has_pushed = self.push(cx, &LayerRequest::These(lacking));
        let mut parts = self.cached(wanted);
        if parts.is_none() && !has_pushed && wanted.len() < self.image.layers.len() {
            self.extract_from_save(cx, layers, wanted);
            parts = self.cached(wanted);
        }
        *refused = parts.is_none();
        parts
    }

    /// Takes layers out of docker's archive, where docker cannot push here: its
    /// daemon is on another machine, or in a virtual one.
    fn extract_from_save(&self, cx: &Cx, layers: &LayerCache, wanted: &BTreeSet<&str>) {
        let ImageSource::Docker(docker, _) = self.source else { return };
        let keep = |_: &str, body: &mut dyn Read| {
            layers.store_if(body, |diff_id| wanted.contains(diff_id)).map(drop)
        };
        // What comes of it is seen by what is there afterwards.
        let _ = docker.save_command(cx, self.image).map(|save| {
            save.read_with(cx, |archive| {
                let images = Files::read(archive, keep).map(|files| files.images());
                for image in images.into_iter().flatten().flatten() {
                    let _ = layers.store(image.config.as_slice());
                }
            })
        });
    }

    fn cached(&self, wanted: &BTreeSet<&str>) -> Option<ImageParts> {
        let kept = self.layers.as_ref()?;
        let config = kept.config(&self.image.config_digest)?;
        let layers = wanted.iter().map(|diff_id| kept.get(diff_id)).collect::<Option<_>>()?;
        Some(ImageParts { config, layers })
    }

    /// Whether docker could push. Whether that brought what was wanted is seen by
    /// what is there afterwards.
    fn push(&self, cx: &Cx, wanted: &LayerRequest) -> bool {
        let (Some(layers), ImageSource::Docker(docker, _)) = (&self.layers, self.source) else {
            return false;
        };
        let mut has_pushed = false;
        let push = |endpoint: &str| has_pushed = docker.push(cx, self.image, endpoint).is_ok();
        let _ = push::serve(layers, wanted, self.image, push);
        has_pushed
    }

    /// Takes the image's layers out of the cache, for the case that one of
    /// them is damaged there: docker is asked again.
    pub(crate) fn evict(&self) {
        if let (Some(layers), ImageSource::Docker(..)) = (&self.layers, self.source) {
            self.image.layers.iter().for_each(|diff_id| layers.evict(diff_id));
        }
    }

    /// Notes the build, and keeps the cache within its bounds.
    pub(crate) fn record_build(&self) {
        if let (Some(layers), ImageSource::Docker(..)) = (&self.layers, self.source) {
            layers.record_build(&self.image.reference.name().to_string(), &self.image.layers);
            layers.trim();
        }
    }
}

fn previous_builds(layers: &LayerCache, image: &BuiltImage) -> Vec<Vec<Layer>> {
    let builds = layers.build_history(&image.reference.name().to_string()).into_iter();
    let kept = |build: Vec<String>| {
        let old = build.iter().filter(|diff_id| !image.layers.contains(diff_id));
        old.filter_map(|diff_id| layers.get(diff_id)).collect()
    };
    builds.map(kept).collect()
}
