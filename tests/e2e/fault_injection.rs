//! Failures during a load: no image name may be left on a node that a kubelet could use, and
//! the next `up` must succeed.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exclusive::Claim;
use crate::lab::{docker, images_on, in_node, program_path, run, wait_for};
use crate::test_service::{NODES, Service};
use crate::undo::Undo;

/// The limit for kdev's own memory, independent of the image size.
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

/// A size that keeps a load running long enough to interrupt it.
pub(crate) const LARGE_FILE_BYTES: u32 = 48 << 20;

/// Adds a file of that size, which cannot be compressed, to the image.
pub(crate) fn add_large_file(service: &Service) {
    let mut noise = vec![0; LARGE_FILE_BYTES as usize];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    fs::write(service.path("www/noise"), noise).unwrap();
}

/// Starts `up`, and returns when a load has begun to send.
#[expect(clippy::print_stderr, reason = "the output of a failed test is shown")]
pub(crate) fn start_until_sending(service: &Service) -> Child {
    let mut child = service.start_up(&["--message-format", "json"]);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = stdout.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"reason\":\"progress\"")), "no load started");
    // The remaining output is shown if the test fails.
    std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
    child
}

fn assert_no_image_remains(service: &Service) {
    for node in NODES {
        let text = format!("/{}:", service.name);
        wait_for("removal of the image name", || images_on(node, &text).is_empty().then_some(()));
    }
    assert!(service.pods().is_empty(), "something was applied");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn interrupt_during_load_leaves_no_image() {
    let service = Service::new("interrupted");
    add_large_file(&service);
    let child = start_until_sending(&service);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MEMORY_LIMIT_KIB, "peak memory was {peak} KiB");
    kill(pid(&child), Signal::SIGINT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_no_image_remains(&service);
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn connection_lost_during_load_leaves_no_image() {
    let service = Service::new("cut");
    add_large_file(&service);
    let mut child = start_until_sending(&service);
    // kdev retries after one loss, so every connection is killed.
    while child.try_wait().unwrap().is_none() {
        kill_ssh(&child);
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(93 | 94)), "{:?}", output.status);
    assert_no_image_remains(&service);
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn connection_lost_once_is_reestablished() {
    let service = Service::new("cut-once");
    add_large_file(&service);
    let child = start_until_sending(&service);
    kill_ssh(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::lab::stderr_text(&output));
    assert_eq!(service.pages().len(), NODES.len());
}

/// Kills each `ssh` process of a running `up`.
pub(crate) fn kill_ssh(child: &Child) {
    for ssh in children(child).into_iter().filter(|(_, name)| name == "ssh") {
        let _ = kill(Pid::from_raw(ssh.0), Signal::SIGKILL);
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn full_disk_is_reported_and_leaves_no_image() {
    let service = Service::with_claim("full-disk", Claim::broken_node("node-1"));
    add_large_file(&service);
    service.pin_to("node-1");
    // A small file system over the folder where containerd stores incoming content.
    let small = r#"cd /var/lib/containerd && mount -t tmpfs -o size=16m tmpfs "$0" && mkdir -p "$0/ingest" "$0/blobs/sha256""#;
    let content = "io.containerd.content.v1.content";
    run(&mut in_node("node-1", &["sh", "-c", small, content]));
    let stderr = std::panic::catch_unwind(|| service.up_fails(&[], 94));
    // Lazily, because containerd may still have a file open there.
    let mounted = format!("/var/lib/containerd/{content}");
    run(&mut in_node("node-1", &["umount", "--lazy", &mounted]));
    let stderr = stderr.unwrap();
    assert!(stderr.starts_with("error: no space left on node `node-1` ("), "{stderr}");
    assert!(stderr.contains("no space left on device"), "{stderr}");
    assert_no_image_remains(&service);
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_for_other_architecture_is_not_sent() {
    let service = Service::new("other-arch");
    // Docker's old builder sets the platform only in the first step.
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    service.write("Dockerfile", "FROM scratch\nCOPY www /www\n");
    let arm = service.up(&[]).env("DOCKER_DEFAULT_PLATFORM", "linux/arm64").output().unwrap();
    let stderr = crate::lab::stderr_text(&arm);
    assert_eq!(arm.status.code(), Some(94), "{stderr}");
    assert!(
        stderr.contains("is built for linux/arm64, but node `node-1` is linux/amd64"),
        "{stderr}"
    );
    assert_no_image_remains(&service);
    let setting = stderr.split("help: build for the node: set ").nth(1).unwrap().trim();
    let (name, value) = setting.split_once('=').unwrap();
    service.write("Dockerfile", &dockerfile);
    let again = service.up(&[]).env(name, value).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", crate::lab::stderr_text(&again));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn damaged_layer_leaves_no_image_name() {
    let service = Service::new("damaged-layer");
    service.set_page("an untouched page");
    // Large enough that kdev uses `docker save`.
    add_large_file(&service);
    let path = path_with_damaging_docker(&service);

    let output = service.up(&[]).env("PATH", path).output().unwrap();
    let stderr = crate::lab::stderr_text(&output);
    assert_eq!(output.status.code(), Some(94), "{stderr}");
    assert_eq!(stderr.matches("failed to import the image on node `node-").count(), 2, "{stderr}");
    assert_no_image_remains(&service);
    // The CRI also records an image under the digest of its configuration.
    let id = run(&mut docker(&["image", "inspect", "--format", "{{.Id}}", "damaged-layer"]));
    for node in NODES {
        assert_eq!(images_on(node, id.trim()), [""; 0]);
    }
    service.up_ok();
}

/// Returns a PATH with a `docker` that changes one word in a layer of its archives.
fn path_with_damaging_docker(service: &Service) -> String {
    let real = program_path("docker");
    let wrapper = format!(
        "#!/bin/sh\n[ \"$1\" = save ] || exec {real} \"$@\"\n{real} \"$@\" | LC_ALL=C sed s/untouched/tempered_/\n"
    );
    fs::create_dir(service.path("bin")).unwrap();
    service.write("bin/docker", &wrapper);
    fs::set_permissions(service.path("bin/docker"), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", service.path("bin").display(), std::env::var("PATH").unwrap())
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failed_load_keeps_previous_image_of_same_name() {
    let service = Service::new("kept-name");
    let image = "kept-name:fixed";
    let build = || run(docker(&["build", "--tag", image, "."]).current_dir(service.dir()));
    // The line of the image name, with the digest of its manifest.
    let target = ["ctr", "-n", "k8s.io", "images", "ls", "name==docker.io/library/kept-name:fixed"];
    let targets = || NODES.map(|node| run(&mut in_node(node, &target)));
    build();
    run(&mut service.kdev(&["load", image]));
    let before = targets();
    assert!(before.iter().all(|line| line.contains("@sha256:") || line.contains(" sha256:")));
    service.set_page("an untouched page");
    add_large_file(&service);
    build();
    let path = path_with_damaging_docker(&service);
    let output = service.kdev(&["load", image]).env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(94), "{}", crate::lab::stderr_text(&output));
    assert_eq!(targets(), before);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_ctr_is_reported() {
    let service = Service::with_claim("no-ctr", Claim::broken_node("node-1"));
    service.pin_to("node-1");
    let undo = Undo::new([in_node("node-1", &["umount", "/usr/bin/ctr"])]);
    run(&mut in_node("node-1", &["mount", "--bind", "/dev/null", "/usr/bin/ctr"]));
    let stderr = service.up_fails(&[], 93);
    drop(undo);
    assert!(stderr.starts_with("error: `ctr` not found on node `node-1` ("), "{stderr}");
    assert!(
        stderr.contains("  help: install it on node `node-1`, or set `nodes.node-1.ctr` "),
        "{stderr}"
    );
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failed_build_keeps_output_and_exit_code() {
    let service = Service::new("broken-build");
    service.write("Dockerfile", "FROM scratch\nCOPY absent /\n");
    let output = service.up(&[]).output().unwrap();
    let stderr = crate::lab::stderr_text(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("absent"), "{stderr}");
    assert!(service.pods().is_empty());
}

pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Returns the IDs and names of a process's direct children.
pub(crate) fn children(parent: &Child) -> Vec<(i32, String)> {
    let parent_line = format!("PPid:\t{}", parent.id());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let name = status.lines().next()?.strip_prefix("Name:\t")?.to_owned();
        status.lines().any(|line| line == parent_line).then_some((id, name))
    });
    processes.collect()
}
