//! Takes the project and gives the settings: layers, of which the first one that knows a
//! key decides it.
//!
//! Flags and `KDEV_*` variables come first (a program reads those), then
//! `kdev.local.toml`, the package's table, the workspace's table, and last
//! what can be discovered.

mod error;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kdev_core::image::reference::Reference;
use kdev_manifest::image_fields::ImagePath;
use kdev_manifest::pull_policy::PullPolicy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::process;
use crate::project::Project;

pub use error::Error;
pub(crate) use error::Result;

/// The personal file, beside a Cargo.toml.
pub(crate) const LOCAL_FILE: &str = "kdev.local.toml";
/// How long the new pods may take, unless told.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Settings from one place. Paths are absolute, or relative to the current
/// folder.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// Name of the image, without tag.
    pub image: Option<String>,
    /// The Dockerfile.
    pub dockerfile: Option<PathBuf>,
    /// The build context: the folder that docker sees.
    pub context: Option<PathBuf>,
    /// The stage of the Dockerfile to build.
    pub target: Option<String>,
    /// `--build-arg` values.
    pub build_args: BTreeMap<String, String>,
    /// With this, `cargo build` runs before docker, with these arguments.
    pub cargo_build: Option<Vec<String>>,
    /// Files and globs of the manifests.
    pub manifests: Option<Vec<PathBuf>>,
    /// Fields that name an image, beside those of the built-in workloads:
    /// `KIND:FIELD.FIELD`.
    pub image_paths: Option<Vec<String>>,
    /// The kube contexts that may be changed.
    pub contexts: Option<Vec<String>>,
    /// The namespace to apply to.
    pub namespace: Option<String>,
    /// The pull policy of containers that run the image.
    pub pull_policy: Option<PullPolicy>,
    /// How to reach nodes, where the cluster does not tell.
    pub nodes: BTreeMap<String, NodeSettings>,
    /// The ssh configuration to use instead of the user's own.
    pub ssh_config: Option<PathBuf>,
    /// How long the new pods may take, in seconds.
    pub timeout: Option<u64>,
}

/// How to reach one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// `user@host`, `user@host:port`, or a name of the ssh configuration.
    pub ssh: Option<String>,
    /// The container of docker's that the node is.
    pub docker: Option<String>,
    /// Whether `sudo -n` is needed to talk to containerd; tried out by default.
    pub sudo: Option<bool>,
    /// The command that talks to the containerd of the node's kubelet, as in
    /// `k0s ctr`; told by what the node reports by default.
    pub ctr: Option<String>,
}

impl NodeSettings {
    /// Whether nothing is said of where the node is.
    pub(crate) fn is_open(&self) -> bool {
        self.ssh.is_none() && self.docker.is_none()
    }
}

/// All settings, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The package to build, for `cargo build`.
    pub(crate) package: String,
    /// The package's Cargo.toml's folder.
    pub(crate) dir: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target_dir: PathBuf,
    /// The image; its tag is `latest`, for docker's own list only.
    pub(crate) image: Reference,
    /// The Dockerfile, which exists.
    pub(crate) dockerfile: PathBuf,
    /// The build context.
    pub(crate) context: PathBuf,
    /// The stage to build.
    pub(crate) target: Option<String>,
    /// `--build-arg` values.
    pub(crate) build_args: BTreeMap<String, String>,
    /// Arguments of `cargo build`, if that shall run first.
    pub(crate) cargo_build: Option<Vec<String>>,
    /// Files and globs of the manifests, if they are set.
    pub(crate) manifests: Option<Vec<PathBuf>>,
    /// Fields that name an image, beside those of the built-in workloads.
    pub(crate) image_paths: Vec<ImagePath>,
    /// The kube contexts that may be changed.
    pub(crate) contexts: Vec<String>,
    /// The namespace, where the context's own shall not count.
    pub(crate) namespace: Option<String>,
    /// The pull policy of containers that run the image.
    pub(crate) pull_policy: PullPolicy,
    /// How to reach nodes.
    pub(crate) nodes: BTreeMap<String, NodeSettings>,
    /// The ssh configuration.
    pub(crate) ssh_config: Option<PathBuf>,
    /// How long the new pods may take.
    pub(crate) timeout: Duration,
}

impl Config {
    /// Puts the layers on top of each other; `flags` is the uppermost.
    pub(crate) fn resolve(project: &Project, flags: Layer) -> Result<Self> {
        let layer = over_all(flags, project)?;
        let dockerfile = dockerfile(project, layer.dockerfile.clone())?;
        Self::assemble(project, layer, dockerfile)
    }

    /// The same where nothing is built: there need be no Dockerfile.
    pub(crate) fn without_build(project: &Project, flags: Layer) -> Result<Self> {
        Self::assemble(project, over_all(flags, project)?, PathBuf::new())
    }

    /// What flags and variables alone say.
    pub(crate) fn of_flags(flags: Layer) -> Result<Self> {
        Self::assemble(&Project::none(), flags, PathBuf::new())
    }

    fn assemble(project: &Project, layer: Layer, dockerfile: PathBuf) -> Result<Self> {
        let image = layer.image.unwrap_or_else(|| project.package.to_lowercase());
        let image = Reference::parse(&image).map_err(Error::InvalidImageName)?;
        if image.digest().is_some() {
            return Err(bad_value(
                "image",
                "the settings",
                "a digest cannot be built; give a name",
            ));
        }
        let context = layer.context.unwrap_or_else(|| parent(&dockerfile));
        Ok(Self {
            package: project.package.clone(),
            dir: project.dir.clone(),
            target_dir: project.target_dir.clone(),
            image,
            context,
            dockerfile,
            target: layer.target,
            build_args: layer.build_args,
            cargo_build: layer.cargo_build,
            manifests: layer.manifests,
            image_paths: image_paths(&layer.image_paths.unwrap_or_default())?,
            contexts: layer.contexts.unwrap_or_default(),
            namespace: layer.namespace,
            pull_policy: layer.pull_policy.unwrap_or_default(),
            nodes: layer.nodes,
            ssh_config: layer.ssh_config,
            timeout: layer.timeout.map_or(TIMEOUT, Duration::from_secs),
        })
    }
}

impl Layer {
    /// This layer, with what it does not know taken from a lower one.
    fn over(self, lower: Self) -> Self {
        Self {
            image: self.image.or(lower.image),
            dockerfile: self.dockerfile.or(lower.dockerfile),
            context: self.context.or(lower.context),
            target: self.target.or(lower.target),
            build_args: merged(self.build_args, lower.build_args),
            cargo_build: self.cargo_build.or(lower.cargo_build),
            manifests: self.manifests.or(lower.manifests),
            image_paths: self.image_paths.or(lower.image_paths),
            contexts: self.contexts.or(lower.contexts),
            namespace: self.namespace.or(lower.namespace),
            pull_policy: self.pull_policy.or(lower.pull_policy),
            nodes: merged_nodes(self.nodes, lower.nodes),
            ssh_config: self.ssh_config.or(lower.ssh_config),
            timeout: self.timeout.or(lower.timeout),
        }
    }

    /// Reads a table; its relative paths are relative to `dir`, and `place`
    /// is what messages call it.
    fn from_table(table: Value, dir: &Path, place: &str) -> Result<Self> {
        let table = match table {
            Value::Null => Map::new(),
            Value::Object(table) => table,
            _ => return Err(bad_value("kdev", place, "it must be a table")),
        };
        let mut keys = Keys { table, place };
        let layer = Self {
            image: keys.take("image")?,
            dockerfile: keys.take("dockerfile")?.map(|p: PathBuf| dir.join(p)),
            context: keys.take("context")?.map(|p: PathBuf| dir.join(p)),
            target: keys.take("target")?,
            build_args: keys.take("build-args")?.unwrap_or_default(),
            cargo_build: keys.take("cargo-build")?,
            manifests: keys
                .take("manifests")?
                .map(|list: Vec<PathBuf>| list.iter().map(|p| escaped(dir).join(p)).collect()),
            image_paths: keys.take("image-paths")?,
            contexts: keys.take("contexts")?,
            namespace: keys.take("namespace")?,
            pull_policy: keys.take("pull-policy")?,
            nodes: keys.nodes()?,
            ssh_config: keys.take("ssh-config")?.map(|p: PathBuf| dir.join(p)),
            timeout: keys.take("timeout")?,
        };
        keys.nothing_left()?;
        Ok(layer)
    }
}

/// Every key of a table, for the nearest known name of a mistyped one.
const KEYS: [&str; 14] = [
    "image",
    "dockerfile",
    "context",
    "target",
    "build-args",
    "cargo-build",
    "manifests",
    "image-paths",
    "contexts",
    "namespace",
    "pull-policy",
    "nodes",
    "ssh-config",
    "timeout",
];
const NODE_KEYS: [&str; 4] = ["ssh", "docker", "sudo", "ctr"];

/// A table from which keys are taken one by one, so that an error names the
/// key, and what is left is unknown.
struct Keys<'a> {
    table: Map<String, Value>,
    place: &'a str,
}

impl Keys<'_> {
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        debug_assert!(KEYS.contains(&key));
        self.table
            .remove(key)
            .map(|value| serde_json::from_value(value))
            .transpose()
            .map_err(|e| bad_value(key, self.place, e.to_string()))
    }

    fn nodes(&mut self) -> Result<BTreeMap<String, NodeSettings>> {
        let nodes: BTreeMap<String, Map<String, Value>> = self.take("nodes")?.unwrap_or_default();
        nodes
            .into_iter()
            .map(|(name, table)| Ok((name.clone(), self.node(&name, table)?)))
            .collect()
    }

    fn node(&self, name: &str, table: Map<String, Value>) -> Result<NodeSettings> {
        let prefix = format!("nodes.{name}");
        if let Some(key) = table.keys().find(|key| !NODE_KEYS.contains(&key.as_str())) {
            return Err(unknown(&format!("{prefix}.{key}"), key, self.place, &NODE_KEYS));
        }
        let node: NodeSettings = serde_json::from_value(Value::Object(table))
            .map_err(|e| bad_value(&prefix, self.place, e.to_string()))?;
        if node.ssh.is_some() && node.docker.is_some() {
            return Err(bad_value(&prefix, self.place, "a node is reached by ssh or by docker"));
        }
        if node.ctr.as_ref().is_some_and(|ctr| ctr.trim().is_empty()) {
            return Err(bad_value(&format!("{prefix}.ctr"), self.place, "it names no program"));
        }
        Ok(node)
    }

    fn nothing_left(&self) -> Result<()> {
        match self.table.keys().next() {
            Some(key) => Err(unknown(key, key, self.place, &KEYS)),
            None => Ok(()),
        }
    }
}

fn unknown(path: &str, key: &str, place: &str, known: &[&str]) -> Error {
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    Error::UnknownKey {
        key: path.to_owned(),
        place: place.to_owned(),
        nearest: nearest.map(|(_, name)| (*name).to_owned()),
    }
}

fn bad_value(key: &str, place: &str, reason: impl Into<String>) -> Error {
    Error::invalid(key, place, reason)
}

/// The upper entries win, key by key.
fn merged<T>(upper: BTreeMap<String, T>, mut lower: BTreeMap<String, T>) -> BTreeMap<String, T> {
    lower.extend(upper);
    lower
}

/// The same, and within a node setting by setting.
fn merged_nodes(
    upper: BTreeMap<String, NodeSettings>,
    mut lower: BTreeMap<String, NodeSettings>,
) -> BTreeMap<String, NodeSettings> {
    for (name, settings) in upper {
        let below = lower.remove(&name).unwrap_or_default();
        // Where a node is, is one thing, said in one of two ways.
        let place = if settings.is_open() { &below } else { &settings };
        let both = NodeSettings {
            ssh: place.ssh.clone(),
            docker: place.docker.clone(),
            sudo: settings.sudo.or(below.sudo),
            ctr: settings.ctr.clone().or(below.ctr),
        };
        lower.insert(name, both);
    }
    lower
}

fn over_all(flags: Layer, project: &Project) -> Result<Layer> {
    Ok(lower_layers(project)?.into_iter().fold(flags, Layer::over))
}

fn lower_layers(project: &Project) -> Result<Vec<Layer>> {
    let mut layers = vec![local_layer(&project.dir)?];
    if project.workspace_root != project.dir {
        layers.push(local_layer(&project.workspace_root)?);
    }
    let table = |kind: &str, dir: &Path| {
        format!("`[{kind}.metadata.kdev]` of `{}`", dir.join("Cargo.toml").display())
    };
    layers.push(Layer::from_table(
        project.package_table.clone(),
        &project.dir,
        &table("package", &project.dir),
    )?);
    layers.push(Layer::from_table(
        project.workspace_table.clone(),
        &project.workspace_root,
        &table("workspace", &project.workspace_root),
    )?);
    Ok(layers)
}

fn local_layer(dir: &Path) -> Result<Layer> {
    let path = dir.join(LOCAL_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Layer::default()),
        Err(error) => return Err(process::Error::read(path)(error).into()),
    };
    let place = format!("`{}`", path.display());
    let table = toml::from_str(&text).map_err(|e| bad_value("kdev", &place, e.to_string()))?;
    Layer::from_table(table, dir, &place)
}

/// The configured Dockerfile, else the package's, else the workspace's.
fn dockerfile(project: &Project, configured: Option<PathBuf>) -> Result<PathBuf> {
    let own = project.dir.join("Dockerfile");
    let candidates = match configured {
        Some(path) => vec![path],
        None => vec![own, project.workspace_root.join("Dockerfile")],
    };
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| Error::DockerfileNotFound { path: candidates[0].clone() })
}

/// A folder within a glob: what looks like one in its own name is none.
pub(crate) fn escaped(dir: &Path) -> PathBuf {
    glob::Pattern::escape(&dir.to_string_lossy()).into()
}

fn image_paths(texts: &[String]) -> Result<Vec<ImagePath>> {
    let read = |text: &String| {
        ImagePath::parse(text).map_err(|reason| bad_value("image-paths", "the settings", reason))
    };
    texts.iter().map(read).collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
