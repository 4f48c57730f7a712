//! Docker's archive of an image, read once for all nodes that want it whole.
//!
//! Each node has a short queue. The reader waits where one is full, so that
//! memory stays bounded; but a node that keeps the others waiting for long is
//! let go, and reads the rest from an archive of its own: docker writes the same
//! bytes again. That they are the same, the proof on the node shows.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cx::Cx;
use crate::process::{Failure, Command};

/// What is read at once, and how much of that may wait for a node.
const CHUNK_SIZE: usize = 256 << 10;
const QUEUED_CHUNKS: usize = 32;
/// How long the first node waits for the others to join.
const JOIN_WINDOW: Duration = Duration::from_millis(200);
/// How long a node may keep others waiting, all in all.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// The pause between two tries to put something into a full queue.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The read that nodes can still join, if there is one.
#[derive(Default)]
pub(crate) struct SharedSave {
    subscribers: Mutex<Option<Vec<Subscriber>>>,
    /// How many nodes may want it.
    expected_nodes: AtomicUsize,
}

/// Why a copy is not whole.
pub(crate) enum CopyError {
    /// docker failed.
    Docker(Failure),
    /// The node has gone.
    Node,
}

#[derive(Clone)]
enum Chunk {
    Bytes(Arc<[u8]>),
    /// There will be no more.
    End(Result<(), Failure>),
}

impl SharedSave {
    /// Says for how many nodes it may be.
    pub(crate) fn expect_nodes(&self, nodes: usize) {
        self.expected_nodes.store(nodes, Ordering::SeqCst);
    }

    /// Copies the archive that `save` gives to a node. It is read once for all
    /// that ask for it at about the same time.
    pub(crate) fn copy(
        &self,
        cx: &Cx,
        save: impl Fn() -> Option<Command> + Sync,
        to: &mut (impl Write + Send),
    ) -> Result<(), CopyError> {
        let (seat, place) = subscription();
        let leads = self.join(seat);
        thread::scope(|scope| {
            // The reader must not wait for this node once it has gone.
            let mut place = place;
            if leads {
                scope.spawn(|| self.read_and_broadcast(cx, &save));
            }
            match place.copy_to(to)? {
                Some(end) => end.map_err(CopyError::Docker),
                None => copy_remaining(cx, &save, place.bytes, to),
            }
        })
    }

    /// Whether nobody else leads.
    fn join(&self, seat: Subscriber) -> bool {
        let mut open = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let leads = open.is_none();
        open.get_or_insert_default().push(seat);
        leads
    }

    fn has_all_nodes(&self) -> bool {
        let open = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map_or(0, Vec::len) >= self.expected_nodes.load(Ordering::SeqCst)
    }

    /// Who comes later leads a read of its own.
    fn close(&self) -> Vec<Subscriber> {
        let mut open = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        open.take().unwrap_or_default()
    }

    fn read_and_broadcast(&self, cx: &Cx, save: &impl Fn() -> Option<Command>) {
        let begun = Instant::now();
        let mut taken = None;
        let share = |mut archive| {
            // docker may need seconds before its first byte.
            let mut first = read_chunk(&mut archive);
            while !self.has_all_nodes() && begun.elapsed() < JOIN_WINDOW {
                thread::sleep(POLL_INTERVAL);
            }
            let seats = taken.insert(self.close());
            while let Some(chunk) = first.take().or_else(|| read_chunk(&mut archive)) {
                broadcast(seats, &Chunk::Bytes(chunk));
                if seats.is_empty() {
                    break;
                }
            }
        };
        // Only where there is no folder to be in, there is no command.
        let Some(task) = save() else { return drop(self.close()) };
        let end = task.read_with(cx, share);
        // Once they were taken, who is there waits for another read.
        finish_all(taken.unwrap_or_else(|| self.close()), &Chunk::End(end));
    }
}

fn read_chunk(archive: &mut impl Read) -> Option<Arc<[u8]>> {
    let mut chunk = Vec::with_capacity(CHUNK_SIZE);
    archive.take(CHUNK_SIZE as u64).read_to_end(&mut chunk).ok()?;
    (!chunk.is_empty()).then(|| chunk.into())
}

/// The whole archive but for what has been copied already.
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

/// A node's queue, as the reader sees it.
struct Subscriber {
    queue: SyncSender<Chunk>,
    /// Pieces that were put in, and that were taken out.
    sent: usize,
    received: Arc<AtomicUsize>,
    /// How long others have waited for this one.
    delay: Duration,
}

/// The same as the node sees it.
struct Receiver {
    queue: mpsc::Receiver<Chunk>,
    received: Arc<AtomicUsize>,
    /// What has been copied.
    bytes: usize,
}

fn subscription() -> (Subscriber, Receiver) {
    let (send, receive) = sync_channel(QUEUED_CHUNKS);
    let taken = Arc::new(AtomicUsize::new(0));
    let seat = Subscriber { queue: send, sent: 0, received: taken.clone(), delay: Duration::ZERO };
    (seat, Receiver { queue: receive, received: taken, bytes: 0 })
}

impl Subscriber {
    fn is_empty(&self) -> bool {
        self.sent == self.received.load(Ordering::SeqCst)
    }

    /// Whether there was room for it. A node that has gone has room for anything.
    fn try_send(&mut self, piece: &Chunk) -> bool {
        match self.queue.try_send(piece.clone()) {
            Err(TrySendError::Full(_)) => return false,
            Ok(()) => self.sent += 1,
            // Never empty: nobody is waited for on its account.
            Err(TrySendError::Disconnected(_)) => self.sent = usize::MAX,
        }
        true
    }

    fn is_disconnected(&self) -> bool {
        self.sent == usize::MAX
    }
}

impl Receiver {
    /// Copies until the end, which it gives, or until it is let go.
    fn copy_to(&mut self, to: &mut impl Write) -> Result<Option<Result<(), Failure>>, CopyError> {
        while let Ok(piece) = self.queue.recv() {
            self.received.fetch_add(1, Ordering::SeqCst);
            match piece {
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

/// Puts a piece into each queue. Who has kept others waiting for too long is let
/// go.
fn broadcast(seats: &mut Vec<Subscriber>, piece: &Chunk) {
    let mut owed: Vec<Subscriber> = std::mem::take(seats);
    loop {
        let (done, full): (Vec<_>, Vec<_>) =
            owed.into_iter().map(|mut seat| (seat.try_send(piece), seat)).partition(|(done, _)| *done);
        seats.extend(done.into_iter().map(|(_, seat)| seat).filter(|seat| !seat.is_disconnected()));
        owed = full.into_iter().map(|(_, seat)| seat).collect();
        if owed.is_empty() {
            return;
        }
        let begun = Instant::now();
        thread::sleep(POLL_INTERVAL);
        if seats.iter().any(Subscriber::is_empty) {
            for seat in &mut owed {
                seat.delay += begun.elapsed();
            }
            owed.retain(|seat| seat.delay < MAX_DELAY);
        }
    }
}

/// Nobody waits for anybody any more.
fn finish_all(mut seats: Vec<Subscriber>, end: &Chunk) {
    loop {
        seats.retain_mut(|seat| !seat.try_send(end));
        if seats.is_empty() {
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

    /// A node's end of the link, which takes a piece only now and then.
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

    /// Copies what the command prints to each node, and tells how often it ran.
    fn copy(nodes: &mut [Node], command: &str) -> (Vec<Result<(), CopyError>>, usize) {
        let events = |_| ();
        let (cx, whole, runs) = (Cx::new(&events), SharedSave::default(), AtomicUsize::new(0));
        whole.expect_nodes(nodes.len());
        let save = || {
            runs.fetch_add(1, Ordering::SeqCst);
            let sh = Shell::new().ok()?;
            Some(Command::new(cmd!(sh, "sh -c {command}")))
        };
        let results = thread::scope(|scope| {
            let copies: Vec<_> =
                nodes.iter_mut().map(|node| scope.spawn(|| whole.copy(&cx, save, node))).collect();
            copies.into_iter().map(|copy| copy.join().unwrap()).collect()
        });
        (results, runs.into_inner())
    }

    fn counting() -> String {
        format!("seq 1 9999999 | head -c {SIZE}")
    }

    #[test]
    fn it_is_read_once_for_all() {
        let mut nodes = [Node::new(0), Node::new(1), Node::new(2)];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(runs, 1);
        assert!(nodes.iter().all(|node| node.got == nodes[0].got && node.got.len() == SIZE));
    }

    #[test]
    fn a_slow_node_goes_on_alone() {
        let mut nodes = [Node::new(0), Node::new(50)];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(runs, 2);
        assert!(nodes[0].got == nodes[1].got && nodes[0].got.len() == SIZE);
    }

    #[test]
    fn a_node_that_goes_leaves_the_others_alone() {
        let mut nodes = [Node::new(0), Node { limit: 1 << 20, ..Node::new(0) }];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(results[0].is_ok() && matches!(results[1], Err(CopyError::Node)));
        assert_eq!((runs, nodes[0].got.len()), (1, SIZE));
    }

    #[test]
    fn a_node_that_goes_ends_what_was_for_it_alone() {
        let mut nodes = [Node { limit: 1 << 20, ..Node::new(0) }];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(matches!(results[0], Err(CopyError::Node)) && runs == 1);
    }

    #[test]
    fn a_node_that_comes_again_is_not_ended_with_the_read_that_it_left() {
        let events = |_| ();
        let (cx, whole, runs) = (Cx::new(&events), SharedSave::default(), AtomicUsize::new(0));
        whole.expect_nodes(2);
        let save = || {
            // The second read has not begun when the first one ends.
            let pause = ["0.2", "2"][runs.fetch_add(1, Ordering::SeqCst).min(1)];
            let (sh, command) = (Shell::new().ok()?, format!("sleep {pause}; {}", counting()));
            Some(Command::new(cmd!(sh, "sh -c {command}")))
        };
        let (mut stays, mut again) = (Node::new(1), Node::new(0));
        thread::scope(|scope| {
            scope.spawn(|| whole.copy(&cx, save, &mut stays));
            while runs.load(Ordering::SeqCst) == 0 {
                thread::sleep(POLL_INTERVAL);
            }
            let mut goes = Node { limit: 1 << 20, ..Node::new(0) };
            assert!(matches!(whole.copy(&cx, save, &mut goes), Err(CopyError::Node)));
            assert!(whole.copy(&cx, save, &mut again).is_ok());
        });
        assert!(again.got.len() == SIZE && again.got == stays.got);
    }

    #[test]
    fn a_docker_that_fails_fails_for_all() {
        let mut nodes = [Node::new(0), Node::new(0)];
        let (results, _) = copy(&mut nodes, "echo some; echo gone >&2; exit 1");
        let words = |result: &Result<(), CopyError>| matches!(result, Err(CopyError::Docker(failure)) if failure.stderr.contains("gone"));
        assert!(results.iter().all(words));
    }
}
