//! A container of a pod: its specification and its status.

use serde_json::Value;

use crate::image::reference::Reference;
use crate::kube::object::text;

/// A container of a pod, or of a pod template if there is no pod.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    spec: &'a Value,
    /// Null until the kubelet reports a status.
    status: &'a Value,
    is_init: bool,
}

impl<'a> Container<'a> {
    pub fn new(spec: &'a Value, status: &'a Value, is_init: bool) -> Self {
        Self { spec, status, is_init }
    }

    pub fn name(&self) -> &'a str {
        text(self.spec, "/name")
    }

    /// Returns the image as written in the specification.
    pub fn image(&self) -> &'a str {
        text(self.spec, "/image")
    }

    /// Returns the image reference as the CRI stores it.
    pub fn reference(&self) -> Option<Reference> {
        Reference::parse(self.image()).ok().map(Reference::into_familiar_tag)
    }

    pub fn policy(&self) -> &'a str {
        text(self.spec, "/imagePullPolicy")
    }

    /// Returns the runtime's ID of the image that it runs.
    pub fn image_id(&self) -> &'a str {
        text(self.status, "/imageID")
    }

    pub fn restarts(&self) -> u64 {
        self.status["restartCount"].as_u64().unwrap_or_default()
    }

    pub fn is_ready(&self) -> bool {
        self.status["ready"].as_bool().unwrap_or_default()
    }

    /// Whether it must exit before the other containers start: an init container that is
    /// not a sidecar.
    pub fn is_init(&self) -> bool {
        self.is_init && self.spec["restartPolicy"] != "Always"
    }

    /// Returns the field of the pod spec that lists it.
    pub fn list(&self) -> &'static str {
        if self.is_init { "initContainers" } else { "containers" }
    }

    pub fn is_running(&self) -> bool {
        self.status.pointer("/state/running").is_some()
    }

    /// Returns the start time of its current run, or of its last one.
    pub fn started_at(&self) -> &'a str {
        let paths = ["/state/running", "/state/terminated", "/lastState/terminated"];
        let run = paths.iter().find_map(|path| self.status.pointer(path));
        run.map(|run| text(run, "/startedAt")).unwrap_or_default()
    }

    /// Whether its startup probe has succeeded, if it has one.
    pub fn has_started(&self) -> bool {
        self.status["started"].as_bool().unwrap_or_default()
    }

    /// Whether it waits for its image.
    pub fn waits_for_image(&self) -> bool {
        const REASONS: [&str; 3] = ["ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff"];
        self.waiting().is_some_and(|(reason, _)| REASONS.contains(&reason))
    }

    /// Returns the reason and message of its waiting state.
    pub fn waiting(&self) -> Option<(&'a str, &'a str)> {
        let waiting = self.status.pointer("/state/waiting")?;
        Some((text(waiting, "/reason"), text(waiting, "/message")))
    }

    /// Returns its last termination, if any.
    pub fn ended(&self) -> Option<&'a Value> {
        let paths = ["/state/terminated", "/lastState/terminated"];
        paths.iter().find_map(|path| self.status.pointer(path))
    }

    pub fn exit_code(&self) -> Option<i64> {
        self.ended()?["exitCode"].as_i64()
    }

    /// Returns the field of its specification at this path.
    pub fn spec(&self, path: &str) -> Option<&'a Value> {
        self.spec.pointer(path)
    }
}
