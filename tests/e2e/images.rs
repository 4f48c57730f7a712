//! The images that tests build in docker.

use std::sync::{Mutex, PoisonError};

use crate::lab::docker;

static QUEUED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Removes images once no test runs. Docker's old builder looks through the images
/// that a build can continue from, of all tests, and fails if one of them is removed
/// meanwhile: `unable to find image "sha256:…"`.
pub(crate) fn queue_removal<'a>(tags: impl IntoIterator<Item = &'a str>) {
    let mut later = QUEUED.lock().unwrap_or_else(PoisonError::into_inner);
    later.extend(tags.into_iter().map(str::to_owned));
}

/// Removes them now.
pub(crate) fn remove_queued() {
    let tags = std::mem::take(&mut *QUEUED.lock().unwrap_or_else(PoisonError::into_inner));
    if !tags.is_empty() {
        // A test that was repeated has named its image twice.
        let _ = docker(&["image", "rm"]).args(tags).output();
    }
}
