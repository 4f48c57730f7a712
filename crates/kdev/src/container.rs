//! A container of a pod: what is asked for, and what has become of it. Pure.

use serde_json::Value;

use crate::facts::text;
use crate::image::Reference;

/// A container of the pod, or of the template where there is no pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'a> {
    spec: &'a Value,
    /// Null before the kubelet has told of it.
    status: &'a Value,
    is_init: bool,
}

impl<'a> Container<'a> {
    pub(crate) fn new(spec: &'a Value, status: &'a Value, is_init: bool) -> Self {
        Self { spec, status, is_init }
    }

    pub(crate) fn name(&self) -> &'a str {
        text(self.spec, "/name")
    }

    /// As it is written.
    pub(crate) fn image(&self) -> &'a str {
        text(self.spec, "/image")
    }

    /// Its image as the CRI keeps it.
    pub(crate) fn reference(&self) -> Option<Reference> {
        Reference::parse(self.image()).ok().map(Reference::into_kept)
    }

    pub(crate) fn policy(&self) -> &'a str {
        text(self.spec, "/imagePullPolicy")
    }

    /// What the runtime calls the image that it runs.
    pub(crate) fn image_id(&self) -> &'a str {
        text(self.status, "/imageID")
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.status["restartCount"].as_u64().unwrap_or_default()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.status["ready"].as_bool().unwrap_or_default()
    }

    /// Whether it shall end before the others start, as an init container does that
    /// is no sidecar.
    pub(crate) fn is_init(&self) -> bool {
        self.is_init && self.spec["restartPolicy"] != "Always"
    }

    /// Where the pod's specification lists it.
    pub(crate) fn list(&self) -> &'static str {
        if self.is_init { "initContainers" } else { "containers" }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status.pointer("/state/running").is_some()
    }

    /// When its present run began, or else its last one.
    pub(crate) fn started(&self) -> &'a str {
        let paths = ["/state/running", "/state/terminated", "/lastState/terminated"];
        let run = paths.iter().find_map(|path| self.status.pointer(path));
        run.map(|run| text(run, "/startedAt")).unwrap_or_default()
    }

    /// Whether its startup probe has succeeded, if it has one.
    pub(crate) fn has_started(&self) -> bool {
        self.status["started"].as_bool().unwrap_or_default()
    }

    /// Whether it waits for its image.
    pub(crate) fn waits_for_image(&self) -> bool {
        const REASONS: [&str; 3] = ["ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff"];
        self.waiting().is_some_and(|(reason, _)| REASONS.contains(&reason))
    }

    /// Why it waits: reason and message.
    pub(crate) fn waiting(&self) -> Option<(&'a str, &'a str)> {
        let waiting = self.status.pointer("/state/waiting")?;
        Some((text(waiting, "/reason"), text(waiting, "/message")))
    }

    /// How it last ended, if it has.
    pub(crate) fn ended(&self) -> Option<&'a Value> {
        let paths = ["/state/terminated", "/lastState/terminated"];
        paths.iter().find_map(|path| self.status.pointer(path))
    }

    pub(crate) fn exit_code(&self) -> Option<i64> {
        self.ended()?["exitCode"].as_i64()
    }

    /// A part of its specification.
    pub(crate) fn spec(&self, path: &str) -> Option<&'a Value> {
        self.spec.pointer(path)
    }
}
