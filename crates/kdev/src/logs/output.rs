//! Shows lines, with labels that depend on all sources.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use kdev_core::log::label::{Source, label};

/// Lines of one container.
#[derive(Debug)]
#[non_exhaustive]
pub struct LogBatch<'a> {
    /// The namespace of the pod.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
    /// The part of the names that differs between the containers whose logs are shown; `None` if
    /// there is only one.
    pub label: Option<String>,
    /// Whether the pod is being deleted.
    pub is_terminating: bool,
    /// The lines.
    pub lines: &'a [LogLine<'a>],
}

/// A line of a log.
#[derive(Debug)]
#[non_exhaustive]
pub struct LogLine<'a> {
    /// The time at which the runtime has read it, in the format of the kubelet.
    pub time: &'a str,
    /// The text, with control characters and without a newline.
    pub text: Cow<'a, str>,
}

/// Shows lines.
pub(crate) type Show<'a> = &'a (dyn Fn(&LogBatch) + Sync);

/// The receiver of all lines, and the containers that they can come from.
pub(crate) struct Output<'a> {
    show: Show<'a>,
    sources: Mutex<Vec<Source>>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(show: Show<'a>) -> Self {
        Self { show, sources: Mutex::default() }
    }

    pub(crate) fn add(&self, source: &Source) {
        self.update(|sources| sources.push(source.clone()));
    }

    pub(crate) fn remove(&self, source: &Source) {
        // A StatefulSet may have created a pod of the same name in the meantime.
        self.update(|sources| {
            let at = sources.iter().position(|one| one == source);
            at.map(|at| sources.remove(at))
        });
    }

    pub(crate) fn show(&self, source: &Source, is_terminating: bool, lines: &[LogLine]) {
        if lines.is_empty() {
            return;
        }
        let label = self.update(|sources| label(source, sources));
        let Source { namespace, pod, container } = source;
        (self.show)(&LogBatch { namespace, pod, container, label, is_terminating, lines });
    }

    fn update<T>(&self, change: impl FnOnce(&mut Vec<Source>) -> T) -> T {
        change(&mut self.sources.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
