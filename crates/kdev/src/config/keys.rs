//! Reads the keys of a `kdev` table.

use std::collections::BTreeMap;

use kdev_core::kube::forward_spec::ForwardSpec;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::container::ContainerConfig;
use crate::config::error::{Error, Result};
use crate::config::helm::{HELM_KEYS, HelmSettings};
use crate::config::node_settings::{NODE_KEYS, NodeSettings};

/// The keys of a `kdev` table.
pub(super) const KEYS: [&str; 23] = [
    "image",
    "dockerfile",
    "context",
    "target",
    "build-args",
    "cargo-build",
    "builder",
    "docker-build",
    "container",
    "manifests",
    "helm",
    "image-paths",
    "contexts",
    "namespace",
    "project-id",
    "pull-policy",
    "nodes",
    "ssh-config",
    "timeout",
    "settle",
    "keep",
    "forward",
    "after",
];

/// Arguments of `docker build` that kdev passes itself, or with which the image would not be
/// in Docker afterwards, and what to do instead.
const RESERVED_BUILD_ARGS: [(&str, &[&str]); 6] = [
    ("set the key `dockerfile`", &["--file", "-f"]),
    ("set the key `image`", &["--tag", "-t"]),
    ("set the key `target`", &["--target"]),
    ("kdev passes it to get the ID of the image", &["--iidfile"]),
    ("the image must stay in Docker", &["--output", "-o", "--push"]),
    ("it builds no image", &["--call", "--check", "--print"]),
];

/// A `kdev` table from which the keys are taken one by one, so that an error names the key
/// and the remaining keys are unknown.
pub(crate) struct Keys<'a> {
    table: Map<String, Value>,
    location: &'a str,
}

impl<'a> Keys<'a> {
    /// Messages call the table `location`.
    pub(crate) fn new(table: Value, location: &'a str) -> Result<Self> {
        match table {
            Value::Null => Ok(Self { table: Map::new(), location }),
            Value::Object(table) => Ok(Self { table, location }),
            _ => Err(Error::invalid("kdev", location, "expected a table")),
        }
    }

    /// Returns the value of `key`, if it is set.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        debug_assert!(KEYS.contains(&key));
        self.table
            .remove(key)
            .map(|value| serde_json::from_value(value))
            .transpose()
            .map_err(|e| Error::invalid(key, self.location, e.to_string()))
    }

    /// Returns the arguments of `docker build`.
    pub(crate) fn docker_build(&mut self) -> Result<Option<Vec<String>>> {
        let key = "docker-build";
        let args: Option<Vec<String>> = self.take(key)?;
        let reason = args.iter().flatten().find_map(|arg| reserved_build_arg(arg));
        match reason {
            Some(reason) => Err(Error::invalid(key, self.location, reason)),
            None => Ok(args),
        }
    }

    /// Returns the ports to forward: numbers, or texts such as `9000:8080/hello`.
    pub(crate) fn forward(&mut self) -> Result<Option<Vec<String>>> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Port {
            Number(u64),
            Text(String),
        }
        let key = "forward";
        let Some(ports) = self.take::<Vec<Port>>(key)? else { return Ok(None) };
        let check = |port: Port| {
            let text = match port {
                Port::Number(number) => number.to_string(),
                Port::Text(text) => text,
            };
            let parsed = ForwardSpec::parse(&text);
            parsed.map_err(|reason| Error::invalid(key, self.location, reason))?;
            Ok(text)
        };
        ports.into_iter().map(check).collect::<Result<_>>().map(Some)
    }

    /// Returns the settings of the image without a Dockerfile.
    pub(crate) fn container(&mut self) -> Result<Option<ContainerConfig>> {
        let container: Option<ContainerConfig> = self.take("container")?;
        match container.as_ref().and_then(ContainerConfig::problem) {
            Some(problem) => Err(Error::invalid("container", self.location, problem)),
            None => Ok(container),
        }
    }

    /// Returns how charts are rendered.
    pub(crate) fn helm(&mut self) -> Result<HelmSettings> {
        let table: Map<String, Value> = self.take("helm")?.unwrap_or_default();
        if let Some(key) = table.keys().find(|key| !HELM_KEYS.contains(&key.as_str())) {
            return Err(unknown_key(&format!("helm.{key}"), key, self.location, &HELM_KEYS));
        }
        let settings: HelmSettings = serde_json::from_value(Value::Object(table))
            .map_err(|e| Error::invalid("helm", self.location, e.to_string()))?;
        match settings.problem() {
            Some((key, reason)) => {
                Err(Error::invalid(&format!("helm.{key}"), self.location, reason))
            }
            None => Ok(settings),
        }
    }

    /// Returns the text of `key`, if it is set.
    pub(crate) fn take_text(&mut self, key: &str) -> Result<Option<String>> {
        let text: Option<String> = self.take(key)?;
        match text {
            Some(text) if text.trim().is_empty() => {
                Err(Error::invalid(key, self.location, "the text is empty"))
            }
            text => Ok(text),
        }
    }

    /// Returns the settings of the nodes.
    pub(crate) fn nodes(&mut self) -> Result<BTreeMap<String, NodeSettings>> {
        let nodes: BTreeMap<String, Map<String, Value>> = self.take("nodes")?.unwrap_or_default();
        nodes
            .into_iter()
            .map(|(name, table)| Ok((name.clone(), self.node(&name, table)?)))
            .collect()
    }

    fn node(&self, name: &str, table: Map<String, Value>) -> Result<NodeSettings> {
        let prefix = format!("nodes.{name}");
        if let Some(key) = table.keys().find(|key| !NODE_KEYS.contains(&key.as_str())) {
            return Err(unknown_key(&format!("{prefix}.{key}"), key, self.location, &NODE_KEYS));
        }
        let node: NodeSettings = serde_json::from_value(Value::Object(table))
            .map_err(|e| Error::invalid(&prefix, self.location, e.to_string()))?;
        if node.ssh.is_some() && node.docker.is_some() {
            return Err(Error::invalid(
                &prefix,
                self.location,
                "`ssh` and `docker` exclude each other",
            ));
        }
        if node.ctr.as_ref().is_some_and(|ctr| ctr.trim().is_empty()) {
            return Err(Error::invalid(
                &format!("{prefix}.ctr"),
                self.location,
                "the command is empty",
            ));
        }
        Ok(node)
    }

    /// Returns an error if the table has a key that was not taken.
    pub(crate) fn reject_unknown(&self) -> Result<()> {
        match self.table.keys().next() {
            Some(key) => Err(unknown_key(key, key, self.location, &KEYS)),
            None => Ok(()),
        }
    }
}

/// Returns why an argument of `docker build` is not allowed.
fn reserved_build_arg(arg: &str) -> Option<String> {
    let name = arg.split_once('=').map_or(arg, |(name, _)| name);
    // A short flag may be followed by its value.
    let is = |flag: &&&str| match flag.strip_prefix("--") {
        Some(_) => name == **flag,
        None => !arg.starts_with("--") && arg.starts_with(**flag),
    };
    RESERVED_BUILD_ARGS.iter().find_map(|(reason, flags)| {
        let flag = flags.iter().find(is)?;
        Some(format!("`{flag}` is not allowed: {reason}"))
    })
}

fn unknown_key(path: &str, key: &str, location: &str, known: &[&str]) -> Error {
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    Error::UnknownKey {
        key: path.to_owned(),
        location: location.to_owned(),
        nearest: nearest.map(|(_, name)| (*name).to_owned()),
    }
}
