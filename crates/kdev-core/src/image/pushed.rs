//! The manifests that were pushed to an endpoint. Each user of a machine can connect to its
//! loopback interface, so only those count whose digest is confirmed.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::image::digest::sha256;

/// How many manifests are kept. An image has one, and more for other platforms.
const MAX_MANIFESTS: usize = 64;
/// The maximum size of all of them.
const MAX_BYTES: usize = 16 << 20;

/// Manifests and indexes, by their digests.
#[derive(Default)]
pub struct PushedManifests(BTreeMap<String, Vec<u8>>);

/// The manifest of an image, or an index (OCI image spec, "Image Manifest" and "Image Index").
#[derive(Deserialize)]
struct Document {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// The digests in the manifest of an image.
#[derive(Debug, PartialEq, Eq)]
pub struct PushedManifest {
    pub config_digest: String,
    /// Bottom layer first.
    pub layers: Vec<String>,
}

impl PushedManifests {
    /// Adds a manifest or an index, and returns its digest.
    pub fn add(&mut self, json: Vec<u8>) -> String {
        let digest = sha256(&json);
        let held: usize = self.0.values().map(Vec::len).sum();
        if self.0.len() < MAX_MANIFESTS && held + json.len() <= MAX_BYTES {
            self.0.insert(digest.clone(), json);
        }
        digest
    }

    /// Returns the manifests of images that are confirmed, or listed in an index that is.
    pub fn confirmed(&self, is_confirmed: impl Fn(&str) -> bool) -> Vec<PushedManifest> {
        let parsed = self.0.iter().filter_map(|(digest, json)| {
            Some((digest.as_str(), serde_json::from_slice::<Document>(json).ok()?))
        });
        let mut unused: BTreeMap<&str, Document> = parsed.collect();
        let mut pending: Vec<String> =
            self.0.keys().filter(|digest| is_confirmed(digest)).cloned().collect();
        let mut images = Vec::new();
        while let Some(digest) = pending.pop() {
            let Some(document) = unused.remove(digest.as_str()) else { continue };
            pending.extend(document.manifests.into_iter().map(|listed| listed.digest));
            let layers = document.layers.into_iter().map(|layer| layer.digest).collect();
            let image =
                |config: Descriptor| PushedManifest { config_digest: config.digest, layers };
            images.extend(document.config.map(image));
        }
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confirmed_manifests_are_returned() {
        let mut pushed = PushedManifests::default();
        let manifest = |config: &str| {
            format!(r#"{{"config":{{"digest":"{config}"}},"layers":[{{"digest":"layer"}}]}}"#)
        };
        let one = pushed.add(manifest("one").into_bytes());
        let forged = pushed.add(manifest("forged").into_bytes());
        let index = |digest: &str| format!(r#"{{"manifests":[{{"digest":"{digest}"}}]}}"#);
        let inner = pushed.add(index(&one).into_bytes());
        let outer = pushed.add(index(&inner).into_bytes());
        let missing = pushed.add(index("sha256:0").into_bytes());
        let text = pushed.add(b"text".to_vec());
        let table: [(&str, &[&str]); 7] = [
            (&one, &["one"]),
            (&forged, &["forged"]),
            (&inner, &["one"]),
            (&outer, &["one"]),
            (&missing, &[]),
            (&text, &[]),
            ("sha256:0", &[]),
        ];
        for (confirmed, expected) in table {
            let found = pushed.confirmed(|digest| digest == confirmed);
            let expected = expected.iter().map(|config| PushedManifest {
                config_digest: (*config).to_owned(),
                layers: vec!["layer".to_owned()],
            });
            assert_eq!(found, expected.collect::<Vec<_>>(), "{confirmed}");
        }
    }

    #[test]
    fn number_of_manifests_is_limited() {
        let mut pushed = PushedManifests::default();
        for number in 0..2 * MAX_MANIFESTS {
            pushed.add(format!(r#"{{"config":{{"digest":"{number}"}}}}"#).into_bytes());
        }
        assert_eq!(pushed.confirmed(|_| true).len(), MAX_MANIFESTS);
    }

    #[test]
    fn size_of_manifests_is_limited() {
        let mut pushed = PushedManifests::default();
        for number in 0..4 {
            let padding = " ".repeat(MAX_BYTES / 3);
            pushed.add(format!(r#"{{"config":{{"digest":"{number}"}}}}{padding}"#).into_bytes());
        }
        assert_eq!(pushed.confirmed(|_| true).len(), 2);
    }
}
