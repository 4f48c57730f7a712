//! Interrupts at each stage: child processes exit, and no partial result remains.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::Project;

/// Waits until a command line of a fake contains this text.
#[track_caller]
fn wait_for_call(project: &Project, seen: &str) {
    let start = Instant::now();
    while !project.calls().contains(seen) {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "never saw {seen}:\n{}",
            project.calls()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn interrupt_when(project: &Project, child: Child, signal: Signal, seen: &str) -> String {
    let start = Instant::now();
    wait_for_call(project, seen);
    thread::sleep(Duration::from_millis(100));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(30));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn interrupt_during_build() {
    let project = Project::new();
    project.write("fake/build-hangs", "");
    let child = project.start(&["up"]);
    let stderr = interrupt_when(&project, child, Signal::SIGINT, "docker build");
    assert!(stderr.ends_with("error: interrupted\n"), "{stderr}");
    assert_eq!(project.applied(), None);
}

#[test]
fn interrupt_during_load() {
    let project = Project::new();
    project.write("fake/save-hangs", "");
    let child = project.start(&["up"]);
    let stderr = interrupt_when(&project, child, Signal::SIGTERM, "image import");
    assert!(stderr.ends_with("error: interrupted\n"), "{stderr}");
    // The script on the node outlives its connection, and removes the name.
    let start = Instant::now();
    let none = [""; 0];
    while project.images_on("10.0.0.1") != none || project.images_on("10.0.0.2") != none {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", project.images_on("10.0.0.1"));
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(project.applied(), None);
}

#[test]
fn folder_of_killed_run_is_removed_by_next_run() {
    let project = Project::new();
    project.write("fake/save-hangs", "");
    let mut child = project.start(&["up"]);
    wait_for_call(&project, "image import");
    let calls = project.calls();
    let folder = calls.split("ControlPath=").nth(1).unwrap().split("/%C").next().unwrap();
    // Other runs do not remove it.
    Project::new().run(&["load", "tool:1"]).code(0);
    assert!(Path::new(folder).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    Project::new().run(&["load", "tool:1"]).code(0);
    assert!(!Path::new(folder).exists());
}

#[test]
fn interrupt_during_rollout() {
    let project = Project::new();
    project.remove_pods();
    let child = project.start(&["up"]);
    let stderr = interrupt_when(&project, child, Signal::SIGINT, "get deployments.apps,");
    assert!(stderr.ends_with("error: interrupted\n"), "{stderr}");
}

#[test]
fn second_interrupt_ends_at_once() {
    let project = Project::new();
    let docker = fs::read_link(project.path("bin/docker")).unwrap();
    let hang = r#"[ "$1" != build ] || { trap '' TERM && echo hangs >>"$FAKE/log" && sleep 60; }"#;
    project.script("docker", &format!("{hang}\nexec {} \"$@\"", docker.display()));
    let mut child = project.start(&["up"]);
    wait_for_call(&project, "hangs");
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let start = Instant::now();
    kill(id, Signal::SIGINT).unwrap();
    // Two signals at once are one.
    while child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(300));
        kill(id, Signal::SIGINT).unwrap();
    }
    // Returns when `docker` has also ended, which has the same stderr.
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(output.status.code(), Some(130));
    let stderr = String::from_utf8(output.stderr).unwrap();
    // The orderly end prints an error.
    assert!(!stderr.contains("interrupted"), "{stderr}");
}
