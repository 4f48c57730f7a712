//! Image archives: the images that an archive holds, and the files they consist of.
//!
//! Two formats are in use: Docker's own, whose `manifest.json` names the files, and the OCI
//! image layout (OCI image spec, "Image Layout"), whose `index.json` refers to manifests,
//! and possibly to further indexes, and these to blobs. Docker 25 and later write both into
//! one archive; Podman, Buildah and Skopeo write one of them.

use std::collections::HashMap;
use std::io::{self, Read};

use serde::Deserialize;

use crate::image::digest::sha256 as digest;
use crate::path::normalized_path;

/// Largest JSON file that is read; containerd has the same limit.
const JSON_LIMIT: u64 = 8 << 20;
/// Maximum depth of nested indexes.
const INDEX_DEPTH: usize = 4;
/// Annotation with the full image name, as buildx and containerd write it.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Annotation with the full name or only the tag (OCI image spec, "Pre-Defined Annotation
/// Keys").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// File name extensions of archives.
const EXTENSIONS: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// Returns whether a text is the path of an archive or a directory, and not the name of an image.
pub fn is_path(text: &str) -> bool {
    let starts = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    starts || EXTENSIONS.iter().any(|end| text.ends_with(end))
}

/// Reads an archive to its end and returns the image for this platform (`os/architecture`).
/// Calls `other` for each file that cannot be JSON, such as a layer.
pub fn read_image(
    archive: impl Read,
    platform: &str,
    other: impl FnMut(&str, &mut dyn Read) -> io::Result<()>,
) -> Result<Image, String> {
    let files = Files::read(archive, other).map_err(|e| format!("invalid archive: {e}"))?;
    let fitting = files.images()?.into_iter().find(|image| image.is_for(platform));
    fitting.ok_or_else(|| format!("it has no image for {platform}"))
}

/// Returns the diff IDs that an image configuration lists (OCI image spec, "Image
/// Configuration").
pub fn diff_ids(config: &[u8]) -> Option<Vec<String>> {
    parse::<Config>(config).map(|config| config.rootfs.diff_ids)
}

/// An image in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its names; several if it is saved under several.
    pub names: Vec<String>,
    pub config: Vec<u8>,
    pub config_digest: String,
    /// The files of its layers, bottom layer first.
    pub layers: Vec<String>,
    /// The diff IDs of its layers, in the same order.
    pub diff_ids: Vec<String>,
    /// `os/architecture`, if the configuration sets it.
    pub platform: Option<String>,
    /// The sum of the sizes of the layers, as far as an OCI manifest lists them.
    pub layer_bytes: u64,
}

/// The files of an archive that are small enough to be kept in memory.
#[derive(Default)]
pub struct Files {
    json: HashMap<String, Vec<u8>>,
    links: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// An OCI index or manifest, reduced to the fields that lead to an image.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    os: String,
    architecture: String,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Image {
    fn new(config: &[u8], layers: Vec<String>, names: Vec<String>) -> Option<Self> {
        let Config { os, architecture, rootfs } = parse(config)?;
        let known = !os.is_empty() && !architecture.is_empty();
        Some(Self {
            names,
            config_digest: digest(config),
            config: config.to_vec(),
            layers,
            diff_ids: rootfs.diff_ids,
            platform: known.then(|| format!("{os}/{architecture}")),
            layer_bytes: 0,
        })
    }

    fn add_names(&mut self, names: Vec<String>) {
        for name in names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }

    /// An image without a platform matches any platform.
    pub fn is_for(&self, platform: &str) -> bool {
        self.platform.as_ref().is_none_or(|own| own == platform)
    }
}

impl Files {
    /// Reads an archive to its end. Calls `other` for each file that cannot be JSON, such
    /// as a layer.
    pub fn read(
        archive: impl Read,
        mut other: impl FnMut(&str, &mut dyn Read) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut files = Self::default();
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = normalized_path(&entry.path()?.to_string_lossy());
            if let Some(target) = entry.link_name()? {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let target = normalized_path(&format!("{folder}/{}", target.to_string_lossy()));
                files.links.insert(path, target);
                continue;
            }
            let mut first = [0; 1];
            if entry.read(&mut first)? == 0 {
                continue;
            }
            if entry.size() > JSON_LIMIT || !matches!(first[0], b'{' | b'[') {
                other(&path, &mut first.as_slice().chain(entry))?;
                continue;
            }
            let mut bytes = first.to_vec();
            entry.read_to_end(&mut bytes)?;
            files.json.insert(path, bytes);
        }
        Ok(files)
    }

    /// Adds a file of an OCI image layout, which can be a directory.
    pub fn add_json(&mut self, path: &str, json: Vec<u8>) {
        self.json.insert(path.to_owned(), json);
    }

    /// Returns the path of the file that `path` links to, or `path` itself. Docker up to
    /// version 24 writes a link for a layer that is already in the archive.
    pub fn resolve_link<'a>(&'a self, path: &'a str) -> &'a str {
        self.links.get(path).map_or(path, String::as_str)
    }

    /// Returns all images whose configuration is in the archive, each once.
    pub fn images(&self) -> Result<Vec<Image>, String> {
        let mut images: Vec<Image> = Vec::new();
        for found in self.all_images()? {
            match images.iter_mut().find(|image| image.config_digest == found.config_digest) {
                Some(image) => image.add_names(found.names),
                None => images.push(found),
            }
        }
        Ok(images)
    }

    /// Returns an image for each entry of the manifest or index. An image has an entry for each
    /// of its names in an index, but not in Docker's manifest.
    fn all_images(&self) -> Result<Vec<Image>, String> {
        let manifest = self.json.get("manifest.json");
        let entries: Option<Vec<DockerManifest>> =
            manifest.map(|json| parse(json).ok_or("its manifest is malformed")).transpose()?;
        let Some(index) = self.json.get("index.json") else {
            let entries = entries.ok_or("it has no manifest")?;
            let image = |entry: &DockerManifest| {
                let config = self.json.get(&normalized_path(&entry.config))?;
                let layers = entry.layers.iter().map(|path| normalized_path(path)).collect();
                Image::new(config, layers, entry.names())
            };
            let images: Option<Vec<Image>> = entries.iter().map(image).collect();
            return images.ok_or_else(|| "it has no configuration".to_owned());
        };
        let mut images = Vec::new();
        self.collect(index, None, 0, &mut images);
        // An archive in both formats may have the names in only one of them.
        for image in &mut images {
            let is_same = |entry: &&DockerManifest| {
                let config = self.json.get(&normalized_path(&entry.config));
                config.is_some_and(|json| digest(json) == image.config_digest)
            };
            let same = entries.iter().flatten().filter(is_same);
            let names: Vec<String> = same.flat_map(DockerManifest::names).collect();
            if !names.is_empty() {
                image.names = names;
            }
        }
        Ok(images)
    }

    /// Collects the images below an index or a manifest. An index may list manifests that
    /// the archive does not contain, and attestations, which have no platform.
    fn collect(&self, json: &[u8], name: Option<&str>, depth: usize, images: &mut Vec<Image>) {
        let Some(document) = parse::<Document>(json) else { return };
        if let Some(config) = document.config.and_then(|config| self.blob(&config.digest)) {
            let layers = document.layers.iter().map(|layer| blob(&layer.digest)).collect();
            let layer_bytes = document.layers.iter().map(|layer| layer.size).sum();
            let image = Image::new(config, layers, name.map(str::to_owned).into_iter().collect());
            let image = image.filter(|image| !image.is_for("unknown/unknown"));
            images.extend(image.map(|image| Image { layer_bytes, ..image }));
        }
        for descriptor in document.manifests.iter().filter(|_| depth <= INDEX_DEPTH) {
            if let Some(json) = self.blob(&descriptor.digest) {
                self.collect(json, descriptor.name().or(name), depth + 1, images);
            }
        }
    }

    fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.json.get(&blob(digest)).map(Vec::as_slice)
    }
}

impl DockerManifest {
    fn names(&self) -> Vec<String> {
        self.repo_tags.clone().unwrap_or_default()
    }
}

impl Descriptor {
    /// A tag alone is not a name.
    fn name(&self) -> Option<&str> {
        let named = |key| self.annotations.get(key).map(String::as_str);
        named(IMAGE_NAME).or(named(REF_NAME).filter(|name| name.contains([':', '/'])))
    }
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, path, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn put(files: &mut Vec<(String, Vec<u8>)>, json: &str) -> String {
        let name = digest(json.as_bytes());
        files.push((format!("blobs/{}", name.replace(':', "/")), json.as_bytes().to_vec()));
        name
    }

    fn config_digest(archive: &[u8], platform: &str) -> Result<String, String> {
        Ok(read_image(archive, platform, |_, _| Ok(()))?.config_digest)
    }

    fn read(files: &[(String, Vec<u8>)], platform: &str) -> Result<String, String> {
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
        config_digest(&archive(&files), platform)
    }

    #[test]
    fn docker_archive_lists_config_file() {
        let config = br#"{"os":"linux"}"#;
        let bytes = archive(&[
            ("x/layer.tar", b"\0\0\0"),
            ("abc.json", config),
            ("manifest.json", br#"[{"Config":"abc.json","RepoTags":["a:b"]}]"#),
        ]);
        assert_eq!(config_digest(&bytes, "linux/amd64").unwrap(), digest(config));
    }

    #[test]
    fn nested_index_leads_to_platform_config() {
        let mut files = Vec::new();
        let amd = put(&mut files, r#"{"os":"linux","architecture":"amd64"}"#);
        let arm = put(&mut files, r#"{"os":"linux","architecture":"arm64"}"#);
        let manifest =
            |config: &str| format!(r#"{{"config":{{"digest":"{config}"}},"layers":[]}}"#);
        let amd_manifest = put(&mut files, &manifest(&amd));
        let arm_manifest = put(&mut files, &manifest(&arm));
        let nested = format!(
            r#"{{"manifests":[{{"digest":"{arm_manifest}","platform":{{"os":"linux","architecture":"arm64"}}}},
            {{"digest":"sha256:absent","platform":{{"os":"unknown","architecture":"unknown"}}}},
            {{"digest":"{amd_manifest}","platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        let nested = put(&mut files, &nested);
        let index = format!(r#"{{"manifests":[{{"digest":"{nested}"}}]}}"#);
        files.push(("index.json".into(), index.into_bytes()));
        assert_eq!(read(&files, "linux/amd64").unwrap(), amd);
        assert_eq!(read(&files, "linux/arm64").unwrap(), arm);
        assert!(read(&files, "linux/s390x").is_err());
    }

    fn images(bytes: &[u8]) -> Vec<Image> {
        Files::read(bytes, |_, _| Ok(())).unwrap().images().unwrap()
    }

    #[test]
    fn repeated_layer_is_a_link() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "b/layer.tar", "../a/layer.tar").unwrap();
        let bytes = builder.into_inner().unwrap();
        let files = Files::read(bytes.as_slice(), |_, _| Ok(())).unwrap();
        assert_eq!(files.resolve_link("b/layer.tar"), "a/layer.tar");
        assert_eq!(files.resolve_link("a/layer.tar"), "a/layer.tar");
    }

    #[test]
    fn each_format_has_a_field_for_the_name() {
        let config = br#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["sha256:1"]}}"#;
        let docker = br#"[{"Config":"./c.json","RepoTags":["a:1"],"Layers":["x/layer.tar"]}]"#;
        let bytes = archive(&[("c.json", config), ("manifest.json", docker)]);
        let found = images(&bytes);
        assert_eq!(found[0].names, ["a:1"]);
        assert_eq!(found[0].layers, ["x/layer.tar"]);
        assert_eq!(found[0].diff_ids, ["sha256:1"]);
        for (annotation, name) in [
            (r#""org.opencontainers.image.ref.name":"localhost/a:1""#, Some("localhost/a:1")),
            (r#""org.opencontainers.image.ref.name":"1""#, None),
            (
                r#""org.opencontainers.image.ref.name":"1","io.containerd.image.name":"x/a:1""#,
                Some("x/a:1"),
            ),
        ] {
            let mut files = Vec::new();
            let config = put(&mut files, std::str::from_utf8(config).unwrap());
            let manifest = format!(
                r#"{{"config":{{"digest":"{config}"}},"layers":[{{"digest":"sha256:9"}}]}}"#
            );
            let manifest = put(&mut files, &manifest);
            let index = format!(
                r#"{{"manifests":[{{"digest":"{manifest}","annotations":{{{annotation}}}}}]}}"#
            );
            files.push(("index.json".into(), index.into_bytes()));
            let files: Vec<(&str, &[u8])> =
                files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
            let found = images(&archive(&files));
            assert_eq!(found[0].names.first().map(String::as_str), name);
            assert_eq!(found[0].layers, ["blobs/sha256/9"]);
        }
    }

    #[test]
    fn image_with_several_names_is_listed_once() {
        let config = r#"{"os":"linux","architecture":"amd64"}"#;
        let docker = r#"[{"Config":"c.json","RepoTags":["a:1","b:1"]}]"#;
        let bytes = archive(&[("c.json", config.as_bytes()), ("manifest.json", docker.as_bytes())]);
        let names = |bytes: &[u8]| images(bytes).into_iter().map(|image| image.names).collect();
        let names: &dyn Fn(&[u8]) -> Vec<Vec<String>> = &names;
        assert_eq!(names(&bytes), [["a:1", "b:1"]]);
        // Docker 25 and later have an entry for each name in the index, and one in the manifest.
        let mut files = Vec::new();
        let digest = put(&mut files, config);
        let manifest = put(&mut files, &format!(r#"{{"config":{{"digest":"{digest}"}}}}"#));
        let entry = |name: &str| {
            format!(
                r#"{{"digest":"{manifest}","annotations":{{"io.containerd.image.name":"{name}"}}}}"#
            )
        };
        let index = format!(r#"{{"manifests":[{},{}]}}"#, entry("x/a:1"), entry("x/b:1"));
        files.push(("index.json".into(), index.into_bytes()));
        let list = |files: &[(String, Vec<u8>)]| {
            let files: Vec<(&str, &[u8])> =
                files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
            names(&archive(&files))
        };
        assert_eq!(list(&files), [["x/a:1", "x/b:1"]]);
        let blob = digest.replace(':', "/");
        let docker = format!(r#"[{{"Config":"blobs/{blob}","RepoTags":["a:1","b:1"]}}]"#);
        files.push(("manifest.json".into(), docker.into_bytes()));
        assert_eq!(list(&files), [["a:1", "b:1"]]);
    }

    #[test]
    fn paths_are_normalized_path() {
        assert_eq!(normalized_path("./a//b/../c.json"), "a/c.json");
    }

    #[test]
    fn invalid_archive_is_an_error() {
        assert!(config_digest(&b"garbage, and not a short one"[..], "linux/amd64").is_err());
        assert!(config_digest(&b""[..], "linux/amd64").is_err());
    }
}
