//! Lists and removes images on the nodes and in Docker.

use super::node::Node;
use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// Removes every image that has a name with a given word, under all its names.
const REMOVE: &str = r#"
ctr -n k8s.io images ls 2>/dev/null | awk -v word="$1" '
    index($1, word) { match_digest[$3] = 1 }
    { digest[$1] = $3 }
    END { for (name in digest) if (digest[name] in match_digest) print name }
' | xargs -r ctr -n k8s.io images rm --sync >/dev/null 2>&1
"#;

/// A name of an image on a node.
pub(crate) struct ImageName {
    pub(crate) name: String,
    /// Whether the image is unpacked, so that containers can be created from it.
    pub(crate) is_unpacked: bool,
}

/// Returns the names of the images on a node (`ctr images check`).
pub(crate) fn images_on_node(sh: &Shell, node: &Node) -> Result<Vec<ImageName>> {
    let enter = node.nsenter_args()?;
    let check = cmd!(sh, "nsenter {enter...} ctr -n k8s.io images check");
    // The command fails if it cannot check one of the images.
    let list = check.quiet().ignore_stderr().ignore_status().read()?;
    ensure!(list.starts_with("REF"), "`ctr images check` failed on {}", node.name);
    let parse = |line: &str| {
        let name = line.split_whitespace().next()?.to_owned();
        Some(ImageName { name, is_unpacked: line.trim_end().ends_with(" true") })
    };
    Ok(list.lines().skip(1).filter_map(parse).collect())
}

/// Removes the images whose name contains a word from a node.
pub(crate) fn remove_from_node(sh: &Shell, node: &Node, word: &str) -> Result<()> {
    let enter = node.nsenter_args()?;
    Ok(cmd!(sh, "nsenter {enter...} sh -c {REMOVE} sh {word}").quiet().run()?)
}

/// Removes the images whose repository matches a pattern from Docker.
pub(crate) fn remove_from_docker(sh: &Shell, pattern: &str) -> Result<()> {
    let images = ids_in_docker(sh, pattern)?;
    if !images.is_empty() {
        let remove = cmd!(sh, "docker image rm --force {images...}").quiet();
        // The command fails for an image that others are based on; Docker removes it with the
        // last of them.
        remove.ignore_stdout().ignore_stderr().ignore_status().run()?;
    }
    Ok(())
}

/// Returns the IDs of the images in Docker whose repository matches a pattern.
pub(crate) fn ids_in_docker(sh: &Shell, pattern: &str) -> Result<Vec<String>> {
    let filter = format!("reference={pattern}");
    let list = cmd!(sh, "docker image ls --quiet --no-trunc --filter {filter}").quiet().read()?;
    let mut images: Vec<String> = list.lines().map(str::to_owned).collect();
    images.sort_unstable();
    images.dedup();
    Ok(images)
}
