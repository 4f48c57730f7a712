//! `cargo kdev why`: flags and output.

use std::fmt::Write;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use kdev::{Cause, Confidence, ConfigLayer, Diagnosis, WhyReport, WhyRequest, WorkloadReport};
use serde::Serialize;

use crate::flags::{BuilderArgs, ClusterArgs, PackagesArgs};
use crate::ui::Ui;
use crate::ui::wrap::{stdout_width, wrap_text};

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// Pod or workload (a Deployment, a Job, …) to explain
    /// [default: everything in the namespace that has a problem]
    #[arg(value_name = "POD|KIND/NAME")]
    query: Option<String>,
    /// The name, if kind and name are separate arguments
    #[arg(hide = true)]
    name: Option<String>,
    #[command(flatten)]
    project: PackagesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// SSH configuration file to use instead of the default
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Save the collected facts to a file for later analysis; environment
    /// variable values are removed
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Diagnose facts from a file instead of a cluster
    #[arg(long, value_name = "FILE", conflicts_with_all = ["query", "record"])]
    replay: Option<PathBuf>,
}

impl From<WhyArgs> for WhyRequest {
    fn from(why: WhyArgs) -> Self {
        Self {
            query: match (why.query, why.name) {
                (Some(kind), Some(name)) => Some(format!("{kind}/{name}")),
                (query, _) => query,
            },
            selection: why.project.into(),
            target: why.cluster.into(),
            record: why.record,
            replay: why.replay,
            flags: ConfigLayer {
                namespace: why.namespace,
                builder: why.builder.builder,
                ssh_config: why.ssh_config,
                ..ConfigLayer::default()
            },
        }
    }
}

/// A diagnosed pod or workload in the JSON output.
#[derive(Serialize)]
struct DiagnosisLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    workload: &'a WorkloadReport,
}

impl Ui {
    /// Prints the diagnoses.
    pub(crate) fn print_why_report(&self, report: &WhyReport) {
        if self.json {
            for workload in &report.workloads {
                self.stdout.write_json(&DiagnosisLine {
                    version: kdev::JSON_VERSION,
                    reason: "diagnosis",
                    workload,
                });
            }
        } else {
            self.stdout.write_styled(format_report(report, stdout_width()));
        }
    }
}

const TITLE: Style = Style::new().bold();
const CAUSE: Style = AnsiColor::Red.on_default().bold();
const UNCERTAIN: Style = AnsiColor::Yellow.on_default().bold();
const EVIDENCE: Style = AnsiColor::BrightBlack.on_default();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// Formats the diagnoses, with colors. Lines are wrapped at `width`.
pub(crate) fn format_report(report: &WhyReport, width: Option<usize>) -> String {
    let mut lines = String::new();
    for workload in &report.workloads {
        if !lines.is_empty() {
            lines.push('\n');
        }
        let _ =
            writeln!(lines, "{TITLE}{}{TITLE:#}", wrap_text(&format_title(workload), 0, 4, width));
        if workload.diagnoses.is_empty() {
            let _ = writeln!(lines, "  no problem found");
        }
        workload
            .diagnoses
            .iter()
            .for_each(|diagnosis| write_diagnosis(&mut lines, diagnosis, width));
    }
    if lines.is_empty() { format_no_problems(report, width) } else { lines }
}

/// Formats a report without problems.
fn format_no_problems(report: &WhyReport, width: Option<usize>) -> String {
    let WhyReport { context, namespace, examined, inactive, .. } = report;
    let mut lines = Vec::new();
    if *examined == 0 {
        lines.push(format!(
            "no pods or workloads found in namespace `{namespace}` of context `{context}`"
        ));
    } else {
        lines.push(format!("no problems found in namespace `{namespace}`"));
        lines.extend(inactive.iter().cloned());
    }
    lines.into_iter().map(|line| wrap_text(&line, 0, 2, width) + "\n").collect()
}

/// Formats a title such as `pod/hello-5c9 of deployment/hello on node-1: Ready`.
fn format_title(workload: &WorkloadReport) -> String {
    let of = workload.owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
    let on = workload.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let siblings = match workload.unready_siblings {
        0 => String::new(),
        more => format!(" ({more} more pods are not ready)"),
    };
    format!("{}{of}{on}: {}{siblings}", workload.subject, workload.state)
}

fn write_diagnosis(lines: &mut String, diagnosis: &Diagnosis, width: Option<usize>) {
    let (style, label) = match (diagnosis.cause, diagnosis.confidence) {
        (Cause::InProgress, _) => (EVIDENCE, "in progress"),
        (_, Confidence::Likely) => (UNCERTAIN, "likely cause"),
        (_, Confidence::Possible) => (UNCERTAIN, "possible cause"),
        _ => (CAUSE, "cause"),
    };
    let mut line = |style: Style, label: &str, text: &str| {
        let text = wrap_text(text, "  : ".len() + label.len(), 8, width);
        let _ = writeln!(lines, "  {style}{label}:{style:#} {text}");
    };
    line(style, label, &diagnosis.message);
    diagnosis.evidence.iter().for_each(|evidence| line(EVIDENCE, "evidence", evidence));
    line(HELP, "help", &diagnosis.help);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_without_problems_has_own_message() {
        let mut report = WhyReport::default();
        report.context = "c".to_owned();
        report.namespace = "n".to_owned();
        let empty = "no pods or workloads found in namespace `n` of context `c`\n";
        assert_eq!(format_report(&report, None), empty);
        report.examined = 2;
        assert_eq!(format_report(&report, None), "no problems found in namespace `n`\n");
        report.inactive = vec!["deployment/d is paused".to_owned()];
        let more = "deployment/d is paused\n";
        assert_eq!(
            format_report(&report, None),
            format!("no problems found in namespace `n`\n{more}")
        );
    }
}
