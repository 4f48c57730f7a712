//! `cargo kdev why`: flags, and what is wrong with pods.

use std::fmt::Write;
use std::io::Write as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use kdev::{Cause, Confidence, ConfigLayer, Diagnosis, WhyReport, WhyRequest, WorkloadReport};
use serde::Serialize;

use crate::flags::{ClusterArgs, ProjectArgs};
use crate::ui::wrap::{wrap_text, stdout_width};
use crate::ui::{Ui, print_json};

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// Pod, or what makes pods (a Deployment, a Job, …) [default: whatever in
    /// the namespace does not run as it should]
    #[arg(value_name = "POD|KIND/NAME")]
    query: Option<String>,
    /// As kubectl takes it: kind and name, each a word
    #[arg(hide = true)]
    name: Option<String>,
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace to look into [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// ssh configuration to use instead of your own
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Keep the facts in a file, for somebody else to look at; values of
    /// variables are left out
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Judge the facts in such a file, and ask no cluster
    #[arg(long, value_name = "FILE", conflicts_with_all = ["query", "record"])]
    replay: Option<PathBuf>,
}

impl From<WhyArgs> for WhyRequest {
    fn from(why: WhyArgs) -> Self {
        Self {
            query: match (why.query, why.name) {
                (Some(kind), Some(name)) => Some(format!("{kind}/{name}")),
                (asked, _) => asked,
            },
            selection: why.project.into(),
            target: why.cluster.into(),
            record: why.record,
            replay: why.replay,
            flags: ConfigLayer {
                namespace: why.namespace,
                ssh_config: why.ssh_config,
                ..ConfigLayer::default()
            },
        }
    }
}

/// What is wrong with a pod, in the JSON form.
#[derive(Serialize)]
struct DiagnosisLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    report: &'a WorkloadReport,
}

impl Ui {
    /// Prints what is wrong with pods.
    pub(crate) fn print_why_report(&self, answer: &WhyReport) {
        if self.json {
            for verdict in &answer.workloads {
                print_json(&DiagnosisLine { version: kdev::JSON_VERSION, reason: "diagnosis", report: verdict });
            }
        } else {
            let _ = write!(anstream::stdout(), "{}", format_report(answer, stdout_width()));
        }
    }
}

const TITLE: Style = Style::new().bold();
const CAUSE: Style = AnsiColor::Red.on_default().bold();
const UNCERTAIN: Style = AnsiColor::Yellow.on_default().bold();
const EVIDENCE: Style = AnsiColor::BrightBlack.on_default();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// All verdicts, in colours that the stream may strip; on a screen of this width
/// lines are broken.
pub(crate) fn format_report(answer: &WhyReport, width: Option<usize>) -> String {
    let mut lines = String::new();
    for verdict in &answer.workloads {
        if !lines.is_empty() {
            lines.push('\n');
        }
        let _ = writeln!(lines, "{TITLE}{}{TITLE:#}", wrap_text(&format_title(verdict), 0, 4, width));
        if verdict.diagnoses.is_empty() {
            let _ = writeln!(lines, "  nothing is wrong with it");
        }
        verdict.diagnoses.iter().for_each(|one| write_diagnosis(&mut lines, one, width));
    }
    if lines.is_empty() { format_no_problems(answer, width) } else { lines }
}

/// What there is to say where nothing is wrong.
fn format_no_problems(answer: &WhyReport, width: Option<usize>) -> String {
    let WhyReport { context, namespace, examined: looked_at, inactive: not_wanted, .. } = answer;
    let mut lines = Vec::new();
    if *looked_at == 0 {
        lines.push(format!(
            "namespace `{namespace}` of context `{context}` has no pods, and nothing that makes any"
        ));
    } else {
        lines.push(format!("nothing is wrong in namespace `{namespace}`"));
        lines.extend(not_wanted.iter().cloned());
    }
    lines.into_iter().map(|line| wrap_text(&line, 0, 2, width) + "\n").collect()
}

/// As `pod/hello-5c9 of deployment/hello on node-1: Ready`.
fn format_title(verdict: &WorkloadReport) -> String {
    let of = verdict.owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
    let on = verdict.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let alike = match verdict.unready_siblings {
        0 => String::new(),
        more => format!(" ({more} more of its pods are not ready)"),
    };
    format!("{}{of}{on}: {}{alike}", verdict.subject, verdict.state)
}

fn write_diagnosis(lines: &mut String, diagnosis: &Diagnosis, width: Option<usize>) {
    let (style, label) = match (diagnosis.cause, diagnosis.confidence) {
        (Cause::InProgress, _) => (EVIDENCE, "so far"),
        (_, Confidence::Likely) => (UNCERTAIN, "likely cause"),
        (_, Confidence::Possible) => (UNCERTAIN, "possible cause"),
        _ => (CAUSE, "cause"),
    };
    let mut line = |style: Style, label: &str, words: &str| {
        let words = wrap_text(words, "  : ".len() + label.len(), 8, width);
        let _ = writeln!(lines, "  {style}{label}:{style:#} {words}");
    };
    line(style, label, &diagnosis.message);
    diagnosis.evidence.iter().for_each(|evidence| line(EVIDENCE, "seen", evidence));
    line(HELP, "help", &diagnosis.help);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_without_a_fault_says_so() {
        let mut answer = WhyReport::default();
        answer.context = "c".to_owned();
        answer.namespace = "n".to_owned();
        let empty = "namespace `n` of context `c` has no pods, and nothing that makes any\n";
        assert_eq!(format_report(&answer, None), empty);
        answer.examined = 2;
        assert_eq!(format_report(&answer, None), "nothing is wrong in namespace `n`\n");
        answer.inactive = vec!["deployment/d is paused".to_owned()];
        let more = "deployment/d is paused\n";
        assert_eq!(format_report(&answer, None), format!("nothing is wrong in namespace `n`\n{more}"));
    }
}
