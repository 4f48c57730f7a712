//! The kubeconfig of each client of the cluster.

use super::node;
use super::paths::{self, fill, state};
use anyhow::Result;
use std::fs;
use xshell::{Cmd, Shell, cmd};

/// The name of the context. Naming it explicitly also allows changes to the cluster.
pub(crate) const CONTEXT: &str = "kdev-lab";

const TEMPLATE: &str = include_str!("files/kubeconfig.yaml");

pub(crate) fn create() -> Result<()> {
    fs::write(paths::kubeconfig(), kubeconfig("admin", "admin"))?;
    for name in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        fs::write(state("pki").join(format!("{name}.kubeconfig")), kubeconfig(name, name))?;
    }
    for node in &node::NODES {
        fs::write(node.folder().join("kubelet.kubeconfig"), kubeconfig("kubelet", node.name))?;
    }
    Ok(())
}

fn kubeconfig(user: &str, cert: &str) -> String {
    fill(TEMPLATE, &[("USER", user), ("CERT", cert)])
}

/// Returns a call of the kubectl that the lab has built, whether or not this machine has
/// another one.
pub(crate) fn kubectl<'a>(sh: &'a Shell, args: &[&str]) -> Cmd<'a> {
    let (program, config) = (paths::program("kubernetes"), paths::kubeconfig());
    cmd!(sh, "{program} kubectl --kubeconfig {config} --request-timeout 5s {args...}")
        .quiet()
        .ignore_stderr()
}
