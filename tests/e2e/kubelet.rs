//! Changes the configuration of a node's kubelet, or stops it, for the time of one test;
//! tests of a kubelet that verifies the credentials of each image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::exclusive::{Claim, Part, Permit};
use crate::lab::{command, images_on, in_node, kubectl, run, state, wait_for};
use crate::test_service::Service;

/// Enters the node's cgroup and then starts the command, as the lab does.
const START_SCRIPT: &str = r#"echo $$ > "$0" && exec "$@""#;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A node's kubelet with a changed `KubeletConfiguration`. When it is dropped, the kubelet
/// is restarted with its original configuration. Drop it before the folder that contains
/// the configuration, and before the permit, which must claim to break the node's pods.
pub(crate) struct ReconfiguredKubelet {
    node: &'static str,
    /// The command with which the lab started the kubelet.
    argv: Vec<String>,
}

impl ReconfiguredKubelet {
    /// `keys` are top-level YAML keys with their values; they are added to the node's
    /// configuration, or replace keys of the same name.
    pub(crate) fn start(permit: &Permit, folder: &Path, node: &'static str, keys: &str) -> Self {
        permit.assert_may_break(Part::Pods(node));
        let argv = kubelet_args(node);
        let at = argv.iter().position(|word| word == "--config").unwrap() + 1;
        let config = folder.join(format!("kubelet-{node}.yaml"));
        fs::write(&config, merge_keys(&fs::read_to_string(&argv[at]).unwrap(), keys)).unwrap();
        let mut other = argv.clone();
        other[at] = config.display().to_string();
        // From here on, a failed test restores the original kubelet.
        let changed = Self { node, argv };
        changed.restart(&other);
        changed
    }

    /// Returns the effective configuration, including defaults.
    pub(crate) fn configuration(&self) -> Value {
        wait_for("the kubelet to respond", || fetch_configuration(self.node))
    }

    /// Stops the current kubelet, and starts this command.
    fn restart(&self, argv: &[String]) {
        let process = recorded_process(self.node).0;
        let _ = kill(process, Signal::SIGTERM);
        wait_for("the kubelet to exit", || command_line(process).is_empty().then_some(()));
        self.spawn(argv);
        self.configuration();
    }

    /// Starts the kubelet and writes the PID file of the lab, so that the lab recognizes it.
    #[expect(clippy::zombie_processes, reason = "it outlives the test, as the lab's own does")]
    fn spawn(&self, argv: &[String]) {
        let log = state(&format!("log/kubelet-{}.log", self.node));
        let log = fs::File::options().append(true).open(log).unwrap();
        let group = format!("/sys/fs/cgroup/pids/kdev-lab/{}/system/cgroup.procs", self.node);
        let within = in_node(self.node, &[]);
        let mut kubelet = command("setsid");
        kubelet.args(["sh", "-c", START_SCRIPT, &group]).arg(within.get_program());
        kubelet.args(within.get_args()).args(argv).current_dir("/").env_clear();
        kubelet.env("PATH", PATH).env("HOME", "/root").stdout(Stdio::null()).stderr(log);
        let child = kubelet.spawn().unwrap();
        let process = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let started = start_time(process).unwrap();
        fs::write(pid_file(self.node), format!("{process}\n{started}\n")).unwrap();
    }
}

impl Drop for ReconfiguredKubelet {
    fn drop(&mut self) {
        self.restart(&self.argv);
        // The records of which images were pulled with which credentials; the original kubelet
        // did not keep any.
        run(&mut in_node(self.node, &["rm", "-rf", "/var/lib/kubelet/image_manager"]));
    }
}

/// Stops a node's kubelet until this is dropped. Drop it before the permit, which must claim
/// to break the node's pods.
pub(crate) struct StoppedKubelet(
    #[expect(dead_code, reason = "dropped, never read")] ReconfiguredKubelet,
);

impl StoppedKubelet {
    pub(crate) fn stop(permit: &Permit, node: &'static str) -> Self {
        permit.assert_may_break(Part::Pods(node));
        let stopped = Self(ReconfiguredKubelet { node, argv: kubelet_args(node) });
        let process = recorded_process(node).0;
        let _ = kill(process, Signal::SIGTERM);
        wait_for("the kubelet to exit", || command_line(process).is_empty().then_some(()));
        stopped
    }
}

fn pid_file(node: &str) -> PathBuf {
    state(&format!("run/kubelet-{node}.pid"))
}

/// Returns the kubelet's process ID and start time from the lab's PID file.
fn recorded_process(node: &str) -> (Pid, u64) {
    let text = fs::read_to_string(pid_file(node)).unwrap();
    let (process, started) = text.trim().split_once('\n').unwrap();
    (Pid::from_raw(process.parse().unwrap()), started.parse().unwrap())
}

/// Returns the command line of the running kubelet.
fn kubelet_args(node: &str) -> Vec<String> {
    let (process, started) = recorded_process(node);
    assert_eq!(start_time(process), Some(started), "the kubelet of {node} does not run");
    command_line(process)
}

/// Returns the command line of a process, empty if the process has ended or is a zombie.
fn command_line(process: Pid) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Returns the start time of a process in ticks since boot.
fn start_time(process: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn fetch_configuration(node: &str) -> Option<Value> {
    let path = format!("/api/v1/nodes/{node}/proxy/configz");
    let output = kubectl("default", &["get", "--raw", &path]).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    answer.get("kubeletconfig").cloned()
}

/// Returns the YAML text with these top-level keys added or replaced.
fn merge_keys(text: &str, keys: &str) -> String {
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

/// Enables the verification of image credentials, which is off by default before
/// Kubernetes 1.35.
pub(crate) const FEATURE_GATE: &str = "featureGates: {KubeletEnsureSecretPulledImages: true}";
pub(crate) const ALWAYS_VERIFY: &str = "imagePullCredentialsVerificationPolicy: AlwaysVerify";

fn assert_always_verify_fails(name: &'static str, policy: &str) {
    let claim = Claim::access().breaks(Part::Pods("node-1"));
    let service = Service::with_claim(name, claim);
    service.pin_to("node-1");
    let keys = format!("{FEATURE_GATE}\n{ALWAYS_VERIFY}");
    let kubelet = ReconfiguredKubelet::start(&service.permit, service.dir(), "node-1", &keys);
    let key = "imagePullCredentialsVerificationPolicy";
    assert_eq!(kubelet.configuration()[key], "AlwaysVerify");
    let stderr = service.up_fails(&["--pull-policy", policy], 95);
    let error = format!(
        "error: deployment/{name} failed to roll out: the kubelet on node `node-1` rejects images that it did not pull itself
  caused by: the image is on the node, but `{key}` is `AlwaysVerify`: container `web`: Err"
    );
    assert!(stderr.starts_with(&error), "{stderr}");
    let help = format!("help: set `{key}: NeverVerifyPreloadedImages`, the default, in ");
    assert!(stderr.contains(&help), "{stderr}");

    // Follow the help.
    drop(kubelet);
    let keys = format!("{FEATURE_GATE}\n{key}: NeverVerifyPreloadedImages");
    let kubelet = ReconfiguredKubelet::start(&service.permit, service.dir(), "node-1", &keys);
    assert_eq!(kubelet.configuration()[key], "NeverVerifyPreloadedImages");
    let output = service.up(&["--pull-policy", policy]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::lab::stderr_text(&output));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_verify_with_policy_never_fails_rollout() {
    assert_always_verify_fails("verified", "Never");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_verify_with_policy_if_not_present_fails_rollout() {
    assert_always_verify_fails("verified-pull", "IfNotPresent");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_removed_from_node_is_loaded_again() {
    let service = Service::on_node("node-1", "missed");
    service.up_ok();
    let image = &images_on("node-1", "/missed:")[0];
    run(&mut in_node("node-1", &["ctr", "-n", "k8s.io", "images", "rm", "--sync", image]));
    run(&mut kubectl("missed", &["delete", "pods", "--all", "--wait=false"]));
    wait_for("pods without the image", || {
        let pods = run(&mut kubectl("missed", &["get", "pods", "--output=yaml"]));
        pods.contains("ErrImageNeverPull").then_some(())
    });
    service.up_ok();
}
