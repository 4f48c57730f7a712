//! Loads an image onto nodes: sends each node the layers that it is missing, into its
//! `ctr -n k8s.io image import`.
//!
//! A load succeeds only after the node's runtime has the image under its name with the
//! expected configuration. A failed load removes the name again.
//!
//! - `base.rs`: reads the configuration of a base on the nodes
//! - `identity.rs`: proves that a connection leads to its node
//! - `session.rs`: one load in one run of the script on the node
//! - `stream.rs`: compresses the data for a node
//! - `targets.rs`: selects the nodes and connects to them

pub(crate) mod base;
mod error;
mod identity;
mod session;
mod stream;
pub(crate) mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use kdev_core::image::built::BuiltImage;
use kdev_core::image::node_layers::{NodeLayers, PlannedLayer};
use kdev_core::image::partial_archive::PartialArchive;

use crate::cx::Cx;
use crate::event::Event;
use crate::layers::cache::{self, Layer};
use crate::layers::push::MAX_PUSH_BYTES;
use crate::layers::save::CopyError;
use crate::layers::{ImageParts, LayerProvider, Unavailable};
use crate::load::stream::{Codec, CompressedStream};
use crate::node::connection::NodeConnection;
use crate::node::error::{NodeError, NodeErrorKind};
use crate::parallel::map_all;
use crate::process::{Command, Failure, Lines, Outcome};

pub use error::Error;
pub(crate) use error::Result;

/// The signal that ends a program when the reader of its pipe is gone (POSIX).
const SIGPIPE: i32 = 13;
/// The shortest time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Proof that every node has the image, with the names of the nodes and the number of builds
/// that each has. Only [`load`] creates it, and an apply requires it: a pod that starts before
/// its image is there waits in back-off.
#[derive(Debug)]
pub(crate) struct Loaded(BTreeMap<String, usize>);

impl Loaded {
    /// Returns a proof without a load.
    #[cfg(test)]
    pub(crate) fn on_nodes(names: &[&str]) -> Self {
        Self(names.iter().map(|name| ((*name).to_owned(), 0)).collect())
    }

    /// Returns whether the node has the image.
    pub(crate) fn is_on(&self, node: &str) -> bool {
        self.0.contains_key(node)
    }

    /// Returns whether the load has changed a node.
    pub(crate) fn has_changed(&self) -> bool {
        self.0.values().any(|builds| *builds > 0)
    }

    /// Returns whether the load has changed the node, which now has more builds than these.
    pub(crate) fn has_more_builds(&self, node: &str, count: usize) -> bool {
        self.0.get(node).is_some_and(|builds| *builds > count)
    }
}

/// Loads the image onto all nodes that are missing it, in parallel. A slow node does not
/// delay the others, and the error of one node does not hide those of others.
pub(crate) fn load(
    cx: &Cx,
    source: &LayerProvider,
    connections: &[NodeConnection],
) -> Result<Loaded> {
    source.expect_nodes(connections.len());
    let results = map_all(connections, |connection| {
        Load { cx, source, image: source.image, connection }.run()
    });
    cx.check_interrupt()?;
    if !cx.is_dry_run() && results.iter().any(Result::is_ok) {
        source.record_build();
    }
    let (mut loaded, mut failures) = (BTreeMap::new(), Vec::new());
    for (connection, result) in connections.iter().zip(results) {
        match result {
            Ok(builds) => drop(loaded.insert(connection.node.name.clone(), builds)),
            Err(error) => failures.push(error),
        }
    }
    if !failures.is_empty() {
        return Err(Error::Nodes(failures));
    }
    Ok(Loaded(loaded))
}

/// The load of an image onto one node.
struct Load<'a> {
    cx: &'a Cx<'a>,
    source: &'a LayerProvider<'a>,
    image: &'a BuiltImage,
    connection: &'a NodeConnection<'a>,
}

/// The size of a load.
struct LoadStats {
    /// Bytes that were sent, after compression.
    bytes: u64,
    /// Bytes that the node already had.
    reused: u64,
}

/// Why the image was not sent completely.
enum SendError {
    /// Docker or Podman failed to export the image.
    Export(Failure),
    /// The source of the image does not have all missing layers.
    NoLayers(Unavailable),
    /// The node has less free space than the packed layers need.
    InsufficientSpace { needed: u64, free: u64 },
    /// The node closed the connection; its output has the cause.
    ConnectionClosed,
}

impl Load<'_> {
    /// Returns how many builds of the image the node has after a load that has changed it.
    fn run(&self) -> Result<usize, NodeError> {
        let (cx, node, started) = (self.cx, self.connection.node.name.clone(), Instant::now());
        if cx.is_dry_run() {
            let import = self.connection.display_import();
            let command = match self.source.source.display_save() {
                Some(save) => format!("{save} | {import}"),
                None => import,
            };
            cx.emit(Event::WouldRun { command });
            return Ok(0);
        }
        let result = self.load_with_retry();
        // Otherwise, a node that has the image would delay the others.
        self.source.report_complete(&node);
        match result {
            Ok((builds, None)) => {
                cx.emit(Event::AlreadyPresent { node, duration: started.elapsed() });
                Ok(builds)
            }
            Ok((builds, Some(LoadStats { bytes, reused }))) => {
                cx.emit(Event::Loaded { node, bytes, reused, duration: started.elapsed() });
                Ok(builds)
            }
            Err(error) => {
                cx.emit(Event::LoadFailed { node });
                Err(error)
            }
        }
    }

    /// Loads the image, with a second attempt if the connection was lost, or if the node lost a
    /// layer between the query and the import, for example to garbage collection. Returns
    /// the number of builds, and no statistics if the image was already there.
    fn load_with_retry(&self) -> Result<(usize, Option<LoadStats>), NodeError> {
        match self.attempt() {
            Err(error) if error.kind.is_retryable() => {
                if matches!(error.kind, NodeErrorKind::Import(_)) {
                    self.source.evict();
                }
                self.cx.emit(Event::Note { text: format!("{error}; retrying once") });
                self.attempt()
            }
            result => result,
        }
    }

    fn attempt(&self) -> Result<(usize, Option<LoadStats>), NodeError> {
        let (cx, connection) = (self.cx, self.connection);
        let old = self.source.previous_builds.iter().flatten();
        let candidates: Vec<&str> = old.map(|layer| layer.diff_id.as_str()).collect();
        let command = connection.load_command(cx, self.image, &candidates)?;
        let load = connection.transport.begin_load(&connection.node.name);
        let (output, sent) = command.feed(cx, |stdin, lines| {
            let node_layers =
                connection.read_node_layers(cx, &load, lines).ok_or(SendError::ConnectionClosed)?;
            if node_layers.present {
                self.source.report_complete(&connection.node.name);
                Ok(None)
            } else {
                self.send(&node_layers, stdin, lines).map(Some)
            }
        });
        match (connection.read_result(cx, output), sent) {
            (Ok(builds), Some(Ok(sent))) => Ok((builds, sent)),
            // Another load of the same image has finished in the meantime.
            (Ok(builds), _) => Ok((builds, None)),
            (Err(error), Some(Err(SendError::Export(failure))))
                if is_export_failure(&failure, &error.kind) =>
            {
                Err(connection.error(NodeErrorKind::Export(failure)))
            }
            (Err(error), Some(Err(SendError::NoLayers(Unavailable { reason, help }))))
                if !matches!(error.kind, NodeErrorKind::Interrupted) =>
            {
                Err(connection.error(NodeErrorKind::LayersUnavailable { reason, help }))
            }
            (Err(_), Some(Err(SendError::InsufficientSpace { needed, free }))) => {
                let message =
                    format!("the layers need {needed} bytes, but only {free} bytes are free");
                Err(connection.error(NodeErrorKind::DiskFull(message)))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Sends the missing layers, or the whole image if they are not available one by one.
    fn send(
        &self,
        node_layers: &NodeLayers,
        mut stdin: ChildStdin,
        lines: &mut Lines,
    ) -> Result<LoadStats, SendError> {
        let plan = node_layers.plan(&self.image.layers);
        let codec = self.connection.codec(node_layers);
        let missing = plan.iter().filter(|layer| layer.missing);
        let wanted: BTreeSet<&str> = missing.map(|layer| layer.diff_id.as_str()).collect();
        let is_faster = |old: &&Layer| codec == Codec::Zstd && self.is_patch_faster(old);
        let base = patch_base(node_layers, &self.source.previous_builds).filter(is_faster);
        let base = base.filter(|_| !wanted.is_empty());
        // For a small image, sending layers one by one costs nothing more, and the next build
        // has a base for its patch.
        let is_all_missing = plan.iter().all(|layer| layer.missing);
        let is_small = self.source.reads_layers(self.cx) || self.image.size <= MAX_PUSH_BYTES;
        let partial = !is_all_missing || base.is_some() || is_small;
        // The node prepares the base while Docker prepares the layers.
        let base_id = base.map_or("", |layer| layer.diff_id.as_str());
        writeln!(stdin, "{} {base_id}", codec.as_str()).map_err(|_| SendError::ConnectionClosed)?;
        self.source.report_missing(&self.connection.node.name, partial.then_some(&wanted));
        let parts = partial.then(|| self.source.parts(self.cx, &wanted)).flatten();
        let output = CompressedStream::new(stdin, codec);
        let needed = match &parts {
            Some(parts) => parts.size(),
            None if is_all_missing => self.image.size,
            // It is unknown how much of the image the node already has.
            None => 0,
        };
        if let Some(free) = node_layers.free_bytes.filter(|free| *free < needed) {
            return Err(SendError::InsufficientSpace { needed, free });
        }
        // The node can decode an ordinary stream, even if it expects a patch.
        let Some(parts) = parts else {
            let source = self.source.source;
            return match source.save_command(self.cx) {
                Some(_) => self.send_whole(|| source.save_command(self.cx), output),
                None => Err(SendError::NoLayers(self.source.failure())),
            };
        };
        let base = match base {
            Some(old) => Some(old).filter(|_| self.connection.accepts_patch(lines)),
            None => None,
        };
        self.send_partial(parts, &plan, base, output)
    }

    /// Returns whether a patch against an old layer is faster than the layers themselves.
    fn is_patch_faster(&self, old: &Layer) -> bool {
        stream::patch_is_faster(self.source.rate(&self.connection.location()), old.size)
    }

    fn send_partial(
        &self,
        parts: ImageParts,
        plan: &[PlannedLayer],
        base: Option<&Layer>,
        mut output: CompressedStream<ChildStdin>,
    ) -> Result<LoadStats, SendError> {
        let name = self.image.reference.to_string();
        let missing = parts.size();
        let partial = PartialArchive::new(&name, parts.config, plan, parts.layers);
        let reused = self.image.size.saturating_sub(missing);
        self.emit_loading(partial.size(), reused);
        let written = match base.map(Layer::read).transpose() {
            Ok(Some(old)) => {
                let write = |to: &mut dyn Write| partial.write_to(self.with_progress(to));
                stream::send_patch(output.into_inner(), &old, partial.size(), write)
            }
            Ok(None) => {
                partial.write_to(self.with_progress(&mut output)).and_then(|()| output.finish())
            }
            Err(error) => Err(error),
        };
        Ok(self.record_transfer(written.map_err(|_| SendError::ConnectionClosed)?, reused))
    }

    /// Sends the output of `docker save` or `podman save`.
    fn send_whole(
        &self,
        save: impl Fn() -> Option<Command> + Sync,
        mut output: CompressedStream<ChildStdin>,
    ) -> Result<LoadStats, SendError> {
        self.emit_loading(self.image.size, 0);
        let copied =
            self.source.shared_save.copy(self.cx, save, &mut self.with_progress(&mut output));
        match copied {
            // Only a complete archive is finished, so that a truncated one is detected.
            Ok(()) => output
                .finish()
                .map(|sent| self.record_transfer(sent, 0))
                .map_err(|_| SendError::ConnectionClosed),
            Err(CopyError::Docker(failure)) => Err(SendError::Export(failure)),
            Err(CopyError::Node) => Err(SendError::ConnectionClosed),
        }
    }

    fn record_transfer(
        &self,
        stream::Transfer { bytes, rate }: stream::Transfer,
        reused: u64,
    ) -> LoadStats {
        if let Some(rate) = rate {
            self.source.record_rate(&self.connection.location(), rate);
        }
        LoadStats { bytes, reused }
    }

    fn emit_loading(&self, bytes: u64, reused: u64) {
        let node = self.connection.node.name.clone();
        self.cx.emit(Event::Loading { node, bytes, reused });
    }

    /// Emits progress events for the data that is written through the returned writer.
    fn with_progress<W: Write>(&self, to: W) -> ProgressWriter<'_, W> {
        ProgressWriter {
            to,
            cx: self.cx,
            node: &self.connection.node.name,
            bytes: 0,
            last_emitted: Instant::now(),
        }
    }
}

/// Returns the largest layer that the node can read, of the latest build with such a layer.
fn patch_base<'a>(node_layers: &NodeLayers, builds: &'a [Vec<Layer>]) -> Option<&'a Layer> {
    let fits = |old: &&Layer| {
        node_layers.zstd
            && old.size <= cache::MAX_KEPT_LAYER_BYTES / 2
            && node_layers.can_read(&old.diff_id)
    };
    builds.iter().find_map(|build| build.iter().filter(fits).max_by_key(|old| old.size))
}

/// Returns whether the failure of `docker save` is the cause of the failed import, and not
/// the other way around: then it was not ended by a signal, and the import only reports the
/// end of its input.
fn is_export_failure(docker: &Failure, import: &NodeErrorKind) -> bool {
    !matches!(docker.outcome, Outcome::Interrupted | Outcome::Signal(SIGPIPE))
        && matches!(import, NodeErrorKind::ConnectionLost(message) | NodeErrorKind::Import(message)
            if message.contains("EOF") || message.contains("unrecognized image format"))
}

/// Emits progress events for the data that is written.
struct ProgressWriter<'a, W> {
    to: W,
    cx: &'a Cx<'a>,
    node: &'a str,
    bytes: u64,
    last_emitted: Instant,
}

impl<W: Write> Write for ProgressWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.bytes += count as u64;
        if self.last_emitted.elapsed() >= PROGRESS_INTERVAL {
            self.last_emitted = Instant::now();
            self.cx.emit(Event::Progress { node: self.node.to_owned(), bytes: self.bytes });
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
