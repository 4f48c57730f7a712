//! Chooses who links a program for another platform than that of this machine.

use kdev_core::rust_target;
use serde_json::Value;

use crate::build::assemble::target::target_in;
use crate::build::cargo::BUILD;
use crate::build::error::{Error, Result};
use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Outcome;
use crate::tools::{ZIGBUILD, cargo_config};

/// What links the program.
pub(super) enum Linker {
    /// The linker of cargo's configuration, or `cc`.
    OfCargo,
    /// `cc`, which is usually only for this machine, for a target and its platform.
    Default(String, &'static str),
    /// cargo-zigbuild.
    Zig,
}

impl Linker {
    /// Chooses the linker for the target in the arguments of cargo. A linker of the user has
    /// precedence.
    pub(super) fn choose(cx: &Cx, config: &Config, args: &[String]) -> Result<Self> {
        let Some((name, platform)) = foreign_target(args) else {
            return Ok(Self::OfCargo);
        };
        let Some(settings) = cargo_config::read(cx, &config.dir)? else {
            return Ok(Self::OfCargo);
        };
        Ok(match () {
            () if has_linker(&settings["target"], &settings["build"], name) => Self::OfCargo,
            () if ZIGBUILD.find().is_ok() => Self::Zig,
            () => Self::Default(name.to_owned(), platform),
        })
    }

    /// Returns the subcommand of cargo that builds with this linker.
    pub(super) fn subcommand(&self) -> &'static str {
        match self {
            Self::Zig => "zigbuild",
            Self::OfCargo | Self::Default(..) => BUILD,
        }
    }

    /// Reports what may be missing after a failed build.
    pub(super) fn note_failure(&self, cx: &Cx, error: &Error) {
        let is_failed = matches!(error, Error::Failed { source, .. } if matches!(source.outcome, Outcome::Code(_)));
        if let (true, Self::Default(target, platform)) = (is_failed, self) {
            let text = format!(
                "no linker for {platform} is configured; if linking has failed, run `cargo install --locked cargo-zigbuild`, or set `linker` in `[target.{target}]` of `.cargo/config.toml`"
            );
            cx.emit(Event::Note { text });
        }
    }
}

/// Returns the target and its platform, unless the linker of this machine is for them.
fn foreign_target(args: &[String]) -> Option<(&str, &'static str)> {
    // Not the path of a specification.
    let name = target_in(args).filter(|name| name.strip_suffix(".json").is_none())?;
    let platform = rust_target::platform(name)?;
    let is_own = cfg!(target_os = "linux") && platform == rust_target::host_platform();
    (!is_own).then_some((name, platform))
}

/// Returns whether the configuration may set a linker for a target: directly, by a flag of rustc, or
/// in a `cfg` table.
fn has_linker(targets: &Value, build: &Value, target: &str) -> bool {
    let tables = targets.as_object().into_iter().flatten();
    let tables = tables.filter(|(key, _)| *key == target || key.starts_with("cfg("));
    let mut values = tables.map(|(_, table)| table).chain([&build["rustflags"]]);
    values.any(|value| value.to_string().contains("linker"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn linker_is_found_in_each_setting_that_applies() {
        let linker = json!({"linker": "aarch64-linux-gnu-gcc"});
        let flags = json!(["-Clinker=rust-lld"]);
        let table = [
            (Value::Null, Value::Null, false),
            (json!({"arm": linker}), Value::Null, true),
            (json!({"other": linker}), Value::Null, false),
            (json!({"arm": {"rustflags": flags}}), Value::Null, true),
            (json!({"arm": {"rustflags": "-Copt-level=1"}}), Value::Null, false),
            (json!({"cfg(unix)": linker}), Value::Null, true),
            (Value::Null, json!({"rustflags": flags}), true),
            (Value::Null, json!({"rustflags": "-g"}), false),
        ];
        for (targets, build, expected) in table {
            assert_eq!(has_linker(&targets, &build, "arm"), expected, "{targets} {build}");
        }
    }
}
