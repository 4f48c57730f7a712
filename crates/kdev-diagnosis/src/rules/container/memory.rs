//! A container that uses more memory than it may.

use kdev_core::kube::container::Container;
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;

pub(crate) fn out_of_memory(
    facts: &Facts,
    container: Container,
    evidence: Vec<String>,
) -> Diagnosis {
    let name = container.name();
    let limit = |limits: Option<&Value>| limits?.pointer("/memory")?.as_str().map(str::to_owned);
    let own = limit(container.spec("/resources/limits"));
    let (words, help) = if let Some(limit) = own {
        (
            format!("container `{name}` uses more memory than its limit of {limit}"),
            fixes::set_memory(facts, container, &doubled(&limit)),
        )
    } else if let Some(limit) = limit(facts.pod.pointer("/spec/resources/limits")) {
        (
            format!(
                "container `{name}` uses more memory than the pod's limit of {limit} leaves it"
            ),
            fixes::by_hand(facts, "raise `resources.limits.memory` of the pod in"),
        )
    } else {
        (
            format!("the node has no memory left for container `{name}`"),
            format!("see what uses it with `{} top pods --all-namespaces`", facts.kubectl),
        )
    };
    let (cause, confidence) = (Cause::OutOfMemory, Confidence::Certain);
    Diagnosis { cause, confidence, words, evidence, help }
}

/// Twice a quantity: its number counts, whatever the unit.
fn doubled(quantity: &str) -> String {
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
            assert_eq!(doubled(limit), twice, "{limit}");
        }
    }
}
