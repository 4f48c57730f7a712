//! The periodic image garbage collection of the kubelet: the images that it removes and
//! keeps, and how kdev handles a removed image.

use super::project::{self, Placement, Project};
use super::report::Section;
use crate::lab::{self, ChangedKubelet, NODES, Node};
use crate::term::SlowTask;
use anyhow::{Context, Result};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};
use xshell::Shell;

const NAME: &str = "kdev-soak-collection";
/// The node of all pods. Its containerd 1.6 cannot pin images.
const NODE: &Node = &NODES[0];
/// A project whose pod is deleted before the collection.
const IDLE: &str = "kdev-soak-idle";
/// The kubelet removes an image one minute after its last use. It checks the images every five
/// minutes; no setting changes that.
const SETTINGS: &str = "imageMinimumGCAge: 30s\nimageMaximumGCAge: 1m";
const TIMEOUT: Duration = Duration::from_secs(7 * 60);
const INTERVAL: Duration = Duration::from_secs(3);
const EXPECTED_CAUSE: &str = "image-garbage-collected";

pub(super) fn run(sh: &Shell, section: &mut Section) -> Result<()> {
    let outcome = project::run_case(sh, NAME, Placement::FirstNode, section, run_with_idle_project);
    // The next `lab up` would not notice that the image is missing.
    let imported = lab::ensure_sandbox_image(sh, NODE).map(drop);
    outcome.and(imported)
}

fn run_with_idle_project(sh: &Shell, project: &Project, section: &mut Section) -> Result<()> {
    let idle = Project::create(sh, IDLE, Placement::FirstNode)?;
    let outcome = run_with_changed_kubelet(sh, project, &idle, section);
    section.add_removal_check("the idle project", &idle.clean());
    outcome
}

/// Restores the kubelet before the projects are removed, because a node without a kubelet keeps
/// its pods.
fn run_with_changed_kubelet(
    sh: &Shell,
    project: &Project,
    idle: &Project,
    section: &mut Section,
) -> Result<()> {
    let _changed = ChangedKubelet::start(NODE, SETTINGS)?;
    section.add_fact("work", "deploy 3 builds; delete the pod of a second project; wait for the image garbage collection; deploy the first build again; start the deleted pod again and run `cargo kdev why`");
    section.add_fact("settings of the kubelet", SETTINGS.replace('\n', ", "));
    let [first, second, third] = deploy_builds(sh, project)?;
    let collected = deploy_idle(sh, idle)?;
    let old = [first.clone(), second, collected];
    let waited = wait_for_collection(sh, &old)?;
    section.add_fact("wait for the collection", format!("{} s", waited.as_secs()));
    check_images(sh, &old, &third, section)?;
    check_running(project, section);
    restore_sandbox_image(sh, section)?;
    check_older_build(sh, project, &first, section)?;
    check_why(idle, section)
}

/// Imports the sandbox image if the kubelet has removed it, which it does where containerd
/// cannot pin images. No new pod would start without it.
fn restore_sandbox_image(sh: &Shell, section: &mut Section) -> Result<()> {
    let was_removed = lab::ensure_sandbox_image(sh, NODE)?;
    let result = if was_removed { "removed, imported again by this case" } else { "kept" };
    section.add_fact("sandbox image after the collection", result);
    Ok(())
}

/// Deploys three builds. Returns their names on the node.
fn deploy_builds(sh: &Shell, project: &Project) -> Result<[String; 3]> {
    let mut builds: Vec<String> = Vec::new();
    for page in ["first", "second", "third"] {
        project.write_page(page)?;
        project.deploy()?;
        project.wait_for_page(page)?;
        let names = builds_on_node(sh, project.name)?;
        let new = names.into_iter().find(|name| !builds.contains(name));
        builds
            .push(new.with_context(|| format!("the node has no new build for the page `{page}`"))?);
    }
    builds.try_into().ok().context("the node does not have three builds")
}

/// Deploys a build and deletes its pod. Returns the name of the build on the node.
fn deploy_idle(sh: &Shell, idle: &Project) -> Result<String> {
    idle.write_page("idle")?;
    idle.deploy()?;
    idle.wait_for_page("idle")?;
    let scale = idle.kubectl(&["scale", "deployment", IDLE, "--replicas=0"]);
    scale.ignore_stdout().run()?;
    lab::wait_until("the deletion of the idle pod", 60, || {
        let pods = idle.kubectl(&["get", "pods", "--output", "name"]).ignore_stderr().read();
        pods.is_ok_and(|pods| pods.is_empty())
    })?;
    builds_on_node(sh, IDLE)?.pop().context("the idle build is not on the node")
}

fn builds_on_node(sh: &Shell, project: &str) -> Result<Vec<String>> {
    let build = format!("/{project}:kdev-");
    let names = lab::images_on_node(sh, NODE)?.into_iter().map(|image| image.name);
    Ok(names.filter(|name| name.contains(&build)).collect())
}

/// Waits until the images are removed from the node, or until the timeout.
fn wait_for_collection(sh: &Shell, old: &[String]) -> Result<Duration> {
    let _slow = SlowTask::start(
        "Waiting",
        "for the image garbage collection of the kubelet (5 to 6 minutes)",
    );
    let start = Instant::now();
    while !filter_existing(sh, old)?.is_empty() && start.elapsed() < TIMEOUT {
        thread::sleep(INTERVAL);
    }
    Ok(start.elapsed())
}

fn filter_existing(sh: &Shell, names: &[String]) -> Result<Vec<String>> {
    let images = lab::images_on_node(sh, NODE)?.into_iter().map(|image| image.name);
    Ok(images.filter(|name| names.contains(name)).collect())
}

fn check_images(sh: &Shell, old: &[String], current: &String, section: &mut Section) -> Result<()> {
    let remaining = filter_existing(sh, old)?;
    let removed = old.len() - remaining.len();
    let result = format!("{removed} of {} removed", old.len());
    section.add_check("the kubelet removes unused builds", result, remaining.is_empty());
    let is_kept = !filter_existing(sh, std::slice::from_ref(current))?.is_empty();
    let result = if is_kept { "kept" } else { "removed" };
    section.add_check("the kubelet keeps the build of the running pod", result, is_kept);
    Ok(())
}

fn check_running(project: &Project, section: &mut Section) {
    let waited = project.wait_for_page("third");
    let result = waited.as_ref().map_or_else(|error| format!("{error:#}"), |()| "yes".into());
    section.add_check("the pod serves its page after the collection", result, waited.is_ok());
}

fn check_older_build(
    sh: &Shell,
    project: &Project,
    build: &String,
    section: &mut Section,
) -> Result<()> {
    project.write_page("first")?;
    let deployed =
        project.deploy().and_then(|output| project.wait_for_page("first").map(|()| output));
    let is_on_node = !filter_existing(sh, std::slice::from_ref(build))?.is_empty();
    let load_line = format!("Loaded {}", NODE.name);
    let (result, passed) = match deployed {
        Ok(output) if !output.contains(&load_line) => ("not loaded".to_owned(), false),
        Ok(_) if !is_on_node => ("loaded under another name".to_owned(), false),
        Ok(_) => ("loaded and running".to_owned(), true),
        Err(error) => (format!("{error:#}"), false),
    };
    section.add_check("`cargo kdev up` with the content of a removed build", result, passed);
    Ok(())
}

/// Starts the pod whose image was removed, and checks the cause that kdev finds.
fn check_why(idle: &Project, section: &mut Section) -> Result<()> {
    let scale = idle.kubectl(&["scale", "deployment", IDLE, "--replicas=1"]);
    scale.ignore_stdout().run()?;
    let mut causes = Vec::new();
    // At first the pod is only starting.
    let found = lab::wait_until(&format!("the cause `{EXPECTED_CAUSE}`"), 90, || {
        thread::sleep(INTERVAL);
        causes = find_causes(idle).unwrap_or_default();
        causes.iter().any(|cause| cause == EXPECTED_CAUSE)
    });
    let result = if causes.is_empty() { "no cause".to_owned() } else { causes.join(", ") };
    let name = "`cargo kdev why` for a pod whose image was removed";
    section.add_check(name, result, found.is_ok());
    Ok(())
}

/// Returns the causes that `cargo kdev why` finds.
fn find_causes(project: &Project) -> Result<Vec<String>> {
    let subject = format!("deployment/{}", project.name);
    let format = ["--message-format", "json"];
    let args = [&["why", &subject, "--namespace", project.name], &format[..]].concat();
    let output = project.run_kdev(&args)?.output;
    let line = output
        .lines()
        .find(|line| line.starts_with('{'))
        .context("`cargo kdev why` printed no JSON")?;
    let report: Value = serde_json::from_str(line)?;
    let diagnoses = report["diagnoses"].as_array().into_iter().flatten();
    Ok(diagnoses.filter_map(|diagnosis| diagnosis["cause"].as_str().map(str::to_owned)).collect())
}
