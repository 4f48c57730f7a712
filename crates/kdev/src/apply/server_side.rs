//! Server-side diff and apply of the documents of one namespace, and recreation of immutable
//! objects.

use std::time::Duration;

use kdev_core::kube::api_error::{self, Immutable};
use kdev_core::kube::deletion::deletes_claims;
use kdev_core::kube::{apply_order, applyset, object};
use kdev_core::text::list;
use kdev_manifest::expected;
use serde_json::Value;
use xshell::Shell;

use crate::apply::diff::{Differences, PRINT_FILES};
use crate::apply::error::{Error, Result};
use crate::apply::lookup::{self, Query};
use crate::apply::sharing::{self, Applier};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::{Command, Failure, Output};

/// The field manager of applied fields.
pub(super) const FIELD_MANAGER: &str = "kdev";
/// Takes over fields from other field managers.
const FORCE_CONFLICTS: &str = "--force-conflicts";
/// Prints the objects as they are after the apply.
const JSON_OUTPUT: &str = "--output=json";
/// Includes the field managers in a diff and in objects. In a diff, kubectl 1.24 and older always
/// includes them, without this flag.
const SHOW_MANAGED_FIELDS: &str = "--show-managed-fields";
/// How often fields are handed over at most. An object can have changed since the diff.
const HAND_OVER_ATTEMPTS: usize = 4;
/// Limits one apply or diff.
const APPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// What the user allows an apply to do.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub struct ApplyOptions {
    /// Take over fields of other field managers.
    pub force_conflicts: bool,
    /// Delete and recreate objects whose changes are immutable.
    pub recreate: bool,
    /// Delete objects that are no longer in the manifests.
    pub prune: bool,
    /// With `prune`, also delete namespaces, CustomResourceDefinitions, and volume claims.
    pub delete_data: bool,
    /// Delete them without a question.
    pub yes: bool,
    /// Restart workloads whose pods read a changed ConfigMap or Secret.
    pub restart: bool,
}

/// The diff and apply of the documents of one namespace.
pub(crate) struct NamespaceApply<'a> {
    pub(crate) cx: &'a Cx<'a>,
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) documents: &'a [String],
    pub(crate) options: ApplyOptions,
    pub(crate) ours: Applier<'a>,
    pub(crate) shell: Shell,
}

impl NamespaceApply<'_> {
    /// Shows the command of a dry run.
    pub(crate) fn show(&self) {
        let command = self.command("apply", self.force_flags(), "").to_string();
        self.cx.emit(Event::WouldRun { command });
    }

    /// Returns what an apply would change, from the given result of a diff. The diff is repeated
    /// after immutable objects are deleted, and after fields that `kubectl` has set are handed
    /// over. Also returns the deleted objects as they were.
    pub(crate) fn find_changes(
        &self,
        diff: Result<Differences, Failure>,
    ) -> Result<(Differences, Vec<Value>)> {
        let (mut differences, deleted) = self.retry_after_delete(diff, || self.diff())?;
        let mut outdated = None;
        for _ in 0..HAND_OVER_ATTEMPTS {
            match self.hand_over_fields(&differences) {
                Ok(false) => return Ok((differences, deleted)),
                Ok(true) => outdated = None,
                Err(failure) if is_outdated(&failure) => outdated = Some(failure),
                Err(failure) => return Err(self.apply_error(failure)),
            }
            differences = self.diff().map_err(|failure| self.apply_error(failure))?;
        }
        outdated.map_or(Ok((differences, deleted)), |failure| Err(self.apply_error(failure)))
    }

    /// Makes kdev the manager of the fields that an apply can only remove as their manager.
    /// Returns whether there were any.
    fn hand_over_fields(&self, differences: &Differences) -> Result<bool, Failure> {
        let mut is_handed_over = false;
        for object in &differences.objects {
            let Some(patch) = object.hand_over(FIELD_MANAGER) else { continue };
            is_handed_over = true;
            let id = applyset::id(&object.live);
            let cmd = self.cluster.cmd(&self.shell, self.namespace).args(["patch", &id]);
            // The patch can be longer than an argument.
            let cmd = cmd.args(["--type=json", "--patch-file=/dev/stdin"]);
            let cmd = cmd.arg(format!("--field-manager={FIELD_MANAGER}"));
            let command = Command::new(cmd).stdin(patch.to_string()).timeout(APPLY_TIMEOUT);
            command.read(self.cx)?;
        }
        Ok(is_handed_over)
    }

    /// Applies these documents, and returns the objects as they are after that.
    pub(crate) fn apply(&self, documents: &[String]) -> Result<Vec<Value>> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.apply_once(documents);
        let (applied, _) = self.retry_after_delete(first, || self.apply_once(documents))?;
        Ok(applied)
    }

    /// Applies documents that are sorted by phase. Custom resources are applied after their
    /// definitions are established, because the API server rejects them before.
    pub(crate) fn apply_in_order(&self, documents: &[String]) -> Result<Vec<Value>> {
        let has_crd =
            |document: &String| expected::objects_in(document).iter().any(apply_order::is_crd);
        let Some(last) = documents.iter().rposition(has_crd) else {
            return self.apply(documents);
        };
        let (definitions, others) = documents.split_at(last + 1);
        let mut applied = self.apply(definitions)?;
        self.wait_until_established(&applied)?;
        applied.extend(self.apply(others)?);
        Ok(applied)
    }

    fn wait_until_established(&self, applied: &[Value]) -> Result<()> {
        let is_established = |crd: &Value| {
            object::condition(crd, "Established").is_some_and(|c| c["status"] == "True")
        };
        let crds = applied.iter().filter(|object| apply_order::is_crd(object));
        let ids: Vec<String> = crds.filter(|crd| !is_established(crd)).map(applyset::id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let flags = ["--for=condition=Established", "--timeout=60s"];
        let cmd = self.cluster.cmd(&self.shell, None).arg("wait").args(&ids).args(flags);
        let action = "wait for the CustomResourceDefinitions";
        let result = Command::new(cmd).timeout(APPLY_TIMEOUT).read(self.cx);
        result.map_err(|failure| self.cluster.request_error(failure, action))?;
        Ok(())
    }

    /// Retries once if immutable objects could be deleted. Returns them as they were, too.
    fn retry_after_delete<T>(
        &self,
        first: Result<T, Failure>,
        retry: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(T, Vec<Value>)> {
        match first {
            Ok(result) => Ok((result, Vec::new())),
            Err(failure) => {
                let deleted = self.delete_immutable(failure)?;
                Ok((retry().map_err(|failure| self.apply_error(failure))?, deleted))
            }
        }
    }

    fn apply_once(&self, documents: &[String]) -> Result<Vec<Value>, Failure> {
        let stream = yaml_stream(documents);
        let flags = [self.force_flags(), &[SHOW_MANAGED_FIELDS, JSON_OUTPUT]].concat();
        let output = match self.command("apply", &flags, &stream).read(self.cx) {
            // Fields of an earlier `kubectl apply` or rollback are taken over.
            Err(failure) if is_conflict_with_earlier_apply(&failure) => {
                let flags = [FORCE_CONFLICTS, SHOW_MANAGED_FIELDS, JSON_OUTPUT];
                self.command("apply", &flags, &stream).read(self.cx)
            }
            other => other,
        }?;
        Ok(objects(&output.stdout))
    }

    /// Returns what an apply would change. Only the API server knows its defaults.
    pub(crate) fn diff(&self) -> Result<Differences, Failure> {
        match self.diff_with(&[FORCE_CONFLICTS, SHOW_MANAGED_FIELDS]) {
            Err(failure) if is_unknown_flag(&failure) => self.diff_with(&[FORCE_CONFLICTS]),
            result => result,
        }
    }

    /// Documents whose kind or namespace is not created yet count as changed. The others are
    /// compared.
    fn diff_with(&self, flags: &[&str]) -> Result<Differences, Failure> {
        let mut compared = self.documents.to_vec();
        while !compared.is_empty() {
            let failure = match self.diff_once(flags, &compared)? {
                // The compared documents have no objects.
                Ok(output) if output.status.success() && output.stdout.is_empty() => {
                    let mut others = self.documents.to_vec();
                    others.retain(|document| !compared.contains(document));
                    return Ok(Differences::all(&others));
                }
                Ok(output) => {
                    let stdout = &output.stdout;
                    return Ok(Differences::from_output(self.documents, stdout, FIELD_MANAGER));
                }
                Err(failure) => failure,
            };
            let Some(missing) = api_error::missing(&failure.stderr) else { return Err(failure) };
            let before = compared.len();
            compared.retain(|document| {
                !expected::objects_in(document).iter().any(|object| missing.concerns(object))
            });
            if compared.len() == before {
                break;
            }
        }
        Ok(Differences::all(self.documents))
    }

    /// Returns the output of a diff, or why it was rejected.
    fn diff_once(
        &self,
        flags: &[&str],
        documents: &[String],
    ) -> Result<Result<Output, Failure>, Failure> {
        let output = self.command("diff", flags, &yaml_stream(documents)).output(self.cx)?;
        // More than 1 means an error. stderr can contain warnings.
        if matches!(output.status.code(), Some(0 | 1)) {
            return Ok(Ok(output));
        }
        let command = self.command("diff", flags, "").to_string();
        Ok(Err(Failure::from_output(command, output)))
    }

    /// Deletes immutable objects, if the user allows it, and returns them as they were.
    fn delete_immutable(&self, failure: Failure) -> Result<Vec<Value>> {
        let immutables = api_error::immutables(&failure.stderr);
        let ids: Vec<String> = immutables.iter().map(Immutable::id).collect();
        let is_recreatable =
            immutables.iter().all(Immutable::is_recreatable) && !immutables.is_empty();
        if !is_recreatable || !(self.options.recreate || self.confirm_recreate(&ids)) {
            return Err(self.apply_error(failure));
        }
        let live = lookup::get(self.cx, self.cluster, self.namespace, Query::Ids(&ids))?;
        if let Some(object) = live.iter().find(|object| deletes_claims(object)) {
            let kubectl = self.cluster.display_command(self.namespace);
            return Err(Error::RecreationDeletesData { id: applyset::id(object), kubectl });
        }
        if !self.options.force_conflicts {
            sharing::check_recreation(self.cx, self.cluster, self.ours, &live)?;
        }
        // Wait for the last pod: a new one may need a resource that an old one holds.
        let flags = ["--cascade=foreground", "--ignore-not-found", "--timeout=90s"];
        let cmd =
            self.cluster.cmd(&self.shell, self.namespace).arg("delete").args(&ids).args(flags);
        let action = "delete immutable objects";
        let command = Command::new(cmd).timeout(APPLY_TIMEOUT);
        command.read(self.cx).map_err(|failure| self.cluster.request_error(failure, action))?;
        let context = self.cluster.context.clone();
        self.cx.emit(Event::Deleted { objects: ids, context });
        Ok(live)
    }

    fn confirm_recreate(&self, ids: &[String]) -> bool {
        let them = if ids.len() == 1 { "it" } else { "them" };
        let question =
            format!("{} cannot be changed in place. Delete and recreate {them}?", list(ids));
        self.cx.confirm(&question).unwrap_or(false)
    }

    /// Returns the error for a rejected diff or apply.
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

    fn command(&self, verb: &str, flags: &[&str], stream: &str) -> Command {
        let sh = &self.shell;
        let cmd = self.cluster.cmd(sh, self.namespace).args([verb, "--server-side"]);
        let cmd = cmd.arg(format!("--field-manager={FIELD_MANAGER}"));
        let cmd = cmd.args(flags).args(["--filename", "-"]);
        // The paths precede the options of the program.
        let cmd = cmd.env("KUBECTL_EXTERNAL_DIFF", PRINT_FILES).env_remove("POSIXLY_CORRECT");
        Command::new(cmd).stdin(stream).timeout(APPLY_TIMEOUT)
    }
}

/// Whether the object has changed since it was read.
fn is_outdated(failure: &Failure) -> bool {
    failure.stderr.contains("the object has been modified")
}

fn is_unknown_flag(failure: &Failure) -> bool {
    failure.stderr.contains(&format!("unknown flag: {SHOW_MANAGED_FIELDS}"))
}

fn is_conflict_with_earlier_apply(failure: &Failure) -> bool {
    let conflicts = api_error::conflicts(&failure.stderr);
    !conflicts.is_empty() && conflicts.iter().all(api_error::Conflict::is_earlier_apply)
}

/// Returns the object or the list of objects that `--output=json` prints.
fn objects(stdout: &[u8]) -> Vec<Value> {
    let output: Value = serde_json::from_slice(stdout).unwrap_or_default();
    match output["items"].as_array() {
        Some(items) => items.clone(),
        None if output.is_object() => vec![output],
        None => Vec::new(),
    }
}

/// Joins documents into one stream. The document markers make `kubectl` read JSON as YAML, so
/// that a stream can contain both.
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
