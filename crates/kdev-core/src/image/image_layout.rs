//! A whole image for other programs: an OCI image layout (OCI image spec, "Image Layout"), as a
//! directory or as an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::image::partial_archive::{CONFIG, IMAGE_NAME, INDEX, MANIFEST, SentLayer, append, blob};
use crate::image::reference::Reference;
use crate::image::{builds, digest};

/// The media type of layers that are not compressed.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The annotation from which skopeo and umoci take the tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The file that lists the manifests.
pub const INDEX_FILE: &str = "index.json";
/// The file by which programs recognize a layout.
pub const LAYOUT_FILE: &str = "oci-layout";

/// An image that has not been written yet.
pub struct ImageLayout<L> {
    name: Reference,
    /// The manifest and the configuration, by digest.
    blobs: BTreeMap<String, Vec<u8>>,
    /// The entry of the manifest in the index.
    entry: Value,
    /// The list of images for `docker load`.
    docker_manifest: Value,
    layers: Vec<L>,
}

impl<L: SentLayer> ImageLayout<L> {
    /// Creates the layout of the image `name`. The annotations are those of its manifest.
    pub fn new(
        name: &Reference,
        config: Vec<u8>,
        layers: Vec<L>,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        let config_digest = digest::sha256(&config);
        let describe = |layer: &L| json!({"mediaType": LAYER, "digest": layer.diff_id(), "size": layer.size()});
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
            "layers": layers.iter().map(describe).collect::<Vec<_>>(),
        });
        if !annotations.is_empty() {
            manifest["annotations"] = json!(annotations);
        }
        let manifest = manifest.to_string().into_bytes();
        let manifest_digest = digest::sha256(&manifest);
        let entry = json!({
            "mediaType": MANIFEST,
            "digest": manifest_digest,
            "size": manifest.len(),
            "annotations": {
                IMAGE_NAME: name.to_string(),
                REF_NAME: name.tag().unwrap_or("latest"),
            },
        });
        let docker_manifest = json!([{
            "Config": blob(&config_digest),
            "RepoTags": [name.familiar()],
            "Layers": layers.iter().map(|layer| blob(layer.diff_id())).collect::<Vec<_>>(),
        }]);
        let blobs = [(manifest_digest, manifest), (config_digest, config)].into();
        Self { name: name.clone(), blobs, entry, docker_manifest, layers }
    }

    /// Returns the path of each blob that is not a layer, and its content.
    pub fn blobs(&self) -> impl Iterator<Item = (String, &[u8])> {
        self.blobs.iter().map(|(digest, bytes)| (blob(digest), bytes.as_slice()))
    }

    /// Returns the layers and their paths.
    pub fn layers(&self) -> impl Iterator<Item = (String, &L)> {
        self.layers.iter().map(|layer| (blob(layer.diff_id()), layer))
    }

    /// Returns the index with this image, and with the others of an existing index: not with earlier
    /// builds of the image, nor with an image of the same tag for programs that only know tags.
    /// `None` if the existing file is no index.
    pub fn index(&self, existing: Option<&[u8]>) -> Option<Vec<u8>> {
        let new = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
        let mut index = existing.map_or(Some(new), parse_index)?;
        let manifests = index.get_mut("manifests")?.as_array_mut()?;
        manifests.retain(|entry| !self.replaces(&entry["annotations"]));
        manifests.push(self.entry.clone());
        Some(index.to_string().into_bytes())
    }

    /// Returns whether this image takes the place of the one with these annotations.
    fn replaces(&self, annotations: &Value) -> bool {
        let own = &self.entry["annotations"];
        match annotations[IMAGE_NAME].as_str() {
            Some(name) => {
                own[IMAGE_NAME] == name || builds::build_tag(self.name.name(), name).is_some()
            }
            None => own[REF_NAME] == annotations[REF_NAME],
        }
    }

    /// Returns the digests of the manifests in an existing index that are earlier builds of the image.
    /// Entries of other programs are not among them.
    pub fn earlier_builds(&self, existing: &[u8]) -> BTreeSet<String> {
        let index = parse_index(existing).unwrap_or_default();
        let entries = index["manifests"].as_array().into_iter().flatten();
        let own = entries.filter(|entry| {
            let annotations = &entry["annotations"];
            annotations[IMAGE_NAME].is_string() && self.replaces(annotations)
        });
        own.filter_map(|entry| entry["digest"].as_str().map(str::to_owned)).collect()
    }

    /// Returns the content of the file by which programs recognize a layout.
    pub fn layout_file() -> Vec<u8> {
        json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes()
    }

    /// Writes an archive that `docker load` reads, too.
    pub fn write_archive(&self, to: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(to);
        let index = self.index(None).unwrap_or_default();
        let docker = self.docker_manifest.to_string().into_bytes();
        let files =
            [(LAYOUT_FILE, Self::layout_file()), (INDEX_FILE, index), ("manifest.json", docker)];
        for (path, bytes) in &files {
            append(&mut tar, path, bytes.len() as u64, bytes.as_slice())?;
        }
        for (path, bytes) in self.blobs() {
            append(&mut tar, &path, bytes.len() as u64, bytes)?;
        }
        for (path, layer) in self.layers() {
            append(&mut tar, &path, layer.size(), layer.open()?)?;
        }
        tar.into_inner()?.flush()
    }
}

/// Returns whether a file lists manifests.
pub fn is_index(bytes: &[u8]) -> bool {
    parse_index(bytes).is_some()
}

/// Returns all digests in a JSON text; `None` if it is not JSON.
pub fn digests_in(json: &[u8]) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut values: Vec<Value> = vec![serde_json::from_slice(json).ok()?];
    while let Some(value) = values.pop() {
        match value {
            Value::String(text) if blob_path(&text).is_some() => drop(found.insert(text)),
            Value::Array(list) => values.extend(list),
            Value::Object(map) => values.extend(map.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
    Some(found)
}

/// Returns the path of a blob in a layout; `None` if the digest is not one of SHA-256.
pub fn blob_path(digest: &str) -> Option<String> {
    let hex = digest.strip_prefix("sha256:")?;
    let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (hex.len() == 64 && is_hex).then(|| blob(digest))
}

fn parse_index(bytes: &[u8]) -> Option<Value> {
    let index: Value = serde_json::from_slice(bytes).ok()?;
    index.get("manifests")?.is_array().then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    struct Bytes(&'static [u8]);

    impl SentLayer for Bytes {
        fn diff_id(&self) -> &'static str {
            "sha256:layer"
        }

        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn open(&self) -> io::Result<impl Read> {
            Ok(self.0)
        }
    }

    fn layout(tag: &str) -> ImageLayout<Bytes> {
        let name = Reference::parse(&format!("app:{tag}")).unwrap();
        let annotations = [("a".to_owned(), "b".to_owned())].into();
        ImageLayout::new(&name, b"{}".to_vec(), vec![Bytes(b"content")], &annotations)
    }

    #[test]
    fn archive_is_complete() {
        let mut bytes = Vec::new();
        layout("1").write_archive(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let files: BTreeMap<String, String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect();
        let json = |path: &str| serde_json::from_str::<Value>(&files[path]).unwrap();
        let entry = &json("index.json")["manifests"][0];
        let manifest = json(&blob(entry["digest"].as_str().unwrap()));
        assert_eq!(manifest["annotations"], json!({"a": "b"}));
        assert_eq!(files[&blob(manifest["config"]["digest"].as_str().unwrap())], "{}");
        assert_eq!(files[&blob(manifest["layers"][0]["digest"].as_str().unwrap())], "content");
        let docker = &json("manifest.json")[0];
        assert_eq!(docker["RepoTags"], json!(["app:1"]));
        assert!(files.contains_key(docker["Config"].as_str().unwrap()));
        assert!(files.contains_key(docker["Layers"][0].as_str().unwrap()));
    }

    #[test]
    fn digests_are_found_at_each_depth() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let text = json!({"a": [{"b": digest("1")}], "c": digest("f"), "d": "sha256:../../x"});
        let found = digests_in(text.to_string().as_bytes());
        assert_eq!(found, Some([digest("1"), digest("f")].into()));
        assert_eq!(digests_in(b"a layer"), None);
        for invalid in [digest("F"), digest("1") + "1", digest("1").replace("256", "512")] {
            assert_eq!(blob_path(&invalid), None);
        }
    }

    #[test]
    fn index_keeps_other_images() {
        let first = layout("1").index(None).unwrap();
        let both = layout("2").index(Some(&first)).unwrap();
        let again = layout("2").index(Some(&both)).unwrap();
        assert_eq!(again, both);
        let index: Value = serde_json::from_slice(&both).unwrap();
        let tags = index["manifests"].as_array().unwrap().iter();
        let tags: Vec<_> = tags.map(|entry| entry["annotations"][REF_NAME].clone()).collect();
        assert_eq!(tags, ["1", "2"]);
        // Earlier builds are replaced, and entries of programs that know only tags.
        let write = |name: &str, tag: &str| {
            let image = Reference::parse(&format!("{name}:{tag}")).unwrap();
            let layout: ImageLayout<Bytes> =
                ImageLayout::new(&image, b"{}".to_vec(), Vec::new(), &BTreeMap::new());
            move |index: Option<&[u8]>| layout.index(index).unwrap()
        };
        let (old, new) = ("kdev-0123456789ab", "kdev-0123456789ac");
        let others = json!({"manifests": [{"annotations": {REF_NAME: new}}, {}]}).to_string();
        let built = write("app", old)(Some(others.as_bytes()));
        let built = write("other", old)(Some(&built));
        let built: Value = serde_json::from_slice(&write("app", new)(Some(&built))).unwrap();
        let names = built["manifests"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|entry| entry["annotations"][IMAGE_NAME].clone()).collect();
        let name = |name: &str, tag: &str| json!(format!("docker.io/library/{name}:{tag}"));
        assert_eq!(names, [Value::Null, name("other", old), name("app", new)]);
        // Only earlier builds of the same image are those of kdev.
        let index = json!({"manifests": [
            {"digest": "1", "annotations": {REF_NAME: new}},
            {"digest": "2", "annotations": {IMAGE_NAME: name("other", old)}},
            {"digest": "3", "annotations": {IMAGE_NAME: name("app", old)}},
        ]});
        let index = index.to_string();
        assert_eq!(layout(new).earlier_builds(index.as_bytes()), ["3".to_owned()].into());
        for damaged in ["", "[]", "{\"manifests\": {}}"] {
            assert_eq!(layout("1").index(Some(damaged.as_bytes())), None, "{damaged}");
        }
    }
}
