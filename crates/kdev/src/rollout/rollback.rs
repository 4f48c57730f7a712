//! Puts the revision before back where a rollout has failed.

use std::time::Duration;

use kdev_core::kube::applyset::Member;
use kdev_core::kube::kinds;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::Command;
use crate::rollout::error::{Error, Result};

/// How long kubectl may take.
const UNDO_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether this error is a rollout's, so that the revision before would do
/// better.
pub(crate) fn is_recoverable_by_rollback(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed { .. }
            | Error::TimedOut { .. }
            | Error::Mutated { .. }
            | Error::ImageRejected { .. }
    )
}

/// Whether `kubectl rollout` supports an object with this id.
fn has_rollout(id: &str) -> bool {
    let mut kinds = kinds::BUILT_IN.iter().filter(|kind| kind.has_rollout);
    kinds.any(|kind| id.starts_with(&kind.id_prefix()))
}

/// Undoes what was applied, where its kind keeps what was before. What cannot
/// be undone is said: the rollout's own error is the one that counts.
pub(crate) fn undo(cx: &Cx, cluster: &Cluster, applied: &[Member]) -> Result<()> {
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
                let words = failure.message();
                let words = words.trim_start_matches("error: ");
                Event::Note { text: format!("{workload} stays as it is: {words}") }
            }
        });
    }
    Ok(())
}
