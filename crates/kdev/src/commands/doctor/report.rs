//! The results of the checks.

use std::error::Error as StdError;

use serde::Serialize;

use crate::commands::doctor::fix::Fix;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::node::error::NodeError;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// The group of the check.
    pub group: CheckGroup,
    /// The node that was checked; `None` if the check is not about a node.
    pub node: Option<String>,
    /// The package; `None` if the result is the same for all selected packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The name of the check, which scripts may rely on.
    pub check: &'static str,
    /// The state.
    pub state: CheckState,
    /// What was found.
    pub evidence: String,
    /// The causes of an error.
    pub causes: Vec<String>,
    /// How to fix it.
    pub help: Option<String>,
    #[serde(skip)]
    pub(crate) code: u8,
    #[serde(skip)]
    pub(crate) fix: Option<Fix>,
}

/// A group of checks, in the order in which problems must be fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckGroup {
    /// Programs on this machine.
    Tools,
    /// The Docker daemon.
    Docker,
    /// Podman.
    Podman,
    /// The cargo project, its configuration and its manifests.
    Project,
    /// The kubeconfig, the API server and the permissions.
    Cluster,
    /// A node.
    Node,
}

/// The state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckState {
    /// No problem was found.
    Ok,
    /// Not checked.
    Skipped,
    /// `up` works, but with limitations.
    Warning,
    /// `up` cannot work.
    Error,
}

/// The result of [`doctor`](crate::doctor).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DoctorReport {
    /// The results, in the order in which problems must be fixed.
    pub checks: Vec<CheckResult>,
    /// The command that fixes some of the problems; `None` if it can fix none of them, or if it
    /// is already running.
    pub fix_command: Option<String>,
}

impl DoctorReport {
    /// Returns the number of problems that `doctor --fix` can fix.
    pub fn fixable_count(&self) -> usize {
        self.checks.iter().filter(|finding| finding.fix.is_some()).count()
    }

    /// Returns whether a project was checked.
    pub fn has_project(&self) -> bool {
        let is_project =
            |one: &&CheckResult| one.group == CheckGroup::Project && one.check == "project";
        self.checks.iter().find(is_project).is_none_or(|one| one.state != CheckState::Skipped)
    }

    /// Returns the exit code of the first error; warnings do not fail.
    pub fn exit_code(&self) -> u8 {
        let error = self.checks.iter().find(|finding| finding.state == CheckState::Error);
        error.map_or(ExitCode::Success as u8, |finding| finding.code)
    }
}

impl CheckResult {
    fn new(
        group: CheckGroup,
        check: &'static str,
        state: CheckState,
        evidence: impl Into<String>,
    ) -> Self {
        let code = match group {
            CheckGroup::Tools | CheckGroup::Docker | CheckGroup::Podman => ExitCode::Tool,
            CheckGroup::Project => ExitCode::Project,
            CheckGroup::Cluster => ExitCode::Cluster,
            CheckGroup::Node => ExitCode::Node,
        };
        Self {
            group,
            node: None,
            package: None,
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

    pub(crate) fn skipped(
        group: CheckGroup,
        check: &'static str,
        cause: impl Into<String>,
    ) -> Self {
        Self::new(group, check, CheckState::Skipped, cause)
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

    /// Creates a result from the error with which `up` would fail on a node.
    pub(crate) fn failed_on_node(check: &'static str, error: &NodeError) -> Self {
        let found = Self::new(CheckGroup::Node, check, CheckState::Error, error.to_string());
        let code = error.kind.exit_code() as u8;
        Self { causes: causes(error), help: error.help(), code, ..found }
    }

    /// Sets the node.
    pub(crate) fn on_node(self, node: &str) -> Self {
        Self { node: Some(node.to_owned()), ..self }
    }

    /// Reduces an error to a warning, because `up` works nevertheless.
    pub(crate) fn into_warning(self) -> Self {
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
    fn first_error_sets_exit_code() {
        let report = |findings: &[CheckResult]| DoctorReport {
            checks: findings.to_vec(),
            fix_command: None,
        };
        let code = |findings: &[CheckResult]| report(findings).exit_code();
        let warning = CheckResult::warning(CheckGroup::Docker, "a", "", "");
        let cluster = CheckResult::error(CheckGroup::Cluster, "b", "", "");
        let node = CheckResult::error(CheckGroup::Node, "c", "", "");
        assert_eq!(code(&[]), 0);
        assert_eq!(code(std::slice::from_ref(&warning)), 0);
        assert_eq!(code(&[warning, cluster, node.clone()]), 92);
        assert_eq!(code(&[node]), 93);
    }
}
