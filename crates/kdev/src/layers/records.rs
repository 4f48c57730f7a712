//! What earlier runs have learned, in JSON files beside the layer cache: `builds/IMAGE.json`,
//! `digests/ENDPOINT.json` and `rates/HOST.json` in `records`. A file that cannot be read
//! counts as missing. A directory of `records` has a limited number of files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::layers::cache::LayerCache;
use crate::process::json_file::{self, file_name};

/// How many digests are kept per endpoint.
const MAX_KNOWN_DIGESTS: usize = 10_000;
/// How many builds are kept per image.
const MAX_BUILDS: usize = 3;

impl LayerCache {
    /// Returns the diffIDs of the last builds of an image, the latest build first.
    pub(crate) fn build_history(&self, image: &str) -> Vec<Vec<String>> {
        self.read_record("builds", image)
    }

    /// Records that a build of an image has been loaded. Its layers and those of the builds
    /// before it, which are the bases of the next patch, are the last ones to be trimmed.
    pub(crate) fn record_build(&self, image: &str, layers: &[String]) {
        let mut history = self.build_history(image);
        history.retain(|build| build != layers);
        history.insert(0, layers.to_vec());
        history.truncate(MAX_BUILDS);
        self.write_record("builds", image, &history);
        history.iter().rev().flatten().for_each(|diff_id| self.mark_used(diff_id));
    }

    /// Returns the digests under which Docker has pushed layers to an endpoint, with the
    /// diffIDs of the layers.
    pub(crate) fn known_digests(&self, endpoint: &str) -> BTreeMap<String, String> {
        self.read_record("digests", endpoint)
    }

    pub(crate) fn record_digests(&self, endpoint: &str, digests: &BTreeMap<String, String>) {
        let mut known = self.known_digests(endpoint);
        if known.len() > MAX_KNOWN_DIGESTS {
            known.clear();
        }
        known.extend(digests.clone());
        self.write_record("digests", endpoint, &known);
    }

    /// Returns the bytes per second of the last transfer to a host.
    pub(crate) fn rate(&self, host: &str) -> Option<f64> {
        self.read_record("rates", host)
    }

    pub(crate) fn record_rate(&self, host: &str, rate: f64) {
        self.write_record("rates", host, &rate);
    }

    fn read_record<T: serde::de::DeserializeOwned + Default>(&self, kind: &str, name: &str) -> T {
        json_file::read(&self.record(kind, name)).unwrap_or_default()
    }

    fn write_record(&self, kind: &str, name: &str, value: &impl serde::Serialize) {
        // Without a record, the next load is slower.
        let _ = json_file::write_limited(&self.record(kind, name), value);
    }

    fn record(&self, kind: &str, name: &str) -> PathBuf {
        self.records_dir().join(kind).join(format!("{}.json", file_name(name)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn records_of_one_name_are_separate_files() {
        let dir = tempfile::tempdir().unwrap();
        let cache = LayerCache::open_in(dir.path()).unwrap();
        cache.record_build("a/b", &["one".to_owned()]);
        cache.record_build("a/b", &["two".to_owned()]);
        cache.record_rate("a/b", 5.0);
        assert_eq!(cache.build_history("a/b"), [["two"], ["one"]]);
        assert_eq!(cache.rate("a/b"), Some(5.0));
        fs::write(dir.path().join("records/rates/a%2Fb.json"), "damaged").unwrap();
        assert_eq!(cache.rate("a/b"), None);
    }
}
