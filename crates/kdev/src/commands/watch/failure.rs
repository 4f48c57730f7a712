//! Which errors a change of a file can fix.

use std::iter;

use crate::apply;
use crate::cluster;
use crate::error::Error;
use crate::manifests;

/// Returns whether a change of an input can fix the error, or the user has denied something, which
/// is not asked again before. Other errors are fixed elsewhere, so only another attempt shows that
/// they are.
pub(super) fn is_fixed_by_change(error: &Error) -> bool {
    match error {
        Error::Manifests(manifests::Error::Lookup { .. }) => false,
        Error::Project(_)
        | Error::Config(_)
        | Error::Build(_)
        | Error::Manifests(_)
        | Error::Rollout(_)
        | Error::Cluster(cluster::Error::ContextNotAllowed { .. })
        | Error::Apply(
            apply::Error::DataNotConfirmed { .. }
            | apply::Error::Conflicts { .. }
            | apply::Error::Contested { .. }
            | apply::Error::SharedImmutable { .. }
            | apply::Error::RecreationDeletesData { .. }
            | apply::Error::Immutable { .. },
        ) => true,
        Error::Diagnosed(diagnosed) => is_fixed_by_change(&diagnosed.error),
        Error::Services(failures) => {
            failures.iter().all(|failure| is_fixed_by_change(&failure.error))
        }
        _ => false,
    }
}

/// Returns the message with its causes.
pub(super) fn full_text(error: &Error) -> String {
    let first: &dyn std::error::Error = error;
    let all = iter::successors(Some(first), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
