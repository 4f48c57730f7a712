//! The layers of an image that a node has, and the plan of the layers to send.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::digest::chain_ids;

/// Media type of an uncompressed layer (OCI image spec, "Media types").
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a compressed layer; containerd detects the compression itself.
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The layers that a node has reported for an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLayers {
    /// The image itself, under its name and verified.
    pub present: bool,
    /// Chain IDs of unpacked layers.
    snapshots: BTreeSet<String>,
    /// Blobs by diff ID: the digest and the approximate size in bytes.
    blobs: BTreeMap<String, (String, u64)>,
    /// Whether `zstd` is installed.
    pub zstd: bool,
    /// Whether `gzip` is installed.
    pub gzip: bool,
    /// Free bytes on containerd's file system, if known.
    pub free_bytes: Option<u64>,
}

/// A layer as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLayer {
    pub diff_id: String,
    pub digest: String,
    pub media_type: &'static str,
    pub size: u64,
    /// Whether the layer must be sent.
    pub missing: bool,
}

impl NodeLayers {
    /// Parses a node's answer, which consists of keys and values.
    pub fn read<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut inventory = Self::default();
        for (key, value) in lines {
            let words: Vec<&str> = value.split_whitespace().collect();
            match (key, words.as_slice()) {
                ("present", _) => inventory.present = true,
                ("zstd", _) => inventory.zstd = true,
                ("gzip", _) => inventory.gzip = true,
                // In units of 1024 (POSIX, `df -Pk`).
                ("room", [kib]) => {
                    inventory.free_bytes = kib.parse().ok().map(|kib: u64| kib * 1024);
                }
                ("snapshot", [chain_id]) => {
                    inventory.snapshots.insert((*chain_id).to_owned());
                }
                ("blob", [digest, size, diff_id]) => inventory.add(digest, size, diff_id),
                _ => {}
            }
        }
        inventory
    }

    /// Prefers the uncompressed one of two blobs of a layer, because it can serve as a
    /// compression dictionary.
    fn add(&mut self, digest: &str, size: &str, diff_id: &str) {
        let blob = (digest.to_owned(), bytes(size));
        let known = self.blobs.entry(diff_id.to_owned()).or_insert_with(|| blob.clone());
        if digest == diff_id {
            *known = blob;
        }
    }

    /// Whether the node has the layer as a readable blob.
    pub fn can_read(&self, diff_id: &str) -> bool {
        self.blobs.get(diff_id).is_some_and(|(digest, _)| digest == diff_id)
    }

    /// Plans how the manifest lists each layer for this node. A blob that the node has
    /// keeps its digest. If only the unpacked files are left, the digest of the blob is
    /// irrelevant, because containerd looks up the chain ID first.
    pub fn plan(&self, diff_ids: &[String]) -> Vec<PlannedLayer> {
        let chain = chain_ids(diff_ids);
        let named = diff_ids.iter().zip(&chain).map(|(diff_id, chain_id)| {
            let blob = self.blobs.get(diff_id);
            let (digest, size) = blob.cloned().unwrap_or((diff_id.clone(), 0));
            let media_type = if digest == *diff_id { TAR } else { TAR_GZIP };
            let missing = blob.is_none() && !self.snapshots.contains(chain_id);
            PlannedLayer { diff_id: diff_id.clone(), digest, media_type, size, missing }
        });
        named.collect()
    }
}

/// Parses a size such as `1.434MB` as `ctr` prints it, in units of 1000 (go-units,
/// `HumanSize`).
fn bytes(human: &str) -> u64 {
    let digits = human.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match &human[digits.len()..] {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => 1.0,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rough size")]
    let bytes = (digits.parse::<f64>().unwrap_or_default() * factor) as u64;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(lines: &[(&str, &str)]) -> NodeLayers {
        NodeLayers::read(lines.iter().copied())
    }

    fn missing(inventory: &NodeLayers, diff_ids: &[&str]) -> Vec<String> {
        let diff_ids: Vec<String> = diff_ids.iter().map(|id| (*id).to_owned()).collect();
        let plan = inventory.plan(&diff_ids).into_iter();
        plan.filter(|layer| layer.missing).map(|layer| layer.diff_id).collect()
    }

    #[test]
    fn empty_node_needs_all_layers() {
        assert_eq!(missing(&inventory(&[]), &["sha256:a", "sha256:b"]), ["sha256:a", "sha256:b"]);
    }

    #[test]
    fn unpacked_layer_needs_no_blob() {
        let node = inventory(&[("snapshot", "sha256:a")]);
        assert_eq!(missing(&node, &["sha256:a", "sha256:b"]), ["sha256:b"]);
        // The same layer on another base is another snapshot.
        assert_eq!(missing(&node, &["sha256:b", "sha256:a"]), ["sha256:b", "sha256:a"]);
    }

    #[test]
    fn pulled_layer_keeps_registry_digest() {
        let node = inventory(&[("blob", "sha256:zip 1.5MB sha256:a")]);
        let plan = node.plan(&["sha256:a".to_owned()]);
        assert_eq!(plan[0].digest, "sha256:zip");
        assert_eq!((plan[0].media_type, plan[0].size), (TAR_GZIP, 1_500_000));
        assert!(!plan[0].missing && !node.can_read("sha256:a"));
    }

    #[test]
    fn uncompressed_blob_is_preferred() {
        for lines in [
            ["sha256:zip 1MB sha256:a", "sha256:a 2MB sha256:a"],
            ["sha256:a 2MB sha256:a", "sha256:zip 1MB sha256:a"],
        ] {
            let node = inventory(&[("blob", lines[0]), ("blob", lines[1])]);
            assert_eq!(node.plan(&["sha256:a".to_owned()])[0].digest, "sha256:a");
            assert!(node.can_read("sha256:a"));
        }
    }

    #[test]
    fn human_sizes_are_parsed() {
        assert_eq!(
            [bytes("400B"), bytes("1.434MB"), bytes("2GB"), bytes("?")],
            [400, 1_434_000, 2_000_000_000, 0]
        );
    }
}
