//! A kubelet whose configuration is another one for a while, and what it then
//! makes of an image that was loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::exclusive::{Claim, Part, Permit};
use crate::lab::{command, eventually, images_on, in_node, kubectl, run, state};
use crate::test_service::Service;

/// Enters the node's group before anything else, as the lab's own daemons do.
const START: &str = r#"echo $$ > "$0" && exec "$@""#;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A node's kubelet with a changed `KubeletConfiguration`, until it is dropped:
/// then the kubelet that was there before runs again. Keep it no longer than
/// the folder that holds its configuration, and the permit, which must claim to break
/// the node's pods.
pub(crate) struct Changed {
    node: &'static str,
    /// How the lab has started it.
    argv: Vec<String>,
}

impl Changed {
    /// `keys` are top-level keys in YAML, with all that stands below them; they
    /// are added to the node's configuration, or take the place of its own.
    pub(crate) fn start(permit: &Permit, folder: &Path, node: &'static str, keys: &str) -> Self {
        permit.may_break(Part::Pods(node));
        let argv = argv(node);
        let at = argv.iter().position(|word| word == "--config").unwrap() + 1;
        let config = folder.join(format!("kubelet-{node}.yaml"));
        fs::write(&config, merged(&fs::read_to_string(&argv[at]).unwrap(), keys)).unwrap();
        let mut other = argv.clone();
        other[at] = config.display().to_string();
        // From here on a failure puts things back.
        let changed = Self { node, argv };
        changed.run(&other);
        changed
    }

    /// The configuration that it runs with, defaults and all.
    pub(crate) fn configuration(&self) -> Value {
        eventually("the kubelet's answer", || configuration(self.node))
    }

    /// Ends the kubelet that runs, and starts this one.
    fn run(&self, argv: &[String]) {
        let process = recorded(self.node).0;
        let _ = kill(process, Signal::SIGTERM);
        eventually("the kubelet's end", || words(process).is_empty().then_some(()));
        self.spawn(argv);
        self.configuration();
    }

    /// Recorded as the lab does, so that it is taken for the node's.
    #[expect(clippy::zombie_processes, reason = "it outlives the test, as the lab's own does")]
    fn spawn(&self, argv: &[String]) {
        let log = state(&format!("log/kubelet-{}.log", self.node));
        let log = fs::File::options().append(true).open(log).unwrap();
        let group = format!("/sys/fs/cgroup/pids/kdev-lab/{}/system/cgroup.procs", self.node);
        let within = in_node(self.node, &[]);
        let mut kubelet = command("setsid");
        kubelet.args(["sh", "-c", START, &group]).arg(within.get_program());
        kubelet.args(within.get_args()).args(argv).current_dir("/").env_clear();
        kubelet.env("PATH", PATH).env("HOME", "/root").stdout(Stdio::null()).stderr(log);
        let child = kubelet.spawn().unwrap();
        let process = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let started = start_time(process).unwrap();
        fs::write(record(self.node), format!("{process}\n{started}\n")).unwrap();
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.run(&self.argv);
        // Which images were pulled with which credentials: nothing that the
        // kubelet before had kept.
        run(&mut in_node(self.node, &["rm", "-rf", "/var/lib/kubelet/image_manager"]));
    }
}

/// A node without a kubelet, until it is dropped. Keep it no longer than the
/// permit, which must claim to break the node's pods.
pub(crate) struct Stopped(#[expect(dead_code, reason = "dropped, never read")] Changed);

impl Stopped {
    pub(crate) fn stop(permit: &Permit, node: &'static str) -> Self {
        permit.may_break(Part::Pods(node));
        let stopped = Self(Changed { node, argv: argv(node) });
        let process = recorded(node).0;
        let _ = kill(process, Signal::SIGTERM);
        eventually("the kubelet's end", || words(process).is_empty().then_some(()));
        stopped
    }
}

fn record(node: &str) -> PathBuf {
    state(&format!("run/kubelet-{node}.pid"))
}

/// The process that the lab takes for a node's kubelet, and when it began.
fn recorded(node: &str) -> (Pid, u64) {
    let text = fs::read_to_string(record(node)).unwrap();
    let (process, started) = text.trim().split_once('\n').unwrap();
    (Pid::from_raw(process.parse().unwrap()), started.parse().unwrap())
}

/// The command of the kubelet that runs.
fn argv(node: &str) -> Vec<String> {
    let (process, started) = recorded(node);
    assert_eq!(start_time(process), Some(started), "the kubelet of {node} does not run");
    words(process)
}

/// None for one that has gone, or that only waits to be buried.
fn words(process: Pid) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// In ticks since boot.
fn start_time(process: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn configuration(node: &str) -> Option<Value> {
    let path = format!("/api/v1/nodes/{node}/proxy/configz");
    let output = kubectl("default", &["get", "--raw", &path]).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    answer.get("kubeletconfig").cloned()
}

/// A text with other top-level keys.
fn merged(text: &str, keys: &str) -> String {
    let is_top = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphabetic());
    let key = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let others: Vec<String> = keys.lines().filter(is_top).map(key).collect();
    let mut is_kept = true;
    let mut kept: Vec<&str> = Vec::new();
    for line in text.lines() {
        if is_top(&line) {
            is_kept = !others.contains(&key(line));
        }
        if is_kept {
            kept.push(line);
        }
    }
    format!("{}\n{keys}\n", kept.join("\n"))
}

/// Verifies each use of an image, whoever has brought it; before Kubernetes 1.35
/// only behind a feature gate.
pub(crate) const GATE: &str = "featureGates: {KubeletEnsureSecretPulledImages: true}";
pub(crate) const ALWAYS_VERIFY: &str = "imagePullCredentialsVerificationPolicy: AlwaysVerify";

fn refused(name: &'static str, policy: &str) {
    let claim = Claim::access().breaks(Part::Pods("node-1"));
    let service = Service::claiming(name, claim);
    service.pin_to("node-1");
    let keys = format!("{GATE}\n{ALWAYS_VERIFY}");
    let kubelet = Changed::start(&service.permit, service.dir(), "node-1", &keys);
    let key = "imagePullCredentialsVerificationPolicy";
    assert_eq!(kubelet.configuration()[key], "AlwaysVerify");
    let said = service.up_fails(&["--pull-policy", policy], 95);
    let error = format!(
        "error: deployment/{name} failed to roll out: the kubelet on node `node-1` rejects images that it did not pull itself
  caused by: the image is on the node, but `{key}` is `AlwaysVerify`: container `web`: Err"
    );
    assert!(said.starts_with(&error), "{said}");
    let help = format!("help: set `{key}: NeverVerifyPreloadedImages`, the default, in ");
    assert!(said.contains(&help), "{said}");

    // As the help says.
    drop(kubelet);
    let keys = format!("{GATE}\n{key}: NeverVerifyPreloadedImages");
    let kubelet = Changed::start(&service.permit, service.dir(), "node-1", &keys);
    assert_eq!(kubelet.configuration()[key], "NeverVerifyPreloadedImages");
    let output = service.up(&["--pull-policy", policy]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::lab::stderr(&output));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_verify_with_policy_never_fails_rollout() {
    refused("verified", "Never");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_verify_with_policy_if_not_present_fails_rollout() {
    refused("verified-pull", "IfNotPresent");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_removed_from_node_is_loaded_again() {
    let service = Service::on("node-1", "missed");
    service.up_ok();
    let image = &images_on("node-1", "/missed:")[0];
    run(&mut in_node("node-1", &["ctr", "-n", "k8s.io", "images", "rm", "--sync", image]));
    run(&mut kubectl("missed", &["delete", "pods", "--all", "--wait=false"]));
    eventually("the pods' complaint", || {
        let pods = run(&mut kubectl("missed", &["get", "pods", "--output=yaml"]));
        pods.contains("ErrImageNeverPull").then_some(())
    });
    service.up_ok();
}
