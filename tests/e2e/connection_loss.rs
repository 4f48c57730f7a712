//! The connection is kill_ssh, at ten places of a stream, and by a cable; and two
//! loads meet.

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

const CUTS: u64 = 10;

/// A service that runs, and its next build, most of it new. What docker has
/// pushed of it is kept, so that the later tries need not wait for docker.
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

/// kdev, and each ssh of it.
fn signal_all(child: &Child, signal: Signal) {
    let ssh = children(child).into_iter().filter(|(_, name)| name == "ssh");
    for pid in ssh.map(|(pid, _)| Pid::from_raw(pid)).chain([pid(child)]) {
        let _ = kill(pid, signal);
    }
}

/// Starts `up`, and gives it back once so many bytes have gone to a node.
fn start_until_sent(service: &Service, bytes: u64) -> Option<Child> {
    start_until_sent_to(service, "", bytes)
}

/// The same for the nodes whose names hold this.
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
    // It must not wait for a reader, nor fail for want of one.
    thread::spawn(move || lines.for_each(drop));
    is_reached.then_some(child)
}

#[track_caller]
fn assert_only_first_build_remains(service: &Service) {
    for node in NODES {
        let text = format!("/{}:", service.name);
        wait_for("the name's removal", || (images_on(node, &text).len() == 1).then_some(()));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn connection_cut_at_ten_offsets_leaves_no_image() {
    let service = service_with_large_next_build("ten-places");
    // The last cut is so early that an event comes after it.
    let last = u64::from(LARGE_FILE_BYTES) * 8 / 10;
    for cut in 0..CUTS {
        let mut child = start_until_sent(&service, cut * last / CUTS).expect("it was met too late");
        // What is lost once is sent again, so it must be lost for good.
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

/// The host's end of the spare machine's cable.
const LINK: &str = "kdevlab-n3";

/// A cable that lets through 100 Mbit/s (tc-tbf(8)), until it is dropped: without it a
/// load may end before its first report.
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

/// A service that is loaded onto the spare machine, too, which the cluster lists and
/// which is reached slowly.
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

fn set_link(state: &str) {
    run(crate::lab::command("ip").args(["link", "set", LINK, state]));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn node_with_link_down_does_not_block_other_nodes() {
    let (service, _node, _slow) = service_with_spare_node("cable", "own-cable");
    let child = start_until_sent_to(&service, "own-cable", 4 << 20).expect("it was met too late");
    set_link("down");
    let output = child.wait_with_output();
    set_link("up");
    let output = output.unwrap();
    let stderr = stderr_text(&output);
    assert!(matches!(output.status.code(), Some(93 | 94)), "{stderr}");
    // The other nodes have got the image, and no pod has.
    assert_eq!(NODES.map(|node| images_on(node, "/cable:").len()), [2, 2]);
    // The node learns that nobody sends any more, and lets the next one in.
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
    // Two builds at once are two images. Whose was replaced is told so.
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
    // How long the kernel believes in a connection: 15 minutes, by default.
    let retries = |number: &str| {
        run(&mut in_node(SPARE, &["sysctl", "-qw", &format!("net.ipv4.tcp_retries2={number}")]));
    };
    let mut child =
        start_until_sent_to(&service, "own-gone", 4 << 20).expect("it was met too late");
    retries("3");
    // A laptop whose lid is closed: nothing is under way when it goes.
    signal_all(&child, Signal::SIGSTOP);
    thread::sleep(Duration::from_secs(2));
    set_link("down");
    signal_all(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let is_free = || {
        let lock = in_node(SPARE, &["flock", "-n", "/etc/machine-id", "true"]).output().unwrap();
        lock.status.success().then_some(())
    };
    let freed = std::panic::catch_unwind(|| wait_for("the end of the load", is_free));
    set_link("up");
    retries("15");
    freed.unwrap();
    assert_only_first_build_remains(&service);
    assert_eq!(images_on(SPARE, "/gone:").len(), 1);
}
