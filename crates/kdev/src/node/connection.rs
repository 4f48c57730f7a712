//! A node that can be talked to: whether its containerd lets us in, and what
//! it answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kdev_core::image::node_images::NodeImages;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement::is_not_responding;
use kdev_core::shell::DISK_USAGE_COMMAND;
use kdev_core::text::printable;
use xshell::{Cmd, Shell};

use crate::config::NodeSettings;
use crate::cx::Cx;
use crate::node::error::{NodeErrorKind, NodeError, SudoRule, containerd_access_error};
use crate::node::report::{NodeReport, NodeProbe};
use crate::node::runtime::Runtime;
use crate::node::ssh::{self, SSH_FAILED};
use crate::node::transport::Transport;
use crate::process::{Failure, Output, Command};

/// What runs on the node, for every node the same text.
const SCRIPT: &str = include_str!("script.sh");
/// How long a question to a node may take, and to one that the cluster does not
/// hear of either.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(60);
const NOT_RESPONDING_TIMEOUT: Duration = Duration::from_secs(3);

/// An open way to a node, and what is known of it.
pub(crate) struct NodeConnection<'a> {
    pub(crate) node: &'a Node,
    pub(crate) transport: Transport<'a>,
    runtime: Runtime,
    pub(crate) sudo: Sudo,
    /// `ctr` is of the 2.x line.
    pub(crate) needs_local_import: bool,
    /// Where the CRI unpacks images; empty where that is not known.
    pub(crate) snapshotter: String,
    /// How `ctr` is called on the node.
    pub(crate) ctr: String,
    pub(crate) nonce: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Sudo {
    Auto,
    Yes,
    No,
}

impl<'a> NodeConnection<'a> {
    /// Nobody has been asked yet.
    fn new(
        transport: Transport<'a>,
        node: &'a Node,
        settings: &NodeSettings,
    ) -> Result<Self, NodeError> {
        let sudo = settings.sudo.map_or(Sudo::Auto, |yes| if yes { Sudo::Yes } else { Sudo::No });
        let runtime = Runtime::detect(node, settings);
        let link = Self {
            node,
            transport,
            runtime: runtime.clone().unwrap_or(Runtime::Containerd),
            sudo,
            needs_local_import: false,
            snapshotter: String::new(),
            ctr: String::new(),
            nonce: nonce(),
        };
        if runtime.is_none() {
            let other = node.info.container_runtime_version.clone();
            return Err(link.error(NodeErrorKind::UnsupportedRuntime(other)));
        }
        Ok(link)
    }

    /// Reaches the node and makes sure that images can be loaded there.
    pub(crate) fn open(
        cx: &Cx,
        transport: Transport<'a>,
        node: &'a Node,
        settings: &NodeSettings,
    ) -> Result<Self, NodeError> {
        let mut link = Self::new(transport, node, settings)?;
        let answer = link.run_script_with_ctr(cx, "probe", &[])?;
        let said = |key| answer.get(key).unwrap_or_default().to_owned();
        link.ctr = said("ctr");
        if link.is_wrong_machine(&said("machine")) {
            return Err(link.error(NodeErrorKind::WrongMachine));
        }
        if let Some(words) = answer.get("no-access") {
            return Err(link.error(containerd_access_error(words, &said("user"), &link.ctr)));
        }
        link.sudo = if answer.get("sudo") == Some("yes") { Sudo::Yes } else { Sudo::No };
        link.snapshotter = said("snapshotter");
        link.needs_local_import = answer.get("versions").is_some_and(needs_local_import);
        Ok(link)
    }

    /// A container is found by its name, and on another machine the same name
    /// may be another node's.
    fn is_wrong_machine(&self, machine_id: &str) -> bool {
        let known = &self.node.info.machine_id;
        self.transport.is_container()
            && !machine_id.is_empty()
            && !known.is_empty()
            && machine_id != known
    }

    /// What the node has of images that are called like one of these; nothing is
    /// changed there.
    pub(crate) fn list_images(&self, cx: &Cx, bases: &[String]) -> Result<NodeImages, NodeError> {
        let args: Vec<&str> =
            std::iter::once(&self.snapshotter).chain(bases).map(String::as_str).collect();
        let answer = self.run_script_with_ctr(cx, "images", &args)?;
        let lines = answer.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let sudo = if matches!(self.sudo, Sudo::Yes) { "sudo -n " } else { "" };
        let ctr = self.transport.command_with_stdin(&format!("{sudo}{}", self.ctr));
        Ok(NodeImages { ctr, ..NodeImages::read(lines) })
    }

    /// Asks how it is with the machine and its containerd, all at once; nothing is
    /// changed there. What keeps a load from it takes nothing from the rest.
    pub(crate) fn inspect(
        cx: &Cx,
        transport: Transport<'a>,
        node: &'a Node,
        settings: &NodeSettings,
    ) -> Result<NodeProbe, NodeError> {
        let link = Self::new(transport, node, settings)?;
        let answer = link.run_script(cx, "report", &[])?;
        let lines = answer.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut facts = NodeReport::parse(lines);
        facts.location = link.location();
        facts.shell_command = link.display_command();
        facts.disk_usage_command = link.transport.shell_pipeline(DISK_USAGE_COMMAND);
        let fault = if let Some(program) = answer.get("no-ctr") {
            Some(NodeErrorKind::CtrNotFound(program.to_owned()))
        } else if let Some(words) = answer.get("no-access") {
            Some(containerd_access_error(words, &facts.user, &facts.ctr))
        } else if let Some(words) = answer.get("no-import") {
            let rule = SudoRule { user: facts.user.clone(), ctr: facts.ctr.clone() };
            Some(NodeErrorKind::SudoNotAllowed(rule, words.to_owned()))
        } else {
            None
        };
        Ok(NodeProbe { report: facts, error: fault.map(|fault| link.error(fault)) })
    }

    pub(crate) fn error(&self, fault: NodeErrorKind) -> NodeError {
        NodeError {
            node: self.node.name.clone(),
            location: self.transport.to_string(),
            kind: fault,
            connect_command: self.display_command(),
            known_hosts_name: self.transport.known_hosts_name(),
        }
    }

    /// Where it is, as it is shown.
    pub(crate) fn location(&self) -> String {
        self.transport.to_string()
    }

    pub(crate) fn display_command(&self) -> String {
        self.transport.display_command()
    }

    pub(crate) fn describe_failure(&self, failure: &Failure) -> String {
        without_script(failure, &self.display_command()).to_string()
    }

    /// An answer that a `ctr` must be there for.
    fn run_script_with_ctr(&self, cx: &Cx, verb: &str, args: &[&str]) -> Result<ScriptOutput, NodeError> {
        let answer = self.run_script(cx, verb, args)?;
        match answer.get("no-ctr") {
            Some(program) => Err(self.error(NodeErrorKind::CtrNotFound(program.to_owned()))),
            None => Ok(answer),
        }
    }

    fn run_script(&self, cx: &Cx, verb: &str, args: &[&str]) -> Result<ScriptOutput, NodeError> {
        let sh = self.shell(cx)?;
        let patience = if is_not_responding(self.node) { NOT_RESPONDING_TIMEOUT } else { SCRIPT_TIMEOUT };
        let task = Command::new(self.script_command(&sh, verb, args)).timeout(patience);
        let shown = task.to_string();
        let output = task.output(cx).map_err(|failure| match failure {
            failure if failure.is_interrupt() => self.error(NodeErrorKind::Interrupted),
            failure => self.error(NodeErrorKind::Unreachable(self.describe_failure(&failure))),
        })?;
        ScriptOutput::parse(&output.text(), &self.nonce)
            .ok_or_else(|| self.error(no_response(shown, output, &self.display_command())))
    }

    pub(crate) fn shell(&self, cx: &Cx) -> Result<Shell, NodeError> {
        cx.shell().map_err(|error| self.error(NodeErrorKind::Unreachable(error.to_string())))
    }

    pub(crate) fn script_command<'s>(&self, sh: &'s Shell, verb: &str, args: &[&str]) -> Cmd<'s> {
        let sudo = match self.sudo {
            Sudo::Auto => "auto",
            Sudo::Yes => "yes",
            Sudo::No => "no",
        };
        let runtime = self.runtime.as_str();
        let mut words = vec!["sh", "-c", SCRIPT, "kdev", &self.nonce, verb, sudo, runtime];
        words.extend(args);
        self.transport.command(sh, &words)
    }
}

/// The lines of a node's answer that are ours: a key each, and its value.
pub(crate) struct ScriptOutput(pub(crate) Vec<(String, String)>);

impl ScriptOutput {
    /// `None` where the script never began: then the transport, or the login
    /// shell, has failed.
    pub(crate) fn parse(text: &str, nonce: &str) -> Option<Self> {
        let ours = text.lines().filter_map(|line| {
            // A prompt without a line end may stand before the first one.
            let line = &line[line.find(nonce)? + nonce.len()..];
            let line = line.trim();
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            Some((key.to_owned(), printable(value.trim())))
        });
        let lines: Vec<_> = ours.collect();
        (!lines.is_empty()).then_some(Self(lines))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

/// A word that no other program prints.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    format!("kdev-{:x}-{now:x}", std::process::id())
}

/// The transport failed, or the login shell runs no commands.
fn no_response(command: String, output: Output, by_hand: &str) -> NodeErrorKind {
    if output.status.code() != Some(SSH_FAILED) && !output.stdout.is_empty() {
        return NodeErrorKind::NoShell(printable(output.text().trim()));
    }
    ssh::connection_error(&without_script(&Failure::from_output(command, output), by_hand))
}

/// A failure without the script, which would fill the screen.
fn without_script(failure: &Failure, by_hand: &str) -> Failure {
    Failure {
        command: by_hand.to_owned(),
        outcome: failure.outcome.clone(),
        stderr: failure.stderr.clone(),
    }
}

/// A ctr of the 2.x line leaves an import to a service of the daemon's, unless
/// it is told otherwise. That service takes about twice the time, and 1.x
/// daemons do not tell the CRI about what it did. The client's version comes
/// first in the answer.
fn needs_local_import(versions: &str) -> bool {
    let client = versions.split("Version:").nth(1).unwrap_or_default();
    let major = client.trim().trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::cmd;

    #[test]
    fn noise_around_an_answer_does_no_harm() {
        let text = "Welcome!\nkdev-1-a hello\nmotd$ kdev-1-a sudo yes\nkdev-1-b sudo no\nbye\n";
        let answer = ScriptOutput::parse(text, "kdev-1-a").unwrap();
        assert_eq!(answer.get("sudo"), Some("yes"));
        assert!(answer.get("hello").is_some());
        assert!(ScriptOutput::parse("This account is currently not available.\n", "kdev-1-a").is_none());
    }

    #[test]
    fn a_new_ctr_is_told_to_import_by_itself() {
        let versions = |client: &str, server: &str| {
            needs_local_import(&format!(
                "Client:   Version:  {client}   Revision: x  Server:   Version:  {server}"
            ))
        };
        assert!(versions("v2.2.3", "1.7.30"));
        assert!(versions("2.2.3", "v2.1.0"));
        assert!(!versions("1.6.20~ds1", "1.6.20~ds1"));
        assert!(!needs_local_import("something else"));
    }

    #[test]
    fn the_script_is_a_posix_one() {
        // `sh -n` reads it without running it.
        let sh = Shell::new().unwrap();
        cmd!(sh, "sh -n -c {SCRIPT}").quiet().run().unwrap();
    }
}
