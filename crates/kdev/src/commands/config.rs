//! `cargo kdev config`: each setting with its value and its origin.

use kdev_core::image::builds::Keep;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cluster::kubeconfig::{self, ClusterTarget};
use crate::config::origins::{self, Layer, Setting};
use crate::config::{BuilderChoice, Config, ConfigLayer, Error as ConfigError};
use crate::cx::Cx;
use crate::error::Result;
use crate::project::{PackageSelection, Project};

/// The options of [`config`].
#[derive(Clone, Debug, Default)]
pub struct ConfigRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// Where the context of `target` comes from, if it is set.
    pub context_origin: String,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
    /// The same settings, each with its flag or variable, the flags first.
    pub given: Vec<ConfigValue>,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigValue {
    /// The key, such as `nodes.worker-1.ssh`.
    pub key: String,
    /// The value as it is written in its origin; null if it is not set and has no default.
    pub value: Value,
    /// A flag, a variable, a file, or the reason for a default.
    pub origin: String,
}

/// Returns all settings, which must be valid, and the kube context.
pub fn config(cx: &Cx, request: &ConfigRequest) -> Result<Vec<ConfigValue>> {
    let project = Project::read(cx, &request.selection)?;
    let config = Config::resolve_without_build(&project, request.flags.clone())?;
    let given = request.given.iter().map(|one| Layer {
        origin: one.origin.clone(),
        table: Value::Object(Map::from_iter([(one.key.clone(), one.value.clone())])),
    });
    let layers: Vec<Layer> = given.chain(origins::layers(&project)).collect();
    let mut values: Vec<ConfigValue> = origins::settings(&layers)
        .into_iter()
        .map(|setting| with_default(setting, &project, &config))
        .collect();
    values.push(kube_context(request));
    Ok(values)
}

/// Returns a setting with its default, if it is not set.
fn with_default(setting: Setting, project: &Project, config: &Config) -> ConfigValue {
    let Setting { key, value, origin } = setting;
    if let Some(origin) = origin {
        return ConfigValue { key, value, origin };
    }
    let (value, origin) = match key.as_str() {
        "image" => (config.image.name().familiar().into(), "package name"),
        "dockerfile" => match Config::resolve(project, ConfigLayer::default()) {
            Ok(config) if config.builder == BuilderChoice::Cargo => (Value::Null, "not used"),
            Ok(config) => (path(&config.dockerfile), "found"),
            Err(
                ConfigError::DockerfileNotFound { .. } | ConfigError::ContainerfileNotFound { .. },
            ) => (Value::Null, "not found"),
            Err(_) => (Value::Null, "default"),
        },
        "context" => (Value::Null, "folder of the Dockerfile"),
        "builder" => (config.builder.to_string().into(), "default"),
        "manifests" => (Value::Null, "k8s/ of the package"),
        "namespace" => (Value::Null, "namespace of the kube context"),
        "project-id" => (Value::Null, "git repository"),
        "pull-policy" => (config.pull_policy.as_str().into(), "default"),
        "nodes" => (Value::Null, "nodes of the cluster"),
        "ssh-config" => (Value::Null, "settings of SSH"),
        "timeout" => (config.timeout.as_secs().into(), "default"),
        "keep" => match config.keep.rule() {
            Keep::Newest(count) => (count.into(), "default"),
            Keep::All => ("all".into(), "default"),
        },
        "forward" => (Value::Null, "ports of the first workload"),
        "after" => (Value::Null, "order of the workspace"),
        "settle" => (config.settle.as_secs().into(), "default"),
        _ => (Value::Null, "default"),
    };
    ConfigValue { key, value, origin: origin.to_owned() }
}

fn path(path: &std::path::Path) -> Value {
    path.display().to_string().into()
}

/// Returns the kube context, which is not a setting, because it differs between machines.
fn kube_context(request: &ConfigRequest) -> ConfigValue {
    let key = "kube context".to_owned();
    if let Some(context) = request.target.explicit_context() {
        return ConfigValue { key, value: context.into(), origin: request.context_origin.clone() };
    }
    let view = kubeconfig::read_selected(&request.target);
    let current = view.and_then(|view| view.current_context());
    let origin = "current context of the kubeconfig".to_owned();
    ConfigValue { key, value: current.map_or(Value::Null, Value::from), origin }
}
