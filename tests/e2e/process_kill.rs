//! Kills kdev, Docker or containerd during a load: the previous build must still run, no
//! image name may be left that a kubelet could use, and the next `up` must succeed after the
//! program has restarted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::distributions::{CONTAINERD_1, CONTAINERD_2, ListedNode, SecondContainerd};
use crate::docker_variants::ClassicDocker;
use crate::exclusive::Claim;
use crate::fault_injection::{LARGE_FILE_BYTES, add_large_file, pid, start_until_sending};
use crate::lab::{docker, images_on, run, state, wait_for};
use crate::test_service::{NODES, Service};

/// Returns the process ID of a program that the lab started.
pub(crate) fn recorded_pid(name: &str) -> Option<Pid> {
    let text = fs::read_to_string(state(&format!("run/{name}.pid"))).ok()?;
    Some(Pid::from_raw(text.lines().next()?.parse().ok()?))
}

/// Deploys a first build, and prepares a large second one.
fn prepare_next_build(service: &Service) {
    service.set_page("before");
    service.up_ok();
    service.set_page("after");
    add_large_file(service);
}

#[track_caller]
fn wait_for_page(service: &Service, page: &str) {
    let wanted: Vec<_> = NODES.map(|node| (node.to_owned(), page.to_owned())).into();
    wait_for("the page", || (service.pages() == wanted).then_some(()));
}

/// Waits until each node has only the image of the running build.
#[track_caller]
fn assert_only_first_build_remains(service: &Service) {
    for node in NODES {
        let text = format!("/{}:", service.name);
        wait_for("removal of the image name", || (images_on(node, &text).len() == 1).then_some(()));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_kdev_during_load_keeps_running_build() {
    let service = Service::new("kdev-killed");
    prepare_next_build(&service);
    let mut child = start_until_sending(&service);
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert_only_first_build_remains(&service);
    wait_for_page(&service, "before");
    service.up_ok();
    wait_for_page(&service, "after");
}

/// Returns the tag under which Docker pushes the latest build of the service.
fn pushed_tag(service: &Service) -> Option<String> {
    let id = ["image", "inspect", "--format", "{{.Id}}", service.name];
    let id = run(&mut docker(&id));
    let list = ["image", "ls", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"];
    let list = run(&mut docker(&list));
    let mut tags = list.lines().filter_map(|line| line.strip_prefix(id.trim()));
    let is_pushed = |tag: &&str| tag.starts_with(" 127.0.0.1:") && tag.contains("/kdev:");
    tags.find(is_pushed).map(str::to_owned)
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_kdev_during_push_is_cleaned_up_by_next_up() {
    let service = Service::new("push-killed");
    prepare_next_build(&service);
    let mut child = service.start_up(&[]);
    wait_for("a push", || pushed_tag(&service));
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert!(pushed_tag(&service).is_some(), "the push ended before the kill");
    service.up_ok();
    wait_for_page(&service, "after");
    assert_eq!(pushed_tag(&service), None);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_docker_during_save_keeps_running_build() {
    let mut service = Service::new("docker-killed");
    let mut docker = ClassicDocker::start(&mut service);
    prepare_next_build(&service);
    // For a completely new image, kdev uses `docker save`.
    let program = fs::read(service.path("busybox")).unwrap();
    fs::write(service.path("busybox"), [&program[..], b"new"].concat()).unwrap();
    let child = start_until_sending(&service);
    docker.kill();
    let output = child.wait_with_output().unwrap();
    docker.restart();
    let stderr = crate::lab::stderr_text(&output);
    assert_eq!(output.status.code(), Some(94), "{stderr}");
    assert_only_first_build_remains(&service);
    wait_for_page(&service, "before");
    service.up_ok();
    wait_for_page(&service, "after");
}

/// A service with a separate containerd, which can be killed without affecting other tests.
struct ContainerdKillTest {
    service: Service,
    second: SecondContainerd,
    _node: ListedNode,
}

impl ContainerdKillTest {
    /// Loads a first image, and prepares a larger one with the same name.
    fn new(name: &'static str, containerd: &'static str) -> Self {
        let service = Service::with_claim(name, Claim::second_containerd());
        let socket = "/run/k3s/containerd/containerd.sock";
        let second = SecondContainerd::start(&service, containerd, socket, "k3s");
        let node = ListedNode::new("own-killed", "{}", "", "containerd://1.6.20-k3s1");
        let test = Self { service, second, _node: node };
        assert_eq!(test.load_command().output().unwrap().status.code(), Some(0));
        add_large_file(&test.service);
        test
    }

    fn image(&self) -> String {
        format!("{}:1", self.service.name)
    }

    fn load_command(&self) -> Command {
        run(docker(&["build", "--tag", &self.image(), "."]).current_dir(self.service.dir()));
        let mut load = self.service.kdev(&["load", &self.image(), "--node", "own-killed"]);
        load.args(["--message-format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        load
    }

    /// Returns the line of `ctr images check`; the image must be complete and unpacked.
    #[track_caller]
    fn checked_image(&self) -> String {
        let name = format!("name==docker.io/library/{}", self.image());
        let check = run(&mut self.second.ctr(&["images", "check", &name]));
        let line = check.lines().last().unwrap_or_default().to_owned();
        assert!(line.contains("complete") && line.ends_with("true"), "{check}");
        line
    }

    /// Kills containerd during an import, and restarts it after this number of seconds. Returns
    /// the exit code and the remaining events of the load.
    fn kill_during_load(&mut self, seconds: u64) -> (Option<i32>, String) {
        let mut child = self.load_command().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Far enough that Docker has sent data and the import has begun.
        let far = |line: &String| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["reason"] == "progress"
                && event["bytes"].as_u64() > Some(u64::from(LARGE_FILE_BYTES) / 4)
        };
        assert!(lines.any(|line| far(&line)), "nothing was sent");
        self.second.kill();
        thread::sleep(Duration::from_secs(seconds));
        self.second.restart();
        let events: String = lines.filter(|line| !line.contains("\"progress\"")).collect();
        (child.wait().unwrap().code(), events)
    }
}

fn assert_killed_containerd_is_retried(name: &'static str, containerd: &'static str) {
    let mut test = ContainerdKillTest::new(name, containerd);
    let before = test.checked_image();
    let (code, events) = test.kill_during_load(3);
    assert_eq!(code, Some(0), "{events}");
    assert!(
        events.contains("stopped during the load") && events.contains("retrying once"),
        "{events}"
    );
    assert_ne!(test.checked_image(), before);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_containerd_1_during_import_is_retried() {
    assert_killed_containerd_is_retried("old-containerd-killed", CONTAINERD_1);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_containerd_2_during_import_is_retried() {
    assert_killed_containerd_is_retried("new-containerd-killed", CONTAINERD_2);
}
