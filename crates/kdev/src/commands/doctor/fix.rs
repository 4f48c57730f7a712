//! The fixes that `doctor --fix` applies after confirmation.

use std::path::{Path, PathBuf};
use std::{fs, io};

use kdev_core::text::capitalized;
use xshell::cmd;

use crate::config::LOCAL_FILE;
use crate::cx::Cx;
use crate::error::Result;
use crate::node::error::{NodeError, NodeErrorKind};
use crate::node::host_key::HostKey;
use crate::node::ssh::SshEndpoint;
use crate::process::{self, Command};
use crate::tools::{self, DOCKER_SOCKETS, TOOL_TIMEOUT};

/// A safe fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// Starts the Docker daemon on this machine.
    StartDocker,
    /// Adds the contexts to `kdev.local.toml`.
    AllowContexts { file: PathBuf, contexts: Vec<String> },
    /// Fetches the host key of a node.
    FetchHostKey { node: String, location: String, endpoint: SshEndpoint },
    /// Adds the host key of a node to `known_hosts`.
    TrustHostKey { node: String, location: String, key: HostKey },
}

impl Fix {
    /// Returns the fix for an error of the Docker client; `None` if the daemon is not a local
    /// systemd service.
    pub(crate) fn for_docker_error(message: &str) -> Option<Self> {
        let is_down = message.contains("Is the docker daemon running")
            && DOCKER_SOCKETS.iter().any(|socket| message.contains(socket));
        let is_fixable =
            is_down && which::which("systemctl").is_ok() && which::which("sudo").is_ok();
        is_fixable.then_some(Self::StartDocker)
    }

    /// Returns the fix that allows changes to a context; `None` if the file already sets
    /// `contexts` or cannot be read.
    pub(crate) fn for_context(file: PathBuf, known: &[String], context: &str) -> Option<Self> {
        let contexts: Vec<String> = known.iter().cloned().chain([context.to_owned()]).collect();
        insert_contexts(&read_or_empty(&file).ok()?, &contexts)?;
        Some(Self::AllowContexts { file, contexts })
    }

    /// Allows a context for all packages of a workspace, unless the settings of this one already
    /// allow others.
    pub(super) fn apply_to_workspace(&mut self, root: &Path) {
        if let Self::AllowContexts { contexts, .. } = self
            && let [context] = contexts.as_slice()
            && let Some(fix) = Self::for_context(root.join(LOCAL_FILE), &[], context)
        {
            *self = fix;
        }
    }

    /// Returns the fix for an unknown host key; `None` for any other error.
    pub(crate) fn for_node_error(error: &NodeError, endpoint: Option<SshEndpoint>) -> Option<Self> {
        let (node, location) = (error.node.clone(), error.location.clone());
        let is_unknown = matches!(error.kind, NodeErrorKind::HostKeyUnknown(_));
        endpoint.filter(|_| is_unknown).map(|endpoint| Self::FetchHostKey {
            node,
            location,
            endpoint,
        })
    }

    /// Collects the data that the confirmation must show; `None` if that fails.
    pub(super) fn prepare(&self, cx: &Cx) -> Option<Self> {
        let Self::FetchHostKey { node, location, endpoint } = self else {
            return Some(self.clone());
        };
        let key = HostKey::fetch(cx, endpoint)?;
        Some(Self::TrustHostKey { node: node.clone(), location: location.clone(), key })
    }

    /// Returns whether another fix makes this one unnecessary.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            // The file gets the key once.
            (Self::AllowContexts { file, .. }, Self::AllowContexts { file: other, .. }) => {
                file == other
            }
            _ => self == other,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::StartDocker => "run `sudo -n systemctl start docker`".to_owned(),
            Self::AllowContexts { file, contexts } => {
                format!("write `{}` to `{}`", contexts_line(contexts), file.display())
            }
            Self::FetchHostKey { node, .. } => format!("fetch the host key of node `{node}`"),
            Self::TrustHostKey { node, location, key } => format!(
                "add the host key `{}` of node `{node}` at {location} to `{}`",
                key.fingerprint,
                key.file.display()
            ),
        }
    }

    pub(super) fn question(&self) -> String {
        let action = capitalized(&self.describe());
        match self {
            Self::TrustHostKey { key, .. } => format!(
                "{action}? First compare it with the output of `ssh-keygen -lf {}` on the node.",
                key.remote_path()
            ),
            _ => format!("{action}?"),
        }
    }

    pub(super) fn apply(&self, cx: &Cx) -> Result<()> {
        match self {
            Self::StartDocker => {
                let sh = cx.shell()?;
                let task =
                    Command::new(cmd!(sh, "sudo -n systemctl start docker")).timeout(TOOL_TIMEOUT);
                let action = "start docker".to_owned();
                task.read(cx).map_err(|source| tools::Error::Command { action, source })?;
            }
            Self::AllowContexts { file, contexts } => {
                let before = read_or_empty(file).map_err(process::Error::read(file))?;
                if let Some(after) = insert_contexts(&before, contexts) {
                    fs::write(file, after).map_err(process::Error::write(file))?;
                }
            }
            // `prepare` replaces this variant.
            Self::FetchHostKey { .. } => {}
            Self::TrustHostKey { key, .. } => {
                key.add_to_known_hosts().map_err(process::Error::write(&key.file))?;
            }
        }
        Ok(())
    }
}

/// Reads a file; a missing file is empty.
fn read_or_empty(file: &PathBuf) -> io::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text,
    }
}

fn contexts_line(contexts: &[String]) -> String {
    // JSON strings are valid in TOML.
    format!("contexts = {}", serde_json::to_string(&contexts).unwrap_or_default())
}

/// Adds `contexts` at the top, before the first table. Returns `None` if the key exists or if the
/// change would affect other keys.
fn insert_contexts(text: &str, contexts: &[String]) -> Option<String> {
    let mut expected: toml::Table = toml::from_str(text).ok()?;
    let list = contexts.iter().cloned().map(toml::Value::String).collect();
    if expected.insert("contexts".to_owned(), toml::Value::Array(list)).is_some() {
        return None;
    }
    let after = format!("{}\n{text}", contexts_line(contexts));
    (toml::from_str::<toml::Table>(&after).ok()? == expected).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_contexts_keeps_rest_of_file() {
        let contexts = ["a \"b\"".to_owned(), "c".to_owned()];
        let expected = "contexts = [\"a \\\"b\\\"\",\"c\"]\n";
        assert_eq!(insert_contexts("", &contexts).as_deref(), Some(expected));
        let text = "# mine\nnodes.n.ssh = \"h\"\n[build-args]\nA = \"1\"\n";
        assert_eq!(insert_contexts(text, &contexts), Some(format!("{expected}{text}")));
        assert_eq!(insert_contexts("contexts = []\n", &contexts), None);
        assert_eq!(insert_contexts("contexts = [\n", &contexts), None);
    }

    #[test]
    fn only_local_docker_daemon_is_started() {
        let message = |socket: &str| {
            format!(
                "Cannot connect to the Docker daemon at {socket}. Is the docker daemon running?"
            )
        };
        assert_eq!(Fix::for_docker_error(&message("tcp://10.0.0.1:2375")), None);
        assert_eq!(Fix::for_docker_error("permission denied"), None);
    }
}
