//! Applies the rendered manifests: server-side, under a field manager of its
//! own, and only where something differs.

use std::time::Duration;

use xshell::Cmd;

use crate::cluster::Cluster;
use crate::cmd::{Failure, Outcome, Task};
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::load::Loaded;

/// The name under which the API server keeps our fields apart from others'.
const FIELD_MANAGER: &str = "--field-manager=kdev";
/// The manager of fields that a plain `kubectl apply` has set.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// How long one apply or diff may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rendered manifests as one stream of documents.
#[derive(Clone, Debug)]
pub(crate) struct Rendered(String);

impl Rendered {
    /// The document marks make kubectl read even JSON files as YAML, which
    /// they are, so that both kinds go into one stream.
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut stream = String::new();
        for text in texts {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            stream.push_str("---\n");
            stream.push_str(text);
            if !text.ends_with('\n') {
                stream.push('\n');
            }
        }
        Self(stream)
    }
}

/// Applies what differs from the cluster. That the image is on every node is
/// proven by `_loaded`.
pub(crate) fn apply(
    cx: &Cx,
    cluster: &Cluster,
    rendered: &Rendered,
    _loaded: &Loaded,
) -> Result<()> {
    let sh = cx.shell()?;
    let apply = |force: &[&str]| {
        let cmd = cluster.cmd(&sh).args(["apply", "--server-side", FIELD_MANAGER]).args(force);
        Task::new(cmd.args(["--filename", "-"])).stdin(rendered.0.clone()).limit(PATIENCE)
    };
    if cx.is_dry_run() {
        cx.emit(Event::WouldRun { command: apply(&[]).to_string() });
        return Ok(());
    }
    let context = cluster.context.clone();
    if !differs(cx, cluster, cluster.cmd(&sh), rendered)? {
        cx.emit(Event::Unchanged { context });
        return Ok(());
    }
    let output = match apply(&[]).read(cx) {
        // The same manifest, applied by hand before: its fields become ours.
        Err(failure) if conflicts_with_kubectl_alone(&failure) => {
            apply(&["--force-conflicts"]).read(cx)
        }
        other => other,
    };
    let output = output.map_err(|f| cluster.failed(f, "apply the manifests"))?;
    cx.emit(Event::Applied { objects: objects(&output.text()), context });
    Ok(())
}

/// Whether an apply would change anything; asked of the API server, which
/// alone knows its defaults.
fn differs(cx: &Cx, cluster: &Cluster, cmd: Cmd, rendered: &Rendered) -> Result<bool> {
    let cmd = cmd.args(["diff", "--server-side", FIELD_MANAGER, "--force-conflicts"]);
    // Only the exit code counts: 0 is no difference, 1 is one, more is an error.
    let task = Task::new(cmd.args(["--filename", "-"]).env("KUBECTL_EXTERNAL_DIFF", "diff -r -q"));
    match task.stdin(rendered.0.clone()).limit(PATIENCE).read(cx) {
        Ok(_) => Ok(false),
        Err(failure) if failure.outcome == Outcome::Code(1) && failure.stderr.trim().is_empty() => {
            Ok(true)
        }
        Err(failure) => Err(cluster.failed(failure, "compare the manifests")),
    }
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
    fn files_of_any_kind_become_one_stream() {
        let stream = Rendered::new(["a: 1", "\u{feff}b: 2\n", "{\"c\": 3}"]).0;
        assert_eq!(stream, "---\na: 1\n---\nb: 2\n---\n{\"c\": 3}\n");
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
