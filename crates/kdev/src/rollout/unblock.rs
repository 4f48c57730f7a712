//! Deletes a pod of an older revision that blocks the rollout of a `StatefulSet`.

use std::time::Duration;

use kdev_core::kube::revision::{self, BlockingPod};
use kdev_core::kube::workload::UnblockAction;
use kdev_manifest::objects::Object;
use serde_json::{Value, json};

use crate::cluster::snapshot::Snapshot;
use crate::event::Event;
use crate::process::Command;
use crate::rollout::error::{Error, Result};
use crate::rollout::failure::Failures;
use crate::rollout::request::Rollout;

/// Limits one deletion.
const DELETE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many pods are deleted for one workload. The controller may create one again from the
/// older revision if it has not noticed the deletion in time.
const MAX_DELETIONS: usize = 5;

/// Deletes the pods that block the rollout of one workload.
pub(crate) struct Unblocker<'a> {
    rollout: &'a Rollout<'a>,
    object: &'a Object,
    failures: Failures<'a>,
    /// The UIDs of the deleted pods.
    deleted: Vec<String>,
}

impl<'a> Unblocker<'a> {
    pub(crate) fn new(rollout: &'a Rollout<'a>, object: &'a Object) -> Self {
        let failures = Failures::new(rollout, object);
        Self { rollout, object, failures, deleted: Vec::new() }
    }

    /// Deletes the pod that blocks the rollout, if there is one.
    pub(crate) fn unblock(&mut self, snapshot: &Snapshot, live: &Value) -> Result<()> {
        match revision::blocking_pod(live, snapshot.items()) {
            Some(pod) if !self.deleted.contains(&pod.uid) => self.delete(pod),
            _ => Ok(()),
        }
    }

    fn delete(&mut self, pod: BlockingPod) -> Result<()> {
        let BlockingPod { name, uid, reason } = pod;
        let why = format!(
            "pod `{name}` of an older revision cannot become ready ({reason}), and the controller does not update it"
        );
        if self.deleted.len() >= MAX_DELETIONS {
            return Err(self.blocked(&why));
        }
        let Rollout { cx, cluster, .. } = self.rollout;
        let namespace = self.object.namespace.as_ref().unwrap_or(&cluster.namespace);
        let path = format!("--raw=/api/v1/namespaces/{namespace}/pods/{name}");
        // Only this very pod, whatever has happened since the snapshot.
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, Some(namespace)).args(["delete", &path, "--filename", "-"]);
        let command = Command::new(cmd).stdin(options.to_string()).timeout(DELETE_TIMEOUT);
        if let Err(failure) = command.read(cx) {
            cx.check_interrupt()?;
            let message = failure.message();
            // Its controller or a user has deleted it first.
            if ["NotFound", "Conflict"].iter().any(|reason| message.contains(reason)) {
                return Ok(());
            }
            return Err(self.blocked(&format!("{why}; it was not deleted: {message}")));
        }
        self.deleted.push(uid);
        let text = format!("{why}, so kdev deletes the pod; its volume claims stay");
        cx.emit(Event::Note { text });
        let context = cluster.context.clone();
        cx.emit(Event::Deleted { objects: vec![format!("pod/{name}")], context });
        Ok(())
    }

    fn blocked(&self, reason: &str) -> Error {
        self.failures.blocked(reason.to_owned(), UnblockAction::DeletePods)
    }
}
