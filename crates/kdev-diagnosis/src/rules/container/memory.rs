//! A container that uses more memory than it may.

use std::fmt;

use kdev_core::kube::container::Container;
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;

/// The exit code of a program that SIGKILL ends, as the kernel's OOM killer does.
const SIGKILL_EXIT_CODE: i64 = 137;

/// A container whose status says that the OOM killer ended it.
pub(crate) fn out_of_memory(
    facts: &Facts,
    container: Container,
    evidence: Vec<String>,
) -> Diagnosis {
    let name = container.name();
    let (words, help) = match Limit::for_container(facts, container) {
        Some(limit) => (
            format!("container `{name}` uses more memory than {limit}"),
            limit.raise_help(facts, container),
        ),
        None => (
            format!("the node has no memory left for container `{name}`"),
            format!("see what uses it with `{} top pods --all-namespaces`", facts.kubectl),
        ),
    };
    let (cause, confidence) = (Cause::OutOfMemory, Confidence::Certain);
    Diagnosis { cause, confidence, words, evidence, help }
}

/// A container with a memory limit that SIGKILL ended, although its status does not
/// say `OOMKilled`: containerd reports so only if it hears of the OOM event before
/// the exit, which it often does not on a busy node.
pub(crate) fn probably_out_of_memory(
    facts: &Facts,
    container: Container,
    code: i64,
) -> Option<(Cause, String, String)> {
    let limit = Limit::for_container(facts, container).filter(|_| code == SIGKILL_EXIT_CODE)?;
    let words = format!(
        "container `{}` was killed, probably because it uses more memory than {limit}",
        container.name()
    );
    Some((Cause::OutOfMemory, words, limit.raise_help(facts, container)))
}

/// The memory limit that bounds a container.
enum Limit {
    Container(String),
    Pod(String),
}

impl Limit {
    fn for_container(facts: &Facts, container: Container) -> Option<Self> {
        let memory = |limits: &Value| limits.pointer("/memory")?.as_str().map(str::to_owned);
        let own = container.spec("/resources/limits").and_then(memory).map(Self::Container);
        own.or_else(|| facts.pod.pointer("/spec/resources/limits").and_then(memory).map(Self::Pod))
    }

    fn raise_help(&self, facts: &Facts, container: Container) -> String {
        match self {
            Self::Container(limit) => fixes::set_memory(facts, container, &double(limit)),
            Self::Pod(_) => fixes::by_hand(facts, "raise `resources.limits.memory` of the pod in"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(limit) => write!(f, "its limit of {limit}"),
            Self::Pod(limit) => write!(f, "the pod's limit of {limit} leaves it"),
        }
    }
}

/// Twice a quantity: its number counts, whatever the unit.
fn double(quantity: &str) -> String {
    let end = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    number.parse::<f64>().map_or_else(|_| "SIZE".to_owned(), |n| format!("{}{unit}", 2.0 * n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_doubled_whatever_its_unit() {
        let table =
            [("20Mi", "40Mi"), ("1Gi", "2Gi"), ("500", "1000"), ("1.5Gi", "3Gi"), ("", "SIZE")];
        for (limit, twice) in table {
            assert_eq!(double(limit), twice, "{limit}");
        }
    }
}
