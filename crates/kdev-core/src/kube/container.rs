//! A container of a pod: what is asked for, and what has become of it.

use serde_json::Value;

use crate::image::reference::Reference;
use crate::kube::object::text;

/// A container of the pod, or of the template where there is no pod.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    spec: &'a Value,
    /// Null before the kubelet has told of it.
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

    /// As it is written.
    pub fn image(&self) -> &'a str {
        text(self.spec, "/image")
    }

    /// Its image as the CRI keeps it.
    pub fn reference(&self) -> Option<Reference> {
        Reference::parse(self.image()).ok().map(Reference::into_familiar_tag)
    }

    pub fn policy(&self) -> &'a str {
        text(self.spec, "/imagePullPolicy")
    }

    /// What the runtime calls the image that it runs.
    pub fn image_id(&self) -> &'a str {
        text(self.status, "/imageID")
    }

    pub fn restarts(&self) -> u64 {
        self.status["restartCount"].as_u64().unwrap_or_default()
    }

    pub fn is_ready(&self) -> bool {
        self.status["ready"].as_bool().unwrap_or_default()
    }

    /// Whether it shall end before the others start, as an init container does that
    /// is no sidecar.
    pub fn is_init(&self) -> bool {
        self.is_init && self.spec["restartPolicy"] != "Always"
    }

    /// Where the pod's specification lists it.
    pub fn list(&self) -> &'static str {
        if self.is_init { "initContainers" } else { "containers" }
    }

    pub fn is_running(&self) -> bool {
        self.status.pointer("/state/running").is_some()
    }

    /// When its present run began, or else its last one.
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

    /// Why it waits: reason and message.
    pub fn waiting(&self) -> Option<(&'a str, &'a str)> {
        let waiting = self.status.pointer("/state/waiting")?;
        Some((text(waiting, "/reason"), text(waiting, "/message")))
    }

    /// How it last ended, if it has.
    pub fn ended(&self) -> Option<&'a Value> {
        let paths = ["/state/terminated", "/lastState/terminated"];
        paths.iter().find_map(|path| self.status.pointer(path))
    }

    pub fn exit_code(&self) -> Option<i64> {
        self.ended()?["exitCode"].as_i64()
    }

    /// A part of its specification.
    pub fn spec(&self, path: &str) -> Option<&'a Value> {
        self.spec.pointer(path)
    }
}
