//! Runs one `docker save` and streams the archive to all nodes that need the whole image, and to
//! the reader of single layers for the others.
//!
//! Each node has a short queue. The reader waits while a queue is full, so that memory use is
//! bounded. A node that delays the others for too long is dropped and reads the rest from a
//! separate `docker save`, which writes the same bytes again. If it did not, the verification
//! on the node would fail.

use std::io::{self, PipeReader, Read, Write};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cx::Cx;
use crate::layers::demand::JOIN_WINDOW;
use crate::process::{Command, Failure};

/// The size of a chunk.
const CHUNK_SIZE: usize = 256 << 10;
/// How many chunks may be queued for a node.
const QUEUED_CHUNKS: usize = 32;
/// How long a node may delay the others in total.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// The pause before another attempt to send to a full queue.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A `docker save` for several nodes.
#[derive(Default)]
pub(crate) struct SharedSave {
    /// The nodes that have joined the next read, or `None` if no read has been announced.
    subscribers: Mutex<Option<Vec<Subscriber>>>,
    /// How many nodes may need the whole image.
    expected_nodes: AtomicUsize,
    /// Whether a read has begun. Later ones are those of nodes that try again, and wait for no
    /// other node.
    has_read: AtomicBool,
}

/// Why a copy is incomplete.
pub(crate) enum CopyError {
    /// Docker failed.
    Docker(Failure),
    /// The connection to the node was lost.
    Node,
}

#[derive(Clone)]
enum Chunk {
    Bytes(Arc<[u8]>),
    /// The result of `docker save`, after the last chunk.
    End(Result<(), Failure>),
}

impl SharedSave {
    /// Sets how many nodes may need the whole image.
    pub(crate) fn expect_nodes(&self, nodes: usize) {
        self.expected_nodes.store(nodes, Ordering::SeqCst);
    }

    /// Copies the archive that the command of `save` writes to a node. It runs once for all
    /// nodes that call this at about the same time.
    pub(crate) fn copy(
        &self,
        cx: &Cx,
        save: impl Fn() -> Option<Command> + Sync,
        to: &mut (impl Write + Send),
    ) -> Result<(), CopyError> {
        let (subscriber, receiver) = subscription();
        let is_first = self.join(subscriber);
        thread::scope(|scope| {
            // Dropped on return, so that the reader does not wait for this node afterwards.
            let mut receiver = receiver;
            if is_first {
                scope.spawn(|| self.read_and_broadcast(cx, &save));
            }
            match receiver.copy_to(to)? {
                Some(end) => end.map_err(CopyError::Docker),
                None => copy_remaining(cx, &save, receiver.bytes, to),
            }
        })
    }

    /// Passes the archive to a function, which reads it to its end. It shares the read with the
    /// nodes.
    pub(crate) fn read<T: Send>(
        &self,
        cx: &Cx,
        save: impl Fn() -> Option<Command> + Sync,
        read: impl FnOnce(PipeReader) -> T + Send,
    ) -> Result<T, CopyError> {
        let (reader, mut writer) = io::pipe().map_err(|_| CopyError::Node)?;
        thread::scope(|scope| {
            let reading = scope.spawn(|| read(reader));
            let copied = self.copy(cx, save, &mut writer);
            drop(writer);
            let value = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
            match copied {
                Err(CopyError::Docker(failure)) => Err(CopyError::Docker(failure)),
                // A reader that does not read to the end knows why.
                Ok(()) | Err(CopyError::Node) => Ok(value),
            }
        })
    }

    /// Joins the next read. Returns whether this is the first node, which has to run it.
    fn join(&self, subscriber: Subscriber) -> bool {
        let mut open = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = open.is_none();
        open.get_or_insert_default().push(subscriber);
        is_first
    }

    fn has_all_nodes(&self) -> bool {
        let open = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map_or(0, Vec::len) >= self.expected_nodes.load(Ordering::SeqCst)
    }

    /// Ends the time to join. Nodes that come later start another read.
    fn close(&self) -> Vec<Subscriber> {
        let mut open = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        open.take().unwrap_or_default()
    }

    fn read_and_broadcast(&self, cx: &Cx, save: &impl Fn() -> Option<Command>) {
        let started = Instant::now();
        let window =
            if self.has_read.swap(true, Ordering::SeqCst) { Duration::ZERO } else { JOIN_WINDOW };
        let mut subscribers = None;
        let share = |mut archive| {
            // Docker may need seconds before it writes the first byte.
            let mut first = read_chunk(&mut archive);
            while !self.has_all_nodes() && started.elapsed() < window {
                thread::sleep(POLL_INTERVAL);
            }
            let subscribers = subscribers.insert(self.close());
            while let Some(chunk) = first.take().or_else(|| read_chunk(&mut archive)) {
                broadcast(subscribers, &Chunk::Bytes(chunk));
                if subscribers.is_empty() {
                    break;
                }
            }
        };
        // There is only no command if there is no current directory.
        let Some(command) = save() else { return drop(self.close()) };
        let end = command.read_with(cx, share);
        // If they were taken, nodes that have joined since wait for another read.
        finish_all(subscribers.unwrap_or_else(|| self.close()), &Chunk::End(end));
    }
}

fn read_chunk(archive: &mut impl Read) -> Option<Arc<[u8]>> {
    let mut chunk = Vec::with_capacity(CHUNK_SIZE);
    archive.take(CHUNK_SIZE as u64).read_to_end(&mut chunk).ok()?;
    (!chunk.is_empty()).then(|| chunk.into())
}

/// Copies the archive from a separate read, without the bytes that were already copied.
fn copy_remaining(
    cx: &Cx,
    save: &impl Fn() -> Option<Command>,
    copied: usize,
    to: &mut (impl Write + Send),
) -> Result<(), CopyError> {
    let rest = |mut archive| -> io::Result<()> {
        io::copy(&mut Read::take(&mut archive, copied as u64), &mut io::sink())?;
        while let Some(chunk) = read_chunk(&mut archive) {
            to.write_all(&chunk)?;
        }
        Ok(())
    };
    match save().ok_or(CopyError::Node)?.read_with(cx, rest) {
        Ok(written) => written.map_err(|_| CopyError::Node),
        Err(failure) => Err(CopyError::Docker(failure)),
    }
}

/// The sending end of a node's queue.
struct Subscriber {
    queue: SyncSender<Chunk>,
    /// How many chunks were sent.
    sent: usize,
    /// How many of them the node has received.
    received: Arc<AtomicUsize>,
    /// How long the other nodes have waited for this one.
    delay: Duration,
}

/// The receiving end of a node's queue.
struct Receiver {
    queue: mpsc::Receiver<Chunk>,
    received: Arc<AtomicUsize>,
    /// How many bytes have been copied.
    bytes: usize,
}

fn subscription() -> (Subscriber, Receiver) {
    let (sender, receiver) = sync_channel(QUEUED_CHUNKS);
    let count = Arc::new(AtomicUsize::new(0));
    let subscriber =
        Subscriber { queue: sender, sent: 0, received: count.clone(), delay: Duration::ZERO };
    (subscriber, Receiver { queue: receiver, received: count, bytes: 0 })
}

impl Subscriber {
    fn is_empty(&self) -> bool {
        self.sent == self.received.load(Ordering::SeqCst)
    }

    /// Sends a chunk unless the queue is full. Returns true if the node is disconnected.
    fn try_send(&mut self, chunk: &Chunk) -> bool {
        match self.queue.try_send(chunk.clone()) {
            Err(TrySendError::Full(_)) => return false,
            Ok(()) => self.sent += 1,
            // So it is never empty, and no other node is dropped because of it.
            Err(TrySendError::Disconnected(_)) => self.sent = usize::MAX,
        }
        true
    }

    fn is_disconnected(&self) -> bool {
        self.sent == usize::MAX
    }
}

impl Receiver {
    /// Copies chunks. Returns the result of `docker save`, or `None` if the reader has dropped
    /// this node.
    fn copy_to(&mut self, to: &mut impl Write) -> Result<Option<Result<(), Failure>>, CopyError> {
        while let Ok(chunk) = self.queue.recv() {
            self.received.fetch_add(1, Ordering::SeqCst);
            match chunk {
                Chunk::Bytes(bytes) => {
                    to.write_all(&bytes).map_err(|_| CopyError::Node)?;
                    self.bytes += bytes.len();
                }
                Chunk::End(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }
}

/// Sends a chunk to all subscribers. Drops those that have delayed the others for too long.
fn broadcast(subscribers: &mut Vec<Subscriber>, chunk: &Chunk) {
    let mut pending: Vec<Subscriber> = std::mem::take(subscribers);
    loop {
        let (done, full): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .map(|mut subscriber| (subscriber.try_send(chunk), subscriber))
            .partition(|(done, _)| *done);
        subscribers.extend(
            done.into_iter()
                .map(|(_, subscriber)| subscriber)
                .filter(|subscriber| !subscriber.is_disconnected()),
        );
        pending = full.into_iter().map(|(_, subscriber)| subscriber).collect();
        if pending.is_empty() {
            return;
        }
        let started = Instant::now();
        thread::sleep(POLL_INTERVAL);
        if subscribers.iter().any(Subscriber::is_empty) {
            for subscriber in &mut pending {
                subscriber.delay += started.elapsed();
            }
            pending.retain(|subscriber| subscriber.delay < MAX_DELAY);
        }
    }
}

/// Sends the last chunk to all subscribers.
fn finish_all(mut subscribers: Vec<Subscriber>, end: &Chunk) {
    loop {
        subscribers.retain_mut(|subscriber| !subscriber.try_send(end));
        if subscribers.is_empty() {
            return;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::{Shell, cmd};

    const SIZE: usize = 24 << 20;

    /// A node that reads slowly.
    struct Node {
        pause: Duration,
        got: Vec<u8>,
        limit: usize,
    }

    impl Node {
        fn new(pause: u64) -> Self {
            Self { pause: Duration::from_millis(pause), got: Vec::new(), limit: usize::MAX }
        }
    }

    impl Write for Node {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            thread::sleep(self.pause);
            if self.got.len() >= self.limit {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.got.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Copies the output of a command to all nodes. Also returns how often it ran.
    fn copy(nodes: &mut [Node], command: &str) -> (Vec<Result<(), CopyError>>, usize) {
        let events = |_| ();
        let (cx, shared_save, runs) =
            (Cx::new(&events), SharedSave::default(), AtomicUsize::new(0));
        shared_save.expect_nodes(nodes.len());
        let save = || {
            runs.fetch_add(1, Ordering::SeqCst);
            let sh = Shell::new().ok()?;
            Some(Command::new(cmd!(sh, "sh -c {command}")))
        };
        let results = thread::scope(|scope| {
            let copies: Vec<_> = nodes
                .iter_mut()
                .map(|node| scope.spawn(|| shared_save.copy(&cx, save, node)))
                .collect();
            copies.into_iter().map(|copy| copy.join().unwrap()).collect()
        });
        (results, runs.into_inner())
    }

    fn counting() -> String {
        format!("seq 1 9999999 | head -c {SIZE}")
    }

    #[test]
    fn save_runs_once_for_several_nodes() {
        let mut nodes = [Node::new(0), Node::new(1), Node::new(2)];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(runs, 1);
        assert!(nodes.iter().all(|node| node.got == nodes[0].got && node.got.len() == SIZE));
    }

    #[test]
    fn reader_of_layers_shares_save_with_node() {
        let events = |_| ();
        let (cx, shared_save, runs) =
            (Cx::new(&events), SharedSave::default(), AtomicUsize::new(0));
        shared_save.expect_nodes(2);
        let save = || {
            runs.fetch_add(1, Ordering::SeqCst);
            let (sh, command) = (Shell::new().ok()?, counting());
            Some(Command::new(cmd!(sh, "sh -c {command}")))
        };
        let mut node = Node::new(0);
        // The first one stops early, the second one reads everything.
        let mut start = [0; 5];
        let read_start = |mut archive: PipeReader| archive.read_exact(&mut start);
        let mut copied = Vec::new();
        thread::scope(|scope| {
            let whole = scope.spawn(|| shared_save.copy(&cx, save, &mut node));
            assert!(matches!(shared_save.read(&cx, save, read_start), Ok(Ok(()))));
            assert!(whole.join().unwrap().is_ok());
        });
        assert_eq!((&start, runs.swap(0, Ordering::SeqCst)), (b"1\n2\n3", 1));
        let read = |mut archive: PipeReader| archive.read_to_end(&mut copied);
        shared_save.expect_nodes(1);
        assert!(matches!(shared_save.read(&cx, save, read), Ok(Ok(SIZE))));
        assert!(copied == node.got && runs.into_inner() == 1);
    }

    #[test]
    fn node_that_tries_again_waits_for_no_other() {
        let events = |_| ();
        let (cx, shared_save) = (Cx::new(&events), SharedSave::default());
        shared_save.expect_nodes(2);
        let save = || {
            let sh = Shell::new().ok()?;
            Some(Command::new(cmd!(sh, "echo archive")))
        };
        let mut nodes = [Node::new(0), Node::new(0)];
        thread::scope(|scope| {
            for node in &mut nodes {
                scope.spawn(|| assert!(shared_save.copy(&cx, save, node).is_ok()));
            }
        });
        let (mut again, started) = (Node::new(0), Instant::now());
        assert!(shared_save.copy(&cx, save, &mut again).is_ok());
        assert!(started.elapsed() < JOIN_WINDOW / 2 && again.got == nodes[0].got);
    }

    #[test]
    fn slow_node_continues_with_separate_save() {
        let mut nodes = [Node::new(0), Node::new(50)];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(runs, 2);
        assert!(nodes[0].got == nodes[1].got && nodes[0].got.len() == SIZE);
    }

    #[test]
    fn disconnected_node_does_not_affect_other_nodes() {
        let mut nodes = [Node::new(0), Node { limit: 1 << 20, ..Node::new(0) }];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(results[0].is_ok() && matches!(results[1], Err(CopyError::Node)));
        assert_eq!((runs, nodes[0].got.len()), (1, SIZE));
    }

    #[test]
    fn save_ends_when_only_node_disconnects() {
        let mut nodes = [Node { limit: 1 << 20, ..Node::new(0) }];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(matches!(results[0], Err(CopyError::Node)) && runs == 1);
    }

    #[test]
    fn rejoined_node_is_not_finished_by_previous_save() {
        let events = |_| ();
        let (cx, shared_save, runs) =
            (Cx::new(&events), SharedSave::default(), AtomicUsize::new(0));
        shared_save.expect_nodes(2);
        let save = || {
            // The second read has no output yet when the first one ends.
            let pause = ["0.2", "2"][runs.fetch_add(1, Ordering::SeqCst).min(1)];
            let (sh, command) = (Shell::new().ok()?, format!("sleep {pause}; {}", counting()));
            Some(Command::new(cmd!(sh, "sh -c {command}")))
        };
        let (mut steady, mut rejoined) = (Node::new(1), Node::new(0));
        thread::scope(|scope| {
            scope.spawn(|| shared_save.copy(&cx, save, &mut steady));
            while runs.load(Ordering::SeqCst) == 0 {
                thread::sleep(POLL_INTERVAL);
            }
            let mut leaving = Node { limit: 1 << 20, ..Node::new(0) };
            assert!(matches!(shared_save.copy(&cx, save, &mut leaving), Err(CopyError::Node)));
            assert!(shared_save.copy(&cx, save, &mut rejoined).is_ok());
        });
        assert!(rejoined.got.len() == SIZE && rejoined.got == steady.got);
    }

    #[test]
    fn failed_save_fails_for_all_nodes() {
        let mut nodes = [Node::new(0), Node::new(0)];
        let (results, _) = copy(&mut nodes, "echo some; echo gone >&2; exit 1");
        let has_stderr = |result: &Result<(), CopyError>| matches!(result, Err(CopyError::Docker(failure)) if failure.stderr.contains("gone"));
        assert!(results.iter().all(has_stderr));
    }
}
