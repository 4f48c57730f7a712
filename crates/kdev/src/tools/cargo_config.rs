//! Reads cargo's configuration.

use std::path::Path;

use cargo_metadata::cargo_platform::{Cfg, Platform};
use serde_json::Value;
use xshell::cmd;

use crate::cx::Cx;
use crate::process::Command;
use crate::tools::{CARGO, Error, RUSTC, Result, TOOL_TIMEOUT};

/// The flag of rustc that links the C library into the program.
pub(crate) const STATIC_LIBC: &str = "-Ctarget-feature=+crt-static";

/// The flags of rustc in the configuration. cargo reads those of one source only: those for the
/// target, or those of `build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rustflags {
    /// The flags of the table with the name of the target.
    pub(crate) target: Value,
    /// The flags for all targets.
    pub(crate) build: Value,
    /// Whether cargo reads those for the target, of a table with its name or of a `cfg` that
    /// applies.
    pub(crate) are_for_target: bool,
}

impl Rustflags {
    /// Reads the flags that apply in a directory to the builds for a target; `None` if cargo does
    /// not print them.
    pub(crate) fn read(cx: &Cx, dir: &Path, target: &str) -> Result<Option<Self>> {
        let Some(config) = read(cx, dir)? else { return Ok(None) };
        let (targets, build) = (&config["target"], &config["build"]);
        let has_cfg = keys_with_flags(targets).any(|key| key.starts_with("cfg("));
        let cfgs = if has_cfg { print_cfgs(cx, dir, target)? } else { Vec::new() };
        Ok(Some(Self::find(targets, build, target, &cfgs)))
    }

    /// Finds the flags in the tables `target` and `build`.
    pub(crate) fn find(targets: &Value, build: &Value, target: &str, cfgs: &[Cfg]) -> Self {
        let applies = |key: &str| match key.parse::<Platform>() {
            Ok(platform) => platform.matches(target, cfgs),
            Err(_) => false,
        };
        Self {
            target: targets[target]["rustflags"].clone(),
            build: build["rustflags"].clone(),
            are_for_target: keys_with_flags(targets).any(applies),
        }
    }
}

fn keys_with_flags(targets: &Value) -> impl Iterator<Item = &str> {
    let tables = targets.as_object().into_iter().flatten();
    tables.filter(|(_, table)| !table["rustflags"].is_null()).map(|(key, _)| key.as_str())
}

/// Returns what is true for a target in `cfg`.
fn print_cfgs(cx: &Cx, dir: &Path, target: &str) -> Result<Vec<Cfg>> {
    let rustc = RUSTC.find()?;
    let sh = cx.shell()?;
    sh.change_dir(dir);
    let command = Command::new(cmd!(sh, "{rustc} --print cfg --target {target}"));
    let output = command.timeout(TOOL_TIMEOUT).read(cx).map_err(|source| {
        let action = "read the properties of a target of Rust".to_owned();
        Error::Command { action, source }
    })?;
    Ok(output.text().lines().filter_map(|line| line.parse().ok()).collect())
}

/// Returns the configuration that applies in a directory, from its files; `None` if cargo does not
/// print it.
pub(crate) fn read(cx: &Cx, dir: &Path) -> Result<Option<Value>> {
    let cargo = CARGO.find()?;
    let sh = cx.shell()?;
    sh.change_dir(dir);
    let cmd = cmd!(sh, "{cargo} config get -Zunstable-options --format json-value");
    // The command is not stable yet, so cargo permits it only with this variable.
    let command = Command::new(cmd.env("RUSTC_BOOTSTRAP", "1")).timeout(TOOL_TIMEOUT);
    Ok(match command.read(cx) {
        Ok(output) => serde_json::from_slice(&output.stdout).ok(),
        Err(failure) if failure.is_interrupt() => {
            cx.check_interrupt()?;
            None
        }
        Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_for_target_replace_those_for_all() {
        let table = [
            ("null", false),
            (r#"{"gnu": {"linker": "ld"}}"#, false),
            (r#"{"gnu": {"rustflags": "-Cb"}}"#, true),
            (r#"{"musl": {"rustflags": "-Cb"}}"#, false),
            (r#"{"cfg(unix)": {"rustflags": ["-Cb"]}}"#, true),
            (r#"{"cfg(windows)": {"rustflags": ["-Cb"]}}"#, false),
            (r#"{"cfg(all(unix, target_os = \"linux\"))": {"rustflags": ["-Cb"]}}"#, true),
            (r#"{"cfg(target_os = \"macos\")": {"rustflags": ["-Cb"]}}"#, false),
        ];
        let cfgs: Vec<Cfg> =
            ["unix", "target_os=\"linux\""].iter().map(|cfg| cfg.parse().unwrap()).collect();
        let build = serde_json::json!({"rustflags": "-Ca"});
        for (targets, expected) in table {
            let targets: Value = serde_json::from_str(targets).unwrap();
            let found = Rustflags::find(&targets, &build, "gnu", &cfgs);
            assert_eq!(found.are_for_target, expected, "{targets}");
            assert_eq!(found.build, "-Ca");
        }
    }
}
