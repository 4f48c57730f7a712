//! What `doctor --fix` may do by itself, once it has been allowed to.

use std::path::PathBuf;
use std::{fs, io};

use kdev_core::text::capitalized;
use xshell::cmd;

use crate::cx::Cx;
use crate::error::Result;
use crate::node::error::{NodeErrorKind, NodeError};
use crate::node::host_key::HostKey;
use crate::node::ssh::SshEndpoint;
use crate::process::{self, Command};
use crate::tools::{self, DOCKER_SOCKETS, TOOL_TIMEOUT};

/// A cure that harms nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// Start docker's daemon of this machine.
    StartDocker,
    /// Put the contexts that may be changed into the personal file.
    AllowContexts { file: PathBuf, contexts: Vec<String> },
    /// Ask a node for its host key.
    FetchHostKey { node: String, at: String, door: SshEndpoint },
    /// Put that key into ssh's list.
    TrustHostKey { node: String, at: String, key: HostKey },
}

impl Fix {
    /// What helps against a daemon that does not answer; `None` where it is not
    /// that of this machine's own service.
    pub(crate) fn for_docker_error(words: &str) -> Option<Self> {
        let is_down = words.contains("Is the docker daemon running")
            && DOCKER_SOCKETS.iter().any(|socket| words.contains(socket));
        let ours = is_down && which::which("systemctl").is_ok() && which::which("sudo").is_ok();
        ours.then_some(Self::StartDocker)
    }

    /// Lets a context be changed; `None` where the file says something of contexts
    /// already, or cannot be read.
    pub(crate) fn for_context(file: PathBuf, known: &[String], context: &str) -> Option<Self> {
        let contexts: Vec<String> = known.iter().cloned().chain([context.to_owned()]).collect();
        insert_contexts(&read_or_empty(&file).ok()?, &contexts)?;
        Some(Self::AllowContexts { file, contexts })
    }

    /// Lets a host be known; `None` where that is not what is wrong.
    pub(crate) fn for_node_error(error: &NodeError, door: Option<SshEndpoint>) -> Option<Self> {
        let (node, at) = (error.node.clone(), error.location.clone());
        let is_unknown = matches!(error.kind, NodeErrorKind::HostKeyUnknown(_));
        door.filter(|_| is_unknown).map(|door| Self::FetchHostKey { node, at, door })
    }

    /// What there is to be asked about, once all is known that must be shown.
    pub(super) fn prepare(&self, cx: &Cx) -> Option<Self> {
        let Self::FetchHostKey { node, at, door } = self else { return Some(self.clone()) };
        let key = HostKey::fetch(cx, door)?;
        Some(Self::TrustHostKey { node: node.clone(), at: at.clone(), key })
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::StartDocker => "run `sudo -n systemctl start docker`".to_owned(),
            Self::AllowContexts { file, contexts } => {
                format!("write `{}` to `{}`", contexts_line(contexts), file.display())
            }
            Self::FetchHostKey { node, .. } => format!("ask node `{node}` for its host key"),
            Self::TrustHostKey { node, at, key } => format!(
                "add the host key `{}` of node `{node}` at {at} to `{}`",
                key.fingerprint,
                key.file.display()
            ),
        }
    }

    pub(super) fn question(&self) -> String {
        let words = capitalized(&self.describe());
        match self {
            Self::TrustHostKey { key, .. } => format!(
                "{words}? Compare it first, on the node itself, with what `ssh-keygen -lf {}` prints there.",
                key.remote_path()
            ),
            _ => format!("{words}?"),
        }
    }

    pub(super) fn apply(&self, cx: &Cx) -> Result<()> {
        match self {
            Self::StartDocker => {
                let sh = cx.shell()?;
                let task = Command::new(cmd!(sh, "sudo -n systemctl start docker")).timeout(TOOL_TIMEOUT);
                let action = "start docker".to_owned();
                task.read(cx).map_err(|source| tools::Error::Command { action, source })?;
            }
            Self::AllowContexts { file, contexts } => {
                let before = read_or_empty(file).map_err(process::Error::read(file))?;
                if let Some(after) = insert_contexts(&before, contexts) {
                    fs::write(file, after).map_err(process::Error::write(file))?;
                }
            }
            // Whoever looks once more is no further.
            Self::FetchHostKey { .. } => {}
            Self::TrustHostKey { key, .. } => {
                key.add_to_known_hosts().map_err(process::Error::write(&key.file))?;
            }
        }
        Ok(())
    }
}

/// A file that does not exist is an empty one.
fn read_or_empty(file: &PathBuf) -> io::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text,
    }
}

fn contexts_line(contexts: &[String]) -> String {
    // JSON's strings are TOML's, too.
    format!("contexts = {}", serde_json::to_string(&contexts).unwrap_or_default())
}

/// The text with one line more, at the top, where no table has begun yet. `None`
/// where the key is there already, or the text would then say something else.
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
    fn a_line_is_added_and_nothing_else_changes() {
        let contexts = ["a \"b\"".to_owned(), "c".to_owned()];
        let expected = "contexts = [\"a \\\"b\\\"\",\"c\"]\n";
        assert_eq!(insert_contexts("", &contexts).as_deref(), Some(expected));
        let text = "# mine\nnodes.n.ssh = \"h\"\n[build-args]\nA = \"1\"\n";
        assert_eq!(insert_contexts(text, &contexts), Some(format!("{expected}{text}")));
        assert_eq!(insert_contexts("contexts = []\n", &contexts), None);
        assert_eq!(insert_contexts("contexts = [\n", &contexts), None);
    }

    #[test]
    fn only_this_machines_own_docker_is_started() {
        let words = |socket: &str| {
            format!(
                "Cannot connect to the Docker daemon at {socket}. Is the docker daemon running?"
            )
        };
        assert_eq!(Fix::for_docker_error(&words("tcp://10.0.0.1:2375")), None);
        assert_eq!(Fix::for_docker_error("permission denied"), None);
    }
}
