//! `cargo kdev config`: flags and output.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use kdev::{ConfigLayer, ConfigRequest, ConfigValue};
use serde::Serialize;
use serde_json::Value;

use crate::commands::prune::KeepArgs;
use crate::flags::{BuilderArgs, ClusterArgs, ProjectArgs, PullPolicyArg};
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// Pull policy of the containers that run the image [default: Never]
    #[arg(long, env = "KDEV_PULL_POLICY", hide_env_values = true, value_name = "POLICY")]
    pull_policy: Option<PullPolicyArg>,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// SSH configuration file to use instead of the default
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Seconds to wait for the rollout [default: 120]
    #[arg(long, env = "KDEV_TIMEOUT", hide_env_values = true, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Seconds that containers without a readiness probe must run [default: 3]
    #[arg(long, env = "KDEV_SETTLE", hide_env_values = true, value_name = "SECONDS")]
    settle: Option<u64>,
    #[command(flatten)]
    keep: KeepArgs,
}

impl From<ConfigArgs> for ConfigRequest {
    fn from(config: ConfigArgs) -> Self {
        let flags = ConfigLayer {
            image: config.image,
            builder: config.builder.builder,
            pull_policy: config.pull_policy.map(PullPolicyArg::into),
            namespace: config.namespace,
            ssh_config: config.ssh_config,
            timeout: config.timeout,
            settle: config.settle,
            keep: config.keep.keep,
            ..ConfigLayer::default()
        };
        let path = flags.ssh_config.as_ref().map(|path| path.display().to_string());
        let values = [
            ("image", flags.image.clone().map(Value::from)),
            ("builder", flags.builder.as_ref().map(|one| one.to_string().into())),
            ("pull-policy", flags.pull_policy.map(|policy| policy.as_str().into())),
            ("namespace", flags.namespace.clone().map(Value::from)),
            ("ssh-config", path.map(Value::from)),
            ("timeout", flags.timeout.map(Value::from)),
            ("settle", flags.settle.map(Value::from)),
            ("keep", flags.keep.map(|keep| keep_value(&keep.to_string()))),
        ];
        let given = values.into_iter().filter_map(|(key, value)| {
            let value = value?;
            let origin = origin(key, &value);
            Some(ConfigValue { key: key.to_owned(), value, origin })
        });
        let context = config.cluster.context.clone().map(Value::from);
        Self {
            selection: config.project.into(),
            context_origin: context.map_or_else(String::new, |context| origin("context", &context)),
            target: config.cluster.into(),
            given: given.collect(),
            flags,
        }
    }
}

/// Returns the number of builds as a file would have it.
fn keep_value(keep: &str) -> Value {
    keep.parse::<u64>().map_or_else(|_| keep.into(), Value::from)
}

/// Returns the variable or the flag of a setting. clap takes the flag if both are set.
fn origin(key: &str, value: &Value) -> String {
    let variable = format!("KDEV_{}", key.to_uppercase().replace('-', "_"));
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match std::env::var(&variable) {
        Ok(set) if set == text => variable,
        _ => format!("--{key}"),
    }
}

/// A setting in the JSON output.
#[derive(Serialize)]
struct ConfigLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    value: &'a ConfigValue,
}

impl Ui {
    /// Prints all settings, one per line.
    pub(crate) fn print_config(&self, values: &[ConfigValue]) {
        if self.json {
            for value in values {
                let (version, reason) = (kdev::JSON_VERSION, "setting");
                self.stdout.write_json(&ConfigLine { version, reason, value });
            }
            return;
        }
        let rows: Vec<[String; 3]> = values.iter().map(row).collect();
        let width = |column: usize| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or_default()
        };
        let (keys, texts) = (width(0), width(1));
        let mut lines = String::new();
        for [key, value, origin] in &rows {
            let _ = writeln!(lines, "{key:keys$}  {value:texts$}  {origin}");
        }
        self.stdout.write(&lines);
    }
}

fn row(ConfigValue { key, value, origin }: &ConfigValue) -> [String; 3] {
    let value = if value.is_null() { "-".to_owned() } else { value.to_string() };
    [key.clone(), value, origin.clone()]
}
