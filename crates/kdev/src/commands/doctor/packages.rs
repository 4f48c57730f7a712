//! Merges the results of several packages.

use crate::commands::doctor::report::{CheckGroup, CheckResult};

/// Merges the results of each package. A result that is the same for all of them occurs once;
/// each other one has its package. The results of each group and node are together, the common
/// ones first.
pub(super) fn merge(results: &[(String, Vec<CheckResult>)]) -> Vec<CheckResult> {
    let mut sections: Vec<(CheckGroup, Option<String>)> = Vec::new();
    for result in results.iter().flat_map(|(_, results)| results) {
        let section = section(result);
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    sections.sort_by_key(|(group, _)| *group);
    let is_common =
        |result: &CheckResult| results.iter().all(|(_, results)| results.contains(result));
    let mut merged = Vec::new();
    for section in &sections {
        let in_section = |results: &[CheckResult]| -> Vec<CheckResult> {
            results.iter().filter(|one| self::section(one) == *section).cloned().collect()
        };
        let first = results.first().map(|(_, results)| in_section(results)).unwrap_or_default();
        merged.extend(first.into_iter().filter(is_common));
        for (package, results) in results {
            let own = in_section(results).into_iter().filter(|result| !is_common(result));
            merged.extend(own.map(|own| CheckResult { package: Some(package.clone()), ..own }));
        }
    }
    merged
}

fn section(result: &CheckResult) -> (CheckGroup, Option<String>) {
    (result.group, result.node.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_results_are_merged() {
        let ok = |group, check, evidence: &str| CheckResult::ok(group, check, evidence);
        let node = |name: &str, evidence: &str| {
            CheckResult::ok(CheckGroup::Node, "ready", evidence).on_node(name)
        };
        let docker = ok(CheckGroup::Docker, "daemon", "20.10");
        let api = vec![
            ok(CheckGroup::Tools, "docker", "20.10"),
            docker.clone(),
            ok(CheckGroup::Project, "project", "api"),
            node("n1", "ready"),
            node("n2", "excluded"),
        ];
        let web = vec![
            ok(CheckGroup::Tools, "podman", "4"),
            docker,
            ok(CheckGroup::Project, "project", "web"),
            node("n2", "ready"),
            node("n1", "ready"),
        ];
        let merged = merge(&[("api".to_owned(), api), ("web".to_owned(), web)]);
        let row = |one: &CheckResult| {
            let package = one.package.as_deref().unwrap_or("-");
            format!(
                "{package} {} {} {}",
                one.node.as_deref().unwrap_or("-"),
                one.check,
                one.evidence
            )
        };
        assert_eq!(
            merged.iter().map(row).collect::<Vec<_>>(),
            [
                "api - docker 20.10",
                "web - podman 4",
                "- - daemon 20.10",
                "api - project api",
                "web - project web",
                "- n1 ready ready",
                "api n2 ready excluded",
                "web n2 ready ready",
            ]
        );
    }
}
