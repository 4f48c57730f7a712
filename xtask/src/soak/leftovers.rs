//! What kdev could leave behind: processes, temporary files, tags and names.

use super::project::Project;
use crate::lab::{self, NODES, Node};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// Sessions end a moment after the program that opened them.
const LIMIT: Duration = Duration::from_secs(20);
/// Part of each node, or of each pod.
const SHIM: &str = "containerd-shim";

/// Each line is one thing that is there.
pub(super) struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// Looks at this machine and at the nodes.
    pub(super) fn look(sh: &Shell, project: &Project) -> Result<Self> {
        let mut found: BTreeSet<String> = processes(&project.cache());
        found.extend(files(&project.temporary(), ""));
        // The sockets of shared connections, and the bases of patches.
        found.extend(files(Path::new("/tmp"), "kdev-"));
        found.extend(files(Path::new("/dev/shm"), "kdev."));
        found.extend(tags(sh)?);
        for node in &NODES {
            found.extend(programs(node));
            found.extend(names(sh, node, project.name)?);
        }
        Ok(Self(found))
    }

    /// Looks again until nothing is there that was not there before, and returns
    /// what still is at the end.
    pub(super) fn since(&self, sh: &Shell, project: &Project) -> Result<Vec<String>> {
        let begun = Instant::now();
        loop {
            let now = Self::look(sh, project)?;
            let new: Vec<String> = now.0.difference(&self.0).cloned().collect();
            if new.is_empty() || begun.elapsed() > LIMIT {
                return Ok(new);
            }
            thread::sleep(Duration::from_secs(1));
        }
    }
}

/// The processes that kdev has started: they inherit the variable with its cache.
fn processes(cache: &Path) -> BTreeSet<String> {
    let variable = format!("XDG_CACHE_HOME={}", cache.display());
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |folder: &Path| {
        let variables = fs::read(folder.join("environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    };
    folders.filter(|folder| is_ours(folder)).map(|folder| describe(&folder)).collect()
}

fn describe(process: &Path) -> String {
    let words = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
    format!("process `{}`", words.replace('\0', " ").trim())
}

/// The entries of a folder whose names begin so.
fn files(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| format!("file `{}`", entry.path().display())).collect()
}

/// The tags under which Docker pushes to kdev.
fn tags(sh: &Shell) -> Result<Vec<String>> {
    let format = "{{.Repository}}:{{.Tag}}";
    let list = cmd!(sh, "docker image ls --format {format}").quiet().read()?;
    let ours = |tag: &&str| tag.starts_with("127.0.0.1:") && tag.contains("/kdev:");
    Ok(list.lines().filter(ours).map(|tag| format!("tag `{tag}` in Docker")).collect())
}

fn programs(node: &Node) -> Vec<String> {
    let programs = node.programs().into_iter().filter(|name| !name.starts_with(SHIM));
    programs.map(|name| format!("program `{name}` on {}", node.name)).collect()
}

/// The names of images that are not complete builds of the project.
fn names(sh: &Shell, node: &Node, project: &str) -> Result<Vec<String>> {
    let build = format!("/{project}:kdev-");
    let is_build = |name: &str| name.contains(&build) || name.starts_with("sha256:");
    let images = lab::images_on_node(sh, node)?.into_iter();
    let others = images.filter(|image| !(image.is_unpacked && is_build(&image.name)));
    Ok(others.map(|image| format!("name `{}` on {}", image.name, node.name)).collect())
}
