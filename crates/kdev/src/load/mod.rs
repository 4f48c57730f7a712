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
use crate::layers::push::WORTH;
use crate::layers::save::Cut;
use crate::layers::{Parts, Source, Supply};
use crate::load::stream::{Codec, Wire};
use crate::node::connection::Link;
use crate::node::error::{Fault, NodeError};
use crate::parallel::each;
use crate::process::{Failure, Lines, Outcome};

pub use error::Error;
pub(crate) use error::Result;

/// What ends a program that writes to a reader that has gone (POSIX).
const SIGPIPE: i32 = 13;
/// How often a bar may move.
const TICK: Duration = Duration::from_millis(100);

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
pub(crate) fn load(cx: &Cx, source: &Source, links: &[Link]) -> Result<Loaded> {
    source.whole.expect(links.len());
    let results = each(links, |link| Load { cx, source, image: source.image, link }.run());
    cx.check_interrupt()?;
    if !cx.is_dry_run() && results.iter().any(Result::is_ok) {
        source.done();
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
    source: &'a Source<'a>,
    image: &'a BuiltImage,
    link: &'a Link<'a>,
}

/// What went.
struct Sent {
    /// Bytes on the wire.
    bytes: u64,
    /// Bytes that were there already.
    reused: u64,
}

/// Why nothing was sent, or not all.
enum Unsent {
    /// docker failed.
    Docker(Failure),
    /// The node has less room than the layers need before they are unpacked.
    NoRoom { needed: u64, free: u64 },
    /// The node has gone away in the middle, and tells why itself.
    Broken,
}

impl Load<'_> {
    fn run(&self) -> Result<(), NodeError> {
        let (cx, node, begun) = (self.cx, self.link.node.name.clone(), Instant::now());
        if cx.is_dry_run() {
            let save = format!("docker save {}", quote(&self.image.reference.familiar()));
            let import = self.link.import_by_hand();
            let command =
                if self.source.is_archive() { import } else { format!("{save} | {import}") };
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
        match self.ask_and_send() {
            Err(error) if error.fault.is_worth_a_repeat() => {
                if matches!(error.fault, Fault::Import(_)) {
                    self.source.forget();
                }
                self.cx.emit(Event::Note { text: format!("{error}; trying once more") });
                self.ask_and_send()
            }
            result => result,
        }
    }

    fn ask_and_send(&self) -> Result<Option<Sent>, NodeError> {
        let (cx, link) = (self.cx, self.link);
        let old = self.source.old.iter().flatten();
        let asked: Vec<&str> = old.map(|layer| layer.diff_id.as_str()).collect();
        let task = link.load_task(cx, self.image, &asked)?;
        let (output, sent) = task.feed(cx, |stdin, lines| {
            let inventory = link.inventory(cx, lines).ok_or(Unsent::Broken)?;
            if inventory.present { Ok(None) } else { self.send(&inventory, stdin, lines).map(Some) }
        });
        match (link.loaded(output), sent) {
            (Ok(()), Some(Ok(sent))) => Ok(sent),
            // Only a load that was finished meanwhile looks like that.
            (Ok(()), _) => Ok(None),
            (Err(error), Some(Err(Unsent::Docker(failure))))
                if is_cause(&failure, &error.fault) =>
            {
                Err(link.error(Fault::Source(failure)))
            }
            (Err(_), Some(Err(Unsent::NoRoom { needed, free }))) => {
                let words = format!("the layers take {needed} bytes, and {free} are free");
                Err(link.error(Fault::DiskFull(words)))
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
    ) -> Result<Sent, Unsent> {
        let plan = inventory.plan(&self.image.layers);
        let codec = self.link.codec(inventory);
        let missing = plan.iter().filter(|layer| layer.missing);
        let wanted: BTreeSet<&str> = missing.map(|layer| layer.diff_id.as_str()).collect();
        let pays = |old: &&Layer| codec == Codec::Zstd && self.is_worth_it(old);
        let dictionary = dictionary(inventory, &self.source.old).filter(pays);
        let dictionary = dictionary.filter(|_| !wanted.is_empty());
        // A small image's layers cost no more one by one, and the next build
        // finds its dictionary.
        let lacks_all = plan.iter().all(|layer| layer.missing);
        let small = self.source.is_archive() || self.image.size <= WORTH;
        let thin = !lacks_all || dictionary.is_some() || small;
        // The node makes ready while docker does.
        let base = dictionary.map_or("", |layer| layer.diff_id.as_str());
        writeln!(stdin, "{} {base}", codec.as_str()).map_err(|_| Unsent::Broken)?;
        let parts = thin.then(|| self.source.parts(self.cx, &wanted)).flatten();
        let wire = Wire::new(stdin, codec);
        let needed = match &parts {
            Some(parts) => parts.size(),
            None if lacks_all => self.image.size,
            // How much of it is there already, nobody knows.
            None => 0,
        };
        if let Some(free) = inventory.room.filter(|free| *free < needed) {
            return Err(Unsent::NoRoom { needed, free });
        }
        // What is no patch can be undone like one.
        let Some(parts) = parts else {
            return match self.source.supply {
                Supply::Docker(docker, _) => self.send_whole(docker, wire),
                // Its folder has been taken away.
                Supply::Archive(_) => Err(Unsent::Broken),
            };
        };
        let dictionary = match dictionary {
            Some(old) => Some(old).filter(|_| self.link.takes_patch(lines)),
            None => None,
        };
        self.send_thin(parts, &plan, dictionary, wire)
    }

    /// Whether a patch against an old layer would be done sooner.
    fn is_worth_it(&self, old: &Layer) -> bool {
        stream::patch_pays(self.source.rate(&self.link.host()), old.size)
    }

    fn send_thin(
        &self,
        parts: Parts,
        plan: &[PlannedLayer],
        dictionary: Option<&Layer>,
        mut wire: Wire<ChildStdin>,
    ) -> Result<Sent, Unsent> {
        let name = self.image.reference.to_string();
        let missing = parts.size();
        let thin = PartialArchive::new(&name, parts.config, plan, parts.layers);
        let reused = self.image.size.saturating_sub(missing);
        self.begin(thin.size(), reused);
        let written = match dictionary.map(Layer::read).transpose() {
            Ok(Some(old)) => {
                let write = |to: &mut dyn Write| thin.write_to(self.shown(to));
                stream::patch(wire.into_inner(), &old, thin.size(), write)
            }
            Ok(None) => thin.write_to(self.shown(&mut wire)).and_then(|()| wire.finish()),
            Err(error) => Err(error),
        };
        Ok(self.sent(written.map_err(|_| Unsent::Broken)?, reused))
    }

    /// The archive as docker writes it.
    fn send_whole(&self, docker: &Docker, mut wire: Wire<ChildStdin>) -> Result<Sent, Unsent> {
        self.begin(self.image.size, 0);
        let save = || docker.save(self.cx, self.image).ok();
        let copied = self.source.whole.copy(self.cx, save, &mut self.shown(&mut wire));
        match copied {
            // An archive that was cut must not look whole.
            Ok(()) => wire.finish().map(|sent| self.sent(sent, 0)).map_err(|_| Unsent::Broken),
            Err(Cut::Docker(failure)) => Err(Unsent::Docker(failure)),
            Err(Cut::Node) => Err(Unsent::Broken),
        }
    }

    fn sent(&self, stream::Sent { bytes, rate }: stream::Sent, reused: u64) -> Sent {
        if let Some(rate) = rate {
            self.source.note_rate(&self.link.host(), rate);
        }
        Sent { bytes, reused }
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
fn dictionary<'a>(inventory: &NodeLayers, builds: &'a [Vec<Layer>]) -> Option<&'a Layer> {
    let fits = |old: &&Layer| {
        inventory.zstd && old.size <= cache::LARGEST / 2 && inventory.can_read(&old.diff_id)
    };
    builds.iter().find_map(|build| build.iter().filter(fits).max_by_key(|old| old.size))
}

/// Whether docker's failure is the cause, and not that its reader had gone:
/// then it was not told so by a signal, and the import complains of nothing but
/// the end of its input.
fn is_cause(docker: &Failure, import: &Fault) -> bool {
    !matches!(docker.outcome, Outcome::Interrupted | Outcome::Signal(SIGPIPE))
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
