//! Containers that exceed their memory limit.

use std::fmt;

use kdev_core::kube::container::Container;
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;

/// Exit code of a program that SIGKILL ends, the signal of the kernel's OOM killer.
const SIGKILL_EXIT_CODE: i64 = 137;

/// Diagnoses a container that was reported as killed by the OOM killer.
pub(crate) fn out_of_memory(
    facts: &Facts,
    container: Container,
    evidence: Vec<String>,
) -> Diagnosis {
    let name = container.name();
    let (message, help) = match Limit::for_container(facts, container) {
        Some(limit) => {
            (format!("container `{name}` exceeded {limit}"), limit.raise_help(facts, container))
        }
        None => (
            format!("the node ran out of memory, and container `{name}` was killed"),
            format!(
                "run `{} top pods --all-namespaces` to see the memory usage of all pods",
                facts.kubectl
            ),
        ),
    };
    let (cause, confidence) = (Cause::OutOfMemory, Confidence::Certain);
    Diagnosis { cause, confidence, message, evidence, help }
}

/// Explains the end by SIGKILL of a container with a memory limit whose status does not
/// report `OOMKilled`: containerd reports it only if it receives the OOM event before
/// the exit event, which is often not the case on a busy node.
pub(crate) fn probably_out_of_memory(
    facts: &Facts,
    container: Container,
    code: i64,
) -> Option<(Cause, String, String)> {
    let limit = Limit::for_container(facts, container).filter(|_| code == SIGKILL_EXIT_CODE)?;
    let message = format!(
        "container `{}` was killed, probably because it exceeded {limit}",
        container.name()
    );
    Some((Cause::OutOfMemory, message, limit.raise_help(facts, container)))
}

/// Memory limit that applies to a container.
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
            Self::Container(limit) => {
                fixes::set_memory_limit_help(facts, container, &double(limit))
            }
            Self::Pod(_) => {
                fixes::edit_manifest_help(facts, "increase `resources.limits.memory` of the pod in")
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(limit) => write!(f, "its memory limit of {limit}"),
            Self::Pod(limit) => write!(f, "the pod's memory limit of {limit}"),
        }
    }
}

/// Doubles the number of a quantity and keeps its unit.
fn double(quantity: &str) -> String {
    let end = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    number.parse::<f64>().map_or_else(|_| "SIZE".to_owned(), |n| format!("{}{unit}", 2.0 * n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_with_any_unit_is_doubled() {
        let table =
            [("20Mi", "40Mi"), ("1Gi", "2Gi"), ("500", "1000"), ("1.5Gi", "3Gi"), ("", "SIZE")];
        for (limit, twice) in table {
            assert_eq!(double(limit), twice, "{limit}");
        }
    }
}
