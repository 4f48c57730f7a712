//! The sandbox image, as an archive that containerd can import.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use xshell::{Shell, cmd};

/// The name of the sandbox image on each node.
pub(crate) const PAUSE: &str = "localhost/kdev-lab/pause:1";

/// Creates `pause.tar` beside the program `pause` in `folder`.
pub(crate) fn create_pause(sh: &Shell, folder: &Path) -> Result<()> {
    let layout = folder.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256"))?;

    let layer = folder.join("layer.tar");
    cmd!(
        sh,
        "tar --create --file {layer} --directory {folder} --mtime=@0 --owner=0 --group=0 pause"
    )
    .quiet()
    .run()?;
    let layer_bytes = fs::read(&layer)?;
    let layer = store_blob(&layout, "application/vnd.oci.image.layer.v1.tar", &layer_bytes)?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Entrypoint": ["/pause"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = store_blob(
        &layout,
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    )?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer],
    });
    let mut manifest = store_blob(&layout, media_type, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "io.containerd.image.name": PAUSE });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;

    let archive = folder.join("pause.tar");
    cmd!(sh, "tar --create --file {archive} --directory {layout} .").quiet().run()?;
    fs::remove_file(folder.join("layer.tar"))?;
    fs::remove_dir_all(layout)?;
    Ok(())
}

/// Stores a blob under its digest. Returns its descriptor.
fn store_blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}")?;
    }
    fs::write(layout.join("blobs/sha256").join(&hex), bytes)?;
    Ok(json!({
        "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len(),
    }))
}
