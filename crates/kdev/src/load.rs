//! Loads an image onto nodes: each node is asked what it has, and sent the
//! rest, straight into its `ctr -n k8s.io image import`.
//!
//! A load counts only once the node's runtime, asked afterwards, has the
//! image under its name with the expected configuration. One that fails takes
//! the name away again.

use std::io::{self, Write};
use std::process::ChildStdin;
use std::thread;
use std::time::{Duration, Instant};

use crate::build::BuiltImage;
use crate::cmd::{Failure, Outcome, quoted};
use crate::cx::{Cx, joined};
use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::fault::{Fault, NodeError};
use crate::inventory::{Inventory, Named};
use crate::layers::{self, Layer};
use crate::node::Link;
use crate::source::{Parts, Source};
use crate::thin::Thin;
use crate::wire::{self, Wire};

/// How often a bar may move.
const TICK: Duration = Duration::from_millis(100);
/// Up to this size, an image's layers are had one by one even for a first
/// load: that costs no more, and the next build finds its dictionary.
const SMALL: u64 = 64 << 20;

/// Proof that every node has the image. Only [`load`] makes it, and applying
/// takes it: a pod that meets the kubelet before its image waits in back-off.
#[derive(Debug)]
pub(crate) struct Loaded(());

/// Brings the image to every node that lacks it, all at once: a slow node
/// slows nobody, and a failed one does not hide the others.
pub(crate) fn load(cx: &Cx, docker: &Docker, image: &BuiltImage, links: &[Link]) -> Result<Loaded> {
    let source = Source::new(cx, docker, image);
    let results: Vec<Result<(), NodeError>> = thread::scope(|scope| {
        let load = |link| {
            let source = &source;
            scope.spawn(move || Load { cx, docker, image, source, link }.run())
        };
        let threads: Vec<_> = links.iter().map(load).collect();
        threads.into_iter().map(joined).collect()
    });
    if cx.interrupt().is_raised() {
        return Err(Error::Interrupted);
    }
    if !cx.is_dry_run() && results.iter().any(Result::is_ok) {
        source.done();
    }
    let failures: Vec<NodeError> = results.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(Loaded(())) } else { Err(Error::Nodes(failures)) }
}

/// One image on its way to one node.
struct Load<'a> {
    cx: &'a Cx<'a>,
    docker: &'a Docker,
    image: &'a BuiltImage,
    source: &'a Source<'a>,
    link: &'a Link<'a>,
}

/// What went.
struct Sent {
    /// Bytes on the wire.
    bytes: u64,
    /// Bytes that were there already.
    reused: u64,
}

/// Why nothing was sent.
enum Unsent {
    /// The import wants nothing: the image is there, or it has failed.
    Unwanted,
    /// The layers cannot be had one by one.
    NotThin,
    /// docker failed.
    Docker(Failure),
    /// The import has gone away in the middle, and tells why itself.
    Broken,
}

impl Load<'_> {
    fn run(&self) -> Result<(), NodeError> {
        let (cx, node, begun) = (self.cx, self.link.node.name.clone(), Instant::now());
        if cx.is_dry_run() {
            let save = format!("docker save {}", quoted(&self.image.reference.familiar()));
            let command = format!("{save} | {}", self.link.import_by_hand());
            cx.emit(Event::WouldRun { command });
            return Ok(());
        }
        match self.bring() {
            Ok(None) => cx.emit(Event::Present { node, took: begun.elapsed() }),
            Ok(Some(Sent { bytes, reused })) => {
                cx.emit(Event::Loaded { node, bytes, reused, took: begun.elapsed() });
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
    fn bring(&self) -> Result<Option<Sent>, NodeError> {
        let mut again = true;
        loop {
            let old = self.source.old.iter().flatten();
            let asked: Vec<&str> = old.map(|layer| layer.diff_id.as_str()).collect();
            let inventory = self.link.inventory(self.cx, self.image, &asked)?;
            if inventory.present {
                return Ok(None);
            }
            match self.send(&inventory) {
                Err(error) if again && error.fault.is_worth_a_repeat() => {
                    again = false;
                    if matches!(error.fault, Fault::Import(_)) {
                        self.source.forget();
                    }
                    self.cx.emit(Event::Note { text: format!("{error}; trying once more") });
                }
                result => return result.map(Some),
            }
        }
    }

    fn send(&self, inventory: &Inventory) -> Result<Sent, NodeError> {
        let plan = inventory.plan(&self.image.layers);
        let lacks_any = plan.iter().any(|layer| layer.missing);
        let lacks_all = plan.iter().all(|layer| layer.missing);
        let dictionary = dictionary(inventory, &self.source.old).filter(|_| lacks_any);
        let thin = !lacks_all || dictionary.is_some() || self.image.size <= SMALL;
        if self.source.is_thin()
            && thin
            && let Some(result) = self.send_thin(inventory, &plan, dictionary)
        {
            return result;
        }
        let sent = self.send_whole(inventory)?;
        self.source.prime(self.cx);
        Ok(sent)
    }

    /// Only what is missing; `None` where that cannot be had. The import is
    /// begun first, so that the node is ready once docker is.
    fn send_thin(
        &self,
        inventory: &Inventory,
        plan: &[Named],
        dictionary: Option<&Layer>,
    ) -> Option<Result<Sent, NodeError>> {
        let codec = self.link.codec(inventory);
        let (cx, link) = (self.cx, self.link);
        let task = match link.import_task(cx, self.image, codec, dictionary) {
            Ok(task) => task,
            Err(error) => return Some(Err(error)),
        };
        let (output, sent) = task.feed(cx, |stdin, lines| {
            let missing = plan.iter().filter(|layer| layer.missing);
            let wanted = missing.map(|layer| layer.diff_id.as_str()).collect();
            let parts = self.source.parts(cx, &wanted).ok_or(Unsent::NotThin)?;
            let patch = link.awaited(lines).ok_or(Unsent::Unwanted)?;
            let dictionary = dictionary.filter(|_| patch);
            self.write_thin(parts, plan, dictionary, Wire::new(stdin, codec))
        });
        match (sent, link.imported(output)) {
            (Some(Err(Unsent::NotThin)), _) if !cx.interrupt().is_raised() => None,
            (Some(Ok(sent)), Ok(())) => Some(Ok(sent)),
            (_, Ok(())) => Some(Ok(Sent { bytes: 0, reused: self.image.size })),
            (_, Err(error)) => Some(Err(error)),
        }
    }

    fn write_thin(
        &self,
        parts: Parts,
        plan: &[Named],
        dictionary: Option<&Layer>,
        mut wire: Wire<ChildStdin>,
    ) -> Result<Sent, Unsent> {
        let name = self.image.reference.to_string();
        let missing: u64 = parts.layers.iter().map(|layer| layer.size).sum();
        let thin = Thin::new(&name, parts.config, plan, parts.layers);
        let reused = self.image.size.saturating_sub(missing);
        self.begin(thin.size(), reused);
        let written = match dictionary.map(Layer::read).transpose() {
            Ok(Some(old)) => {
                let write = |to: &mut dyn Write| thin.write_to(self.shown(to));
                wire::patch(wire.into_inner(), &old, thin.size(), write)
            }
            Ok(None) => thin.write_to(self.shown(&mut wire)).and_then(|()| wire.finish()),
            Err(error) => Err(error),
        };
        let bytes = written.map_err(|_| Unsent::Broken)?;
        Ok(Sent { bytes, reused })
    }

    /// The archive as docker writes it.
    fn send_whole(&self, inventory: &Inventory) -> Result<Sent, NodeError> {
        let (cx, link) = (self.cx, self.link);
        let codec = link.codec(inventory);
        let source = self.docker.save(cx, self.image);
        let source = source.map_err(|e| link.error(Fault::Import(e.to_string())))?;
        let task = link.import_task(cx, self.image, codec, None)?;
        let (output, sent) = task.feed(cx, |stdin, lines| {
            link.awaited(lines).ok_or(Unsent::Unwanted)?;
            self.begin(self.image.size, 0);
            let copy = |mut archive| {
                let mut wire = Wire::new(stdin, codec);
                let copied = io::copy(&mut archive, &mut self.shown(&mut wire));
                // An archive that was cut must not look whole.
                copied.and_then(|_| wire.finish())
            };
            match source.read_with(cx, copy) {
                Ok(written) => written.map_err(|_| Unsent::Broken),
                Err(failure) => Err(Unsent::Docker(failure)),
            }
        });
        match (link.imported(output), sent) {
            (Ok(()), Some(Ok(bytes))) => Ok(Sent { bytes, reused: 0 }),
            (Ok(()), _) => Ok(Sent { bytes: 0, reused: self.image.size }),
            (Err(error), Some(Err(Unsent::Docker(failure))))
                if is_cause(&failure, &error.fault) =>
            {
                Err(link.error(Fault::Source(failure)))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn begin(&self, bytes: u64, reused: u64) {
        let node = self.link.node.name.clone();
        self.cx.emit(Event::Loading { node, bytes, reused });
    }

    /// Tells of what is written through it.
    fn shown<W: Write>(&self, to: W) -> Shown<'_, W> {
        Shown { to, cx: self.cx, node: &self.link.node.name, bytes: 0, told: Instant::now() }
    }
}

/// The largest layer of the newest build of which the node can read one.
fn dictionary<'a>(inventory: &Inventory, builds: &'a [Vec<Layer>]) -> Option<&'a Layer> {
    let fits = |old: &&Layer| {
        inventory.zstd && old.size <= layers::LARGEST / 2 && inventory.can_read(&old.diff_id)
    };
    builds.iter().find_map(|build| build.iter().filter(fits).max_by_key(|old| old.size))
}

/// Whether docker's failure is the cause, and not that its reader had gone:
/// then the import complains of nothing but the end of its input.
fn is_cause(docker: &Failure, import: &Fault) -> bool {
    docker.outcome != Outcome::Interrupted
        && matches!(import, Fault::ConnectionLost(words) | Fault::Import(words)
            if words.contains("EOF") || words.contains("unrecognized image format"))
}

struct Shown<'a, W> {
    to: W,
    cx: &'a Cx<'a>,
    node: &'a str,
    bytes: u64,
    told: Instant,
}

impl<W: Write> Write for Shown<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.bytes += count as u64;
        if self.told.elapsed() >= TICK {
            self.told = Instant::now();
            self.cx.emit(Event::Sent { node: self.node.to_owned(), bytes: self.bytes });
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
