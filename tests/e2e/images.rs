//! Removes the images of tests: from the nodes at once, and from Docker after the last test.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::lab::{docker, images_on, in_node, run};

static QUEUED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Packages of a test besides that of its service, whose images are removed at the end.
pub(crate) struct OtherImages(pub(crate) &'static [&'static str]);

impl Drop for OtherImages {
    fn drop(&mut self) {
        clean_up(|| {
            for name in self.0 {
                remove(name, crate::test_service::running_machines());
            }
        });
    }
}

/// Runs a cleanup in a destructor. If it fails after a test that has failed, only the failure of the
/// test counts: a second panic would end all other tests.
pub(crate) fn clean_up(work: impl FnOnce()) {
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    if let Err(failure) = result
        && !thread::panicking()
    {
        panic::resume_unwind(failure);
    }
}

/// Removes the builds of an image.
pub(crate) fn remove(name: &str, machines: impl Iterator<Item = &'static str>) {
    for machine in machines {
        for image in images_on(machine, &format!("/{name}:")) {
            run(&mut in_node(machine, &["ctr", "-n", "k8s.io", "images", "rm", &image]));
        }
    }
    let tags = run(&mut docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name]));
    queue_removal(tags.lines());
}

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
