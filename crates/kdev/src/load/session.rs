//! A load onto one node in one run of the script: reads which layers the node has, and the
//! result of the import.

use std::collections::BTreeSet;

use kdev_core::image::builds;
use kdev_core::image::built::BuiltImage;
use kdev_core::image::digest::chain_ids;
use kdev_core::image::node_layers::NodeLayers;
use kdev_core::kube::identity::Identity;

use crate::cx::Cx;
use crate::event::Event;
use crate::load::stream::Codec;
use crate::node::connection::{NodeConnection, ScriptOutput};
use crate::node::error::{NodeError, NodeErrorKind, import_error};
use crate::node::probes::RunningLoad;
use crate::node::script::Verb;
use crate::process::{Command, Failure, Lines, Output};

impl NodeConnection<'_> {
    /// Returns the command that lists which layers of the image, and which of the candidates
    /// for a patch base, the node has, and then imports its stdin. This needs one round trip.
    pub(crate) fn load_command(
        &self,
        cx: &Cx,
        image: &BuiltImage,
        candidates: &[&str],
    ) -> Result<Command, NodeError> {
        let (name, platform) = (image.reference.to_string(), self.node.info.platform());
        let local = if self.needs_local_import { "yes" } else { "no" };
        let pattern = builds::name_pattern(&image.reference).unwrap_or_default();
        let mut args = vec![
            name.as_str(),
            &image.config_digest,
            &platform,
            local,
            &self.snapshotter,
            &pattern,
        ];
        let layers = layer_args(&image.layers, candidates);
        args.extend(layers.iter().map(String::as_str));
        let sh = self.shell(cx)?;
        Ok(Command::new(self.script_command(&sh, Verb::Load, &args)))
    }

    /// Reads which layers the node has. Returns `None` if the connection ends before that is
    /// complete, or leads to another machine.
    pub(crate) fn read_node_layers(
        &self,
        cx: &Cx,
        load: &RunningLoad,
        lines: &mut Lines,
    ) -> Option<NodeLayers> {
        let mut received = Vec::new();
        loop {
            let Some(mut output) = ScriptOutput::parse(&lines.next()?, &self.nonce) else {
                continue;
            };
            let has = |key| output.get(key).is_some();
            // A load of the same run has its own message.
            if has("waiting") && load.is_only_one() {
                let name = &self.node.name;
                let text = format!("waiting for another load onto node `{name}`");
                cx.emit(Event::Note { text });
            }
            let is_complete = has("listed") || has("present");
            received.append(&mut output.0);
            if is_complete {
                self.check_machine(&ScriptOutput(received.clone())).ok()?;
                let lines = received.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                return Some(NodeLayers::read(lines));
            }
        }
    }

    /// Returns the codec for the stream to this node.
    pub(crate) fn codec(&self, node_layers: &NodeLayers) -> Codec {
        match self.transport.is_remote() {
            true if node_layers.zstd => Codec::Zstd,
            true if node_layers.gzip => Codec::Gzip,
            _ => Codec::Plain,
        }
    }

    /// Returns whether the node has read and verified the base of the patch; false if the
    /// connection has ended.
    pub(crate) fn accepts_patch(&self, lines: &mut Lines) -> bool {
        let mut has_base = false;
        while let Some(line) = lines.next() {
            let Some(output) = ScriptOutput::parse(&line, &self.nonce) else { continue };
            has_base |= output.get("patch").is_some();
            if output.get("ready").is_some() {
                return has_base;
            }
        }
        false
    }

    /// Returns the import as a command line for the user.
    pub(crate) fn display_import(&self) -> String {
        self.display_ctr(&format!("image import {} -", self.import_flags().join(" ")))
    }

    /// The platform is always set: without it, `ctr` also requires related platforms.
    fn import_flags(&self) -> Vec<String> {
        let mut flags = vec!["--platform".to_owned(), self.node.info.platform()];
        if !self.snapshotter.is_empty() {
            flags.extend(["--snapshotter".to_owned(), self.snapshotter.clone()]);
        }
        if self.needs_local_import {
            flags.push("--local".to_owned());
        }
        flags
    }

    /// Reads the result of a load. Returns how many builds of the image the node then has; 0 if
    /// the load has not counted them.
    pub(crate) fn read_result(
        &self,
        cx: &Cx,
        output: Result<Output, Failure>,
    ) -> Result<usize, NodeError> {
        let output = output.map_err(|failure| match failure {
            failure if failure.is_interrupt() => self.error(NodeErrorKind::Interrupted),
            failure => self.error(NodeErrorKind::ConnectionLost(self.describe_failure(&failure))),
        })?;
        let lines = ScriptOutput::parse(&output.text(), &self.nonce);
        lines.as_ref().map_or(Ok(()), |lines| self.check_machine(lines))?;
        let get = |key| lines.as_ref().and_then(|lines| lines.get(key));
        match (get("loaded").or(get("present")), get("failed")) {
            (Some(_), _) => {
                if let Some(message) = get("unpinned") {
                    self.note_not_pinned(cx, message);
                }
                Ok(get("builds").and_then(|count| count.parse().ok()).unwrap_or_default())
            }
            (None, Some(result)) => Err(self.error(import_error(result))),
            // The script always prints one of these at the end.
            (None, None) => Err(self.connection_lost(output)),
        }
    }

    /// Notes that the image is loaded, but not protected from garbage collection.
    fn note_not_pinned(&self, cx: &Cx, message: &str) {
        let node = &self.node.name;
        let text = format!(
            "the image on node `{node}` could not be pinned, so its kubelet may remove it while no container uses it: {message}"
        );
        cx.emit(Event::Note { text });
    }

    /// Checks that the load runs on the machine that was checked before: without a shared
    /// connection, the name could lead to another one.
    pub(crate) fn check_machine(&self, output: &ScriptOutput) -> Result<(), NodeError> {
        match output.machine_ids().compare(&self.ids) {
            Identity::Different(found) => Err(self.error(NodeErrorKind::WrongMachine(found, None))),
            _ => Ok(()),
        }
    }

    /// Returns the error for a transport that ended before the script.
    fn connection_lost(&self, output: Output) -> NodeError {
        let failure = Failure::from_output(self.display_command(), output);
        let message = match failure.stderr.trim() {
            "" => failure.to_string(),
            message => message.to_owned(),
        };
        self.error(NodeErrorKind::ConnectionLost(message))
    }
}

/// Returns the arguments for the layers of an image, with their chain IDs, and for the other
/// layers that can be the base of a patch.
fn layer_args(diff_ids: &[String], candidates: &[&str]) -> Vec<String> {
    let chain = chain_ids(diff_ids);
    let layers = diff_ids.iter().zip(&chain).map(|(diff_id, chain)| format!("{diff_id}/{chain}"));
    let is_other = |id: &&&str| diff_ids.iter().all(|diff_id| diff_id != **id);
    let others: BTreeSet<&str> = candidates.iter().filter(is_other).copied().collect();
    layers.chain(others.into_iter().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_is_requested_once() {
        let diff_ids = ["sha256:a".to_owned(), "sha256:b".to_owned()];
        let args = layer_args(&diff_ids, &["sha256:c", "sha256:a", "sha256:c"]);
        let chain = chain_ids(&diff_ids);
        assert_eq!(chain[0], "sha256:a");
        assert_eq!(args, ["sha256:a/sha256:a", &format!("sha256:b/{}", chain[1]), "sha256:c"]);
    }
}
