//! One list of the builds on a node, or one removal, in one run of the script.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use kdev_core::image::builds::{self, NodeBuilds, Removal};
use kdev_core::image::reference::{Name, Reference};

use crate::cx::Cx;
use crate::event::Event;
use crate::node::connection::{NodeConnection, ScriptOutput};
use crate::node::error::{NodeError, NodeErrorKind};
use crate::node::script::Verb;
use crate::process::{Command, Failure, Lines, Output};
use crate::prune::{NodePrune, PATIENT};

/// Limits one run of the script.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The pod of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerUser {
    pub(crate) container: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
}

impl NodeConnection<'_> {
    /// Lists the builds of an image, and the pods that use them. Read-only.
    pub(crate) fn list_builds(
        &self,
        cx: &Cx,
        image: &Name,
    ) -> Result<(NodeBuilds, Vec<ContainerUser>), NodeError> {
        let command = self.builds_command(cx, "list", image, 0)?;
        let output = self.read_builds_output(command.output(cx))?;
        let user = |(key, value): &(String, String)| {
            let mut words = value.split_whitespace().map(str::to_owned);
            let (container, namespace, pod) = (words.next()?, words.next()?, words.next()?);
            (key == "user").then_some(ContainerUser { container, namespace, pod })
        };
        let users = output.0.iter().filter_map(user).collect();
        Ok((read_builds(&output, image), users))
    }

    /// Removes the builds that the rule does not keep. Returns those that stay because
    /// containers use them.
    pub(super) fn prune(&self, cx: &Cx, prune: &NodePrune) -> Result<Vec<String>, NodeError> {
        let image = prune.image.name();
        let command = self.builds_command(cx, "prune", image, prune.patience)?;
        let (output, planned) = command.feed(cx, |mut stdin, lines| {
            let mut builds = self.wait_for_builds(cx, lines, prune)?;
            if prune.shows_used {
                builds.builds.iter_mut().for_each(|build| build.containers.clear());
            }
            let removal = prune.removal(cx, &builds);
            let reply = format!("{}\n{}\n", removal.names.join(" "), removal.unpinned.join(" "));
            let reply = if cx.is_dry_run() { "\n\n" } else { &reply };
            // If this fails, the output has the cause.
            let _ = stdin.write_all(reply.as_bytes());
            Some((builds, removal))
        });
        let output = self.read_builds_output(output)?;
        let Some((builds, removal)) = planned.flatten() else {
            let message = "the list of images is incomplete".to_owned();
            return Err(self.error(NodeErrorKind::Removal(message)));
        };
        if cx.is_dry_run() {
            self.show_removal(cx, &removal, prune.reports_nothing);
        } else {
            self.report_removal(cx, &builds, &removal, &output, prune.reports_nothing);
        }
        if let Some(message) = output.get("failed") {
            return Err(self.error(NodeErrorKind::Removal(message.to_owned())));
        }
        if !cx.is_dry_run() && output.get("done").is_none() {
            let message = "the connection ended during the removal".to_owned();
            return Err(self.error(NodeErrorKind::Unreachable(message)));
        }
        Ok(removal.used.iter().map(|name| familiar(name)).collect())
    }

    fn builds_command(
        &self,
        cx: &Cx,
        mode: &str,
        image: &Name,
        tries: u32,
    ) -> Result<Command, NodeError> {
        let sh = self.shell(cx)?;
        let args = [mode, &builds::pattern(image), &tries.to_string()];
        Ok(Command::new(self.script_command(&sh, Verb::Prune, &args)).timeout(TIMEOUT))
    }

    /// Reads the list of builds. Returns `None` if the script ends before it is complete, or runs
    /// on another machine.
    fn wait_for_builds(&self, cx: &Cx, lines: &mut Lines, prune: &NodePrune) -> Option<NodeBuilds> {
        let mut received = Vec::new();
        loop {
            let Some(mut output) = ScriptOutput::parse(&lines.next()?, &self.nonce) else {
                continue;
            };
            if output.get("waiting").is_some() && prune.patience == PATIENT {
                let text = format!("waiting for a load onto node `{}`", self.node.name);
                cx.emit(Event::Note { text });
            }
            let is_complete = output.get("listed").is_some();
            received.append(&mut output.0);
            if is_complete {
                let output = ScriptOutput(received);
                self.check_machine(&output).ok()?;
                return Some(read_builds(&output, prune.image.name()));
            }
        }
    }

    /// Reads the output of the script up to its end.
    fn read_builds_output(
        &self,
        output: Result<Output, Failure>,
    ) -> Result<ScriptOutput, NodeError> {
        let output = output.map_err(|failure| match failure {
            failure if failure.is_interrupt() => self.error(NodeErrorKind::Interrupted),
            failure => self.error(NodeErrorKind::Unreachable(self.describe_failure(&failure))),
        })?;
        let lines = ScriptOutput::parse(&output.text(), &self.nonce);
        lines.as_ref().map_or(Ok(()), |lines| self.check_machine(lines))?;
        let get = |key| lines.as_ref().and_then(|lines| lines.get(key));
        if get("busy").is_some() {
            return Err(self.error(NodeErrorKind::Busy));
        }
        if let Some(missing) = get("no-lock") {
            return Err(self.error(NodeErrorKind::NoLock(missing.to_owned())));
        }
        match (get("listed"), get("failed")) {
            (Some(_), _) => Ok(lines.unwrap_or(ScriptOutput(Vec::new()))),
            // Nothing was listed, so nothing was removed.
            (None, Some(message)) => Err(self.error(NodeErrorKind::Removal(message.to_owned()))),
            (None, None) => {
                let failure = Failure::from_output(self.display_command(), output);
                Err(self.error(NodeErrorKind::Unreachable(failure.to_string())))
            }
        }
    }

    fn report_removal(
        &self,
        cx: &Cx,
        builds: &NodeBuilds,
        removal: &Removal,
        output: &ScriptOutput,
        reports_nothing: bool,
    ) {
        let is_removed = |name: &String| output.0.iter().any(|(k, v)| k == "removed" && v == name);
        let removed: Vec<&String> = removal.builds.iter().filter(|name| is_removed(name)).collect();
        if removed.is_empty() && !(reports_nothing && removal.builds.is_empty()) {
            return;
        }
        let names: BTreeSet<&str> = removed.iter().map(|name| name.as_str()).collect();
        cx.emit(Event::Pruned {
            node: Some(self.node.name.clone()),
            engine: None,
            images: removed.iter().map(|name| familiar(name)).collect(),
            bytes: builds.freed_bytes(&names),
        });
    }

    /// Shows the command that would remove the names.
    fn show_removal(&self, cx: &Cx, removal: &Removal, reports_nothing: bool) {
        if removal.names.is_empty() {
            if reports_nothing {
                let node = Some(self.node.name.clone());
                let (images, bytes) = (Vec::new(), Some(0));
                cx.emit(Event::Pruned { node, engine: None, images, bytes });
            }
            return;
        }
        let command = self.display_ctr(&format!("images rm {}", removal.names.join(" ")));
        cx.emit(Event::WouldRun { command });
    }
}

fn read_builds(output: &ScriptOutput, image: &Name) -> NodeBuilds {
    let lines: Vec<(&str, &str)> =
        output.0.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    NodeBuilds::read(image, &lines)
}

/// Returns the short form of a name.
fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}
