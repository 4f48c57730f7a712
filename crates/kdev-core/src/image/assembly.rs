//! Assembles an image from files: its layers as tar archives, and its configuration. Equal
//! files and settings give equal bytes on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use serde_json::{Map, Value, json};

/// The permissions of a directory that is only created for the files in it.
const DIRECTORY_MODE: u32 = 0o755;

/// What an image inherits of its base (OCI image spec, "Image Configuration").
const INHERITED: [&str; 7] =
    ["User", "ExposedPorts", "Env", "Volumes", "WorkingDir", "Labels", "StopSignal"];

/// An entry of a layer.
pub struct Entry<'a> {
    /// The path in the image, without a leading `/`.
    pub path: String,
    /// The permission bits.
    pub mode: u32,
    /// The user and group ID.
    pub owner: (u64, u64),
    pub content: Content<'a>,
}

pub enum Content<'a> {
    Directory,
    /// A file and its size in bytes.
    File(Box<dyn Read + 'a>, u64),
    /// A symbolic link and its target.
    Link(String),
}

/// Writes a layer. Its entries have no modification time.
pub fn write_layer(to: impl Write, entries: Vec<Entry>) -> io::Result<()> {
    let mut tar = tar::Builder::new(to);
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(0);
        header.set_size(0);
        match entry.content {
            Content::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{}/", entry.path), io::empty())?;
            }
            Content::File(content, size) => {
                header.set_size(size);
                let mut content = content.take(size);
                tar.append_data(&mut header, &entry.path, &mut content)?;
                if content.limit() != 0 {
                    let text = format!("`{}` became shorter while it was read", entry.path);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
            }
            Content::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, &entry.path, target)?;
            }
        }
    }
    tar.into_inner()?.flush()
}

/// Sorts the entries by path and adds the directories above them that are missing, for an image
/// without a base. A base can have a symbolic link in place of such a directory, which an entry
/// would replace.
pub fn with_parents(mut entries: Vec<Entry>) -> Vec<Entry> {
    let existing: BTreeSet<String> = entries.iter().map(|entry| entry.path.clone()).collect();
    let above = |path: &str| {
        path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect::<Vec<_>>()
    };
    let missing: BTreeSet<String> = existing
        .iter()
        .flat_map(|path| above(path))
        .filter(|one| !existing.contains(one))
        .collect();
    entries.extend(missing.into_iter().map(|path| Entry {
        path,
        mode: DIRECTORY_MODE,
        owner: (0, 0),
        content: Content::Directory,
    }));
    sorted(entries)
}

/// Sorts the entries by path, so that a directory comes before its files.
pub fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    entries
}

/// The settings of containers (OCI image spec, "Image Configuration"). What is not set is that
/// of the base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSettings {
    pub user: Option<String>,
    pub exposed_ports: Vec<String>,
    /// Variables and their values. They are added to those of the base.
    pub env: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    /// Arguments of the entrypoint.
    pub cmd: Vec<String>,
    pub working_dir: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
}

/// A platform such as `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform<'a> {
    pub os: &'a str,
    pub architecture: &'a str,
    pub variant: Option<&'a str>,
}

impl<'a> Platform<'a> {
    /// Parses `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('/');
        let (os, architecture) = (parts.next()?, parts.next()?);
        let variant = parts.next();
        let is_valid = !os.is_empty() && !architecture.is_empty() && parts.next().is_none();
        is_valid.then_some(Self { os, architecture, variant })
    }
}

/// Returns the configuration of an image. `base` is the configuration of the base, and
/// `diff_ids` the digests of the layers above it. The configuration has no creation time and no
/// history, because its digest identifies the content.
pub fn config(
    base: Option<&Value>,
    platform: &Platform,
    settings: &ContainerSettings,
    diff_ids: &[String],
) -> Vec<u8> {
    let (inherited, mut layers) = base.map(inherited).unwrap_or_default();
    layers.extend(diff_ids.iter().map(|id| json!(id)));
    let mut config = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "config": container_config(inherited, settings),
        "rootfs": {"type": "layers", "diff_ids": layers},
    });
    if let Some(variant) = platform.variant {
        config["variant"] = json!(variant);
    }
    config.to_string().into_bytes()
}

/// Returns whether images on two bases with these configurations are the same.
pub fn is_same_base(one: &Value, other: &Value) -> bool {
    inherited(one) == inherited(other)
}

/// Returns the settings and the layers that an image gets from its base.
fn inherited(base: &Value) -> (Map<String, Value>, Vec<Value>) {
    let mut config = base["config"].as_object().cloned().unwrap_or_default();
    // Others, such as the health check of another program, are extensions of Docker. Docker lists
    // keys without a value, too.
    config.retain(|key, value| INHERITED.contains(&key.as_str()) && !is_unset(value));
    (config, base["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default())
}

fn container_config(mut config: Map<String, Value>, settings: &ContainerSettings) -> Value {
    let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
    // The arguments of the base are for its own program.
    set("Entrypoint", json!(settings.entrypoint));
    set("Cmd", json!(settings.cmd));
    let texts = [
        ("User", &settings.user),
        ("WorkingDir", &settings.working_dir),
        ("StopSignal", &settings.stop_signal),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            set(key, json!(value));
        }
    }
    let ports = settings.exposed_ports.iter().map(|port| (port.clone(), json!({})));
    add(&mut config, "ExposedPorts", ports);
    let labels = settings.labels.iter().map(|(key, value)| (key.clone(), json!(value)));
    add(&mut config, "Labels", labels);
    let env = merge_env(config.get("Env"), &settings.env);
    config.insert("Env".to_owned(), json!(env));
    Value::Object(config)
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns the user that a base sets.
pub fn user(base: &Value) -> Option<&str> {
    base["config"]["User"].as_str().filter(|user| !user.is_empty())
}

fn add(config: &mut Map<String, Value>, key: &str, more: impl Iterator<Item = (String, Value)>) {
    let mut all = config.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    all.extend(more);
    if !all.is_empty() {
        config.insert(key.to_owned(), Value::Object(all));
    }
}

/// Adds variables to a list of `NAME=VALUE`. `PATH` is set if it is missing: some programs
/// require it.
fn merge_env(base: Option<&Value>, more: &BTreeMap<String, String>) -> Vec<String> {
    const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let base = base.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let kept = base.filter(|entry| !more.contains_key(&name(entry)));
    let mut env: Vec<String> = kept.map(str::to_owned).collect();
    env.extend(more.iter().map(|(name, value)| format!("{name}={value}")));
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &'static str) -> Entry<'static> {
        Entry {
            path: path.to_owned(),
            mode: 0o644,
            owner: (0, 0),
            content: Content::File(Box::new(content.as_bytes()), content.len() as u64),
        }
    }

    #[test]
    fn layer_lists_parents_before_files_in_order() {
        let long = format!("srv/{}/b", "x".repeat(180));
        let link = Entry { content: Content::Link("../a".to_owned()), ..file("srv/link", "") };
        let own = Entry { content: Content::Directory, mode: 0o1777, ..file("tmp", "") };
        let entries = vec![file(&long, "b"), link, own, file("srv/a", "text")];
        let mut bytes = Vec::new();
        write_layer(&mut bytes, with_parents(entries)).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let listed = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let target = entry.link_name().unwrap().map(|path| path.display().to_string());
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            let mode = header.mode().unwrap();
            (entry.path().unwrap().display().to_string(), mode, target.unwrap_or(text))
        });
        let expected = [
            ("srv/".to_owned(), 0o755, String::new()),
            ("srv/a".to_owned(), 0o644, "text".to_owned()),
            ("srv/link".to_owned(), 0o644, "../a".to_owned()),
            (format!("srv/{}/", "x".repeat(180)), 0o755, String::new()),
            (long, 0o644, "b".to_owned()),
            ("tmp/".to_owned(), 0o1777, String::new()),
        ];
        assert_eq!(listed.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn shorter_file_than_announced_is_error() {
        let entry = Entry { content: Content::File(Box::new(&b"ab"[..]), 3), ..file("a", "") };
        assert!(write_layer(Vec::new(), vec![entry]).is_err());
    }

    #[test]
    fn config_of_base_is_kept_where_nothing_else_is_set() {
        let base = json!({
            "created": "2024-01-01T00:00:00Z",
            "history": [{}],
            "config": {
                "User": "1", "Cmd": ["sh"], "Entrypoint": ["/init"], "WorkingDir": "/srv",
                "Healthcheck": {"Test": ["x"]}, "Hostname": "h", "Volumes": null, "StopSignal": "",
                "Labels": {"a": "1", "b": "2"}, "ExposedPorts": {"80/tcp": {}},
                "Env": ["PATH=/bin", "A=1", "B=2"],
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:base"]},
        });
        let settings = ContainerSettings {
            exposed_ports: vec!["8080/tcp".to_owned()],
            env: [("B".to_owned(), "3".to_owned())].into(),
            entrypoint: vec!["/app".to_owned()],
            labels: [("b".to_owned(), "3".to_owned())].into(),
            ..ContainerSettings::default()
        };
        let platform = Platform::parse("linux/arm/v7").unwrap();
        let bytes = config(Some(&base), &platform, &settings, &["sha256:app".to_owned()]);
        let expected = json!({
            "architecture": "arm",
            "os": "linux",
            "variant": "v7",
            "config": {
                "User": "1", "Cmd": [], "Entrypoint": ["/app"], "WorkingDir": "/srv",
                "Labels": {"a": "1", "b": "3"}, "ExposedPorts": {"80/tcp": {}, "8080/tcp": {}},
                "Env": ["PATH=/bin", "A=1", "B=3"],
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:base", "sha256:app"]},
        });
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), expected);
        let scratch = config(None, &platform, &settings, &[]);
        let scratch: Value = serde_json::from_slice(&scratch).unwrap();
        assert!(scratch["config"]["Env"][0].as_str().unwrap().starts_with("PATH=/usr/local/sbin:"));
        assert_eq!(scratch["config"]["User"], Value::Null);
    }

    #[test]
    fn platform_needs_two_or_three_parts() {
        let amd64 = Platform { os: "linux", architecture: "amd64", variant: None };
        assert_eq!(Platform::parse("linux/amd64"), Some(amd64));
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x"] {
            assert_eq!(Platform::parse(text), None, "{text}");
        }
    }
}
