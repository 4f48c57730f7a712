//! Loads from other Docker daemons than the lab's: Docker 29 with the containerd image
//! store, and a daemon on a TCP address, which kdev treats as remote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::daemons::start_moby;
use crate::far_docker::CountingClient;
use crate::fault_injection::pid;
use crate::lab::{command, docker, free_port, images_on, run, stderr_text, wait_for};
use crate::layout_export::remove_images;
use crate::partial_load::{
    BASE, assert_small_load, sent_bytes, service_with_large_base, up_with_page,
};
use crate::test_service::{NODES, Service};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A process that is terminated when dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Self {
        let log = fs::File::create(log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// Kills it without time to clean up.
    pub(crate) fn kill(mut self) {
        kill(pid(&self.0), Signal::SIGKILL).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(pid(&self.0), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Starts Docker 29 with its own containerd, only for this service.
pub(crate) fn start_docker_29(service: &mut Service) -> Daemon {
    let mut moby = command("moby");
    moby.arg("--bridge=none");
    start_moby(service, moby)
}

/// Gives the daemon a private `/run`: Docker and its containerd always create sockets there.
/// The loopback interface of a new network namespace is down.
const PRIVATE_RUN: &str = r#"mount -n -t tmpfs tmpfs /run; ip link set lo up; exec "$0" "$@""#;

/// Debian's Docker with the classic image store, only for one service, so that a test can
/// kill it without affecting others.
pub(crate) struct ClassicDocker {
    folder: PathBuf,
    namespaces: &'static [&'static str],
    daemon: Daemon,
}

impl ClassicDocker {
    pub(crate) fn start(service: &mut Service) -> Self {
        Self::start_in(service, &["--mount"])
    }

    /// Starts it with its own loopback interface, as if it were on another machine.
    pub(crate) fn start_with_own_network(service: &mut Service) -> Self {
        Self::start_in(service, &["--mount", "--net"])
    }

    fn start_in(service: &mut Service, namespaces: &'static [&'static str]) -> Self {
        let folder = service.path("docker");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("daemon.json"), "{}").unwrap();
        let docker = Self { daemon: Self::spawn(&folder, namespaces), folder, namespaces };
        docker.wait_until_ready();
        service.docker_host = Some(docker.host());
        docker
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.display())
    }

    fn spawn(folder: &Path, namespaces: &[&str]) -> Daemon {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut dockerd = command("unshare");
        dockerd
            .args(namespaces)
            .args(["--propagation", "slave", "sh", "-c", PRIVATE_RUN, "dockerd"])
            .args(["--host", &format!("unix://{}", at("docker.sock"))])
            .args(["--config-file", &at("daemon.json"), "--pidfile", &at("pid")])
            .args(["--data-root", &at("root"), "--exec-root", &at("exec"), "--bridge=none"])
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        Daemon::start(&mut dockerd, folder.join("log"))
    }

    fn wait_until_ready(&self) {
        let host = self.host();
        let is_up = || docker_at(&host, &["info"]).output().unwrap().status.success().then_some(());
        wait_for("Docker to respond", is_up);
    }

    pub(crate) fn kill(&mut self) {
        self.daemon.0.kill().unwrap();
        self.daemon.0.wait().unwrap();
    }

    /// Starts it again and ends the containerd that the killed daemon left, as systemd would.
    pub(crate) fn restart(&mut self) {
        let left = self.folder.join("exec/containerd/containerd.pid");
        let containerd = fs::read_to_string(&left).unwrap().trim().parse().unwrap();
        let _ = kill(Pid::from_raw(containerd), Signal::SIGKILL);
        fs::remove_file(left).unwrap();
        let _ = fs::remove_file(self.folder.join("pid"));
        self.daemon = Self::spawn(&self.folder, self.namespaces);
        self.wait_until_ready();
    }
}

pub(crate) fn docker_at(host: &str, args: &[&str]) -> Command {
    let mut docker = docker(args);
    docker.env("DOCKER_HOST", host);
    docker
}

/// Makes the service's Docker available at a TCP address, which does not show that it is
/// local.
pub(crate) fn start_remote_docker(service: &mut Service) -> Daemon {
    let port = free_port("127.0.0.1", 0);
    let host = format!("tcp://127.0.0.1:{port}");
    let format = "{{.Endpoints.docker.Host}}";
    let mut inspect = docker(&["context", "inspect", "--format", format]);
    let near = run(inspect.envs(service.docker_host.iter().map(|host| ("DOCKER_HOST", host))));
    let socket = near.trim().strip_prefix("unix://").unwrap();
    let mut socat = command("socat");
    socat
        .arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"))
        .arg(format!("UNIX-CONNECT:{socket}"));
    let daemon = Daemon::start(socat.stdin(Stdio::null()), service.path("socat.log"));
    let is_up = || docker_at(&host, &["info"]).output().unwrap().status.success().then_some(());
    wait_for("Docker to respond", is_up);
    service.docker_host = Some(host);
    daemon
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_29_sends_only_changed_layers() {
    let mut service = service_with_large_base("docker-29");
    let _daemon = start_docker_29(&mut service);
    let host = service.docker_host.clone().unwrap();
    let store = run(&mut docker_at(&host, &["info", "--format", "{{json .DriverStatus}}"]));
    assert!(store.contains("io.containerd.snapshotter"), "{store}");
    let first = up_with_page(&service, "one");
    assert!(first.iter().all(|bytes| *bytes > BASE as u64), "sent {first:?}");
    assert_small_load(&up_with_page(&service, "two"));
    assert_small_load(&up_with_page(&service, "three"));
    // An unchanged build keeps its tag.
    let stderr = service.up_ok();
    assert!(stderr.contains("image is already loaded"), "{stderr}");
    // The push to the endpoint has left no tag.
    let images = run(&mut docker_at(&host, &["image", "ls", "--format", "{{.Repository}}"]));
    assert!(!images.contains("127.0.0.1"), "{images}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn remote_docker_sends_only_changed_layers() {
    let mut service = service_with_large_base("far-docker");
    let _daemon = start_remote_docker(&mut service);
    up_with_page(&service, "one");
    assert_small_load(&up_with_page(&service, "two"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn remote_docker_saves_once_for_whole_image_and_single_layers() {
    let mut service = service_with_large_base("far-docker-once");
    // It cannot push to this machine, and kdev cannot enter its network namespace.
    let _docker = ClassicDocker::start_with_own_network(&mut service);
    let _remote = start_remote_docker(&mut service);
    let client = CountingClient::new(&service);
    up_with_page(&service, "one");
    remove_images(&service, NODES[1]);
    service.set_page("two");
    let (output, saves) = client.run(&mut service.up(&["--message-format", "json"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), "two".to_owned())));
    let sent = sent_bytes(&String::from_utf8(output.stdout.clone()).unwrap());
    assert_eq!(sent.iter().filter(|bytes| **bytes > BASE as u64).count(), 1, "sent {sent:?}");
    assert_eq!((sent.len(), saves), (2, 1), "{}", stderr_text(&output));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn remote_docker_29_with_legacy_builder_saves_rebuilt_image_once() {
    let mut service = service_with_large_base("far-docker-29");
    service.variables.push(("DOCKER_BUILDKIT", "0".to_owned()));
    let _docker = start_docker_29(&mut service);
    let _remote = start_remote_docker(&mut service);
    let client = CountingClient::new(&service);
    for page in ["one", "two", "three"] {
        service.set_page(page);
        let mut up = service.up(&["--message-format", "json"]);
        let (output, saves) = client.run(&mut up);
        assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
        assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), page.to_owned())));
        // A slow node may read the whole image separately, the first time.
        if page != "one" {
            assert_eq!(saves, 1, "{page}");
            assert_small_load(&sent_bytes(&String::from_utf8(output.stdout).unwrap()));
        }
    }
}

/// Creates an image index like that of a multi-platform build: a manifest for another
/// platform, whose content is missing, the manifest of the image, and an attestation.
fn create_index(service: &Service, host: &str, image: &str, index: &str) {
    let layout = service.path("layout");
    fs::create_dir(&layout).unwrap();
    let saved = service.path("saved.tar");
    run(docker_at(host, &["save", "--output"]).arg(&saved).arg(image));
    run(command("tar").arg("-xf").arg(&saved).arg("-C").arg(&layout));
    fs::remove_file(layout.join("manifest.json")).unwrap();
    let read = |name: &str| serde_json::from_slice(&fs::read(layout.join(name)).unwrap()).unwrap();
    let top: Value = read("index.json");
    let mut own = top["manifests"][0].clone();
    own["annotations"] = json!({});
    own["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let absent = |digit: &str, os: &str, architecture: &str| {
        let digest = format!("sha256:{}", digit.repeat(64));
        let platform = json!({"os": os, "architecture": architecture});
        json!({"mediaType": MANIFEST, "digest": digest, "size": 500, "platform": platform})
    };
    let manifests = [absent("a", "linux", "arm64"), own, absent("b", "unknown", "unknown")];
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    fs::write(layout.join("inner"), &inner).unwrap();
    let sum = run(command("sha256sum").arg(layout.join("inner")));
    let digest = sum.split(' ').next().unwrap();
    fs::rename(layout.join("inner"), layout.join("blobs/sha256").join(digest)).unwrap();
    let annotations = json!({"io.containerd.image.name": format!("docker.io/library/{index}")});
    let entry = json!({"mediaType": INDEX, "digest": format!("sha256:{digest}"), "size": inner.len(), "annotations": annotations});
    let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    fs::write(layout.join("index.json"), top.to_string()).unwrap();
    run(command("tar").arg("-cf").arg(&saved).arg("-C").arg(&layout).arg("."));
    run(docker_at(host, &["load", "--input"]).arg(&saved));
    fs::remove_dir_all(layout).unwrap();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_29_index_is_loaded_for_platform_of_node() {
    let mut service = service_with_large_base("indexed");
    let _daemon = start_docker_29(&mut service);
    let host = service.docker_host.clone().unwrap();
    let load = |image: &str| {
        let output = service.kdev(&["load", image, "--message-format", "json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    run(docker_at(&host, &["build", "--tag", "indexed:plain", "."]).current_dir(service.dir()));
    load("indexed:plain");
    service.set_page("another");
    run(docker_at(&host, &["build", "--tag", "indexed:next", "."]).current_dir(service.dir()));
    create_index(&service, &host, "indexed:next", "indexed:index");
    assert_small_load(&sent_bytes(&load("indexed:index")));
    for node in NODES {
        assert_eq!(images_on(node, "indexed:index"), ["docker.io/library/indexed:index"]);
    }
}
