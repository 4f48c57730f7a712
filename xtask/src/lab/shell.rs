//! `lab shell`: a root shell within a node, or one command there.

use super::{cgroup, node};
use crate::term::Advised;
use anyhow::Result;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use xshell::{Shell, cmd};

/// Joins the node's group first, so that `down` finds whatever is left behind.
const JOIN: &str = r#"echo $$ > "$0"; exec "$@""#;
/// A mount namespace is entered at its root.
const HOME: &str = r#"cd /root; exec "$@""#;

pub(crate) fn enter(sh: &Shell, name: &str, command: &[String]) -> Result<ExitCode> {
    let Some(node) = node::machines().find(|node| node.name == name) else {
        let names: Vec<_> = node::machines().map(|node| format!("`{}`", node.name)).collect();
        let names = names.join(", ");
        return Err(Advised::error(
            format!("there is no node `{name}`"),
            format!("the nodes are {names}"),
        ));
    };
    if node.holder().is_none() {
        // `lab up` starts only the nodes of the cluster.
        let is_spare = name == node::SPARE.name;
        let start = if is_spare { "cargo xtask test both_lines" } else { "cargo xtask lab up" };
        return Err(Advised::error(format!("{name} does not run"), format!("run `{start}`")));
    }
    let (enter, procs) = (node.enter()?, cgroup::procs(&node.group()));
    let shell = ["bash".to_owned(), "-l".to_owned()];
    let command = if command.is_empty() { &shell } else { command };
    let mut command: Command =
        cmd!(sh, "sh -c {JOIN} {procs} nsenter {enter...} sh -c {HOME} sh {command...}")
            .env("HOME", "/root")
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .into();
    // Only comes back where it failed.
    Err(command.exec().into())
}
