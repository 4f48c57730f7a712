//! Reads cargo's configuration.

use std::path::Path;

use serde_json::Value;
use xshell::cmd;

use crate::cx::Cx;
use crate::process::Command;
use crate::tools::{CARGO, Result, TOOL_TIMEOUT};

/// The message of `cargo config get` for a table without values.
const NOT_SET: &str = "is not set";

/// Returns a table of the configuration that applies in a directory, from its files; `None` if
/// cargo does not print it.
pub(crate) fn get(cx: &Cx, dir: &Path, table: &str) -> Result<Option<Value>> {
    let cargo = CARGO.find()?;
    let sh = cx.shell()?;
    sh.change_dir(dir);
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
