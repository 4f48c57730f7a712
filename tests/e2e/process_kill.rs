//! A program dies in the middle of a load: what ran before still runs, no name
//! is left that a kubelet could take for the image, and once the program is
//! back the next `up` succeeds.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::distributions::{Listed, NEW, OLD, Second};
use crate::docker_variants::ClassicDocker;
use crate::exclusive::Claim;
use crate::fault_injection::{FAT, fatten, in_the_middle, pid};
use crate::lab::{docker, eventually, images_on, run, state};
use crate::test_service::{NODES, Service};

/// The lab's own record of what it started.
pub(crate) fn recorded(name: &str) -> Option<Pid> {
    let text = fs::read_to_string(state(&format!("run/{name}.pid"))).ok()?;
    Some(Pid::from_raw(text.lines().next()?.parse().ok()?))
}

/// A service that runs, and its next build, too big to be loaded at once.
fn with_a_next_build(service: &Service) {
    service.page("before");
    service.up_ok();
    service.page("after");
    fatten(service);
}

#[track_caller]
fn runs(service: &Service, page: &str) {
    let wanted: Vec<_> = NODES.map(|node| (node.to_owned(), page.to_owned())).into();
    eventually("the page", || (service.pages() == wanted).then_some(()));
}

/// The one that runs, and no other.
#[track_caller]
fn only_the_first_build_is_there(service: &Service) {
    for node in NODES {
        let text = format!("/{}:", service.name);
        eventually("the name's removal", || (images_on(node, &text).len() == 1).then_some(()));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_kdev_during_load_keeps_running_build() {
    let service = Service::new("kdev-killed");
    with_a_next_build(&service);
    let mut child = in_the_middle(&service);
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    only_the_first_build_is_there(&service);
    runs(&service, "before");
    service.up_ok();
    runs(&service, "after");
}

/// The name under which docker pushes the service's newest build.
fn pushed(service: &Service) -> Option<String> {
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
    with_a_next_build(&service);
    let mut child = service.start(&[]);
    eventually("a push", || pushed(&service));
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert!(pushed(&service).is_some(), "killed too late");
    service.up_ok();
    runs(&service, "after");
    assert_eq!(pushed(&service), None);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_docker_during_save_keeps_running_build() {
    let mut service = Service::new("docker-killed");
    let mut docker = ClassicDocker::start(&mut service);
    with_a_next_build(&service);
    // Of an image that is all new docker is asked for the archive.
    let program = fs::read(service.path("busybox")).unwrap();
    fs::write(service.path("busybox"), [&program[..], b"new"].concat()).unwrap();
    let child = in_the_middle(&service);
    docker.kill();
    let output = child.wait_with_output().unwrap();
    docker.start_again();
    let said = crate::lab::stderr(&output);
    assert_eq!(output.status.code(), Some(94), "{said}");
    only_the_first_build_is_there(&service);
    runs(&service, "before");
    service.up_ok();
    runs(&service, "after");
}

/// A containerd of its own, so that nothing else suffers.
struct Victim {
    service: Service,
    second: Second,
    _node: Listed,
}

impl Victim {
    /// With an image, whose name then stands for a bigger one that is not there.
    fn new(name: &'static str, containerd: &'static str) -> Self {
        let service = Service::claiming(name, Claim::second_containerd());
        let socket = "/run/k3s/containerd/containerd.sock";
        let second = Second::start(&service, containerd, socket, "k3s");
        let node = Listed::new("own-killed", "{}", "", "containerd://1.6.20-k3s1");
        let victim = Self { service, second, _node: node };
        assert_eq!(victim.load().output().unwrap().status.code(), Some(0));
        fatten(&victim.service);
        victim
    }

    fn image(&self) -> String {
        format!("{}:1", self.service.name)
    }

    fn load(&self) -> Command {
        run(docker(&["build", "--tag", &self.image(), "."]).current_dir(self.service.dir()));
        let mut load = self.service.kdev(&["load", &self.image(), "--node", "own-killed"]);
        load.args(["--message-format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        load
    }

    /// What the name stands for, which must be whole and unpacked.
    #[track_caller]
    fn has(&self) -> String {
        let name = format!("name==docker.io/library/{}", self.image());
        let check = run(&mut self.second.ctr(&["images", "check", &name]));
        let line = check.lines().last().unwrap_or_default().to_owned();
        assert!(line.contains("complete") && line.ends_with("true"), "{check}");
        line
    }

    /// Kills it while it takes the image; after so many seconds it is back.
    fn is_away(&mut self, seconds: u64) -> (Option<i32>, String) {
        let mut child = self.load().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // docker has long begun, and so has the import.
        let far = |line: &String| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["reason"] == "progress" && event["bytes"].as_u64() > Some(u64::from(FAT) / 4)
        };
        assert!(lines.any(|line| far(&line)), "nothing was sent");
        self.second.kill();
        thread::sleep(Duration::from_secs(seconds));
        self.second.start_again();
        let said: String = lines.filter(|line| !line.contains("\"sent\"")).collect();
        (child.wait().unwrap().code(), said)
    }
}

fn containerd_in_an_import(name: &'static str, containerd: &'static str) {
    let mut victim = Victim::new(name, containerd);
    let before = victim.has();
    let (code, said) = victim.is_away(3);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped during the load") && said.contains("retrying once"), "{said}");
    assert_ne!(victim.has(), before);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_containerd_1_during_import_is_retried() {
    containerd_in_an_import("old-containerd-killed", OLD);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_containerd_2_during_import_is_retried() {
    containerd_in_an_import("new-containerd-killed", NEW);
}
