//! A connection to a node: checks the access to containerd, runs the script, and reads its
//! output.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kdev_core::image::node_images::NodeImages;
use kdev_core::kube::distribution::NodeServices;
use kdev_core::kube::identity::{Identity, MachineIds};
use kdev_core::kube::node::Node;
use kdev_core::kube::placement::is_not_responding;
use kdev_core::shell::DISK_USAGE_COMMAND;
use kdev_core::text::printable;
use xshell::{Cmd, Shell};

use crate::config::NodeSettings;
use crate::cx::Cx;
use crate::node::error::{NodeError, NodeErrorKind, SudoRule, containerd_access_error};
use crate::node::report::{NodeProbe, NodeReport};
use crate::node::runtime::Runtime;
use crate::node::script::Verb;
use crate::node::ssh::{self, SSH_FAILED};
use crate::node::transport::Transport;
use crate::process::{Command, Failure, Output};

/// Limits a run of the script, except for a load.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(60);
/// Limits a run of the script on a node whose kubelet has stopped reporting.
const NOT_RESPONDING_TIMEOUT: Duration = Duration::from_secs(3);
/// Limits the first run of the script over a connection of an earlier cycle. ssh notices only
/// after half a minute that a suspended machine, or a VPN, has lost the connection.
const KEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a node, and how to use its containerd.
pub(crate) struct NodeConnection<'a> {
    pub(crate) node: &'a Node,
    pub(crate) transport: Transport<'a>,
    runtime: Runtime,
    pub(crate) sudo: Sudo,
    /// Whether imports need `--local`: with `ctr` 2.x.
    pub(crate) needs_local_import: bool,
    /// The snapshotter of the CRI; empty if unknown.
    pub(crate) snapshotter: String,
    /// The `ctr` command on the node.
    pub(crate) ctr: String,
    /// The IDs of the machine that the connection leads to.
    pub(crate) ids: MachineIds,
    /// Marks the output lines of the script.
    pub(crate) nonce: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Sudo {
    Auto,
    Yes,
    No,
}

impl<'a> NodeConnection<'a> {
    /// Creates a connection without contacting the node.
    fn new(
        transport: Transport<'a>,
        node: &'a Node,
        settings: &NodeSettings,
    ) -> Result<Self, NodeError> {
        let sudo = settings.sudo.map_or(Sudo::Auto, |yes| if yes { Sudo::Yes } else { Sudo::No });
        let runtime = Runtime::detect(node, settings);
        let connection = Self {
            node,
            transport,
            runtime: runtime.clone().unwrap_or(Runtime::Containerd),
            sudo,
            needs_local_import: false,
            snapshotter: String::new(),
            ctr: String::new(),
            ids: MachineIds::default(),
            nonce: nonce(),
        };
        if runtime.is_none() {
            let version = node.info.container_runtime_version.clone();
            return Err(connection.error(NodeErrorKind::UnsupportedRuntime(version)));
        }
        Ok(connection)
    }

    /// Connects to the node and checks that images can be loaded there.
    pub(crate) fn open(
        cx: &Cx,
        transport: Transport<'a>,
        node: &'a Node,
        settings: &NodeSettings,
    ) -> Result<Self, NodeError> {
        let mut connection = Self::new(transport, node, settings)?;
        let key = format!("{} {settings:?}", node.name);
        let query = || Ok(connection.probe(cx)?.0);
        let output = ScriptOutput(connection.transport.shared_probe(&key, query)?);
        let value = |key| output.get(key).unwrap_or_default().to_owned();
        connection.ctr = value("ctr");
        connection.ids = output.machine_ids();
        if let Identity::Different(found) = connection.identity() {
            return Err(connection.error(NodeErrorKind::WrongMachine(found, None)));
        }
        if let Some(message) = output.get("no-access") {
            return Err(connection.error(containerd_access_error(
                message,
                &value("user"),
                &connection.ctr,
            )));
        }
        connection.sudo = if output.get("sudo") == Some("yes") { Sudo::Yes } else { Sudo::No };
        connection.snapshotter = value("snapshotter");
        connection.needs_local_import = output.get("versions").is_some_and(needs_local_import);
        Ok(connection)
    }

    /// Queries the access to containerd. A connection of an earlier cycle that does not work is
    /// opened again.
    fn probe(&self, cx: &Cx) -> Result<ScriptOutput, NodeError> {
        if self.transport.has_connected() && !is_not_responding(self.node) {
            match self.run_script_for(cx, Verb::Probe, &[], KEPT_TIMEOUT) {
                Err(NodeError { kind: NodeErrorKind::Unreachable(_), .. }) => {
                    self.transport.disconnect(cx);
                }
                output => return self.require_ctr(output?),
            }
        }
        self.run_script_with_ctr(cx, Verb::Probe, &[])
    }

    /// Returns whether the machine is the node. Names and addresses are not unique: a container
    /// of another cluster can have the name of the node, and another machine its address.
    pub(crate) fn identity(&self) -> Identity {
        self.ids.compare(&(&self.node.info).into())
    }

    /// Returns an error if the machine has another boot ID than the node.
    pub(crate) fn require_known_boot(self) -> Result<Self, NodeError> {
        match self.identity() {
            Identity::OtherBoot(found) => Err(self.error(NodeErrorKind::OtherBoot(found))),
            _ => Ok(self),
        }
    }

    /// Lists the images on the node that have one of these base names. Read-only.
    pub(crate) fn list_images(&self, cx: &Cx, bases: &[String]) -> Result<NodeImages, NodeError> {
        let args: Vec<&str> =
            std::iter::once(&self.snapshotter).chain(bases).map(String::as_str).collect();
        let output = self.run_script_with_ctr(cx, Verb::Images, &args)?;
        let lines = output.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let sudo = if matches!(self.sudo, Sudo::Yes) { "sudo -n " } else { "" };
        let ctr = self.transport.command_with_stdin(&format!("{sudo}{}", self.ctr));
        Ok(NodeImages { ctr, ..NodeImages::read(lines) })
    }

    /// Returns the configuration of an image; `None` if the kubelet does not know it. Read-only.
    pub(crate) fn image_config(&self, cx: &Cx, image: &str) -> Result<Option<String>, NodeError> {
        let output = self.run_script_with_ctr(cx, Verb::Config, &[image])?;
        Ok(output.get("config").map(str::to_owned))
    }

    /// Returns the state of the machine and its containerd. Read-only. An error that would
    /// prevent a load is part of the result.
    pub(crate) fn inspect(
        cx: &Cx,
        transport: Transport<'a>,
        node: &'a Node,
        settings: &NodeSettings,
    ) -> Result<NodeProbe, NodeError> {
        let connection = Self::new(transport, node, settings)?;
        let output = connection.run_script(cx, Verb::Report, &[])?;
        let lines = output.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut report = NodeReport::parse(lines);
        report.location = connection.location();
        report.shell_command = connection.display_command();
        report.disk_usage_command = connection.transport.shell_pipeline(DISK_USAGE_COMMAND);
        let kind = if let Some(program) = output.get("no-ctr") {
            Some(NodeErrorKind::CtrNotFound(program.to_owned()))
        } else if let Some(message) = output.get("no-access") {
            Some(containerd_access_error(message, &report.user, &report.ctr))
        } else if let Some(message) = output.get("no-import") {
            let rule = SudoRule { user: report.user.clone(), ctr: report.ctr.clone() };
            Some(NodeErrorKind::SudoNotAllowed(rule, message.to_owned()))
        } else {
            None
        };
        Ok(NodeProbe { report, error: kind.map(|kind| connection.error(kind)) })
    }

    pub(crate) fn error(&self, kind: NodeErrorKind) -> NodeError {
        NodeError {
            node: self.node.name.clone(),
            location: self.transport.to_string(),
            kind,
            connect_command: self.display_command(),
            known_hosts_name: self.transport.known_hosts_name(),
            services: NodeServices::for_node(self.node),
        }
    }

    /// Returns how the node is reached, for messages.
    pub(crate) fn location(&self) -> String {
        self.transport.to_string()
    }

    pub(crate) fn display_command(&self) -> String {
        self.transport.display_command()
    }

    /// Returns a `ctr` command for the CRI's images as a command line for the user.
    pub(crate) fn display_ctr(&self, args: &str) -> String {
        let sudo = if matches!(self.sudo, Sudo::Yes) { "sudo -n " } else { "" };
        self.transport.command_with_stdin(&format!("{sudo}{} -n k8s.io {args}", self.ctr))
    }

    pub(crate) fn describe_failure(&self, failure: &Failure) -> String {
        without_script(failure, &self.display_command()).to_string()
    }

    /// Runs the script, and returns an error if the node has no `ctr`.
    fn run_script_with_ctr(
        &self,
        cx: &Cx,
        verb: Verb,
        args: &[&str],
    ) -> Result<ScriptOutput, NodeError> {
        self.require_ctr(self.run_script(cx, verb, args)?)
    }

    fn require_ctr(&self, output: ScriptOutput) -> Result<ScriptOutput, NodeError> {
        match output.get("no-ctr") {
            Some(program) => Err(self.error(NodeErrorKind::CtrNotFound(program.to_owned()))),
            None => Ok(output),
        }
    }

    fn run_script(&self, cx: &Cx, verb: Verb, args: &[&str]) -> Result<ScriptOutput, NodeError> {
        let timeout =
            if is_not_responding(self.node) { NOT_RESPONDING_TIMEOUT } else { SCRIPT_TIMEOUT };
        self.run_script_for(cx, verb, args, timeout)
    }

    fn run_script_for(
        &self,
        cx: &Cx,
        verb: Verb,
        args: &[&str],
        timeout: Duration,
    ) -> Result<ScriptOutput, NodeError> {
        let sh = self.shell(cx)?;
        let command = Command::new(self.script_command(&sh, verb, args)).timeout(timeout);
        let command_line = command.to_string();
        let output = command.output(cx).map_err(|failure| match failure {
            failure if failure.is_interrupt() => self.error(NodeErrorKind::Interrupted),
            failure => self.error(NodeErrorKind::Unreachable(self.describe_failure(&failure))),
        })?;
        ScriptOutput::parse(&output.text(), &self.nonce)
            .ok_or_else(|| self.error(no_response(command_line, output, &self.display_command())))
    }

    pub(crate) fn shell(&self, cx: &Cx) -> Result<Shell, NodeError> {
        cx.shell().map_err(|error| self.error(NodeErrorKind::Unreachable(error.to_string())))
    }

    pub(crate) fn script_command<'s>(&self, sh: &'s Shell, verb: Verb, args: &[&str]) -> Cmd<'s> {
        let sudo = match self.sudo {
            Sudo::Auto => "auto",
            Sudo::Yes => "yes",
            Sudo::No => "no",
        };
        let runtime = self.runtime.as_str();
        let (script, name) = (verb.script(), verb.process_name());
        let mut command = vec!["sh", "-c", script, name, &self.nonce, sudo, runtime];
        command.extend(args);
        self.transport.command(sh, &command)
    }
}

/// The output of the script: lines with a key and a value. Other output is ignored.
pub(crate) struct ScriptOutput(pub(crate) Vec<(String, String)>);

impl ScriptOutput {
    /// Returns `None` if the script did not start: then the transport or the login shell has
    /// failed.
    pub(crate) fn parse(text: &str, nonce: &str) -> Option<Self> {
        let lines = text.lines().filter_map(|line| {
            // A prompt without a line end may precede the first line.
            let line = &line[line.find(nonce)? + nonce.len()..];
            let line = line.trim();
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            Some((key.to_owned(), printable(value.trim())))
        });
        let lines: Vec<_> = lines.collect();
        (!lines.is_empty()).then_some(Self(lines))
    }

    /// Returns the IDs that the script prints first.
    pub(crate) fn machine_ids(&self) -> MachineIds {
        let value = |key| self.get(key).unwrap_or_default().to_owned();
        MachineIds { machine: value("machine"), boot: value("boot") }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

/// Returns a word that no other program prints.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    format!("kdev-{:x}-{now:x}", std::process::id())
}

/// Returns the error for a script that did not start: the transport failed, or the login
/// shell does not run commands.
fn no_response(command: String, output: Output, short: &str) -> NodeErrorKind {
    if output.status.code() != Some(SSH_FAILED) && !output.stdout.is_empty() {
        return NodeErrorKind::NoShell(printable(output.text().trim()));
    }
    ssh::connection_error(&without_script(&Failure::from_output(command, output), short))
}

/// Replaces the command, which contains the whole script, by a short one.
fn without_script(failure: &Failure, short: &str) -> Failure {
    Failure {
        command: short.to_owned(),
        outcome: failure.outcome.clone(),
        stderr: failure.stderr.clone(),
    }
}

/// Returns whether `ctr` needs `--local`, from the output of `ctr version`, in which the
/// client's version comes first. By default, `ctr` 2.x leaves the import to the daemon's
/// transfer service. That takes about twice as long, and 1.x daemons do not notify the CRI.
fn needs_local_import(versions: &str) -> bool {
    let client = versions.split("Version:").nth(1).unwrap_or_default();
    let major = client.trim().trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_output_ignores_other_lines() {
        let text = "Welcome!\nkdev-1-a hello\nmotd$ kdev-1-a sudo yes\nkdev-1-b sudo no\nbye\n";
        let output = ScriptOutput::parse(text, "kdev-1-a").unwrap();
        assert_eq!(output.get("sudo"), Some("yes"));
        assert!(output.get("hello").is_some());
        assert!(
            ScriptOutput::parse("This account is currently not available.\n", "kdev-1-a").is_none()
        );
    }

    #[test]
    fn ctr_2_imports_locally() {
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
}
