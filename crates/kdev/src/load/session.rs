//! A load onto one node: what the node has is asked, and the answer to the import is
//! read, all in one run of the script.

use kdev_core::image::built::BuiltImage;
use kdev_core::image::digest::chain_ids;
use kdev_core::image::node_layers::NodeLayers;

use crate::cx::Cx;
use crate::event::Event;
use crate::load::stream::Codec;
use crate::node::connection::{ScriptOutput, NodeConnection, Sudo};
use crate::node::error::{NodeErrorKind, NodeError, import_error};
use crate::process::{Failure, Lines, Output, Command};

impl NodeConnection<'_> {
    /// The command that tells what the node has of an image, and which of the
    /// other layers in `asked` it has, and then imports its stdin: one round
    /// trip.
    pub(crate) fn load_task(
        &self,
        cx: &Cx,
        image: &BuiltImage,
        asked: &[&str],
    ) -> Result<Command, NodeError> {
        let (name, platform) = (image.reference.to_string(), self.node.info.platform());
        let local = if self.needs_local_import { "yes" } else { "no" };
        let mut args =
            vec![name.as_str(), &image.config_digest, &platform, local, &self.snapshotter];
        let chain = chain_ids(&image.layers);
        args.extend(image.layers.iter().chain(&chain).map(String::as_str));
        args.extend(asked);
        let sh = self.shell(cx)?;
        Ok(Command::new(self.script_command(&sh, "load", &args)))
    }

    /// What the node says that it has. `None` if it goes away before it has
    /// said all.
    pub(crate) fn read_node_layers(&self, cx: &Cx, lines: &mut Lines) -> Option<NodeLayers> {
        let mut said = Vec::new();
        loop {
            let Some(mut answer) = ScriptOutput::parse(&lines.next()?, &self.nonce) else { continue };
            let says = |key| answer.get(key).is_some();
            if says("waiting") {
                let name = &self.node.name;
                let text = format!("another load onto node `{name}` is under way; waiting for it");
                cx.emit(Event::Note { text });
            }
            let ends = says("asked") || says("present");
            said.append(&mut answer.0);
            if ends {
                let said = said.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                return Some(NodeLayers::read(said));
            }
        }
    }

    /// What the stream to this node may be compressed with.
    pub(crate) fn codec(&self, inventory: &NodeLayers) -> Codec {
        match self.transport.is_remote() {
            true if inventory.zstd => Codec::Zstd,
            true if inventory.gzip => Codec::Gzip,
            _ => Codec::Plain,
        }
    }

    /// Whether the node could read and prove the dictionary. A node that has
    /// gone away takes none.
    pub(crate) fn accepts_patch(&self, lines: &mut Lines) -> bool {
        let mut patch = false;
        while let Some(line) = lines.next() {
            let Some(answer) = ScriptOutput::parse(&line, &self.nonce) else { continue };
            patch |= answer.get("patch").is_some();
            if answer.get("ready").is_some() {
                return patch;
            }
        }
        false
    }

    /// As the import looks to a person who does it by hand.
    pub(crate) fn display_import(&self) -> String {
        let sudo = if matches!(self.sudo, Sudo::Yes) { "sudo -n " } else { "" };
        let flags = self.import_flags().join(" ");
        let import = format!("{sudo}{} -n k8s.io image import {flags} -", self.ctr);
        self.transport.command_with_stdin(&import)
    }

    /// The platform is always named: else `ctr` also asks for related ones.
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

    /// What the node said of a load in the end, if the connection held.
    pub(crate) fn read_result(&self, sink: Result<Output, Failure>) -> Result<(), NodeError> {
        let output = sink.map_err(|failure| match failure {
            failure if failure.is_interrupt() => self.error(NodeErrorKind::Interrupted),
            failure => self.error(NodeErrorKind::ConnectionLost(self.describe_failure(&failure))),
        })?;
        let answer = ScriptOutput::parse(&output.text(), &self.nonce);
        let get = |key| answer.as_ref().and_then(|answer| answer.get(key));
        match (get("loaded").or(get("present")), get("failed")) {
            (Some(_), _) => Ok(()),
            (None, Some(words)) => Err(self.error(import_error(words))),
            // The script always ends with one of these.
            (None, None) => Err(self.connection_lost(output)),
        }
    }

    /// The transport ended before the script did: its own words, or how.
    fn connection_lost(&self, output: Output) -> NodeError {
        let failure = Failure::from_output(self.display_command(), output);
        let words = match failure.stderr.trim() {
            "" => failure.to_string(),
            words => words.to_owned(),
        };
        self.error(NodeErrorKind::ConnectionLost(words))
    }
}
