//! Adds a flag of rustc to those of the user.
//!
//! cargo reads the flags of one source only, so a flag of kdev for the target would replace
//! those of `build.rustflags`. `cargo config get` shows them.

use serde_json::Value;
use xshell::cmd;

use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::process::Command;
use crate::tools::{CARGO, TOOL_TIMEOUT};

/// The flag that links the C library into the program.
const STATIC_LIBC: &str = "-Ctarget-feature=+crt-static";
/// The message of `cargo config get` for a table without values.
const NOT_SET: &str = "is not set";

/// Returns the flags for a target: those of the user that cargo would ignore otherwise, and the
/// one that makes programs static. Returns `None` if the user's are unknown.
pub(super) fn with_static_libc(
    cx: &Cx,
    config: &Config,
    target: &str,
) -> Result<Option<Vec<String>>> {
    let (Some(targets), Some(build)) = (get(cx, config, "target")?, get(cx, config, "build")?)
    else {
        return Ok(None);
    };
    let mut flags = ignored_flags(&targets, &build, target);
    flags.push(STATIC_LIBC.to_owned());
    Ok(Some(flags))
}

/// Returns a table of cargo's configuration, from its files; `None` if cargo does not print it.
fn get(cx: &Cx, config: &Config, table: &str) -> Result<Option<Value>> {
    let cargo = CARGO.find()?;
    let sh = cx.shell()?;
    sh.change_dir(&config.dir);
    let cmd = cmd!(sh, "{cargo} config get -Zunstable-options --format json-value {table}");
    // The command is not stable yet, so cargo permits it only with this variable.
    let command = Command::new(cmd.env("RUSTC_BOOTSTRAP", "1")).timeout(TOOL_TIMEOUT);
    Ok(match command.read(cx) {
        Ok(output) => serde_json::from_slice(&output.stdout).ok(),
        Err(failure) if failure.stderr.contains(NOT_SET) => Some(Value::Null),
        Err(failure) if failure.is_interrupt() => {
            cx.check_interrupt()?;
            None
        }
        Err(_) => None,
    })
}

/// Returns the flags of `build.rustflags`, unless others for the target replace them already.
fn ignored_flags(targets: &Value, build: &Value, target: &str) -> Vec<String> {
    let applies = |key: &str| key == target || key.starts_with("cfg(");
    let mut tables = targets.as_object().into_iter().flatten();
    if tables.any(|(key, table)| applies(key) && !table["rustflags"].is_null()) {
        return Vec::new();
    }
    match &build["rustflags"] {
        Value::String(flags) => flags.split_whitespace().map(str::to_owned).collect(),
        flags => {
            let flags = flags.as_array().into_iter().flatten();
            flags.filter_map(Value::as_str).map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_cargo_would_ignore_are_found() {
        let table = [
            ("null", "null", &[][..]),
            ("null", r#"{"rustflags": "-Ca  -Cb"}"#, &["-Ca", "-Cb"]),
            ("null", r#"{"rustflags": ["-C", "a b"], "jobs": 1}"#, &["-C", "a b"]),
            (r#"{"gnu": {"linker": "ld"}}"#, r#"{"rustflags": "-Ca"}"#, &["-Ca"]),
            (r#"{"gnu": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, &[]),
            (r#"{"cfg(unix)": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, &[]),
            (r#"{"musl": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, &["-Ca"]),
        ];
        for (targets, build, expected) in table {
            let [targets, build] =
                [targets, build].map(|json| serde_json::from_str::<Value>(json).unwrap());
            assert_eq!(ignored_flags(&targets, &build, "gnu"), expected, "{targets} {build}");
        }
    }
}
