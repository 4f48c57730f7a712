//! Other dockers than the lab's own: one that keeps images in containerd's image
//! store, as Docker 29 does, and one that does not share our loopback.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::faults::pid;
use crate::lab::{command, docker, eventually, run, state};
use crate::service::Service;
use crate::thin::{is_little, on_a_base, sent_for};

/// A program that ends with the test.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let log = fs::File::create(log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(pid(&self.0), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Docker 29, with its own containerd, for this service alone.
fn docker_29(service: &mut Service) -> Daemon {
    let at = |name: &str| service.path(name).display().to_string();
    let host = format!("unix://{}", at("docker.sock"));
    fs::write(service.path("daemon.json"), "{}").unwrap();
    fs::write(service.path(".dockerignore"), "docker\n").unwrap();
    let path = format!("{}:{}", state("lib").display(), std::env::var("PATH").unwrap());
    let mut moby = command("moby");
    moby.args(["--host", &host, "--config-file", &at("daemon.json"), "--pidfile", &at("pid")])
        .args(["--data-root", &at("docker/root"), "--exec-root", &at("docker/exec")])
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
        .env("PATH", path);
    let daemon = Daemon::start(&mut moby, service.path("moby.log"));
    let is_up = || asks(&host, &["info"]).output().unwrap().status.success().then_some(());
    eventually("docker's answer", is_up);
    service.docker_host = Some(host);
    daemon
}

fn asks(host: &str, args: &[&str]) -> Command {
    let mut docker = docker(args);
    docker.env("DOCKER_HOST", host);
    docker
}

/// The lab's docker, at an address from which it cannot be told that it is here.
fn far_docker(service: &mut Service, port: u16) -> Daemon {
    let host = format!("tcp://127.0.0.1:{port}");
    let format = "{{.Endpoints.docker.Host}}";
    let near = run(&mut docker(&["context", "inspect", "--format", format]));
    let socket = near.trim().strip_prefix("unix://").unwrap();
    let mut socat = command("socat");
    socat
        .arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"))
        .arg(format!("UNIX-CONNECT:{socket}"));
    let daemon = Daemon::start(socat.stdin(Stdio::null()), service.path("socat.log"));
    let is_up = || asks(&host, &["info"]).output().unwrap().status.success().then_some(());
    eventually("docker's answer", is_up);
    service.docker_host = Some(host);
    daemon
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_29_sends_only_what_is_new() {
    let mut service = on_a_base("docker-29");
    let _daemon = docker_29(&mut service);
    let host = service.docker_host.clone().unwrap();
    let store = run(&mut asks(&host, &["info", "--format", "{{json .DriverStatus}}"]));
    assert!(store.contains("io.containerd.snapshotter"), "{store}");
    let first = sent_for(&service, "one");
    assert!(first.iter().all(|bytes| *bytes > 70 << 20), "sent {first:?}");
    is_little(&sent_for(&service, "two"));
    is_little(&sent_for(&service, "three"));
    // An unchanged build has the same name.
    let said = service.up_ok();
    assert!(said.contains("nothing to send"), "{said}");
    // What was pushed to the endpoint has left no name.
    let images = run(&mut asks(&host, &["image", "ls", "--format", "{{.Repository}}"]));
    assert!(!images.contains("127.0.0.1"), "{images}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn a_docker_that_is_far_away_costs_the_nodes_no_more() {
    let mut service = on_a_base("far-docker");
    let _daemon = far_docker(&mut service, 47_590);
    sent_for(&service, "one");
    is_little(&sent_for(&service, "two"));
}
