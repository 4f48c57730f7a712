//! Applies the rendered manifests: server-side, under a field manager of its
//! own, and only where something differs.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::cmd::{Failure, Outcome, Task};
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::load::Loaded;
use crate::manifest;

/// The name under which the API server keeps our fields apart from others'.
const FIELD_MANAGER: &str = "--field-manager=kdev";
/// Takes fields over from other managers.
const FORCE: &str = "--force-conflicts";
/// The manager of fields that a plain `kubectl apply` has set.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// How long one apply or diff may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rendered manifests: for each namespace one stream of documents, in the order
/// in which they are met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered(Vec<(Option<String>, String)>);

impl Rendered {
    /// kubectl refuses objects of another namespace than the one it is called
    /// with, so each namespace has a call of its own. The document marks make
    /// it read even JSON as YAML, which it is, so that both go into one stream.
    pub(crate) fn new(texts: &[String]) -> Self {
        let mut rendered = Self::default();
        for text in texts {
            for document in manifest::split(text) {
                let stream = rendered.stream(manifest::namespace(document));
                stream.push_str("---\n");
                stream.push_str(document);
                if !document.ends_with('\n') {
                    stream.push('\n');
                }
            }
        }
        rendered
    }

    fn stream(&mut self, namespace: Option<String>) -> &mut String {
        let known = self.0.iter().position(|(name, _)| *name == namespace);
        let at = known.unwrap_or_else(|| {
            self.0.push((namespace, String::new()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

/// Applies what differs from the cluster. That the image is on every node is
/// proven by `_loaded`.
pub(crate) fn apply(
    cx: &Cx,
    cluster: &Cluster,
    rendered: &Rendered,
    force_conflicts: bool,
    _loaded: &Loaded,
) -> Result<()> {
    let mut applied = Vec::new();
    for (namespace, stream) in &rendered.0 {
        let apply = Apply { cx, cluster, namespace: namespace.as_deref(), stream };
        applied.extend(apply.where_it_differs(force_conflicts)?);
    }
    let context = cluster.context.clone();
    if cx.is_dry_run() {
        return Ok(());
    }
    cx.emit(if applied.is_empty() {
        Event::Unchanged { context }
    } else {
        Event::Applied { objects: applied, context }
    });
    Ok(())
}

/// The documents of one namespace.
struct Apply<'a> {
    cx: &'a Cx<'a>,
    cluster: &'a Cluster,
    namespace: Option<&'a str>,
    stream: &'a str,
}

impl Apply<'_> {
    /// Gives the objects that were applied.
    fn where_it_differs(&self, force_conflicts: bool) -> Result<Vec<String>> {
        let force: &[&str] = if force_conflicts { &[FORCE] } else { &[] };
        if self.cx.is_dry_run() {
            let command = self.task("apply", force)?.to_string();
            self.cx.emit(Event::WouldRun { command });
            return Ok(Vec::new());
        }
        if !self.differs()? {
            return Ok(Vec::new());
        }
        let output = match self.task("apply", force)?.read(self.cx) {
            // The same manifest, applied by hand before: its fields become ours.
            Err(failure) if conflicts_with_kubectl_alone(&failure) => {
                self.task("apply", &[FORCE])?.read(self.cx)
            }
            other => other,
        };
        let output = output.map_err(|f| self.cluster.failed(f, "apply the manifests"))?;
        Ok(objects(&output.text()))
    }

    /// Whether an apply would change anything; asked of the API server, which
    /// alone knows its defaults.
    fn differs(&self) -> Result<bool> {
        match self.task("diff", &[FORCE])?.read(self.cx) {
            Ok(_) => Ok(false),
            // 1 is a difference, more is an error; on stderr there may be warnings.
            Err(failure) if failure.outcome == Outcome::Code(1) => Ok(true),
            // A namespace or a kind that the same stream is about to create.
            Err(failure) if is_yet_to_come(&failure) => Ok(true),
            Err(failure) => Err(self.cluster.failed(failure, "compare the manifests")),
        }
    }

    fn task(&self, verb: &str, flags: &[&str]) -> Result<Task> {
        let sh = self.cx.shell()?;
        let cmd =
            self.cluster.cmd(&sh, self.namespace).args([verb, "--server-side", FIELD_MANAGER]);
        let cmd = cmd.args(flags).args(["--filename", "-"]);
        // Of a diff only the exit code counts.
        let cmd = cmd.env("KUBECTL_EXTERNAL_DIFF", "diff -r -q");
        Ok(Task::new(cmd).stdin(self.stream).limit(PATIENCE))
    }
}

fn is_yet_to_come(failure: &Failure) -> bool {
    let says = |sign: &str| failure.stderr.contains(sign);
    says("(NotFound)") || says("no matches for kind")
}

/// By the API server's words: `conflict with "NAME" using …: FIELD`, or
/// `conflicts with "NAME" …` and a list of fields.
fn conflicts_with_kubectl_alone(failure: &Failure) -> bool {
    let pieces: Vec<&str> = failure.stderr.split(" with \"").skip(1).collect();
    let mut managers = pieces.iter().filter_map(|piece| piece.split('"').next()).peekable();
    managers.peek().is_some() && managers.all(|manager| manager == CLIENT_SIDE)
}

/// `deployment.apps/hello serverside-applied` of each line.
fn objects(stdout: &str) -> Vec<String> {
    stdout.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_kind_become_one_stream_for_each_namespace() {
        let texts = [
            "a: 1".to_owned(),
            "\u{feff}kind: A\nmetadata: {namespace: n}\n--- # two\nb: 2\n".into(),
            "{\"kind\": \"B\", \"metadata\": {\"namespace\": \"n\"}}".into(),
        ];
        let expected = [
            (None, "---\na: 1\n---\nb: 2\n".to_owned()),
            (Some("n".to_owned()), "---\nkind: A\nmetadata: {namespace: n}\n---\n{\"kind\": \"B\", \"metadata\": {\"namespace\": \"n\"}}\n".into()),
        ];
        assert_eq!(Rendered::new(&texts).0, expected);
    }

    #[test]
    fn only_kubectls_own_fields_are_taken_over() {
        let failure = |stderr: &str| Failure {
            command: "kubectl apply".into(),
            outcome: Outcome::Code(1),
            stderr: stderr.into(),
        };
        let ours = "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.x";
        let other = "conflict with \"helm\" using apps/v1: .spec.x";
        let many = "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.a\n- .spec.b";
        assert!(conflicts_with_kubectl_alone(&failure(ours)));
        assert!(conflicts_with_kubectl_alone(&failure(many)));
        assert!(!conflicts_with_kubectl_alone(&failure(other)));
        assert!(!conflicts_with_kubectl_alone(&failure(&format!("{ours}\n{other}"))));
        assert!(!conflicts_with_kubectl_alone(&failure("forbidden")));
    }
}
