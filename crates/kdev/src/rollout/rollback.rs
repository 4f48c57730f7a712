//! Rolls back to the previous revision after a failed rollout.

use std::time::Duration;

use kdev_core::kube::applyset::Member;
use kdev_core::kube::kinds;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;
use crate::rollout::error::{Error, Result};

/// Limits one `kubectl rollout undo`.
const UNDO_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns whether a rollback can fix the error.
pub(crate) fn is_recoverable_by_rollback(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed { .. }
            | Error::TimedOut { .. }
            | Error::Mutated { .. }
            | Error::ImageRejected { .. }
    )
}

/// Returns whether `kubectl rollout` supports an object with this id.
fn has_rollout(id: &str) -> bool {
    let mut kinds = kinds::BUILT_IN.iter().filter(|kind| kind.has_rollout);
    kinds.any(|kind| id.starts_with(&kind.id_prefix()))
}

/// Rolls back the applied workloads whose kinds keep a history. A failed rollback is only a
/// note, because the error of the rollout is more important.
pub(crate) fn roll_back(cx: &Cx, cluster: &Cluster, applied: &[Member]) -> Result<()> {
    for (namespace, workload) in applied {
        if !has_rollout(workload) {
            continue;
        }
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, Some(namespace)).args(["rollout", "undo", workload]);
        let workload = workload.clone();
        cx.emit(match Command::new(cmd).timeout(UNDO_TIMEOUT).read(cx) {
            Ok(_) => Event::RolledBack { workload },
            Err(failure) => {
                let message = failure.message();
                let message = message.trim_start_matches("error: ");
                Event::Note { text: format!("{workload} was not rolled back: {message}") }
            }
        });
    }
    Ok(())
}
