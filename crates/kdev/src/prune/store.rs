//! The builds in Docker or Podman, of a builder that keeps its results, or in the layer cache.

use kdev_core::image::builds::{KeepRule, build_tag, obsolete};
use kdev_core::image::reference::{Reference, split_tag};
use xshell::{Cmd, Shell};

use crate::cx::Cx;
use crate::docker::{Error, ImageStore, Result};
use crate::event::Event;
use crate::process::{Command, Failure};
use crate::tools::TOOL_TIMEOUT;

/// Removes the builds that the rule does not keep: their tags, and images without any other tag.
/// Parent images stay for the build cache.
pub(crate) fn prune_store(
    cx: &Cx,
    store: &ImageStore,
    image: &Reference,
    rule: &KeepRule,
    reports_nothing: bool,
) -> Result<()> {
    let sh = cx.shell()?;
    let local = store.local_name(image);
    let repository = split_tag(&local).0;
    let tags = match (store, command(store, &sh)) {
        (_, Some(cmd)) => list_tags(cx, cmd, repository)?,
        (ImageStore::Buildx(buildx), None) => buildx.tags(image),
        (ImageStore::Assembled(images), None) => images.builds().tags(image),
        (_, None) => Vec::new(),
    };
    let is_build =
        |tag: &&str| build_tag(image.name(), &format!("{}:{tag}", image.name())).is_some();
    let old = obsolete(tags.iter().map(String::as_str).filter(is_build), rule);
    let removed = match (store, command(store, &sh)) {
        _ if old.is_empty() => Ok(Vec::new()),
        (_, Some(cmd)) => {
            let names: Vec<String> = old.iter().map(|tag| format!("{repository}:{tag}")).collect();
            remove(cx, cmd, &names)
        }
        (ImageStore::Buildx(buildx), None) if !cx.is_dry_run() => Ok(buildx.remove(image, &old)),
        (ImageStore::Assembled(images), None) if !cx.is_dry_run() => {
            Ok(images.builds().remove_tags(image, &old))
        }
        (_, None) => Ok(Vec::new()),
    };
    let (images, error) =
        removed.map_or_else(|(done, error)| (done, Some(error)), |all| (all, None));
    if !images.is_empty() || (reports_nothing && old.is_empty()) {
        let bytes = images.is_empty().then_some(0);
        cx.emit(Event::Pruned { node: None, engine: Some(store.engine()), images, bytes });
    }
    error.map_or(Ok(()), Err)
}

/// Starts a command line of the program; a builder has none for its results.
fn command<'a>(store: &ImageStore, sh: &'a Shell) -> Option<Cmd<'a>> {
    match store {
        ImageStore::Docker(docker) => Some(docker.cmd(sh)),
        ImageStore::Podman(podman) => Some(podman.cmd(sh)),
        ImageStore::Buildx(_) | ImageStore::Assembled(_) => None,
    }
}

/// Lists the tags of a repository, the newest image first.
fn list_tags(cx: &Cx, cmd: Cmd, repository: &str) -> Result<Vec<String>> {
    let format = "{{.Repository}}:{{.Tag}}";
    let list = Command::new(cmd.args(["image", "ls", "--format", format, repository]));
    let listed = list.timeout(TOOL_TIMEOUT).read(cx).map_err(error("list the builds"))?.text();
    let tag = |name: &str| {
        let (found, tag) = split_tag(name);
        (found == repository).then(|| tag.map(str::to_owned)).flatten()
    };
    Ok(listed.lines().filter_map(tag).collect())
}

/// Removes images by their names. Returns the removed ones, also with an error: a failed
/// removal does not prevent the others.
fn remove(cx: &Cx, cmd: Cmd, names: &[String]) -> Result<Vec<String>, (Vec<String>, Error)> {
    let command = Command::new(cmd.args(["image", "rm", "--no-prune"]).args(names));
    let display = command.to_string();
    if cx.is_dry_run() {
        cx.emit(Event::WouldRun { command: display });
        return Ok(Vec::new());
    }
    let failed = error("remove older builds");
    let output = match command.timeout(TOOL_TIMEOUT).output(cx) {
        Ok(output) if output.status.success() => return Ok(names.to_vec()),
        Ok(output) => output,
        Err(failure) => return Err((Vec::new(), failed(failure))),
    };
    let text = output.text();
    let is_removed = |name: &&String| {
        text.lines().any(|line| line.strip_prefix("Untagged: ") == Some(name.as_str()))
    };
    let removed = names.iter().filter(is_removed).cloned().collect();
    Err((removed, failed(Failure::from_output(display, output))))
}

fn error(action: &'static str) -> impl Fn(Failure) -> Error {
    move |source| Error::Command { action: action.to_owned(), source }
}
