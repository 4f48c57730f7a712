//! The result of a Job that was deleted while kdev waited for it, from its events.

use std::thread;
use std::time::Duration;

use kdev_core::kube::job::{self, JobResult};
use kdev_core::kube::object::text;
use serde_json::Value;

use crate::cluster::snapshot::Snapshot;
use crate::rollout::error::Result;
use crate::rollout::request::Rollout;

/// Events are written after the status, so they may be late.
const EVENT_DELAY: Duration = Duration::from_secs(1);
const MAX_QUERIES: usize = 3;

/// Returns the result of a deleted Job, if its events report one.
pub(crate) fn find_result(
    rollout: &Rollout,
    namespace: Option<&str>,
    job: &Value,
) -> Result<Option<JobResult>> {
    let Rollout { cx, cluster, .. } = rollout;
    // The next Job with this name has another UID.
    let selector = format!("--field-selector=involvedObject.uid={}", text(job, "/metadata/uid"));
    for query in 0..MAX_QUERIES {
        if query > 0 {
            thread::sleep(EVENT_DELAY);
        }
        let sh = cx.shell()?;
        let cmd = cluster.cmd(&sh, namespace).args(["get", "events", &selector, "--output=json"]);
        let Ok(events) = cluster.get_json::<Snapshot>(cx, cmd, "list events") else {
            // Without permission to list events, the result is unknown.
            cx.check_interrupt()?;
            return Ok(None);
        };
        let result = job::result_from_events(events.items());
        if result.is_some() {
            return Ok(result);
        }
    }
    Ok(None)
}
