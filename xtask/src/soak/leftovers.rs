//! Finds what kdev may leave behind: processes, temporary files, tags and image names.

use super::project::Project;
use crate::lab::{self, NODES, Node};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// The time to wait for leftovers to disappear: SSH sessions end a moment after kdev.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A program that runs for each pod.
const SHIM: &str = "containerd-shim";

/// Descriptions of everything that was found, one line each.
pub(super) struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// Searches this machine and the nodes.
    pub(super) fn find(sh: &Shell, project: &Project) -> Result<Self> {
        let mut found: BTreeSet<String> = processes(&project.cache_folder());
        found.extend(files(&project.temporary_folder(), ""));
        // Sockets of shared SSH connections, and the bases of patches.
        found.extend(files(Path::new("/tmp"), "kdev-"));
        found.extend(files(Path::new("/dev/shm"), "kdev."));
        found.extend(tags(sh)?);
        for node in &NODES {
            found.extend(programs(node));
            found.extend(image_names(sh, node, project.name)?);
        }
        Ok(Self(found))
    }

    /// Searches again until nothing new is found. Returns what is still new after the timeout.
    pub(super) fn wait_for_new(&self, sh: &Shell, project: &Project) -> Result<Vec<String>> {
        let start = Instant::now();
        loop {
            let now = Self::find(sh, project)?;
            let new: Vec<String> = now.0.difference(&self.0).cloned().collect();
            if new.is_empty() || start.elapsed() > TIMEOUT {
                return Ok(new);
            }
            thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Returns the processes that kdev has started: they inherit the variable with its cache.
fn processes(cache: &Path) -> BTreeSet<String> {
    let variable = format!("XDG_CACHE_HOME={}", cache.display());
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_started_by_kdev = |folder: &Path| {
        let variables = fs::read(folder.join("environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    folders
        .filter(|folder| is_started_by_kdev(folder))
        .map(|folder| describe_process(&folder))
        .collect()
}

fn describe_process(process: &Path) -> String {
    let command = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
    format!("process `{}`", command.replace('\0', " ").trim())
}

/// Returns the entries of a folder whose names start with a prefix.
fn files(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let matching = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    matching.map(|entry| format!("file `{}`", entry.path().display())).collect()
}

/// Returns the tags with which Docker pushes to kdev.
fn tags(sh: &Shell) -> Result<Vec<String>> {
    let format = "{{.Repository}}:{{.Tag}}";
    let list = cmd!(sh, "docker image ls --format {format}").quiet().read()?;
    let is_push_tag = |tag: &&str| tag.starts_with("127.0.0.1:") && tag.contains("/kdev:");
    Ok(list.lines().filter(is_push_tag).map(|tag| format!("tag `{tag}` in Docker")).collect())
}

fn programs(node: &Node) -> Vec<String> {
    let programs = node.running_programs().into_iter().filter(|name| !name.starts_with(SHIM));
    programs.map(|name| format!("program `{name}` on {}", node.name)).collect()
}

/// Returns the names of images that are not complete builds of the project.
fn image_names(sh: &Shell, node: &Node, project: &str) -> Result<Vec<String>> {
    let build = format!("/{project}:kdev-");
    let is_build = |name: &str| name.contains(&build) || name.starts_with("sha256:");
    let images = lab::images_on_node(sh, node)?.into_iter();
    let others = images.filter(|image| !(image.is_unpacked && is_build(&image.name)));
    Ok(others.map(|image| format!("image name `{}` on {}", image.name, node.name)).collect())
}
