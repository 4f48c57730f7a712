//! `lab shell`: opens a root shell in a node, or runs one command in it.

use super::{cgroup, node};
use crate::term::ErrorWithHelp;
use anyhow::Result;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use xshell::{Shell, cmd};

/// Enters the control group of the node first, so that `down` finds every process that is
/// left behind.
const ENTER_CGROUP: &str = r#"echo $$ > "$0"; exec "$@""#;
/// nsenter(1) starts in the root folder of the mount namespace.
const IN_HOME: &str = r#"cd /root; exec "$@""#;

pub(crate) fn run(sh: &Shell, name: &str, command: &[String]) -> Result<ExitCode> {
    let Some(node) = node::machines().find(|node| node.name == name) else {
        let names: Vec<_> = node::machines().map(|node| format!("`{}`", node.name)).collect();
        let names = names.join(", ");
        return Err(ErrorWithHelp::error(
            format!("node `{name}` not found"),
            format!("the nodes are {names}"),
        ));
    };
    if node.holder().is_none() {
        // `lab up` starts only the nodes of the cluster; each run of e2e tests starts the spare.
        let is_spare = name == node::SPARE.name;
        let start = if is_spare { "cargo xtask test why::crash" } else { "cargo xtask lab up" };
        return Err(ErrorWithHelp::error(
            format!("{name} is not running"),
            format!("run `{start}`"),
        ));
    }
    let (enter, procs) = (node.nsenter_args()?, cgroup::procs_file(&node.cgroup()));
    let shell = ["bash".to_owned(), "-l".to_owned()];
    let command = if command.is_empty() { &shell } else { command };
    let mut command: Command =
        cmd!(sh, "sh -c {ENTER_CGROUP} {procs} nsenter {enter...} sh -c {IN_HOME} sh {command...}")
            .env("HOME", "/root")
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .into();
    // `exec` returns only if it fails.
    Err(command.exec().into())
}
