//! What a node has of an image, and what it therefore lacks.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::digest::chain_ids;

/// A layer that is neither compressed nor encrypted (OCI image spec, "Media
/// types").
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// One that is compressed; containerd looks for itself in which way.
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What a node said that it has of what it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLayers {
    /// The very image, under its name, proven.
    pub present: bool,
    /// Chain IDs of unpacked layers.
    snapshots: BTreeSet<String>,
    /// Blobs by diffID: digest, and about how many bytes.
    blobs: BTreeMap<String, (String, u64)>,
    /// Whether `zstd` is there.
    pub zstd: bool,
    /// Whether `gzip` is there.
    pub gzip: bool,
    /// Bytes that are free where containerd keeps images, if that is known.
    pub room: Option<u64>,
}

/// A layer as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLayer {
    pub diff_id: String,
    pub digest: String,
    pub media_type: &'static str,
    pub size: u64,
    /// Whether it must be sent.
    pub missing: bool,
}

impl NodeLayers {
    /// Reads a node's answer: a key each, and its value.
    pub fn read<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut inventory = Self::default();
        for (key, value) in lines {
            let words: Vec<&str> = value.split_whitespace().collect();
            match (key, words.as_slice()) {
                ("present", _) => inventory.present = true,
                ("zstd", _) => inventory.zstd = true,
                ("gzip", _) => inventory.gzip = true,
                // In units of 1024 (POSIX, `df -Pk`).
                ("room", [kib]) => inventory.room = kib.parse().ok().map(|kib: u64| kib * 1024),
                ("snapshot", [chain_id]) => {
                    inventory.snapshots.insert((*chain_id).to_owned());
                }
                ("blob", [digest, size, diff_id]) => inventory.add(digest, size, diff_id),
                _ => {}
            }
        }
        inventory
    }

    /// Of two blobs for one layer the uncompressed one is worth more: it can be
    /// a dictionary.
    fn add(&mut self, digest: &str, size: &str, diff_id: &str) {
        let blob = (digest.to_owned(), bytes(size));
        let known = self.blobs.entry(diff_id.to_owned()).or_insert_with(|| blob.clone());
        if digest == diff_id {
            *known = blob;
        }
    }

    /// Whether a layer lies there as it was sent, and can be read.
    pub fn can_read(&self, diff_id: &str) -> bool {
        self.blobs.get(diff_id).is_some_and(|(digest, _)| digest == diff_id)
    }

    /// Each layer of an image as this node shall know it. What lies there is
    /// named as it lies there. Where only the unpacked files are left, the
    /// blob's name does not matter: containerd looks at the chain ID first.
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

/// `1.434MB`, as `ctr` prints it, in units of 1000 (go-units, `HumanSize`).
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
    fn an_empty_node_lacks_all() {
        assert_eq!(missing(&inventory(&[]), &["sha256:a", "sha256:b"]), ["sha256:a", "sha256:b"]);
    }

    #[test]
    fn an_unpacked_layer_is_there_without_its_blob() {
        let node = inventory(&[("snapshot", "sha256:a")]);
        assert_eq!(missing(&node, &["sha256:a", "sha256:b"]), ["sha256:b"]);
        // The same layer on another base is another snapshot.
        assert_eq!(missing(&node, &["sha256:b", "sha256:a"]), ["sha256:b", "sha256:a"]);
    }

    #[test]
    fn a_pulled_layer_keeps_the_registrys_name() {
        let node = inventory(&[("blob", "sha256:zip 1.5MB sha256:a")]);
        let plan = node.plan(&["sha256:a".to_owned()]);
        assert_eq!(plan[0].digest, "sha256:zip");
        assert_eq!((plan[0].media_type, plan[0].size), (TAR_GZIP, 1_500_000));
        assert!(!plan[0].missing && !node.can_read("sha256:a"));
    }

    #[test]
    fn an_uncompressed_blob_comes_before_a_compressed_one() {
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
    fn sizes_are_read_roughly() {
        assert_eq!(
            [bytes("400B"), bytes("1.434MB"), bytes("2GB"), bytes("?")],
            [400, 1_434_000, 2_000_000_000, 0]
        );
    }
}
