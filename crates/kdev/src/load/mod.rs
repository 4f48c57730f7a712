//! Takes an image and connections to nodes, and gives the proof that every node has it:
//! each node is asked what it has, and sent the rest, into its
//! `ctr -n k8s.io image import`.
//!
//! A load counts only after the node's runtime, asked again, has the image under its name
//! with the expected configuration. A load that fails takes the name away again.
//!
//! - `session.rs`: one load in one run of the script on the node
//! - `stream.rs`: compresses what is sent
//! - `targets.rs`: chooses the nodes and reaches them

mod error;
mod session;
mod stream;
pub(crate) mod targets;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use kdev_core::image::built::BuiltImage;
use kdev_core::image::node_layers::{NodeLayers, PlannedLayer};
use kdev_core::image::partial_archive::PartialArchive;
use kdev_core::shell::quote;

use crate::cx::Cx;
use crate::docker::Docker;
use crate::event::Event;
use crate::layers::cache::{self, Layer};
use crate::layers::push::MAX_PUSH_BYTES;
use crate::layers::save::CopyError;
use crate::layers::{ImageParts, LayerProvider, ImageSource};
use crate::load::stream::{Codec, CompressedStream};
use crate::node::connection::NodeConnection;
use crate::node::error::{NodeErrorKind, NodeError};
use crate::parallel::map_all;
use crate::process::{Failure, Lines, Outcome};

pub use error::Error;
pub(crate) use error::Result;

/// What ends a program that writes to a reader that has gone (POSIX).
const SIGPIPE: i32 = 13;
/// How often a bar may move.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Proof that every node has the image: their names. Only [`load`] makes it, and
/// applying takes it: a pod that meets the kubelet before its image waits in
/// back-off.
#[derive(Debug)]
pub(crate) struct Loaded(Vec<String>);

impl Loaded {
    pub(crate) fn is_on(&self, node: &str) -> bool {
        self.0.iter().any(|loaded| loaded == node)
    }
}

/// Brings the image to every node that lacks it, all at once: a slow node
/// slows nobody, and a failed one does not hide the others.
pub(crate) fn load(cx: &Cx, source: &LayerProvider, links: &[NodeConnection]) -> Result<Loaded> {
    source.shared_save.expect_nodes(links.len());
    let results = map_all(links, |link| Load { cx, source, image: source.image, connection: link }.run());
    cx.check_interrupt()?;
    if !cx.is_dry_run() && results.iter().any(Result::is_ok) {
        source.record_build();
    }
    let failures: Vec<NodeError> = results.into_iter().filter_map(Result::err).collect();
    if !failures.is_empty() {
        return Err(Error::Nodes(failures));
    }
    Ok(Loaded(links.iter().map(|link| link.node.name.clone()).collect()))
}

/// One image on its way to one node.
struct Load<'a> {
    cx: &'a Cx<'a>,
    source: &'a LayerProvider<'a>,
    image: &'a BuiltImage,
    connection: &'a NodeConnection<'a>,
}

/// What went.
struct LoadStats {
    /// Bytes on the wire.
    bytes: u64,
    /// Bytes that were there already.
    reused: u64,
}

/// Why nothing was sent, or not all.
enum SendError {
    /// docker failed.
    Export(Failure),
    /// The node has less room than the layers need before they are unpacked.
    InsufficientSpace { needed: u64, free: u64 },
    /// The node has gone away in the middle, and tells why itself.
    ConnectionClosed,
}

impl Load<'_> {
    fn run(&self) -> Result<(), NodeError> {
        let (cx, node, begun) = (self.cx, self.connection.node.name.clone(), Instant::now());
        if cx.is_dry_run() {
            let save = format!("docker save {}", quote(&self.image.reference.familiar()));
            let import = self.connection.display_import();
            let command =
                if self.source.is_archive() { import } else { format!("{save} | {import}") };
            cx.emit(Event::WouldRun { command });
            return Ok(());
        }
        match self.load_with_retry() {
            Ok(None) => cx.emit(Event::AlreadyPresent { node, duration: begun.elapsed() }),
            Ok(Some(LoadStats { bytes, reused })) => {
                cx.emit(Event::Loaded { node, bytes, reused, duration: begun.elapsed() });
            }
            Err(error) => {
                cx.emit(Event::LoadFailed { node });
                return Err(error);
            }
        }
        Ok(())
    }

    /// `None` if the image was there. What is lost between the question and
    /// the import, to a garbage collection or with the connection, is worth a
    /// second try, with a new question.
    fn load_with_retry(&self) -> Result<Option<LoadStats>, NodeError> {
        match self.attempt() {
            Err(error) if error.kind.is_retryable() => {
                if matches!(error.kind, NodeErrorKind::Import(_)) {
                    self.source.evict();
                }
                self.cx.emit(Event::Note { text: format!("{error}; trying once more") });
                self.attempt()
            }
            result => result,
        }
    }

    fn attempt(&self) -> Result<Option<LoadStats>, NodeError> {
        let (cx, link) = (self.cx, self.connection);
        let old = self.source.previous_builds.iter().flatten();
        let asked: Vec<&str> = old.map(|layer| layer.diff_id.as_str()).collect();
        let task = link.load_task(cx, self.image, &asked)?;
        let (output, sent) = task.feed(cx, |stdin, lines| {
            let inventory = link.read_node_layers(cx, lines).ok_or(SendError::ConnectionClosed)?;
            if inventory.present { Ok(None) } else { self.send(&inventory, stdin, lines).map(Some) }
        });
        match (link.read_result(output), sent) {
            (Ok(()), Some(Ok(sent))) => Ok(sent),
            // Only a load that was finished meanwhile looks like that.
            (Ok(()), _) => Ok(None),
            (Err(error), Some(Err(SendError::Export(failure))))
                if is_export_failure(&failure, &error.kind) =>
            {
                Err(link.error(NodeErrorKind::Export(failure)))
            }
            (Err(_), Some(Err(SendError::InsufficientSpace { needed, free }))) => {
                let words = format!("the layers take {needed} bytes, and {free} are free");
                Err(link.error(NodeErrorKind::DiskFull(words)))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Only what is missing, where that can be had.
    fn send(
        &self,
        inventory: &NodeLayers,
        mut stdin: ChildStdin,
        lines: &mut Lines,
    ) -> Result<LoadStats, SendError> {
        let plan = inventory.plan(&self.image.layers);
        let codec = self.connection.codec(inventory);
        let missing = plan.iter().filter(|layer| layer.missing);
        let wanted: BTreeSet<&str> = missing.map(|layer| layer.diff_id.as_str()).collect();
        let pays = |old: &&Layer| codec == Codec::Zstd && self.is_patch_faster(old);
        let dictionary = patch_base(inventory, &self.source.previous_builds).filter(pays);
        let dictionary = dictionary.filter(|_| !wanted.is_empty());
        // A small image's layers cost no more one by one, and the next build
        // finds its dictionary.
        let lacks_all = plan.iter().all(|layer| layer.missing);
        let small = self.source.is_archive() || self.image.size <= MAX_PUSH_BYTES;
        let thin = !lacks_all || dictionary.is_some() || small;
        // The node makes ready while docker does.
        let base = dictionary.map_or("", |layer| layer.diff_id.as_str());
        writeln!(stdin, "{} {base}", codec.as_str()).map_err(|_| SendError::ConnectionClosed)?;
        let parts = thin.then(|| self.source.parts(self.cx, &wanted)).flatten();
        let wire = CompressedStream::new(stdin, codec);
        let needed = match &parts {
            Some(parts) => parts.size(),
            None if lacks_all => self.image.size,
            // How much of it is there already, nobody knows.
            None => 0,
        };
        if let Some(free) = inventory.room.filter(|free| *free < needed) {
            return Err(SendError::InsufficientSpace { needed, free });
        }
        // What is no patch can be undone like one.
        let Some(parts) = parts else {
            return match self.source.source {
                ImageSource::Docker(docker, _) => self.send_whole(docker, wire),
                // Its folder has been taken away.
                ImageSource::Archive(_) => Err(SendError::ConnectionClosed),
            };
        };
        let dictionary = match dictionary {
            Some(old) => Some(old).filter(|_| self.connection.accepts_patch(lines)),
            None => None,
        };
        self.send_partial(parts, &plan, dictionary, wire)
    }

    /// Whether a patch against an old layer would be done sooner.
    fn is_patch_faster(&self, old: &Layer) -> bool {
        stream::patch_is_faster(self.source.rate(&self.connection.location()), old.size)
    }

    fn send_partial(
        &self,
        parts: ImageParts,
        plan: &[PlannedLayer],
        dictionary: Option<&Layer>,
        mut wire: CompressedStream<ChildStdin>,
    ) -> Result<LoadStats, SendError> {
        let name = self.image.reference.to_string();
        let missing = parts.size();
        let thin = PartialArchive::new(&name, parts.config, plan, parts.layers);
        let reused = self.image.size.saturating_sub(missing);
        self.emit_loading(thin.size(), reused);
        let written = match dictionary.map(Layer::read).transpose() {
            Ok(Some(old)) => {
                let write = |to: &mut dyn Write| thin.write_to(self.with_progress(to));
                stream::send_patch(wire.into_inner(), &old, thin.size(), write)
            }
            Ok(None) => thin.write_to(self.with_progress(&mut wire)).and_then(|()| wire.finish()),
            Err(error) => Err(error),
        };
        Ok(self.record_transfer(written.map_err(|_| SendError::ConnectionClosed)?, reused))
    }

    /// The archive as docker writes it.
    fn send_whole(&self, docker: &Docker, mut wire: CompressedStream<ChildStdin>) -> Result<LoadStats, SendError> {
        self.emit_loading(self.image.size, 0);
        let save = || docker.save_command(self.cx, self.image).ok();
        let copied = self.source.shared_save.copy(self.cx, save, &mut self.with_progress(&mut wire));
        match copied {
            // An archive that was cut must not look whole.
            Ok(()) => wire.finish().map(|sent| self.record_transfer(sent, 0)).map_err(|_| SendError::ConnectionClosed),
            Err(CopyError::Docker(failure)) => Err(SendError::Export(failure)),
            Err(CopyError::Node) => Err(SendError::ConnectionClosed),
        }
    }

    fn record_transfer(&self, stream::Transfer { bytes, rate }: stream::Transfer, reused: u64) -> LoadStats {
        if let Some(rate) = rate {
            self.source.record_rate(&self.connection.location(), rate);
        }
        LoadStats { bytes, reused }
    }

    fn emit_loading(&self, bytes: u64, reused: u64) {
        let node = self.connection.node.name.clone();
        self.cx.emit(Event::Loading { node, bytes, reused });
    }

    /// Tells of what is written through it.
    fn with_progress<W: Write>(&self, to: W) -> ProgressWriter<'_, W> {
        ProgressWriter { to, cx: self.cx, node: &self.connection.node.name, bytes: 0, last_emitted: Instant::now() }
    }
}

/// The largest layer of the newest build of which the node can read one.
fn patch_base<'a>(inventory: &NodeLayers, builds: &'a [Vec<Layer>]) -> Option<&'a Layer> {
    let fits = |old: &&Layer| {
        inventory.zstd && old.size <= cache::MAX_KEPT_LAYER_BYTES / 2 && inventory.can_read(&old.diff_id)
    };
    builds.iter().find_map(|build| build.iter().filter(fits).max_by_key(|old| old.size))
}

/// Whether docker's failure is the cause, and not that its reader had gone:
/// then it was not told so by a signal, and the import complains of nothing but
/// the end of its input.
fn is_export_failure(docker: &Failure, import: &NodeErrorKind) -> bool {
    !matches!(docker.outcome, Outcome::Interrupted | Outcome::Signal(SIGPIPE))
        && matches!(import, NodeErrorKind::ConnectionLost(words) | NodeErrorKind::Import(words)
            if words.contains("EOF") || words.contains("unrecognized image format"))
}

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
