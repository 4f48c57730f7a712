//! Creates, awaits and deletes the namespaces of the tests.

use crate::api;
use crate::lab::{kubectl, run, wait_for};

pub(crate) fn exists(name: &str) -> bool {
    api::find("", &["namespace", name]).is_some()
}

/// Creates a namespace, and waits until pods can be created in it.
#[track_caller]
pub(crate) fn create(name: &str) {
    run(&mut kubectl("default", &["create", "namespace", name]));
    wait_until_usable(name);
}

/// Waits for the service account, without which no pod can be created.
#[track_caller]
pub(crate) fn wait_until_usable(name: &str) {
    wait_for("the service account", || api::find(name, &["serviceaccount", "default"]));
}

/// Deletes a namespace without waiting until its pods are gone.
pub(crate) fn delete(name: &str) {
    let delete = ["delete", "namespace", name, "--ignore-not-found", "--wait=false"];
    let _ = kubectl("default", &delete).output();
}

/// Deletes a namespace when dropped, even if the test fails.
pub(crate) struct DeleteOnDrop(pub(crate) &'static str);

impl DeleteOnDrop {
    /// Also removes the namespace of an earlier run that was interrupted.
    pub(crate) fn new(name: &'static str) -> Self {
        if exists(name) {
            delete(name);
            wait_until_gone(name);
        }
        Self(name)
    }
}

impl Drop for DeleteOnDrop {
    fn drop(&mut self) {
        delete(self.0);
    }
}

/// Waits until a deleted namespace is gone.
#[track_caller]
pub(crate) fn wait_until_gone(name: &str) {
    wait_for("deletion of the namespace", || (!exists(name)).then_some(()));
}
