//! Lost connections during a load: SSH killed at ten offsets of the stream, and a network
//! link that goes down. Also two loads at the same time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use serde_json::Value;

use crate::distributions::{LISTED_TOLERATION, ListedNode, SPARE};
use crate::exclusive::{Claim, Part};
use crate::fault_injection::{LARGE_FILE_BYTES, add_large_file, children, kill_ssh, pid};
use crate::lab::{images_on, in_node, run, stderr_text, wait_for};
use crate::test_service::{NODES, Service, deployment};
use crate::undo::Undo;

const CUTS: u64 = 10;

/// Returns a running service whose next build is large and mostly new. The cache keeps the
/// layers that Docker has pushed, so that later attempts do not wait for Docker.
fn service_with_large_next_build(name: &'static str) -> Service {
    let service = Service::new(name);
    enlarge_next_build(&service);
    service
}

fn enlarge_next_build(service: &Service) {
    service.set_page("before");
    service.up_ok();
    service.set_page("after");
    add_large_file(service);
}

/// Sends a signal to kdev and each of its `ssh` processes.
fn signal_all(child: &Child, signal: Signal) {
    let ssh = children(child).into_iter().filter(|(_, name)| name == "ssh");
    for pid in ssh.map(|(pid, _)| Pid::from_raw(pid)).chain([pid(child)]) {
        let _ = kill(pid, signal);
    }
}

/// Starts `up`, and returns after this number of bytes was sent to a node; `None` if that
/// does not happen.
fn start_until_sent(service: &Service, bytes: u64) -> Option<Child> {
    start_until_sent_to(service, "", bytes)
}

/// Like `start_until_sent`, but only for nodes whose name contains `node`.
fn start_until_sent_to(service: &Service, node: &str, bytes: u64) -> Option<Child> {
    let mut child = service.start_up(&["--message-format", "json"]);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = stdout.lines().map_while(Result::ok);
    let is_sent = |line: String| {
        let event: Value = serde_json::from_str(&line).unwrap();
        let is_to = event["node"].as_str().is_some_and(|name| name.contains(node));
        event["reason"] == "progress" && is_to && event["bytes"].as_u64() >= Some(bytes)
    };
    let is_reached = lines.any(is_sent);
    // kdev must neither block nor fail because its output is not read.
    thread::spawn(move || lines.for_each(drop));
    is_reached.then_some(child)
}

#[track_caller]
fn assert_only_first_build_remains(service: &Service) {
    for node in NODES {
        let text = format!("/{}:", service.name);
        wait_for("removal of the image name", || (images_on(node, &text).len() == 1).then_some(()));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn connection_cut_at_ten_offsets_leaves_no_image() {
    let service = service_with_large_next_build("ten-places");
    // The last offset is early enough that a progress event follows it.
    let last = u64::from(LARGE_FILE_BYTES) * 8 / 10;
    for cut in 0..CUTS {
        let mut child =
            start_until_sent(&service, cut * last / CUTS).expect("the load ended too early");
        // kdev retries after one loss, so every connection is killed.
        while child.try_wait().unwrap().is_none() {
            kill_ssh(&child);
            thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        assert!(matches!(output.status.code(), Some(93 | 94)), "{cut}: {}", stderr_text(&output));
        assert_only_first_build_remains(&service);
    }
    assert!(service.pages().iter().all(|(_, page)| page == "before"));
    service.up_ok();
    let pages = || service.pages().iter().all(|(_, page)| page == "after").then_some(());
    wait_for("the page", pages);
}

/// The host's end of the network link to the spare machine.
const LINK: &str = "kdevlab-n3";

/// Limits the link to 100 Mbit/s (tc-tbf(8)) until dropped. Otherwise, a load may end before
/// its first progress event.
struct SlowLink;

impl SlowLink {
    fn start() -> Self {
        let limit = ["tbf", "rate", "100mbit", "burst", "128kb", "latency", "100ms"];
        let replace = ["qdisc", "replace", "dev", LINK, "root"];
        run(crate::lab::command("tc").args(replace).args(limit));
        Self
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        let _ = crate::lab::command("tc").args(["qdisc", "del", "dev", LINK, "root"]).output();
    }
}

/// Returns a service that is also loaded onto the spare machine, which has a Node object and
/// a slow link.
fn service_with_spare_node(
    name: &'static str,
    node: &'static str,
) -> (Service, ListedNode, SlowLink) {
    let claim = Claim::both_nodes().breaks(Part::Spare).breaks(Part::NodeList);
    let service = Service::with_claim(name, claim);
    let listed = ListedNode::for_spare(node);
    let spec = format!("    spec:\n      {LISTED_TOLERATION}\n");
    service.write("k8s/all.yaml", &deployment(name, "").replace("    spec:\n", &spec));
    enlarge_next_build(&service);
    (service, listed, SlowLink::start())
}

/// Takes the link down until the result is dropped.
fn take_link_down() -> Undo {
    let set = |state: &str| {
        let mut ip = crate::lab::command("ip");
        ip.args(["link", "set", LINK, state]);
        ip
    };
    let undo = Undo::new([set("up")]);
    run(&mut set("down"));
    undo
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn node_with_link_down_does_not_block_other_nodes() {
    let (service, _node, _slow) = service_with_spare_node("cable", "own-cable");
    let child =
        start_until_sent_to(&service, "own-cable", 4 << 20).expect("the load ended too early");
    let link = take_link_down();
    let output = child.wait_with_output().unwrap();
    drop(link);
    let stderr = stderr_text(&output);
    assert!(matches!(output.status.code(), Some(93 | 94)), "{stderr}");
    // The other nodes have the image, but no pod uses it.
    assert_eq!(NODES.map(|node| images_on(node, "/cable:").len()), [2, 2]);
    // The node detects the lost connection and releases its lock.
    service.up_ok();
    let pages = || service.pages().iter().all(|(_, page)| page == "after").then_some(());
    wait_for("the page", pages);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn concurrent_ups_leave_one_build_running() {
    let service = service_with_large_next_build("two-at-once");
    let start = || service.up(&[]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let ok = both.iter().filter(|output| output.status.success()).count();
    assert!(ok >= 1, "{both:?}");
    // Two concurrent builds create two images. The replaced one is reported as an error.
    for output in both.iter().filter(|output| !output.status.success()) {
        let stderr = stderr_text(output);
        assert_eq!(output.status.code(), Some(95), "{stderr}");
        assert!(stderr.contains("another build of deployment/two-at-once was applied"), "{stderr}");
    }
    let pages = || service.pages().iter().all(|(_, page)| page == "after").then_some(());
    wait_for("the page", pages);
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn vanished_client_releases_lock_on_node() {
    let (service, _node, _slow) = service_with_spare_node("gone", "own-gone");
    // The number of retransmissions before the kernel drops a connection; the default takes
    // 15 minutes.
    let set_retries =
        |number: u8| in_node(SPARE, &["sysctl", "-qw", &format!("net.ipv4.tcp_retries2={number}")]);
    let _retries = Undo::new([set_retries(15)]);
    let mut child =
        start_until_sent_to(&service, "own-gone", 4 << 20).expect("the load ended too early");
    run(&mut set_retries(3));
    // Like a suspended laptop: no data is in transit when the link goes down.
    signal_all(&child, Signal::SIGSTOP);
    thread::sleep(Duration::from_secs(2));
    let link = take_link_down();
    signal_all(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let is_free = || {
        let lock = in_node(SPARE, &["flock", "-n", "/etc/machine-id", "true"]).output().unwrap();
        lock.status.success().then_some(())
    };
    wait_for("the lock on the node", is_free);
    drop(link);
    assert_only_first_build_remains(&service);
    assert_eq!(images_on(SPARE, "/gone:").len(), 1);
}
