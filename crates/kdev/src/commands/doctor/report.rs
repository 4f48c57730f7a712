//! What a check has found, and what is to be done about it. Pure.

use std::error::Error as StdError;

use serde::Serialize;

use crate::commands::doctor::fix::Fix;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::node::error::NodeError;

/// How it stands with one thing that `up` needs.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// What it belongs to.
    pub group: CheckGroup,
    /// The node that it is about.
    pub node: Option<String>,
    /// What was checked, for scripts, too.
    pub check: &'static str,
    /// How it stands.
    pub state: CheckState,
    /// What that was seen by, or what is wrong.
    pub evidence: String,
    /// What it was caused by.
    pub causes: Vec<String>,
    /// One action that helps, to copy where that is possible.
    pub help: Option<String>,
    #[serde(skip)]
    pub(crate) code: u8,
    #[serde(skip)]
    pub(crate) fix: Option<Fix>,
}

/// What findings belong to, in the order in which they must be cured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckGroup {
    /// Programs on this machine.
    Tools,
    /// docker's daemon.
    Docker,
    /// The cargo project, its configuration and its manifests.
    Project,
    /// The kubeconfig, the API server, and what it allows.
    Cluster,
    /// One of the nodes.
    Node,
}

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// It was not checked, and need not be.
    Skipped,
    /// `up` works, but not as well as it could, or not everywhere.
    Warning,
    /// `up` cannot work.
    Error,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DoctorReport {
    /// What must be cured first comes first.
    pub checks: Vec<CheckResult>,
    /// The command that asks whether to cure some of it; `None` where there is nothing
    /// that it could do, or where it was just given.
    pub fix_command: Option<String>,
}

impl DoctorReport {
    /// How many of the findings can be cured from here.
    pub fn fixable_count(&self) -> usize {
        self.checks.iter().filter(|finding| finding.fix.is_some()).count()
    }

    /// Whether there was a project to look at.
    pub fn has_project(&self) -> bool {
        let of_project = |one: &&CheckResult| one.group == CheckGroup::Project && one.check == "project";
        self.checks.iter().find(of_project).is_none_or(|one| one.state != CheckState::Skipped)
    }

    /// That of the first error; warnings are no failure.
    pub fn exit_code(&self) -> u8 {
        let error = self.checks.iter().find(|finding| finding.state == CheckState::Error);
        error.map_or(ExitCode::Success as u8, |finding| finding.code)
    }
}

impl CheckResult {
    fn new(group: CheckGroup, check: &'static str, state: CheckState, evidence: impl Into<String>) -> Self {
        let code = match group {
            CheckGroup::Tools | CheckGroup::Docker => ExitCode::Tool,
            CheckGroup::Project => ExitCode::Project,
            CheckGroup::Cluster => ExitCode::Cluster,
            CheckGroup::Node => ExitCode::Node,
        };
        Self {
            group,
            node: None,
            check,
            state,
            evidence: evidence.into(),
            causes: Vec::new(),
            help: None,
            code: code as u8,
            fix: None,
        }
    }

    pub(crate) fn ok(group: CheckGroup, check: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(group, check, CheckState::Ok, evidence)
    }

    pub(crate) fn skipped(group: CheckGroup, check: &'static str, why: impl Into<String>) -> Self {
        Self::new(group, check, CheckState::Skipped, why)
    }

    pub(crate) fn warning(
        group: CheckGroup,
        check: &'static str,
        evidence: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let help = Some(help.into());
        Self { help, ..Self::new(group, check, CheckState::Warning, evidence) }
    }

    pub(crate) fn error(
        group: CheckGroup,
        check: &'static str,
        evidence: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let help = Some(help.into());
        Self { help, ..Self::new(group, check, CheckState::Error, evidence) }
    }

    /// What `up` would fail with.
    pub(crate) fn failed(group: CheckGroup, check: &'static str, error: impl Into<Error>) -> Self {
        let error = error.into();
        let found = Self::new(group, check, CheckState::Error, error.to_string());
        Self { causes: causes(&error), help: error.help(), code: error.exit_code(), ..found }
    }

    /// What `up` would fail with on this node.
    pub(crate) fn failed_on_node(check: &'static str, error: &NodeError) -> Self {
        let found = Self::new(CheckGroup::Node, check, CheckState::Error, error.to_string());
        let code = error.exit_code() as u8;
        Self { causes: causes(error), help: error.help(), code, ..found }
    }

    /// The same, of a node.
    pub(crate) fn on_node(self, node: &str) -> Self {
        Self { node: Some(node.to_owned()), ..self }
    }

    /// The same, but `up` works all the same.
    pub(crate) fn as_warning(self) -> Self {
        Self { state: CheckState::Warning, ..self }
    }

    pub(crate) fn with_fix(self, fix: Option<Fix>) -> Self {
        Self { fix, ..self }
    }
}

fn causes(error: &dyn StdError) -> Vec<String> {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_decides_and_a_warning_does_not() {
        let checkup = |findings: &[CheckResult]| DoctorReport { checks: findings.to_vec(), fix_command: None };
        let code = |findings: &[CheckResult]| checkup(findings).exit_code();
        let warning = CheckResult::warning(CheckGroup::Docker, "a", "", "");
        let cluster = CheckResult::error(CheckGroup::Cluster, "b", "", "");
        let node = CheckResult::error(CheckGroup::Node, "c", "", "");
        assert_eq!(code(&[]), 0);
        assert_eq!(code(std::slice::from_ref(&warning)), 0);
        assert_eq!(code(&[warning, cluster, node.clone()]), 92);
        assert_eq!(code(&[node]), 93);
    }
}
