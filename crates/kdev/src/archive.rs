//! The archive that `docker save` writes: which configuration it holds.
//!
//! Pure but for the reader. Two forms are in use: Docker's own, whose
//! `manifest.json` names the configuration's file, and the OCI image layout
//! (OCI image spec, "Image Layout"), whose `index.json` leads over manifests,
//! and perhaps further indexes, to it. Docker 25 and newer write both in one.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::digest::of as digest;
use serde::Deserialize;

/// The largest JSON file that is read: containerd's own limit is of this size.
const JSON_LIMIT: u64 = 8 << 20;
/// How deep indexes may nest.
const INDEX_DEPTH: usize = 4;

/// Reads an archive to its end and gives the digest of the configuration of
/// the image for this platform (`os/architecture`).
pub(crate) fn config_digest(archive: impl Read, platform: &str) -> Result<String, String> {
    let files = json_files(archive).map_err(|e| format!("no archive: {e}"))?;
    if let Some(index) = files.get("index.json") {
        return from_index(&files, index, platform, 0)
            .ok_or_else(|| format!("the archive has no image for {platform}"));
    }
    let manifest = files.get("manifest.json").ok_or("the archive has no manifest")?;
    let entries: Vec<DockerManifest> = parse(manifest).ok_or("the manifest is malformed")?;
    let config = entries.first().and_then(|entry| files.get(&entry.config));
    config.map(|config| digest(config)).ok_or_else(|| "the archive has no configuration".to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
}

/// An OCI index or manifest: the fields of both that lead to a configuration.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

/// Every file that may be JSON, by its path; the layers are passed over.
fn json_files(archive: impl Read) -> io::Result<HashMap<String, Vec<u8>>> {
    let mut files = HashMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.size() > JSON_LIMIT {
            continue;
        }
        let mut first = [0; 1];
        if entry.read(&mut first)? == 0 || !matches!(first[0], b'{' | b'[') {
            continue;
        }
        let mut bytes = first.to_vec();
        entry.read_to_end(&mut bytes)?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        files.insert(path, bytes);
    }
    Ok(files)
}

fn from_index(
    files: &HashMap<String, Vec<u8>>,
    index: &[u8],
    platform: &str,
    depth: usize,
) -> Option<String> {
    let document: Document = parse(index)?;
    if let Some(config) = document.config {
        let body: Config = parse(blob(files, &config.digest)?)?;
        return (format!("{}/{}", body.os, body.architecture) == platform).then_some(config.digest);
    }
    let fits = |d: &&Descriptor| {
        d.platform.as_ref().is_none_or(|p| format!("{}/{}", p.os, p.architecture) == platform)
    };
    if depth > INDEX_DEPTH {
        return None;
    }
    // An index may name what the archive does not hold.
    let mut fitting = document.manifests.iter().filter(fits);
    fitting.find_map(|d| from_index(files, blob(files, &d.digest)?, platform, depth + 1))
}

fn blob<'a>(files: &'a HashMap<String, Vec<u8>>, digest: &str) -> Option<&'a [u8]> {
    files.get(&format!("blobs/{}", digest.replace(':', "/"))).map(Vec::as_slice)
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

    fn read(files: &[(String, Vec<u8>)], platform: &str) -> Result<String, String> {
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
        config_digest(archive(&files).as_slice(), platform)
    }

    #[test]
    fn dockers_own_form_names_the_file() {
        let config = br#"{"os":"linux"}"#;
        let bytes = archive(&[
            ("x/layer.tar", b"\0\0\0"),
            ("abc.json", config),
            ("manifest.json", br#"[{"Config":"abc.json","RepoTags":["a:b"]}]"#),
        ]);
        assert_eq!(config_digest(bytes.as_slice(), "linux/amd64").unwrap(), digest(config));
    }

    #[test]
    fn nested_indexes_lead_to_the_platforms_configuration() {
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

    #[test]
    fn what_is_no_archive_is_an_error() {
        assert!(config_digest(&b"garbage, and not a short one"[..], "linux/amd64").is_err());
        assert!(config_digest(&b""[..], "linux/amd64").is_err());
    }
}
