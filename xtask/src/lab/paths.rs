//! The files and the addresses of the lab.

use std::path::{Path, PathBuf};

/// The folder with all files of the lab. It is short because it contains sockets, whose paths
/// have a maximum length.
pub(crate) const STATE: &str = "/var/lib/kdev-lab";

/// The host's address on the lab's bridge.
pub(crate) const HOST: &str = "10.213.77.1";
pub(crate) const NODES: &str = "10.213.77.0/24";
pub(crate) const SERVICES: &str = "10.96.0.0/16";

/// Not port 5000, which a registry of the host may use on every address.
pub(crate) const REGISTRY: &str = "10.213.77.1:5055";
pub(crate) const APISERVER: &str = "10.213.77.1:6443";

/// Returns a path in the state folder.
pub(crate) fn state(path: impl AsRef<Path>) -> PathBuf {
    Path::new(STATE).join(path)
}

/// Returns the path of a program that the lab has built.
pub(crate) fn program(name: &str) -> PathBuf {
    state("lib").join(name)
}

pub(crate) fn kubeconfig() -> PathBuf {
    state("kubeconfig")
}

pub(crate) fn ssh_config() -> PathBuf {
    state("ssh/config")
}

/// Returns a `PATH` with the lab's kubectl at the end, for machines without another one.
pub(crate) fn with_lab_programs(path: String) -> String {
    let bin = state("bin").display().to_string();
    if path.split(':').any(|folder| folder == bin) { path } else { format!("{path}:{bin}") }
}

/// Replaces each `@NAME@` in a template.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let common = [("STATE", STATE), ("HOST", HOST), ("REGISTRY", REGISTRY)];
    common
        .iter()
        .chain(values)
        .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}
