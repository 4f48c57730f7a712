//! Removes the images that tests build in Docker, after the last test.

use std::sync::{Mutex, PoisonError};

use crate::lab::docker;

static QUEUED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Queues images for removal when no test is running. Docker's old builder examines all
/// images that a build can continue from, including those of other tests, and fails if one
/// of them is removed in the meantime: `unable to find image "sha256:…"`.
pub(crate) fn queue_removal<'a>(tags: impl IntoIterator<Item = &'a str>) {
    let mut later = QUEUED.lock().unwrap_or_else(PoisonError::into_inner);
    later.extend(tags.into_iter().map(str::to_owned));
}

/// Removes the queued images.
pub(crate) fn remove_queued() {
    let tags = std::mem::take(&mut *QUEUED.lock().unwrap_or_else(PoisonError::into_inner));
    if !tags.is_empty() {
        // A test that ran twice has queued its image twice, so errors are ignored.
        let _ = docker(&["image", "rm"]).args(tags).output();
    }
}
