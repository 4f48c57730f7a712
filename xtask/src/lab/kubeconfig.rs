//! The files by which each client finds the cluster.

use super::node;
use super::paths::{self, fill, state};
use anyhow::Result;
use std::fs;
use xshell::{Cmd, Shell, cmd};

/// The context's name, which is also the consent to change the cluster.
pub(crate) const CONTEXT: &str = "kdev-lab";

const TEMPLATE: &str = include_str!("files/kubeconfig.yaml");

pub(crate) fn create() -> Result<()> {
    fs::write(paths::kubeconfig(), text("admin", "admin"))?;
    for name in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        fs::write(state("pki").join(format!("{name}.kubeconfig")), text(name, name))?;
    }
    for node in &node::NODES {
        fs::write(node.folder().join("kubelet.kubeconfig"), text("kubelet", node.name))?;
    }
    Ok(())
}

fn text(user: &str, cert: &str) -> String {
    fill(TEMPLATE, &[("USER", user), ("CERT", cert)])
}

/// The lab's own kubectl, whatever the machine has.
pub(crate) fn kubectl<'a>(sh: &'a Shell, args: &[&str]) -> Cmd<'a> {
    let (program, config) = (paths::program("kubernetes"), paths::kubeconfig());
    cmd!(sh, "{program} kubectl --kubeconfig {config} --request-timeout 5s {args...}")
        .quiet()
        .ignore_stderr()
}
