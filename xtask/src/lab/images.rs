//! The images that a task has made: found and removed, on the nodes and in docker.

use super::node::Node;
use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// Removes the images whose name contains a word, under all their names.
const REMOVE: &str = r#"
ctr -n k8s.io images ls 2>/dev/null | awk -v word="$1" '
    index($1, word) { ours[$3] = 1 }
    { digest[$1] = $3 }
    END { for (name in digest) if (digest[name] in ours) print name }
' | xargs -r ctr -n k8s.io images rm --sync >/dev/null 2>&1
"#;

/// An image's name on a node.
pub(crate) struct Named {
    pub(crate) name: String,
    /// Whether containers can be created from it.
    pub(crate) is_unpacked: bool,
}

/// The names of a node's images (`ctr images check`).
pub(crate) fn images_on_node(sh: &Shell, node: &Node) -> Result<Vec<Named>> {
    let enter = node.enter()?;
    let check = cmd!(sh, "nsenter {enter...} ctr -n k8s.io images check");
    // It fails where one of the images cannot be checked.
    let list = check.quiet().ignore_stderr().ignore_status().read()?;
    ensure!(list.starts_with("REF"), "`ctr images check` has failed on {}", node.name);
    let named = |line: &str| {
        let name = line.split_whitespace().next()?.to_owned();
        Some(Named { name, is_unpacked: line.trim_end().ends_with(" true") })
    };
    Ok(list.lines().skip(1).filter_map(named).collect())
}

/// Removes from a node the images whose name contains this word.
pub(crate) fn remove_from_node(sh: &Shell, node: &Node, word: &str) -> Result<()> {
    let enter = node.enter()?;
    Ok(cmd!(sh, "nsenter {enter...} sh -c {REMOVE} sh {word}").quiet().run()?)
}

/// Removes from docker the images of the repositories that match this pattern.
pub(crate) fn remove_from_docker(sh: &Shell, pattern: &str) -> Result<()> {
    let images = ids_in_docker(sh, pattern)?;
    if !images.is_empty() {
        let remove = cmd!(sh, "docker image rm --force {images...}").quiet();
        // One that another one is built on goes with that one.
        remove.ignore_stdout().ignore_stderr().ignore_status().run()?;
    }
    Ok(())
}

/// The images of the repositories that match this pattern.
pub(crate) fn ids_in_docker(sh: &Shell, pattern: &str) -> Result<Vec<String>> {
    let filter = format!("reference={pattern}");
    let list = cmd!(sh, "docker image ls --quiet --no-trunc --filter {filter}").quiet().read()?;
    let mut images: Vec<String> = list.lines().map(str::to_owned).collect();
    images.sort_unstable();
    images.dedup();
    Ok(images)
}
