//! Where the lab keeps things, and the addresses it uses.

use std::env;
use std::path::{Path, PathBuf};

/// All that the lab keeps. Short, for sockets lie in it.
pub(crate) const STATE: &str = "/var/lib/kdev-lab";

/// The host's address on the lab's bridge.
pub(crate) const HOST: &str = "10.213.77.1";
pub(crate) const NODES: &str = "10.213.77.0/24";
pub(crate) const SERVICES: &str = "10.96.0.0/16";

/// Not 5000, which a registry of the host's own may hold on every address.
pub(crate) const REGISTRY: &str = "10.213.77.1:5055";
pub(crate) const APISERVER: &str = "10.213.77.1:6443";

/// A path below the state folder.
pub(crate) fn state(path: impl AsRef<Path>) -> PathBuf {
    Path::new(STATE).join(path)
}

/// One of the programs that the lab built itself.
pub(crate) fn program(name: &str) -> PathBuf {
    state("lib").join(name)
}

pub(crate) fn kubeconfig() -> PathBuf {
    state("kubeconfig")
}

pub(crate) fn ssh_config() -> PathBuf {
    state("ssh/config")
}

/// `PATH` with the lab's kubectl last: it stands in only where there is none.
pub(crate) fn with_own_programs() -> String {
    let path = env::var("PATH").unwrap_or_default();
    let own = state("bin").display().to_string();
    if path.split(':').any(|folder| folder == own) { path } else { format!("{path}:{own}") }
}

/// Fills the `@NAME@` places of a template.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let common = [("STATE", STATE), ("HOST", HOST), ("REGISTRY", REGISTRY)];
    common
        .iter()
        .chain(values)
        .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}
