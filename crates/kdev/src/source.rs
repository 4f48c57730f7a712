//! Where layers come from: the cache, else docker, which pushes what is
//! lacking to an endpoint of ours.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::build::BuiltImage;
use crate::cx::Cx;
use crate::docker::Docker;
use crate::layers::{Layer, Layers};
use crate::registry;

/// The layers of one image.
pub(crate) struct Source<'a> {
    docker: &'a Docker,
    image: &'a BuiltImage,
    layers: Option<Layers>,
    /// Whether docker was asked for layers before, and had no answer. One
    /// thread at a time asks; the others find in the cache what it got.
    refused: Mutex<bool>,
    /// Whether docker has pushed: then it has learned names for all layers.
    pushed: AtomicBool,
    /// Layers of earlier builds that are here and not in the image, build by
    /// build, the newest first.
    pub(crate) old: Vec<Vec<Layer>>,
}

/// What a thin archive is made of.
pub(crate) struct Parts {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(cx: &Cx, docker: &'a Docker, image: &'a BuiltImage) -> Self {
        // Without a cache, images go whole: slower, but all the same.
        let layers = cx.cache_dir().and_then(|dir| Layers::at(dir).ok());
        let old = layers.as_ref().map(|layers| old(layers, image)).unwrap_or_default();
        let pushed = AtomicBool::new(false);
        Self { docker, image, layers, refused: Mutex::new(false), pushed, old }
    }

    /// Whether layers can be had one by one.
    pub(crate) fn is_thin(&self) -> bool {
        self.layers.is_some() && self.docker.pushes_layers() && !self.image.layers.is_empty()
    }

    /// The configuration and these layers; `None` where docker would need
    /// longer for them than for the whole image.
    pub(crate) fn parts(&self, cx: &Cx, wanted: &BTreeSet<&str>) -> Option<Parts> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = self.kept(wanted) {
            return Some(parts);
        }
        if *refused {
            return None;
        }
        let layers = self.layers.as_ref()?;
        let lacking = wanted.iter().filter(|diff_id| layers.get(diff_id).is_none());
        self.push(cx, lacking.map(|diff_id| (*diff_id).to_owned()).collect());
        let parts = self.kept(wanted);
        *refused = parts.is_none();
        parts
    }

    fn kept(&self, wanted: &BTreeSet<&str>) -> Option<Parts> {
        let kept = self.layers.as_ref()?;
        let config = kept.config(&self.image.config_digest)?;
        let layers = wanted.iter().map(|diff_id| kept.get(diff_id)).collect::<Option<_>>()?;
        Some(Parts { config, layers })
    }

    /// Lets docker push. Whether that brought what was wanted is seen by what
    /// is there afterwards.
    fn push(&self, cx: &Cx, wanted: BTreeSet<String>) {
        let Some(layers) = &self.layers else { return };
        let push = |endpoint: &str| self.docker.push(cx, self.image, endpoint);
        let _ = registry::serve(layers, wanted, self.image, push);
        self.pushed.store(true, Ordering::SeqCst);
    }

    /// Teaches docker names for all layers, so that the next load is thin. It
    /// takes a fraction of a second; nothing is compressed.
    pub(crate) fn prime(&self, cx: &Cx) {
        let _one_at_a_time = self.refused.lock();
        if self.is_thin() && !self.pushed.load(Ordering::SeqCst) {
            self.push(cx, BTreeSet::new());
        }
    }

    /// Takes the image's layers out of the cache, for the case that one of
    /// them is damaged there: docker is asked again.
    pub(crate) fn forget(&self) {
        if let Some(layers) = &self.layers {
            self.image.layers.iter().for_each(|diff_id| layers.forget(diff_id));
        }
    }

    /// Notes the build, and keeps the cache within its bounds.
    pub(crate) fn done(&self) {
        if let Some(layers) = &self.layers {
            layers.note_build(&self.image.reference.name().to_string(), &self.image.layers);
            layers.trim();
        }
    }
}

fn old(layers: &Layers, image: &BuiltImage) -> Vec<Vec<Layer>> {
    let builds = layers.history(&image.reference.name().to_string()).into_iter();
    let kept = |build: Vec<String>| {
        let old = build.iter().filter(|diff_id| !image.layers.contains(diff_id));
        old.filter_map(|diff_id| layers.get(diff_id)).collect()
    };
    builds.map(kept).collect()
}
