//! Decides which tests use the lab at the same time.
//!
//! A test claims the parts of the lab that it uses or breaks, and waits until no
//! running test conflicts with the claim. A test that breaks a part starts before
//! the tests that only use it, so that it does not run alone at the end.

use std::panic;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::api;
use crate::failure_report;
use crate::images;
use crate::lab::wait_for;
use crate::test_service::NODES;
use crate::times::Times;

/// A part of the lab that one test can break for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The pods of a node: its kubelet, containerd, images and network.
    Pods(&'static str),
    /// The connection to a node: SSH, sudo, `ctr` and the responses of its containerd.
    Access(&'static str),
    /// The list of nodes, with their labels and taints.
    NodeList,
    /// The CPU and memory of the nodes that is available for requests.
    Capacity,
    /// `PersistentVolume` and `StorageClass` objects, which belong to no namespace.
    Volumes,
    /// The controllers of the cluster.
    Controllers,
    /// The port of the second API server.
    SecondApiServer,
    /// The machine that is not in the cluster.
    Spare,
    /// The paths on `node-1` where a second containerd is installed.
    SecondContainerd,
}

/// The parts of the lab that a test uses, and those that it breaks temporarily.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim {
    uses: Vec<Part>,
    breaks: Vec<Part>,
}

impl Claim {
    /// Pods on both nodes.
    pub(crate) fn both_nodes() -> Self {
        NODES.into_iter().fold(Self::access(), |claim, node| claim.uses(Part::Pods(node)))
    }

    /// Pods on one node only.
    pub(crate) fn node(node: &'static str) -> Self {
        Self::access().uses(Part::Pods(node))
    }

    /// No pods, only connections to both nodes.
    pub(crate) fn access() -> Self {
        let uses = NODES.map(Part::Access).into_iter().chain([Part::Controllers]).collect();
        Self { uses, breaks: Vec::new() }
    }

    pub(crate) fn uses(mut self, part: Part) -> Self {
        self.uses.push(part);
        self
    }

    pub(crate) fn breaks(mut self, part: Part) -> Self {
        self.uses.retain(|used| *used != part);
        self.breaks.push(part);
        self
    }

    /// One node, which the test breaks completely; the other one is not used.
    pub(crate) fn broken_node(node: &'static str) -> Self {
        Self::default().uses(Part::Controllers).breaks_node(node)
    }

    /// Breaks a node completely.
    pub(crate) fn breaks_node(self, node: &'static str) -> Self {
        self.breaks(Part::Access(node)).breaks(Part::Pods(node))
    }

    /// A second containerd on `node-1`, with a Node object that refers to it.
    pub(crate) fn second_containerd() -> Self {
        Self::access().breaks(Part::SecondContainerd).breaks(Part::NodeList)
    }

    /// Returns the priority: tests that block most others start first.
    fn rank(&self) -> u8 {
        let rank = |part: &Part| match part {
            Part::Access(_) | Part::Controllers => 0,
            Part::Pods(_) => 1,
            _ => 2,
        };
        self.breaks.iter().map(rank).min().unwrap_or(3)
    }

    fn conflicts_with(&self, other: &Self) -> bool {
        let breaks = |one: &Self, two: &Self| {
            one.breaks.iter().any(|part| two.uses.contains(part) || two.breaks.contains(part))
        };
        breaks(self, other) || breaks(other, self)
    }
}

/// Permission to use the lab as claimed, until it is dropped.
pub(crate) struct Permit {
    id: u64,
    times: Times,
}

/// A waiting or running test.
struct Test {
    id: u64,
    /// The unique name of its namespace and images.
    name: &'static str,
    claim: Claim,
}

struct Tests {
    waiting: Vec<Test>,
    running: Vec<Test>,
    next_id: u64,
    first: Option<Instant>,
}

static TESTS: Mutex<Tests> =
    Mutex::new(Tests { waiting: Vec::new(), running: Vec::new(), next_id: 0, first: None });
static CHANGED: Condvar = Condvar::new();

/// How long the first tests wait, so that tests that break a part can start before them.
const START_DELAY: Duration = Duration::from_millis(300);

/// The number of tests that run at the same time. It exceeds the number of processors,
/// because most tests wait for the cluster.
fn slots() -> usize {
    let set = std::env::var("KDEV_TEST_SLOTS").ok().and_then(|slots| slots.parse().ok());
    set.unwrap_or(8)
}

impl Permit {
    /// Waits until the claim conflicts with no running test.
    pub(crate) fn acquire(name: &'static str, claim: Claim) -> Self {
        let started = Instant::now();
        failure_report::set_namespace(name);
        let breaks = claim.breaks.iter().map(|part| format!("{part:?}")).collect::<Vec<_>>();
        let mut tests = lock();
        let first = *tests.first.get_or_insert(started);
        let id = tests.next_id;
        tests.next_id += 1;
        tests.waiting.push(Test { id, name, claim });
        // The other tests may now be behind this one, and must check again.
        tests.waiting.sort_by_key(|test| (test.claim.rank(), test.id));
        drop(tests);
        thread::sleep(START_DELAY.saturating_sub(first.elapsed()));
        let mut tests = lock();
        while !tests.try_start(id) {
            tests = CHANGED.wait(tests).unwrap_or_else(PoisonError::into_inner);
        }
        drop(tests);
        CHANGED.notify_all();
        Self { id, times: Times::start(started.elapsed(), breaks.join(" ")) }
    }

    /// Fails a test that breaks a part without a claim.
    #[track_caller]
    pub(crate) fn assert_may_break(&self, part: Part) {
        let tests = lock();
        let own = tests.running.iter().find(|test| test.id == self.id).unwrap();
        assert!(own.claim.breaks.contains(&part), "the test does not claim to break {part:?}");
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let broken = lock().running.iter().find(|test| test.id == self.id).map(Test::broken_nodes);
        broken.into_iter().flatten().for_each(wait_for_node);
        let mut tests = lock();
        tests.running.retain(|test| test.id != self.id);
        let is_last = tests.running.is_empty() && tests.waiting.is_empty();
        drop(tests);
        CHANGED.notify_all();
        if is_last {
            images::remove_queued();
        }
        self.times.end();
    }
}

impl Test {
    fn broken_nodes(&self) -> Vec<&'static str> {
        let node = |part: &Part| match part {
            Part::Pods(node) => Some(*node),
            _ => None,
        };
        self.claim.breaks.iter().filter_map(node).collect()
    }
}

/// Waits until a node accepts pods again: its taints are removed some time after it is
/// ready. A failed test may leave the node broken, and must not panic a second time.
fn wait_for_node(node: &'static str) {
    let recovered = || wait_for("the node to recover", || check_schedulable(node));
    let _ = panic::catch_unwind(recovered);
}

fn check_schedulable(node: &str) -> Option<()> {
    let node = api::get("", &["node", node]);
    let conditions = node["status"]["conditions"].as_array()?;
    let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let spec = &node["spec"];
    (is_ready && spec["taints"].is_null() && spec["unschedulable"].is_null()).then_some(())
}

fn lock() -> MutexGuard<'static, Tests> {
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tests {
    /// Moves a test to the running tests if it can start.
    fn try_start(&mut self, id: u64) -> bool {
        let startable = select_startable(&self.running, &self.waiting, slots());
        if !startable.contains(&id) {
            return false;
        }
        let at = self.waiting.iter().position(|test| test.id == id).unwrap();
        let test = self.waiting.remove(at);
        let is_named = |other: &Test| other.name == test.name;
        assert!(!self.running.iter().any(is_named), "two tests have the name `{}`", test.name);
        self.running.push(test);
        true
    }
}

/// Returns the tests that can start, because they conflict with no running test. The first
/// waiting test that breaks a part blocks the later tests that it conflicts with; otherwise
/// one of them would always be running.
fn select_startable(running: &[Test], waiting: &[Test], slots: usize) -> Vec<u64> {
    let mut started: Vec<&Test> = Vec::new();
    let mut held: Option<&Test> = None;
    for test in waiting {
        let conflicts = |other: &&Test| other.claim.conflicts_with(&test.claim);
        if running.iter().chain(started.iter().copied()).any(|other| conflicts(&other)) {
            held = held.or(Some(test).filter(|test| !test.claim.breaks.is_empty()));
        } else if running.len() + started.len() < slots && !held.iter().any(conflicts) {
            started.push(test);
        }
    }
    started.iter().map(|test| test.id).collect()
}

#[test]
fn startable_tests_do_not_conflict() {
    let (one, two) = (|| Claim::node("node-1"), || Claim::node("node-2"));
    let both = Claim::both_nodes;
    let breaks = |node| Claim::access().breaks(Part::Pods(node));
    let table = [
        ("tests that only use the lab", vec![], vec![both(), one(), both()], 3, vec![0, 1, 2]),
        ("no more than there are slots", vec![both()], vec![both(), one()], 2, vec![0]),
        ("a broken node", vec![breaks("node-2")], vec![both(), one()], 8, vec![1]),
        ("the first to break", vec![both()], vec![breaks("node-2"), both(), one()], 8, vec![2]),
        ("a later one", vec![one()], vec![breaks("node-1"), breaks("node-2"), two()], 8, vec![1]),
        (
            "both nodes",
            vec![breaks("node-1")],
            vec![breaks("node-2"), breaks("node-1")],
            8,
            vec![0],
        ),
    ];
    for (what, running, waiting, slots, expected) in table {
        let tests = |claims: Vec<Claim>| -> Vec<Test> {
            let test = |(id, claim)| Test { id, name: "", claim };
            (0..).zip(claims).map(test).collect()
        };
        assert_eq!(select_startable(&tests(running), &tests(waiting), slots), expected, "{what}");
    }
}
