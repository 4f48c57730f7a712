//! Small images, as archives that containerd can import.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The name of the sandbox image on each node.
pub(crate) const PAUSE: &str = "localhost/kdev-lab/pause:1";

/// Creates `pause.tar` beside the program `pause` in `folder`.
pub(crate) fn create_pause(sh: &Shell, folder: &Path) -> Result<()> {
    let mut layout = ImageLayout::create(folder.join("layout"))?;
    layout.add(PAUSE, "/pause", &create_layer(sh, folder, "pause")?)?;
    layout.pack(sh, &folder.join("pause.tar"))
}

/// Returns a layer with one file of a folder.
pub(crate) fn create_layer(sh: &Shell, folder: &Path, file: &str) -> Result<Vec<u8>> {
    let layer = folder.join("layer.tar");
    cmd!(
        sh,
        "tar --create --file {layer} --directory {folder} --mtime=@0 --owner=0 --group=0 {file}"
    )
    .quiet()
    .run()?;
    let bytes = fs::read(&layer)?;
    fs::remove_file(&layer)?;
    Ok(bytes)
}

/// A folder with images in the OCI layout.
pub(crate) struct ImageLayout {
    folder: PathBuf,
    manifests: Vec<Value>,
}

impl ImageLayout {
    pub(crate) fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        Ok(Self { folder, manifests: Vec::new() })
    }

    /// Adds an image with one layer.
    pub(crate) fn add(&mut self, name: &str, entrypoint: &str, layer: &[u8]) -> Result<()> {
        let layer = self.store_blob("application/vnd.oci.image.layer.v1.tar", layer)?;
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Entrypoint": [entrypoint] },
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let config = self.store_blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        )?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer],
        });
        let mut manifest = self.store_blob(media_type, manifest.to_string().as_bytes())?;
        manifest["annotations"] = json!({ "io.containerd.image.name": name });
        self.manifests.push(manifest);
        Ok(())
    }

    /// Stores a blob under its digest. Returns its descriptor.
    fn store_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let mut hex = String::new();
        for byte in Sha256::digest(bytes) {
            write!(hex, "{byte:02x}")?;
        }
        fs::write(self.folder.join("blobs/sha256").join(&hex), bytes)?;
        Ok(json!({
            "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len(),
        }))
    }

    /// Writes the images as an archive, and removes the folder.
    pub(crate) fn pack(self, sh: &Shell, archive: &Path) -> Result<()> {
        let folder = &self.folder;
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(folder.join("index.json"), index.to_string())?;
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        fs::write(folder.join("oci-layout"), layout.to_string())?;
        cmd!(sh, "tar --create --file {archive} --directory {folder} .").quiet().run()?;
        Ok(fs::remove_dir_all(folder)?)
    }
}
