//! Docker's archive of an image, read once for all nodes that want it whole.
//!
//! Each node has a short queue. The reader waits where one is full, so that
//! memory stays bounded; but a node that keeps the others waiting for long is
//! let go, and reads the rest from an archive of its own: docker writes the same
//! bytes again. That they are the same, the proof on the node shows.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cx::Cx;
use crate::process::{Failure, Task};

/// What is read at once, and how much of that may wait for a node.
const CHUNK: usize = 256 << 10;
const QUEUE: usize = 32;
/// How long the first node waits for the others to join.
const GATHER: Duration = Duration::from_millis(200);
/// How long a node may keep others waiting, all in all.
const TOLERANCE: Duration = Duration::from_secs(2);
/// The pause between two tries to put something into a full queue.
const PAUSE: Duration = Duration::from_millis(1);

/// The read that nodes can still join, if there is one.
#[derive(Default)]
pub(crate) struct Whole {
    open: Mutex<Option<Vec<Seat>>>,
    /// How many nodes may want it.
    nodes: AtomicUsize,
}

/// Why a copy is not whole.
pub(crate) enum Cut {
    /// docker failed.
    Docker(Failure),
    /// The node has gone.
    Node,
}

#[derive(Clone)]
enum Piece {
    Bytes(Arc<[u8]>),
    /// There will be no more.
    End(Result<(), Failure>),
}

impl Whole {
    /// Says for how many nodes it may be.
    pub(crate) fn expect(&self, nodes: usize) {
        self.nodes.store(nodes, Ordering::SeqCst);
    }

    /// Copies the archive that `save` gives to a node. It is read once for all
    /// that ask for it at about the same time.
    pub(crate) fn copy(
        &self,
        cx: &Cx,
        save: impl Fn() -> Option<Task> + Sync,
        to: &mut (impl Write + Send),
    ) -> Result<(), Cut> {
        let (seat, place) = seat();
        let leads = self.join(seat);
        thread::scope(|scope| {
            // The reader must not wait for this node once it has gone.
            let mut place = place;
            if leads {
                scope.spawn(|| self.lead(cx, &save));
            }
            match place.drain(to)? {
                Some(end) => end.map_err(Cut::Docker),
                None => alone(cx, &save, place.bytes, to),
            }
        })
    }

    /// Whether nobody else leads.
    fn join(&self, seat: Seat) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let leads = open.is_none();
        open.get_or_insert_default().push(seat);
        leads
    }

    fn is_complete(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map_or(0, Vec::len) >= self.nodes.load(Ordering::SeqCst)
    }

    /// Who comes later leads a read of its own.
    fn close(&self) -> Vec<Seat> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.take().unwrap_or_default()
    }

    fn lead(&self, cx: &Cx, save: &impl Fn() -> Option<Task>) {
        let begun = Instant::now();
        let mut taken = None;
        let share = |mut archive| {
            // docker may need seconds before its first byte.
            let mut first = next(&mut archive);
            while !self.is_complete() && begun.elapsed() < GATHER {
                thread::sleep(PAUSE);
            }
            let seats = taken.insert(self.close());
            while let Some(chunk) = first.take().or_else(|| next(&mut archive)) {
                give(seats, &Piece::Bytes(chunk));
                if seats.is_empty() {
                    break;
                }
            }
        };
        // Only where there is no folder to be in, there is no command.
        let Some(task) = save() else { return drop(self.close()) };
        let end = task.read_with(cx, share);
        // Once they were taken, who is there waits for another read.
        end_all(taken.unwrap_or_else(|| self.close()), &Piece::End(end));
    }
}

fn next(archive: &mut impl Read) -> Option<Arc<[u8]>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    archive.take(CHUNK as u64).read_to_end(&mut chunk).ok()?;
    (!chunk.is_empty()).then(|| chunk.into())
}

/// The whole archive but for what has been copied already.
fn alone(
    cx: &Cx,
    save: &impl Fn() -> Option<Task>,
    copied: usize,
    to: &mut (impl Write + Send),
) -> Result<(), Cut> {
    let rest = |mut archive| -> io::Result<()> {
        io::copy(&mut Read::take(&mut archive, copied as u64), &mut io::sink())?;
        while let Some(chunk) = next(&mut archive) {
            to.write_all(&chunk)?;
        }
        Ok(())
    };
    match save().ok_or(Cut::Node)?.read_with(cx, rest) {
        Ok(written) => written.map_err(|_| Cut::Node),
        Err(failure) => Err(Cut::Docker(failure)),
    }
}

/// A node's queue, as the reader sees it.
struct Seat {
    queue: SyncSender<Piece>,
    /// Pieces that were put in, and that were taken out.
    given: usize,
    taken: Arc<AtomicUsize>,
    /// How long others have waited for this one.
    awaited: Duration,
}

/// The same as the node sees it.
struct Place {
    queue: Receiver<Piece>,
    taken: Arc<AtomicUsize>,
    /// What has been copied.
    bytes: usize,
}

fn seat() -> (Seat, Place) {
    let (send, receive) = sync_channel(QUEUE);
    let taken = Arc::new(AtomicUsize::new(0));
    let seat = Seat { queue: send, given: 0, taken: taken.clone(), awaited: Duration::ZERO };
    (seat, Place { queue: receive, taken, bytes: 0 })
}

impl Seat {
    fn is_empty(&self) -> bool {
        self.given == self.taken.load(Ordering::SeqCst)
    }

    /// Whether there was room for it. A node that has gone has room for anything.
    fn offer(&mut self, piece: &Piece) -> bool {
        match self.queue.try_send(piece.clone()) {
            Err(TrySendError::Full(_)) => return false,
            Ok(()) => self.given += 1,
            // Never empty: nobody is waited for on its account.
            Err(TrySendError::Disconnected(_)) => self.given = usize::MAX,
        }
        true
    }

    fn has_gone(&self) -> bool {
        self.given == usize::MAX
    }
}

impl Place {
    /// Copies until the end, which it gives, or until it is let go.
    fn drain(&mut self, to: &mut impl Write) -> Result<Option<Result<(), Failure>>, Cut> {
        while let Ok(piece) = self.queue.recv() {
            self.taken.fetch_add(1, Ordering::SeqCst);
            match piece {
                Piece::Bytes(bytes) => {
                    to.write_all(&bytes).map_err(|_| Cut::Node)?;
                    self.bytes += bytes.len();
                }
                Piece::End(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }
}

/// Puts a piece into each queue. Who has kept others waiting for too long is let
/// go.
fn give(seats: &mut Vec<Seat>, piece: &Piece) {
    let mut owed: Vec<Seat> = std::mem::take(seats);
    loop {
        let (done, full): (Vec<_>, Vec<_>) =
            owed.into_iter().map(|mut seat| (seat.offer(piece), seat)).partition(|(done, _)| *done);
        seats.extend(done.into_iter().map(|(_, seat)| seat).filter(|seat| !seat.has_gone()));
        owed = full.into_iter().map(|(_, seat)| seat).collect();
        if owed.is_empty() {
            return;
        }
        let begun = Instant::now();
        thread::sleep(PAUSE);
        if seats.iter().any(Seat::is_empty) {
            for seat in &mut owed {
                seat.awaited += begun.elapsed();
            }
            owed.retain(|seat| seat.awaited < TOLERANCE);
        }
    }
}

/// Nobody waits for anybody any more.
fn end_all(mut seats: Vec<Seat>, end: &Piece) {
    loop {
        seats.retain_mut(|seat| !seat.offer(end));
        if seats.is_empty() {
            return;
        }
        thread::sleep(PAUSE);
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
    fn copy(nodes: &mut [Node], command: &str) -> (Vec<Result<(), Cut>>, usize) {
        let events = |_| ();
        let (cx, whole, runs) = (Cx::new(&events), Whole::default(), AtomicUsize::new(0));
        whole.expect(nodes.len());
        let save = || {
            runs.fetch_add(1, Ordering::SeqCst);
            let sh = Shell::new().ok()?;
            Some(Task::new(cmd!(sh, "sh -c {command}")))
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
        assert!(results[0].is_ok() && matches!(results[1], Err(Cut::Node)));
        assert_eq!((runs, nodes[0].got.len()), (1, SIZE));
    }

    #[test]
    fn a_node_that_goes_ends_what_was_for_it_alone() {
        let mut nodes = [Node { limit: 1 << 20, ..Node::new(0) }];
        let (results, runs) = copy(&mut nodes, &counting());
        assert!(matches!(results[0], Err(Cut::Node)) && runs == 1);
    }

    #[test]
    fn a_node_that_comes_again_is_not_ended_with_the_read_that_it_left() {
        let events = |_| ();
        let (cx, whole, runs) = (Cx::new(&events), Whole::default(), AtomicUsize::new(0));
        whole.expect(2);
        let save = || {
            // The second read has not begun when the first one ends.
            let pause = ["0.2", "2"][runs.fetch_add(1, Ordering::SeqCst).min(1)];
            let (sh, command) = (Shell::new().ok()?, format!("sleep {pause}; {}", counting()));
            Some(Task::new(cmd!(sh, "sh -c {command}")))
        };
        let (mut stays, mut again) = (Node::new(1), Node::new(0));
        thread::scope(|scope| {
            scope.spawn(|| whole.copy(&cx, save, &mut stays));
            while runs.load(Ordering::SeqCst) == 0 {
                thread::sleep(PAUSE);
            }
            let mut goes = Node { limit: 1 << 20, ..Node::new(0) };
            assert!(matches!(whole.copy(&cx, save, &mut goes), Err(Cut::Node)));
            assert!(whole.copy(&cx, save, &mut again).is_ok());
        });
        assert!(again.got.len() == SIZE && again.got == stays.got);
    }

    #[test]
    fn a_docker_that_fails_fails_for_all() {
        let mut nodes = [Node::new(0), Node::new(0)];
        let (results, _) = copy(&mut nodes, "echo some; echo gone >&2; exit 1");
        let words = |result: &Result<(), Cut>| matches!(result, Err(Cut::Docker(failure)) if failure.stderr.contains("gone"));
        assert!(results.iter().all(words));
    }
}
