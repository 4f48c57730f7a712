//! The images that a task has made: found and removed, on the nodes and in docker.

use super::node::Node;
use anyhow::Result;
use xshell::{Shell, cmd};

/// Removes the images whose name contains a word, under all their names.
const REMOVE: &str = r#"
ctr -n k8s.io images ls 2>/dev/null | awk -v word="$1" '
    index($1, word) { ours[$3] = 1 }
    { digest[$1] = $3 }
    END { for (name in digest) if (digest[name] in ours) print name }
' | xargs -r ctr -n k8s.io images rm --sync >/dev/null 2>&1
"#;

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
fn ids_in_docker(sh: &Shell, pattern: &str) -> Result<Vec<String>> {
    let filter = format!("reference={pattern}");
    let list = cmd!(sh, "docker image ls --quiet --no-trunc --filter {filter}").quiet().read()?;
    let mut images: Vec<String> = list.lines().map(str::to_owned).collect();
    images.sort_unstable();
    images.dedup();
    Ok(images)
}
