//! Loads an image onto nodes: `docker save` streamed into each node's
//! `ctr -n k8s.io image import`, with no file on either side.
//!
//! A load counts only once the node's runtime, asked afterwards, has the
//! image under its name with the expected configuration. One that fails takes
//! the name away again.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::build::BuiltImage;
use crate::cmd::quoted;
use crate::cx::{Cx, joined};
use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::fault::{Fault, NodeError};
use crate::node::{Link, ended_well, failure_of};

/// How often a bar may move.
const TICK: Duration = Duration::from_millis(100);

/// Proof that every node has the image. Only [`load`] makes it, and applying
/// takes it: a pod that meets the kubelet before its image waits in back-off.
#[derive(Debug)]
pub(crate) struct Loaded(());

/// Brings the image to every node that lacks it, all at once: a slow node
/// slows nobody, and a failed one does not hide the others.
pub(crate) fn load(cx: &Cx, docker: &Docker, image: &BuiltImage, links: &[Link]) -> Result<Loaded> {
    let results: Vec<Result<(), NodeError>> = thread::scope(|scope| {
        let load = |link| scope.spawn(move || load_one(cx, docker, image, link));
        let threads: Vec<_> = links.iter().map(load).collect();
        threads.into_iter().map(joined).collect()
    });
    if cx.interrupt().is_raised() {
        return Err(Error::Interrupted);
    }
    let failures: Vec<NodeError> = results.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(Loaded(())) } else { Err(Error::Nodes(failures)) }
}

fn load_one(cx: &Cx, docker: &Docker, image: &BuiltImage, link: &Link) -> Result<(), NodeError> {
    let node = link.node.name.clone();
    let (name, digest) = (image.reference.to_string(), &image.config_digest);
    if cx.is_dry_run() {
        let save = format!("docker save {}", quoted(&image.reference.familiar()));
        let command = format!("{save} | {}", link.import_by_hand());
        cx.emit(Event::WouldRun { command });
        return Ok(());
    }
    if link.has(cx, &name, digest)? {
        cx.emit(Event::Present { node });
        return Ok(());
    }
    let begun = Instant::now();
    cx.emit(Event::Loading { node: node.clone(), bytes: image.size });
    match send(cx, docker, image, link) {
        Ok(bytes) => {
            cx.emit(Event::Loaded { node, bytes, took: begun.elapsed() });
            Ok(())
        }
        Err(error) => {
            cx.emit(Event::LoadFailed { node });
            Err(error)
        }
    }
}

/// Streams the whole archive; gives the bytes that went.
fn send(cx: &Cx, docker: &Docker, image: &BuiltImage, link: &Link) -> Result<u64, NodeError> {
    let sent = Mutex::new((0, Instant::now()));
    let progress = |bytes| {
        let Ok(mut sent) = sent.lock() else { return };
        sent.0 = bytes;
        if sent.1.elapsed() >= TICK {
            sent.1 = Instant::now();
            cx.emit(Event::Sent { node: link.node.name.clone(), bytes });
        }
    };
    let source = docker.save(cx, image).map_err(|e| link.error(Fault::Import(e.to_string())))?;
    let shown = source.to_string();
    let sink = link.import_task(cx, &image.reference.to_string(), &image.config_digest)?;
    let piped = source.pipe_into(cx, sink, &progress);
    let source_is_well = ended_well(&piped.source);
    match link.imported(piped.sink) {
        Ok(()) => {}
        Err(error) if source_is_well || !is_short_input(&error.fault) => return Err(error),
        Err(_) => return Err(link.error(Fault::Source(failure_of(&shown, piped.source)))),
    }
    Ok(sent.into_inner().map_or(0, |(bytes, _)| bytes))
}

/// Whether the sink complains of nothing but the end of its input: then a
/// source that has failed is the cause. Any other complaint comes first, since
/// a sink that ends early breaks its source's pipe.
fn is_short_input(fault: &Fault) -> bool {
    matches!(fault, Fault::ConnectionLost(words) | Fault::Import(words)
        if words.contains("EOF") || words.contains("unrecognized image format"))
}
