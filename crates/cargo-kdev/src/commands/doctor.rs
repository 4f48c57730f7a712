//! `cargo kdev doctor`: flags, and what was checked.

use std::fmt::Write;
use std::io::Write as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use kdev::{DoctorReport, DoctorRequest, CheckResult, CheckGroup, ConfigLayer, CheckState};
use serde::Serialize;

use crate::flags::{ClusterArgs, ProjectArgs};
use crate::ui::rollout::pluralize;
use crate::ui::wrap::{wrap_text, is_narrow, stdout_width};
use crate::ui::{Ui, print_json};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace that would be applied to [default: the context's]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Node to check, instead of all that may run the pods (repeatable)
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// ssh configuration to use instead of your own
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Ask whether to do what is safe: start docker, list the context in
    /// kdev.local.toml, add a node's host key to ssh's list
    #[arg(long)]
    fix: bool,
}

impl From<DoctorArgs> for DoctorRequest {
    fn from(doctor: DoctorArgs) -> Self {
        Self {
            selection: doctor.project.into(),
            target: doctor.cluster.into(),
            nodes: doctor.nodes,
            fix: doctor.fix,
            platform: std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|one| !one.is_empty()),
            flags: ConfigLayer {
                namespace: doctor.namespace,
                ssh_config: doctor.ssh_config,
                ..ConfigLayer::default()
            },
        }
    }
}

/// One thing that was checked, in the JSON form.
#[derive(Serialize)]
struct CheckLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    check: &'a CheckResult,
}

impl Ui {
    /// Shows that something is under way that tells all at its end.
    pub(crate) fn start_checks(&self) {
        if !self.bars.is_hidden() {
            let words = "tools, docker, project, cluster and nodes";
            self.bars.show_spinner("checkup", "Checking", words.to_owned());
        }
    }

    /// Prints what was checked; gives the exit code for it.
    pub(crate) fn print_doctor_report(&self, checkup: &DoctorReport) -> u8 {
        self.clear_bars();
        if self.json {
            for finding in &checkup.checks {
                print_json(&CheckLine { version: kdev::JSON_VERSION, reason: "check-result", check: finding });
            }
        } else {
            let text = format_report(checkup, self.quiet, stdout_width());
            let _ = write!(anstream::stdout(), "{text}");
        }
        checkup.exit_code()
    }
}

const TITLE: Style = Style::new().bold();
const OK: Style = AnsiColor::Green.on_default();
const SKIPPED: Style = AnsiColor::BrightBlack.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = Style::new().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// Where the words of a finding begin, if there is room for columns.
const EVIDENCE_COLUMN: usize = 33;

/// All findings, in colours that the stream may strip; `quiet` leaves out what is
/// as it should be, or need not be. On a screen of this width lines are broken.
pub(crate) fn format_report(checkup: &DoctorReport, quiet: bool, width: Option<usize>) -> String {
    let is_shown = |finding: &&CheckResult| !quiet || finding.state >= CheckState::Warning;
    let (mut lines, mut last) = (String::new(), String::new());
    for finding in checkup.checks.iter().filter(is_shown) {
        let title = section_title(finding);
        if title != last {
            let _ = writeln!(lines, "{TITLE}{title}{TITLE:#}");
            last = title;
        }
        write_check(&mut lines, finding, width);
    }
    if !quiet {
        let _ = writeln!(lines, "{}", summarize(checkup));
        if let Some(command) = &checkup.fix_command {
            let fixable = checkup.fixable_count();
            let _ = writeln!(lines, "`{command}` can cure {fixable} of these, and asks first");
        }
    }
    lines
}

fn section_title(finding: &CheckResult) -> String {
    match (&finding.node, finding.group) {
        (Some(node), _) => format!("node {node}"),
        (None, CheckGroup::Tools) => "tools".to_owned(),
        (None, CheckGroup::Docker) => "docker".to_owned(),
        (None, CheckGroup::Project) => "project".to_owned(),
        _ => "cluster".to_owned(),
    }
}

fn write_check(lines: &mut String, finding: &CheckResult, width: Option<usize>) {
    let (style, mark) = match finding.state {
        CheckState::Ok => (OK, "ok"),
        CheckState::Skipped => (SKIPPED, "skipped"),
        CheckState::Warning => (WARNING, "warning"),
        _ => (ERROR, "error"),
    };
    let check = finding.check;
    let (column, head) = if is_narrow(width) {
        (4, format!("  {mark:<7}  {check}: "))
    } else {
        (EVIDENCE_COLUMN, format!("  {mark:<7}  {check:<20}  "))
    };
    let words = wrap_text(&finding.evidence, head.chars().count(), column, width);
    let _ = writeln!(lines, "  {style}{}{style:#}{}{words}", &head[2..9], &head[9..]);
    for cause in &finding.causes {
        let words = wrap_text(cause, "    caused by: ".len(), 6, width);
        let _ = writeln!(lines, "    {CAUSE}caused by:{CAUSE:#} {words}");
    }
    if let Some(help) = &finding.help {
        let words = wrap_text(help, "    help: ".len(), 6, width);
        let _ = writeln!(lines, "    {HELP}help:{HELP:#} {words}");
    }
}

/// As `1 error and 2 warnings`.
fn summarize(checkup: &DoctorReport) -> String {
    let of = |state: CheckState| checkup.checks.iter().filter(|one| one.state == state).count() as u64;
    let counts = [(CheckState::Error, "error"), (CheckState::Warning, "warning")];
    let counts = counts.map(|(state, noun)| (of(state), noun)).into_iter();
    let counts = counts.filter(|(number, _)| *number > 0);
    let counts: Vec<String> = counts.map(|(number, noun)| pluralize(number, noun)).collect();
    match counts.as_slice() {
        [] if checkup.has_project() => "all is well".to_owned(),
        [] => "all is well, but no project was checked: run it in its folder".to_owned(),
        counts => counts.join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wrong_is_said_and_passed_over_in_silence() {
        assert_eq!(format_report(&DoctorReport::default(), false, None), "all is well\n");
        assert_eq!(format_report(&DoctorReport::default(), true, None), "");
    }
}
