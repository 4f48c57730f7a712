//! The kubelet's own periodic collection of images: what it removes, what it keeps,
//! and how kdev handles it.

use super::project::{Pods, Project};
use super::report::Section;
use crate::lab::{self, ChangedKubelet, NODES};
use crate::term::Slow;
use anyhow::{Context, Result};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};
use xshell::Shell;

const NAME: &str = "kdev-soak-collection";
/// Its pod is deleted before the collection.
const IDLE: &str = "kdev-soak-idle";
/// An unused image is removed one minute after its last use. The kubelet looks for
/// such images every five minutes, whatever its configuration.
const SETTINGS: &str = "imageMinimumGCAge: 30s\nimageMaximumGCAge: 1m";
const LIMIT: Duration = Duration::from_secs(7 * 60);
const INTERVAL: Duration = Duration::from_secs(3);
const CAUSE: &str = "image-garbage-collected";

pub(super) fn run(sh: &Shell, section: &mut Section) -> Result<()> {
    let sh = &super::lab_shell(sh)?;
    let project = Project::create(sh, NAME, Pods::OnFirstNode)?;
    let outcome = with_idle(sh, &project, section);
    section.check_removal("the project", &project.clean());
    outcome
}

fn with_idle(sh: &Shell, project: &Project, section: &mut Section) -> Result<()> {
    let idle = Project::create(sh, IDLE, Pods::OnFirstNode)?;
    let outcome = with_kubelet(sh, project, &idle, section);
    section.check_removal("the idle project", &idle.clean());
    outcome
}

/// The kubelet is restored before anything is removed: a node without a kubelet
/// keeps its pods.
fn with_kubelet(
    sh: &Shell,
    project: &Project,
    idle: &Project,
    section: &mut Section,
) -> Result<()> {
    let _changed = ChangedKubelet::start(&NODES[0], SETTINGS)?;
    section.fact("work", "deploy 3 builds, wait for the kubelet's periodic collection, deploy the first build again; delete the pod of another project before it, start it afterwards, ask `cargo kdev why`");
    section.fact("settings of the kubelet", SETTINGS.replace('\n', ", "));
    let [first, second, third] = deploy_builds(sh, project)?;
    let collected = deploy_idle(sh, idle)?;
    let old = [first.clone(), second, collected];
    let took = wait_for_collection(sh, &old)?;
    section.fact("wait for the collection", format!("{} s", took.as_secs()));
    check_images(sh, &old, &third, section)?;
    check_running(project, section);
    check_older_build(sh, project, &first, section)?;
    check_why(idle, section)
}

/// Returns the names of the three builds on the node.
fn deploy_builds(sh: &Shell, project: &Project) -> Result<[String; 3]> {
    let mut builds: Vec<String> = Vec::new();
    for page in ["first", "second", "third"] {
        project.write_page(page)?;
        project.deploy()?;
        project.serves(page)?;
        let names = builds_on_node(sh, project.name)?;
        let new = names.into_iter().find(|name| !builds.contains(name));
        builds.push(new.with_context(|| format!("no new build for the page `{page}`"))?);
    }
    builds.try_into().ok().context("not three builds")
}

/// Runs a build, and deletes its pod. Returns the build's name on the node.
fn deploy_idle(sh: &Shell, idle: &Project) -> Result<String> {
    idle.write_page("idle")?;
    idle.deploy()?;
    idle.serves("idle")?;
    let scale = idle.kubectl(&["scale", "deployment", IDLE, "--replicas=0"]);
    scale.ignore_stdout().run()?;
    lab::wait_until("the end of the idle pod", 60, || {
        let pods = idle.kubectl(&["get", "pods", "--output", "name"]).ignore_stderr().read();
        pods.is_ok_and(|pods| pods.is_empty())
    })?;
    builds_on_node(sh, IDLE)?.pop().context("the idle build is not on the node")
}

fn builds_on_node(sh: &Shell, project: &str) -> Result<Vec<String>> {
    let build = format!("/{project}:kdev-");
    let names = lab::images_on_node(sh, &NODES[0])?.into_iter().map(|image| image.name);
    Ok(names.filter(|name| name.contains(&build)).collect())
}

/// Waits until these images have gone from the node, or the time is over.
fn wait_for_collection(sh: &Shell, old: &[String]) -> Result<Duration> {
    let _slow = Slow::start("Waiting", "for the kubelet's collection of images (5 to 6 minutes)");
    let begun = Instant::now();
    while !remaining(sh, old)?.is_empty() && begun.elapsed() < LIMIT {
        thread::sleep(INTERVAL);
    }
    Ok(begun.elapsed())
}

fn remaining(sh: &Shell, names: &[String]) -> Result<Vec<String>> {
    let images = lab::images_on_node(sh, &NODES[0])?.into_iter().map(|image| image.name);
    Ok(images.filter(|name| names.contains(name)).collect())
}

fn check_images(sh: &Shell, old: &[String], current: &String, section: &mut Section) -> Result<()> {
    let remaining_old = remaining(sh, old)?;
    let removed = old.len() - remaining_old.len();
    let result = format!("{removed} of {} removed", old.len());
    section.check("the kubelet removes unused builds", result, remaining_old.is_empty());
    let stays = !remaining(sh, std::slice::from_ref(current))?.is_empty();
    let result = if stays { "it is there" } else { "it was removed" };
    section.check("the build that runs stays on the node", result, stays);
    Ok(())
}

fn check_running(project: &Project, section: &mut Section) {
    let served = project.serves("third");
    let result = served.as_ref().map_or_else(|error| format!("{error:#}"), |()| "it does".into());
    section.check("the pod serves its page after the collection", result, served.is_ok());
}

fn check_older_build(
    sh: &Shell,
    project: &Project,
    build: &String,
    section: &mut Section,
) -> Result<()> {
    project.write_page("first")?;
    let deployed = project.deploy().and_then(|output| project.serves("first").map(|()| output));
    let there = !remaining(sh, std::slice::from_ref(build))?.is_empty();
    let loaded = format!("Loaded {}", NODES[0].name);
    let (result, passed) = match deployed {
        Ok(output) if !output.contains(&loaded) => ("it was not loaded".to_owned(), false),
        Ok(_) if !there => ("it runs under another name".to_owned(), false),
        Ok(_) => ("it is loaded and runs".to_owned(), true),
        Err(error) => (format!("{error:#}"), false),
    };
    section.check("`cargo kdev up` with the content of a removed build", result, passed);
    Ok(())
}

/// Starts the pod whose image was removed.
fn check_why(idle: &Project, section: &mut Section) -> Result<()> {
    let scale = idle.kubectl(&["scale", "deployment", IDLE, "--replicas=1"]);
    scale.ignore_stdout().run()?;
    let mut causes = Vec::new();
    // Until then the pod is only starting.
    let found = lab::wait_until(&format!("the cause `{CAUSE}`"), 90, || {
        thread::sleep(INTERVAL);
        causes = why(idle).unwrap_or_default();
        causes.iter().any(|cause| cause == CAUSE)
    });
    let result = if causes.is_empty() { "no cause".to_owned() } else { causes.join(", ") };
    let what = "`cargo kdev why` for a pod whose image was removed";
    section.check(what, result, found.is_ok());
    Ok(())
}

/// The causes that `cargo kdev why` names.
fn why(project: &Project) -> Result<Vec<String>> {
    let subject = format!("deployment/{}", project.name);
    let format = ["--message-format", "json"];
    let words = [&["why", &subject, "--namespace", project.name], &format[..]].concat();
    let output = project.kdev(&words)?.output;
    let line = output.lines().find(|line| line.starts_with('{')).context("no JSON")?;
    let answer: Value = serde_json::from_str(line)?;
    let diagnoses = answer["diagnoses"].as_array().into_iter().flatten();
    Ok(diagnoses.filter_map(|one| one["cause"].as_str().map(str::to_owned)).collect())
}
