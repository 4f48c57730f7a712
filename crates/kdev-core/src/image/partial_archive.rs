//! The archive that is sent to a node: an OCI image layout (OCI image spec, "Image Layout")
//! with the configuration, a manifest and only those layers that the node does not have.
//! The specification permits missing blobs.

use std::io::{self, Read, Write};

use serde_json::json;

use crate::image::digest;
use crate::image::node_layers::PlannedLayer;

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The annotation from which containerd takes the image name, regardless of its flags.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// tar pads each file to full blocks and ends with two empty ones.
const BLOCK: u64 = 512;

/// A layer to be sent.
pub trait SentLayer {
    /// Digest of the uncompressed tar (OCI image spec, "Layer `DiffID`").
    fn diff_id(&self) -> &str;
    /// Size of the uncompressed tar in bytes.
    fn size(&self) -> u64;
    /// Opens the uncompressed tar.
    fn open(&self) -> io::Result<impl Read>;
}

/// An archive that has not been written yet.
#[derive(Debug)]
pub struct PartialArchive<L> {
    files: Vec<(String, Vec<u8>)>,
    layers: Vec<L>,
}

impl<L: SentLayer> PartialArchive<L> {
    /// Creates the archive of the image `name`. The manifest lists the layers of `plan`;
    /// the archive contains `layers`.
    pub fn new(name: &str, config: Vec<u8>, plan: &[PlannedLayer], layers: Vec<L>) -> Self {
        let size = |named: &PlannedLayer| {
            let sent = layers.iter().find(|layer| layer.diff_id() == named.diff_id);
            sent.filter(|_| named.missing).map_or(named.size, SentLayer::size)
        };
        let describe = |named: &PlannedLayer| {
            let PlannedLayer { media_type, digest, .. } = named;
            json!({"mediaType": media_type, "digest": digest, "size": size(named)})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest::sha256(&config), "size": config.len()},
            "layers": plan.iter().map(describe).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{
                "mediaType": MANIFEST,
                "digest": digest::sha256(&manifest),
                "size": manifest.len(),
                "annotations": {IMAGE_NAME: name},
            }],
        });
        let files = vec![
            ("oci-layout".to_owned(), json!({"imageLayoutVersion": "1.0.0"}).to_string().into()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
            (blob(&digest::sha256(&manifest)), manifest),
            (blob(&digest::sha256(&config)), config),
        ];
        Self { files, layers }
    }

    /// Returns the size of the archive in bytes.
    pub fn size(&self) -> u64 {
        let sizes = self.files.iter().map(|(_, bytes)| bytes.len() as u64);
        let sizes = sizes.chain(self.layers.iter().map(SentLayer::size));
        sizes.map(|size| BLOCK + size.next_multiple_of(BLOCK)).sum::<u64>() + 2 * BLOCK
    }

    pub fn write_to(&self, to: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(to);
        for (path, bytes) in &self.files {
            append(&mut tar, path, bytes.len() as u64, bytes.as_slice())?;
        }
        for layer in &self.layers {
            append(&mut tar, &blob(layer.diff_id()), layer.size(), layer.open()?)?;
        }
        tar.into_inner()?.flush()
    }
}

pub(super) fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    size: u64,
    body: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, body)
}

pub(super) fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::node_layers::NodeLayers;

    struct Bytes(&'static [u8], String);

    impl SentLayer for Bytes {
        fn diff_id(&self) -> &str {
            &self.1
        }

        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn open(&self) -> io::Result<impl Read> {
            Ok(self.0)
        }
    }

    #[test]
    fn archive_contains_missing_layers_only() {
        let layer = Bytes(b"a layer", digest::sha256(b"a layer"));
        let diff_ids = ["sha256:base".to_owned(), layer.1.clone()];
        let plan = NodeLayers::read([("snapshot", "sha256:base")].into_iter()).plan(&diff_ids);
        let thin = PartialArchive::new("docker.io/library/a:b", b"{}".to_vec(), &plan, vec![layer]);
        let mut bytes = Vec::new();
        thin.write_to(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, thin.size());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned());
        let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        assert_eq!(paths[..2], ["oci-layout", "index.json"]);
        assert_eq!(paths[4], blob(&diff_ids[1]));
        assert_eq!(paths.len(), 5);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(r#""io.containerd.image.name":"docker.io/library/a:b""#));
        assert!(text.contains(r#""digest":"sha256:base""#));
        assert!(text.contains(r#""size":7"#));
    }
}
