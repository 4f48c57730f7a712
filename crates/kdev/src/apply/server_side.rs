//! Server-side diff and apply of one namespace's documents, and what to do where
//! the API server refuses.

use std::time::Duration;

use kdev_core::kube::api_error::{self, Immutable};
use kdev_core::text::list;
use kdev_manifest::expected;
use serde_json::Value;
use xshell::Shell;

use crate::apply::error::{Error, Result};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::{Failure, Command};

/// The name under which the API server keeps our fields apart from others'.
const FIELD_MANAGER: &str = "--field-manager=kdev";
/// Takes fields over from other managers.
const FORCE_CONFLICTS: &str = "--force-conflicts";
/// Prints what the API server has made of what was applied.
const JSON_OUTPUT: &str = "--output=json";
/// How long one apply or diff may take.
const APPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// What a user allows an apply to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// Take fields over that another manager of the API's owns.
    pub force_conflicts: bool,
    /// Delete and create anew what the API lets nobody change.
    pub recreate: bool,
    /// Delete what has left the manifests since it was applied.
    pub prune: bool,
}

/// The documents of one namespace.
pub(crate) struct NamespaceApply<'a> {
    pub(crate) cx: &'a Cx<'a>,
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) documents: &'a [String],
    pub(crate) options: ApplyOptions,
    pub(crate) shell: Shell,
}

impl NamespaceApply<'_> {
    /// Says how it would be applied.
    pub(crate) fn show(&self) {
        let command = self.task("apply", self.force_flags(), "").to_string();
        self.cx.emit(Event::WouldRun { command });
    }

    /// The documents of which an apply would change something, as an earlier
    /// comparison says; where something was in its way, it is made again.
    pub(crate) fn changed_documents(&self, before: Result<Vec<String>, Failure>) -> Result<Vec<String>> {
        self.retry_after_delete(before, || self.diff())
    }

    /// Applies these documents, and gives the objects as they are then.
    pub(crate) fn apply(&self, documents: &[String]) -> Result<Vec<Value>> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        self.retry_after_delete(self.apply_once(documents), || self.apply_once(documents))
    }

    /// Tries it once more where what is in its way could be deleted.
    fn retry_after_delete<T>(
        &self,
        first: Result<T, Failure>,
        again: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T> {
        match first {
            Ok(done) => Ok(done),
            Err(failure) => {
                self.delete_immutable(failure)?;
                again().map_err(|failure| self.apply_error(failure))
            }
        }
    }

    fn apply_once(&self, documents: &[String]) -> Result<Vec<Value>, Failure> {
        let stream = yaml_stream(documents);
        let flags = [self.force_flags(), &[JSON_OUTPUT]].concat();
        let output = match self.task("apply", &flags, &stream).read(self.cx) {
            // Applied by hand before, or put back: these fields become ours.
            Err(failure) if is_conflict_with_earlier_apply(&failure) => {
                self.task("apply", &[FORCE_CONFLICTS, JSON_OUTPUT], &stream).read(self.cx)
            }
            other => other,
        }?;
        Ok(objects(&output.stdout))
    }

    /// Asks the API server, which alone knows its defaults.
    pub(crate) fn diff(&self) -> Result<Vec<String>, Failure> {
        let all = yaml_stream(self.documents);
        let output = self.task("diff", &[FORCE_CONFLICTS], &all).output(self.cx)?;
        match output.status.code() {
            Some(0) => Ok(Vec::new()),
            // 1 is a difference, more is an error; on stderr there may be warnings.
            Some(1) => Ok(parse_diff(self.documents, &output.text())),
            _ => {
                let failure = Failure::from_output(self.task("diff", &[FORCE_CONFLICTS], "").to_string(), output);
                // A namespace or a kind that the same stream is about to create.
                if api_error::is_not_created_yet(&failure.stderr) {
                    Ok(self.documents.to_vec())
                } else {
                    Err(failure)
                }
            }
        }
    }

    /// Deletes what cannot be changed, if that may be.
    fn delete_immutable(&self, failure: Failure) -> Result<()> {
        let immutables = api_error::immutables(&failure.stderr);
        let ids: Vec<String> = immutables.iter().map(Immutable::id).collect();
        let may_be = immutables.iter().all(Immutable::is_recreatable) && !immutables.is_empty();
        if !may_be || !(self.options.recreate || self.confirm_recreate(&ids)) {
            return Err(self.apply_error(failure));
        }
        // Until the last pod is gone: a new one may need what an old one holds.
        let flags = ["--cascade=foreground", "--ignore-not-found", "--timeout=90s"];
        let cmd =
            self.cluster.cmd(&self.shell, self.namespace).arg("delete").args(&ids).args(flags);
        let what = "delete what cannot be changed";
        let task = Command::new(cmd).timeout(APPLY_TIMEOUT);
        task.read(self.cx).map_err(|failure| self.cluster.request_error(failure, what))?;
        let context = self.cluster.context.clone();
        self.cx.emit(Event::Deleted { objects: ids, context });
        Ok(())
    }

    fn confirm_recreate(&self, ids: &[String]) -> bool {
        let list = list(ids);
        let question = format!("Delete {list} and create anew, since it cannot be changed?");
        self.cx.confirm(&question).unwrap_or(false)
    }

    /// The error for what the API server refuses.
    fn apply_error(&self, failure: Failure) -> Error {
        let context = self.cluster.context.clone();
        let kubectl = self.cluster.display_command(self.namespace);
        let (conflicts, immutables) =
            (api_error::conflicts(&failure.stderr), api_error::immutables(&failure.stderr));
        if !immutables.is_empty() {
            Error::immutable(context, immutables, kubectl)
        } else if !conflicts.is_empty() {
            Error::conflicts(context, conflicts)
        } else {
            self.cluster.request_error(failure, "apply the manifests").into()
        }
    }

    fn force_flags(&self) -> &'static [&'static str] {
        if self.options.force_conflicts { &[FORCE_CONFLICTS] } else { &[] }
    }

    fn task(&self, verb: &str, flags: &[&str], stream: &str) -> Command {
        let sh = &self.shell;
        let cmd = self.cluster.cmd(sh, self.namespace).args([verb, "--server-side", FIELD_MANAGER]);
        let cmd = cmd.args(flags).args(["--filename", "-"]);
        // Of a diff only the names of what differs count.
        let cmd = cmd.env("KUBECTL_EXTERNAL_DIFF", "diff -r -q");
        Command::new(cmd).stdin(stream).timeout(APPLY_TIMEOUT)
    }
}

/// By the files that differ: `…/apps.v1.Deployment.NAMESPACE.NAME`. All
/// documents, if none is recognised.
fn parse_diff(documents: &[String], diff: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let differs = |object: &Value| {
        let kind = format!(".{}.", text(&object["kind"]));
        let name = format!(".{}", text(&object["metadata"]["name"]));
        diff.split_whitespace().any(|word| word.contains(&kind) && word.ends_with(&name))
    };
    let is_changed = |document: &&String| {
        let objects = expected::objects_in(document);
        objects.is_empty() || objects.iter().any(differs)
    };
    let changed: Vec<String> = documents.iter().filter(is_changed).cloned().collect();
    if changed.is_empty() { documents.to_vec() } else { changed }
}

fn is_conflict_with_earlier_apply(failure: &Failure) -> bool {
    let conflicts = api_error::conflicts(&failure.stderr);
    !conflicts.is_empty() && conflicts.iter().all(api_error::Conflict::is_earlier_apply)
}

/// The object that `--output=json` prints, or those of a list.
fn objects(stdout: &[u8]) -> Vec<Value> {
    let answer: Value = serde_json::from_slice(stdout).unwrap_or_default();
    match answer["items"].as_array() {
        Some(items) => items.clone(),
        None if answer.is_object() => vec![answer],
        None => Vec::new(),
    }
}

/// The document marks make kubectl read even JSON as YAML, which it is, so that
/// both go into one stream.
pub(crate) fn yaml_stream(documents: &[String]) -> String {
    let mut stream = String::new();
    for document in documents {
        stream.push_str("---\n");
        stream.push_str(document);
        if !document.ends_with('\n') {
            stream.push('\n');
        }
    }
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_with_a_difference_are_applied() {
        let text = |kind: &str, name: &str| format!("kind: {kind}\nmetadata: {{name: {name}}}\n");
        let list = "kind: List\nitems: [{kind: Job, metadata: {name: x}}, {kind: Job, metadata: {name: j}}]\n";
        let documents = [
            text("Deployment", "a"),
            text("ConfigMap", "a"),
            text("Deployment", "b.a"),
            list.into(),
        ];
        let of = |files: &str| parse_diff(&documents, files);
        let diff = "Files /tmp/LIVE-1/apps.v1.Deployment.n.a and /tmp/MERGED-2/apps.v1.Deployment.n.a differ\nFiles /tmp/LIVE-1/batch.v1.Job.n.j and /tmp/MERGED-2/batch.v1.Job.n.j differ\n";
        assert_eq!(of(diff), [documents[0].clone(), documents[3].clone()]);
        assert_eq!(of("words of another diff").len(), 4);
    }
}
