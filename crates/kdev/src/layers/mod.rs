//! Provides the layers of an image: from the cache, or from the source of the image, which
//! brings missing layers into the cache.
//!
//! - `source.rs`: where an image comes from
//!     - `docker.rs`: Docker, which pushes or exports single layers
//!     - `buildx.rs`: a builder that keeps its results, and exports layers during the build
//!     - `podman.rs`: Podman, which saves single layers
//!     - `archive.rs`: an archive that the user passes
//!     - `assembled.rs`: an image that kdev has assembled
//! - `base.rs`: the layers on which an image is assembled
//! - `cache.rs`: stores the layers that builds have changed
//! - `demand.rs`: what all nodes need
//! - `export.rs`: gets single layers from BuildKit
//! - `extract.rs`: extracts layers from the output of `docker save`
//! - `layout.rs`: reads an image that a builder has written as an OCI image layout
//! - `push.rs`: the endpoint that Docker pushes to
//! - `records.rs`: stores what earlier runs have learned
//! - `save.rs`: runs one `docker save` and streams it to several nodes
//! - `unavailable.rs`: why layers are unavailable, and how to fix it
//! - `wanted.rs`: the layers that a load needs, and the ones that it gets

pub(crate) mod archive;
pub(crate) mod assembled;
pub(crate) mod base;
pub(crate) mod buildx;
pub(crate) mod cache;
pub(crate) mod demand;
mod docker;
mod error;
pub(crate) mod export;
pub(crate) mod extract;
pub(crate) mod layout;
mod podman;
pub(crate) mod push;
mod records;
pub(crate) mod save;
mod source;
mod unavailable;
mod wanted;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use kdev_core::image::built::BuiltImage;

use crate::cx::Cx;
use crate::event::Event;
use crate::layers::cache::{Layer, LayerCache};
use crate::layers::demand::Demand;
use crate::layers::save::SharedSave;
use crate::layers::wanted::WantedLayers;

pub use error::Error;
pub(crate) use source::ImageSource;
pub(crate) use unavailable::Unavailable;
pub(crate) use wanted::ImageParts;

/// The layers of one image.
pub(crate) struct LayerProvider<'a> {
    pub(crate) source: &'a ImageSource<'a>,
    pub(crate) image: &'a BuiltImage,
    /// The directory with the layers to send.
    layers: Option<LayerCache>,
    /// The cache directory, with the history of earlier loads.
    cache: Option<LayerCache>,
    /// Why the source has not provided layers, if it has failed. The lock makes one thread
    /// request layers at a time; the others then find them in the cache.
    failure: Mutex<Option<Unavailable>>,
    /// Cached layers of earlier builds that are not in the image, per build, the latest
    /// first.
    pub(crate) previous_builds: Vec<Vec<Layer>>,
    /// What the nodes need.
    demand: Demand,
    /// The archive of the whole image, from `docker save`.
    pub(crate) shared_save: SharedSave,
}

impl<'a> LayerProvider<'a> {
    /// Provides the layers of one of the source's images.
    pub(crate) fn new(cx: &Cx, source: &'a ImageSource<'a>, image: &'a BuiltImage) -> Self {
        let cache = cx.cache_dir().and_then(|dir| LayerCache::open_in(dir).ok());
        let previous_builds =
            cache.as_ref().map(|cache| previous_builds(cache, image)).unwrap_or_default();
        // Without a cache the whole image is sent, which is slower.
        let uses_cache = !image.layers.is_empty() || source.has_only_layers();
        let layers = source.own_layers().or(cache.as_ref().filter(|_| uses_cache));
        Self {
            source,
            image,
            layers: layers.cloned(),
            cache,
            failure: Mutex::default(),
            previous_builds,
            demand: Demand::default(),
            shared_save: SharedSave::default(),
        }
    }

    /// Returns whether layer by layer is the fastest way to read the image.
    pub(crate) fn reads_layers(&self, cx: &Cx) -> bool {
        self.layers.is_some() && self.source.prefers_layers(cx)
    }

    /// Returns the bytes per second of the last transfer to a host.
    pub(crate) fn rate(&self, host: &str) -> Option<f64> {
        self.cache.as_ref()?.rate(host)
    }

    pub(crate) fn record_rate(&self, host: &str, rate: f64) {
        if let Some(cache) = &self.cache {
            cache.record_rate(host, rate);
        }
    }

    /// Makes the source provide the layers that the nodes probably need, while they are being
    /// connected to.
    pub(crate) fn prefetch(&self, cx: &Cx) {
        if cx.is_dry_run() {
            return;
        }
        let _one_at_a_time = self.failure.lock();
        if let Some(layers) = &self.layers {
            self.source.prefetch(cx, layers);
        }
    }

    /// Sets how many nodes the image is loaded onto.
    pub(crate) fn expect_nodes(&self, nodes: usize) {
        self.demand.expect_nodes(nodes);
        self.shared_save.expect_nodes(nodes);
    }

    /// Reports the layers that a node is missing, or `None` if it needs the whole image.
    pub(crate) fn report_missing(&self, node: &str, layers: Option<&BTreeSet<&str>>) {
        match layers {
            Some(layers) => self.demand.report(node, layers.iter().copied()),
            None => self.demand.report_whole(node),
        }
        if let Some(readers) = self.demand.readers() {
            self.shared_save.expect_nodes(readers);
        }
    }

    /// Reports that a node needs nothing, or nothing more.
    pub(crate) fn report_complete(&self, node: &str) {
        self.report_missing(node, Some(&BTreeSet::new()));
    }

    /// Returns the configuration and these layers, or `None` if they are unavailable and
    /// the whole image must be sent.
    pub(crate) fn parts(&self, cx: &Cx, diff_ids: &BTreeSet<&str>) -> Option<ImageParts> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = WantedLayers {
            image: self.image,
            cache: self.layers.as_ref()?,
            diff_ids,
            of_all_nodes: BTreeSet::new(),
            shared_save: &self.shared_save,
        };
        if let Some(parts) = wanted.parts() {
            return Some(parts);
        }
        if failure.is_some() {
            return None;
        }
        wanted.of_all_nodes = self.demand.collect();
        let fetched = self.source.fetch(cx, &wanted);
        let parts = wanted.parts();
        if parts.is_none() {
            let unavailable = fetched.err().unwrap_or_default();
            if !cx.interrupt().is_raised() && !self.source.has_only_layers() {
                note_whole_image(cx, &unavailable);
            }
            *failure = Some(unavailable);
        }
        parts
    }

    /// Returns why the layers are unavailable.
    pub(crate) fn failure(&self) -> Unavailable {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// Removes the image's layers from the cache, so that the source provides them again. One
    /// of them may be damaged.
    pub(crate) fn evict(&self) {
        let Some(layers) = self.shared_layers() else { return };
        for diff_id in &self.image.layers {
            if self.source.can_fetch_again() {
                layers.evict(diff_id);
            } else {
                layers.evict_damaged(diff_id);
            }
        }
    }

    /// Records the build, and trims the cache.
    pub(crate) fn record_build(&self) {
        if let Some(layers) = self.shared_layers() {
            layers.record_build(&self.image.reference.name().to_string(), &self.image.layers);
            layers.trim();
        }
    }

    /// Returns the directory with the layers, unless only this run uses it.
    fn shared_layers(&self) -> Option<&LayerCache> {
        self.layers.as_ref().filter(|_| self.source.own_layers().is_none())
    }
}

/// Notes why the whole image is sent, if that is known.
fn note_whole_image(cx: &Cx, unavailable: &Unavailable) {
    let Unavailable { reason, help } = unavailable;
    let text = match help {
        _ if reason.is_empty() => return,
        Some(help) => format!("{reason}, so the whole image is sent; {help}"),
        None => format!("{reason}, so the whole image is sent"),
    };
    cx.emit(Event::Note { text });
}

/// Returns the cached layers of earlier builds that are not in the image.
fn previous_builds(cache: &LayerCache, image: &BuiltImage) -> Vec<Vec<Layer>> {
    let builds = cache.build_history(&image.reference.name().to_string()).into_iter();
    let cached = |build: Vec<String>| {
        let old = build.iter().filter(|diff_id| !image.layers.contains(diff_id));
        old.filter_map(|diff_id| cache.get(diff_id)).collect()
    };
    builds.map(cached).collect()
}
