//! Reads the settings and merges them in layers: the first layer that sets a key wins.
//!
//! The order is: flags and `KDEV_*` variables (read by the program), `kdev.local.toml`,
//! the package's table, the workspace's table, defaults.
//!
//! - `base.rs`: the key `base` of the table `container`
//! - `builder.rs`: the value of the key `builder`
//! - `cargo_flags.rs`: flags of `cargo build` on the command line
//! - `container.rs`: the table `container`
//! - `dockerfile.rs`: finds the Dockerfile
//! - `helm.rs`: the table `helm`
//! - `keep.rs`: the value of the key `keep`
//! - `keys.rs`: reads the keys of a table
//! - `node_settings.rs`: settings of single nodes
//! - `origins.rs`: where each setting comes from
//! - `siblings.rs`: the images of the other packages of the workspace

mod base;
mod builder;
pub(crate) mod cargo_flags;
mod container;
mod dockerfile;
mod error;
mod helm;
mod keep;
mod keys;
mod node_settings;
pub(crate) mod origins;
pub(crate) mod siblings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kdev_core::image::reference::Reference;
use kdev_manifest::image_fields::ImagePath;
use kdev_manifest::pull_policy::PullPolicy;
use serde_json::Value;

use crate::config::keys::Keys;
use crate::config::node_settings::merge_nodes;
use crate::process;
use crate::project::Project;

pub use base::BaseImage;
pub use builder::BuilderChoice;
pub(crate) use builder::is_builder_name;
pub use cargo_flags::CargoFlags;
pub use container::{Asset, ContainerConfig};
pub use error::Error;
pub(crate) use error::Result;
pub use helm::HelmSettings;
pub(crate) use helm::RELEASE_LIMIT;
pub use keep::KeepBuilds;

/// The argument of `docker build` that stores the image in Docker.
const LOAD: &str = "--load";
pub use node_settings::NodeSettings;

/// The file for personal settings, beside a Cargo.toml.
pub(crate) const LOCAL_FILE: &str = "kdev.local.toml";
/// How long to wait for the rollout by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long containers without a readiness probe must run by default.
const DEFAULT_SETTLE: Duration = Duration::from_secs(3);

/// Settings from one source. Paths are absolute or relative to the current directory.
#[derive(Clone, Debug, Default)]
pub struct ConfigLayer {
    /// Name of the image, without tag.
    pub image: Option<String>,
    /// The Dockerfile.
    pub dockerfile: Option<PathBuf>,
    /// The build context: the directory that is sent to Docker.
    pub context: Option<PathBuf>,
    /// The stage of the Dockerfile to build.
    pub target: Option<String>,
    /// `--build-arg` values.
    pub build_args: BTreeMap<String, String>,
    /// If set, `cargo build` runs with these arguments before `docker build`.
    pub cargo_build: Option<Vec<String>>,
    /// Flags of `cargo build` on the command line.
    pub cargo_flags: CargoFlags,
    /// Which program builds the image.
    pub builder: Option<BuilderChoice>,
    /// More arguments of `docker build`.
    pub docker_build: Option<Vec<String>>,
    /// What an image without a Dockerfile contains beside its program.
    pub container: Option<ContainerConfig>,
    /// Files and globs of the manifests.
    pub manifests: Option<Vec<PathBuf>>,
    /// How charts are rendered.
    pub helm: HelmSettings,
    /// Image fields of custom resources, as `KIND:FIELD.FIELD`.
    pub image_paths: Option<Vec<String>>,
    /// The kube contexts whose clusters may be changed.
    pub contexts: Option<Vec<String>>,
    /// The namespace of objects that do not set one.
    pub namespace: Option<String>,
    /// Identifies the project in the cluster, instead of its git repository.
    pub project_id: Option<String>,
    /// The pull policy of containers that run the image.
    pub pull_policy: Option<PullPolicy>,
    /// How to reach nodes, by node name; detected by default.
    pub nodes: BTreeMap<String, NodeSettings>,
    /// The SSH configuration file to use instead of the user's.
    pub ssh_config: Option<PathBuf>,
    /// How long to wait for the rollout, in seconds.
    pub timeout: Option<u64>,
    /// How long containers without a readiness probe must run before their workload is
    /// ready, in seconds.
    pub settle: Option<u64>,
    /// How many builds of the image are kept.
    pub keep: Option<KeepBuilds>,
    /// The ports that `forward` forwards, as `[LOCAL:]PORT[/WORKLOAD]`.
    pub forward: Option<Vec<String>>,
    /// The packages that `up` deploys before this one.
    pub after: Option<Vec<String>>,
}

/// The resolved settings.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The package to build with `cargo build`.
    pub(crate) package: String,
    /// The package's directory.
    pub(crate) dir: PathBuf,
    /// The workspace's directory.
    pub(crate) workspace_root: PathBuf,
    /// cargo's target directory.
    pub(crate) target_dir: PathBuf,
    /// The image. Its tag is `latest` and only used in Docker.
    pub(crate) image: Reference,
    /// The Dockerfile. The file exists.
    pub(crate) dockerfile: PathBuf,
    /// The build context.
    pub(crate) context: PathBuf,
    /// The stage to build.
    pub(crate) target: Option<String>,
    /// `--build-arg` values.
    pub(crate) build_args: BTreeMap<String, String>,
    /// Arguments of `cargo build`, if it must run before `docker build`: those of the settings and
    /// of the command line.
    pub(crate) cargo_build: Option<Vec<String>>,
    /// The programs that the command line selects; they may contain wildcards.
    pub(crate) bins: Vec<String>,
    /// Which program builds the image.
    pub(crate) builder: BuilderChoice,
    /// The programs that containers of the manifests run instead of that of the image; `up` sets
    /// them.
    pub(crate) programs: Vec<String>,
    /// The platform to build for, if it is not the default one of the builder; `up` sets it.
    pub(crate) platform: Option<String>,
    /// More arguments of `docker build`.
    pub(crate) docker_build: Vec<String>,
    /// What an image without a Dockerfile contains beside its program.
    pub(crate) container: ContainerConfig,
    /// The program that `cargo run` runs, if the package sets one.
    pub(crate) default_run: Option<String>,
    /// Files and globs of the manifests, if they are set.
    pub(crate) manifests: Option<Vec<PathBuf>>,
    /// How charts are rendered.
    pub(crate) helm: HelmSettings,
    /// Image fields of custom resources.
    pub(crate) image_paths: Vec<ImagePath>,
    /// The kube contexts whose clusters may be changed.
    pub(crate) contexts: Vec<String>,
    /// The namespace to use instead of the context's.
    pub(crate) namespace: Option<String>,
    /// Identifies the project in the cluster, instead of its git repository.
    pub(crate) project_id: Option<String>,
    /// The pull policy of containers that run the image.
    pub(crate) pull_policy: PullPolicy,
    /// How to reach nodes.
    pub(crate) nodes: BTreeMap<String, NodeSettings>,
    /// The SSH configuration file.
    pub(crate) ssh_config: Option<PathBuf>,
    /// How long to wait for the rollout.
    pub(crate) timeout: Duration,
    /// How long containers without a readiness probe must run before their workload is
    /// ready.
    pub(crate) settle: Duration,
    /// How many builds of the image are kept.
    pub(crate) keep: KeepBuilds,
    /// The ports that `forward` forwards.
    pub(crate) forward: Vec<String>,
    /// The packages that `up` deploys before this one.
    pub(crate) after: Vec<String>,
}

impl Config {
    /// Reads and merges all layers; `flags` has the highest precedence.
    pub(crate) fn resolve(project: &Project, flags: ConfigLayer) -> Result<Self> {
        let layer = merge_layers(flags, project)?;
        let builder = layer.builder.clone().unwrap_or_default();
        let dockerfile = dockerfile::find(project, layer.dockerfile.as_deref(), &builder)?;
        Self::assemble(project, layer, dockerfile)
    }

    /// Returns the settings for the builder that was detected, if none is configured. Only Podman
    /// reads a `Containerfile`, and prefers it.
    pub(crate) fn with_detected_builder(
        self,
        project: &Project,
        flags: &ConfigLayer,
        is_podman: bool,
    ) -> Result<Self> {
        if self.builder != BuilderChoice::Auto {
            return Ok(self);
        }
        let builder = if is_podman { BuilderChoice::Podman } else { BuilderChoice::Docker };
        Self::resolve(project, ConfigLayer { builder: Some(builder), ..flags.clone() })
    }

    /// Like [`Self::resolve`], for commands that do not build: no Dockerfile is required.
    pub(crate) fn resolve_without_build(project: &Project, flags: ConfigLayer) -> Result<Self> {
        Self::assemble(project, merge_layers(flags, project)?, PathBuf::new())
    }

    /// Resolves flags and variables only.
    pub(crate) fn from_flags(flags: ConfigLayer) -> Result<Self> {
        Self::assemble(&Project::placeholder(), flags, PathBuf::new())
    }

    fn assemble(project: &Project, layer: ConfigLayer, dockerfile: PathBuf) -> Result<Self> {
        let image = layer.image.unwrap_or_else(|| project.package.to_lowercase());
        let image = Reference::parse(&image).map_err(Error::InvalidImageName)?;
        if image.digest().is_some() {
            return Err(Error::invalid(
                "image",
                "the settings",
                "a digest cannot be built; set a name",
            ));
        }
        let builder = layer.builder.unwrap_or_default();
        let flags = layer.cargo_flags;
        let cargo_build = flags.add_to(layer.cargo_build, &builder, &project.package)?;
        let context = layer.context.unwrap_or_else(|| parent_dir(&dockerfile));
        Ok(Self {
            package: project.package.clone(),
            dir: project.dir.clone(),
            workspace_root: project.workspace_root.clone(),
            target_dir: project.target_dir.clone(),
            image,
            context,
            dockerfile,
            target: layer.target,
            build_args: layer.build_args,
            cargo_build,
            bins: flags.bins,
            builder,
            programs: Vec::new(),
            platform: None,
            docker_build: layer.docker_build.unwrap_or_default(),
            container: layer.container.unwrap_or_default(),
            default_run: project.default_run.clone(),
            manifests: layer.manifests,
            helm: layer.helm,
            image_paths: parse_image_paths(&layer.image_paths.unwrap_or_default())?,
            contexts: layer.contexts.unwrap_or_default(),
            namespace: layer.namespace,
            project_id: layer.project_id,
            pull_policy: layer.pull_policy.unwrap_or_default(),
            nodes: layer.nodes,
            ssh_config: layer.ssh_config,
            timeout: layer.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
            settle: layer.settle.map_or(DEFAULT_SETTLE, Duration::from_secs),
            keep: layer.keep.unwrap_or_default(),
            forward: layer.forward.unwrap_or_default(),
            after: layer.after.unwrap_or_default(),
        })
    }
}

impl Config {
    /// Returns the builder that the settings name, if they name one.
    pub(crate) fn builder_name(&self) -> Option<&str> {
        self.docker_build_flag("--builder").or(self.builder.buildx_name())
    }

    /// Returns whether the user has asked for the image in Docker's store, whichever builder
    /// builds it.
    pub(crate) fn loads_into_docker(&self) -> bool {
        self.docker_build.iter().any(|arg| arg.split('=').next() == Some(LOAD))
    }

    /// Returns the values of each `--flag VALUE` or `--flag=VALUE` in the arguments of
    /// `docker build`.
    pub(crate) fn docker_build_values(&self, flag: &str) -> Vec<&str> {
        let mut words = self.docker_build.iter();
        let mut values = Vec::new();
        while let Some(word) = words.next() {
            values.extend(match word.strip_prefix(flag) {
                Some("") => words.next().map(String::as_str),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            });
        }
        values
    }

    /// Returns the value of `--flag VALUE` or `--flag=VALUE` in the arguments of
    /// `docker build`.
    pub(crate) fn docker_build_flag(&self, flag: &str) -> Option<&str> {
        self.docker_build_values(flag).first().copied()
    }
}

impl ConfigLayer {
    /// Returns this layer with unset keys taken from a lower one.
    fn or(self, lower: Self) -> Self {
        Self {
            image: self.image.or(lower.image),
            dockerfile: self.dockerfile.or(lower.dockerfile),
            context: self.context.or(lower.context),
            target: self.target.or(lower.target),
            build_args: merge(self.build_args, lower.build_args),
            cargo_build: self.cargo_build.or(lower.cargo_build),
            cargo_flags: self.cargo_flags,
            builder: self.builder.or(lower.builder),
            docker_build: self.docker_build.or(lower.docker_build),
            container: self.container.or(lower.container),
            manifests: self.manifests.or(lower.manifests),
            helm: self.helm.or(lower.helm),
            image_paths: self.image_paths.or(lower.image_paths),
            contexts: self.contexts.or(lower.contexts),
            namespace: self.namespace.or(lower.namespace),
            project_id: self.project_id.or(lower.project_id),
            pull_policy: self.pull_policy.or(lower.pull_policy),
            nodes: merge_nodes(self.nodes, lower.nodes),
            ssh_config: self.ssh_config.or(lower.ssh_config),
            timeout: self.timeout.or(lower.timeout),
            settle: self.settle.or(lower.settle),
            keep: self.keep.or(lower.keep),
            forward: self.forward.or(lower.forward),
            after: self.after.or(lower.after),
        }
    }

    /// Reads a table. Its relative paths are relative to `dir`; messages call the table
    /// `location`.
    fn from_table(table: Value, dir: &Path, location: &str) -> Result<Self> {
        let mut keys = Keys::new(table, location)?;
        let layer = Self {
            image: keys.take("image")?,
            dockerfile: keys.take("dockerfile")?.map(|p: PathBuf| dir.join(p)),
            context: keys.take("context")?.map(|p: PathBuf| dir.join(p)),
            target: keys.take("target")?,
            build_args: keys.take("build-args")?.unwrap_or_default(),
            cargo_build: keys.take("cargo-build")?,
            cargo_flags: CargoFlags::default(),
            builder: keys.take("builder")?,
            docker_build: keys.docker_build()?,
            container: keys.container()?,
            manifests: keys
                .take("manifests")?
                .map(|list: Vec<PathBuf>| list.iter().map(|p| escape_glob(dir).join(p)).collect()),
            helm: keys.helm()?.in_dir(dir),
            image_paths: keys.take("image-paths")?,
            contexts: keys.take("contexts")?,
            namespace: keys.take("namespace")?,
            project_id: keys.take_text("project-id")?,
            pull_policy: keys.take("pull-policy")?,
            nodes: keys.nodes()?,
            ssh_config: keys.take("ssh-config")?.map(|p: PathBuf| dir.join(p)),
            timeout: keys.take("timeout")?,
            settle: keys.take("settle")?,
            keep: keys.take("keep")?,
            forward: keys.forward()?,
            after: keys.take("after")?,
        };
        keys.reject_unknown()?;
        Ok(layer)
    }
}

/// Merges two tables; the entries of `upper` win.
fn merge<T>(upper: BTreeMap<String, T>, mut lower: BTreeMap<String, T>) -> BTreeMap<String, T> {
    lower.extend(upper);
    lower
}

fn merge_layers(flags: ConfigLayer, project: &Project) -> Result<ConfigLayer> {
    Ok(read_layers(project)?.into_iter().fold(flags, ConfigLayer::or))
}

fn read_layers(project: &Project) -> Result<Vec<ConfigLayer>> {
    let mut layers = vec![read_local_file(&project.dir)?];
    if project.workspace_root != project.dir {
        layers.push(read_local_file(&project.workspace_root)?);
    }
    let table = |kind: &str, dir: &Path| {
        format!("`[{kind}.metadata.kdev]` of `{}`", dir.join("Cargo.toml").display())
    };
    layers.push(ConfigLayer::from_table(
        project.package_table.clone(),
        &project.dir,
        &table("package", &project.dir),
    )?);
    layers.push(ConfigLayer::from_table(
        project.workspace_table.clone(),
        &project.workspace_root,
        &table("workspace", &project.workspace_root),
    )?);
    Ok(layers)
}

fn read_local_file(dir: &Path) -> Result<ConfigLayer> {
    let path = dir.join(LOCAL_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ConfigLayer::default());
        }
        Err(error) => return Err(process::Error::read(path)(error).into()),
    };
    let location = format!("`{}`", path.display());
    let table =
        toml::from_str(&text).map_err(|e| Error::invalid("kdev", &location, e.to_string()))?;
    ConfigLayer::from_table(table, dir, &location)
}

/// Escapes a directory, so that it can be the beginning of a glob.
pub(crate) fn escape_glob(dir: &Path) -> PathBuf {
    glob::Pattern::escape(&dir.to_string_lossy()).into()
}

fn parse_image_paths(texts: &[String]) -> Result<Vec<ImagePath>> {
    let read = |text: &String| {
        ImagePath::parse(text)
            .map_err(|reason| Error::invalid("image-paths", "the settings", reason))
    };
    texts.iter().map(read).collect()
}

fn parent_dir(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
