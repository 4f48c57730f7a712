//! `cargo kdev doctor`: flags and output.

use std::fmt::Write;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use kdev::{
    CheckGroup, CheckResult, CheckState, ConfigLayer, DoctorReport, DoctorRequest, pluralize,
};
use serde::Serialize;

use crate::flags::{BuilderArgs, ClusterArgs, PackagesArgs};
use crate::ui::Ui;
use crate::ui::wrap::{is_narrow, stdout_width, wrap_text};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    project: PackagesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// Check this node only (repeatable)
    /// [default: all nodes that may run the pods]
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// SSH configuration file to use instead of the default
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<PathBuf>,
    /// Offer safe fixes: start Docker, add the context to `kdev.local.toml`, add
    /// the host key of a node to `known_hosts`
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
            platform: std::env::var("DOCKER_DEFAULT_PLATFORM")
                .ok()
                .filter(|platform| !platform.is_empty()),
            flags: ConfigLayer {
                namespace: doctor.namespace,
                builder: doctor.builder.builder,
                ssh_config: doctor.ssh_config,
                ..ConfigLayer::default()
            },
        }
    }
}

/// A check in the JSON output.
#[derive(Serialize)]
struct CheckLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    check: &'a CheckResult,
}

impl Ui {
    /// Shows a spinner: the results are printed together at the end.
    pub(crate) fn start_checks(&self) {
        if !self.bars.is_hidden() {
            let targets = "tools, Docker, project, cluster and nodes";
            self.bars.show_spinner("doctor", "Checking", targets.to_owned());
        }
    }

    /// Prints the results. Returns the exit code.
    pub(crate) fn print_doctor_report(&self, report: &DoctorReport) -> u8 {
        self.clear_bars();
        if self.json {
            for result in &report.checks {
                self.stdout.write_json(&CheckLine {
                    version: kdev::JSON_VERSION,
                    reason: "check-result",
                    check: result,
                });
            }
        } else {
            self.stdout.write_styled(format_report(report, self.quiet, stdout_width()));
        }
        report.exit_code()
    }
}

const TITLE: Style = Style::new().bold();
const OK: Style = AnsiColor::Green.on_default();
const SKIPPED: Style = AnsiColor::BrightBlack.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = Style::new().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// The column of the evidence on a wide terminal.
const EVIDENCE_COLUMN: usize = 33;

/// Formats the results, with colors. `quiet` leaves out checks without a problem. Lines are wrapped
/// at `width`.
pub(crate) fn format_report(report: &DoctorReport, quiet: bool, width: Option<usize>) -> String {
    let is_shown = |result: &&CheckResult| !quiet || result.state >= CheckState::Warning;
    let (mut lines, mut last) = (String::new(), String::new());
    for result in report.checks.iter().filter(is_shown) {
        let title = section_title(result);
        if title != last {
            let _ = writeln!(lines, "{TITLE}{title}{TITLE:#}");
            last = title;
        }
        write_check(&mut lines, result, width);
    }
    if !quiet {
        let _ = writeln!(lines, "{}", summarize(report));
        if let Some(command) = &report.fix_command {
            let fixable = report.fixable_count();
            let _ = writeln!(
                lines,
                "run `{command}` to fix {fixable} of these (asks before each change)"
            );
        }
    }
    lines
}

fn section_title(result: &CheckResult) -> String {
    let title = match (&result.node, result.group) {
        (Some(node), _) => format!("node {node}"),
        (None, CheckGroup::Tools) => "tools".to_owned(),
        (None, CheckGroup::Docker) => "docker".to_owned(),
        (None, CheckGroup::Podman) => "podman".to_owned(),
        (None, CheckGroup::Project) => "project".to_owned(),
        _ => "cluster".to_owned(),
    };
    match &result.package {
        Some(package) => format!("{title} (package {package})"),
        None => title,
    }
}

fn write_check(lines: &mut String, result: &CheckResult, width: Option<usize>) {
    let (style, mark) = match result.state {
        CheckState::Ok => (OK, "ok"),
        CheckState::Skipped => (SKIPPED, "skipped"),
        CheckState::Warning => (WARNING, "warning"),
        _ => (ERROR, "error"),
    };
    let check = result.check;
    let (column, head) = if is_narrow(width) {
        (4, format!("  {mark:<7}  {check}: "))
    } else {
        (EVIDENCE_COLUMN, format!("  {mark:<7}  {check:<20}  "))
    };
    let text = wrap_text(&result.evidence, head.chars().count(), column, width);
    let _ = writeln!(lines, "  {style}{}{style:#}{}{text}", &head[2..9], &head[9..]);
    for cause in &result.causes {
        let text = wrap_text(cause, "    caused by: ".len(), 6, width);
        let _ = writeln!(lines, "    {CAUSE}caused by:{CAUSE:#} {text}");
    }
    if let Some(help) = &result.help {
        let text = wrap_text(help, "    help: ".len(), 6, width);
        let _ = writeln!(lines, "    {HELP}help:{HELP:#} {text}");
    }
}

/// Formats a summary such as `1 error and 2 warnings`.
fn summarize(report: &DoctorReport) -> String {
    let of =
        |state: CheckState| report.checks.iter().filter(|one| one.state == state).count() as u64;
    let counts = [(CheckState::Error, "error"), (CheckState::Warning, "warning")];
    let counts = counts.map(|(state, noun)| (of(state), noun)).into_iter();
    let counts = counts.filter(|(number, _)| *number > 0);
    let counts: Vec<String> = counts.map(|(number, noun)| pluralize(number, noun)).collect();
    match counts.as_slice() {
        [] if report.has_project() => "no problems found".to_owned(),
        [] => {
            "no problems found, but no project was checked; run the command in a project".to_owned()
        }
        counts => counts.join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_without_problems_is_empty_if_quiet() {
        assert_eq!(format_report(&DoctorReport::default(), false, None), "no problems found\n");
        assert_eq!(format_report(&DoctorReport::default(), true, None), "");
    }
}
