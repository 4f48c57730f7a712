//! Runs `kubectl` without a context.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use xshell::{Cmd, Shell, cmd};

use crate::cluster::error::Result;
use crate::tools;

/// Returns a `kubectl` command with the kubeconfig, if one is given.
pub(crate) fn kubectl_command<'a>(
    sh: &'a Shell,
    kubectl: &Path,
    kubeconfig: Option<&PathBuf>,
) -> Cmd<'a> {
    let cmd = cmd!(sh, "{kubectl}");
    match kubeconfig {
        Some(path) => cmd.arg("--kubeconfig").arg(path),
        None => cmd,
    }
}

/// Parses the JSON output of `kubectl`.
pub(crate) fn parse_json<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| tools::Error::unexpected("kubectl", error).into())
}

/// Limits one run of `kubectl`, with all its retries.
pub(crate) const KUBECTL_TIMEOUT: Duration = Duration::from_secs(60);
