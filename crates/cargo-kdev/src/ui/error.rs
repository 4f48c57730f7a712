//! Formats errors: the message, the causes and the help.

use std::error::Error as StdError;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use kdev::{Error, LoadError, NodeError, ServiceError};
use serde::Serialize;

use crate::ui::wrap::wrap_text;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = Style::new().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// An error as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    message: String,
    /// The package, if a command acts on several.
    #[serde(skip)]
    pub(super) package: Option<String>,
    causes: Vec<String>,
    help: Option<String>,
}

/// Creates the reports of an error: one per node if nodes failed, since each has its own cause
/// and help, otherwise one.
pub(crate) fn reports(error: &Error) -> Vec<Report> {
    match error {
        _ if error.is_interrupt() => vec![Report::interrupted()],
        Error::Load(LoadError::Nodes(failures)) => failures.iter().map(node_report).collect(),
        Error::Diagnosed(diagnosed) => {
            let mut report = Report::new(error, error.help());
            report
                .causes
                .extend(diagnosed.diagnoses.iter().map(|diagnosis| diagnosis.message.clone()));
            vec![report]
        }
        Error::Services(failures) => failures.iter().flat_map(service_reports).collect(),
        _ => vec![Report::new(error, error.help())],
    }
}

fn service_reports(failure: &ServiceError) -> Vec<Report> {
    let mut reports = reports(&failure.error);
    for report in &mut reports {
        report.package = Some(failure.package.clone());
    }
    reports
}

fn node_report(failure: &NodeError) -> Report {
    Report::new(failure, failure.help())
}

impl Report {
    fn new(error: &dyn StdError, help: Option<String>) -> Self {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let causes = causes.map(ToString::to_string).collect();
        Self { message: error.to_string(), package: None, causes, help }
    }

    /// Creates the report of an interrupt. The interrupted command is not relevant to the user.
    fn interrupted() -> Self {
        Self { message: "interrupted".to_owned(), package: None, causes: Vec::new(), help: None }
    }

    /// Creates the report of a failed write to stdout.
    pub(crate) fn for_stdout(cause: String) -> Self {
        Self {
            message: "failed to write to standard output".to_owned(),
            package: None,
            causes: vec![cause],
            help: Some("free space on its device, or redirect the output to another file".into()),
        }
    }

    /// Formats the report, with colors. Lines are wrapped at `width`.
    pub(crate) fn format(&self, width: Option<usize>) -> String {
        let mut lines = String::new();
        let mut write = |style: Style, label: &str, text: &str| {
            let wrapped = wrap_text(text, ": ".len() + label.len(), 4, width);
            let _ = writeln!(lines, "{style}{label}:{style:#} {wrapped}");
        };
        let package = self.package.as_ref().map(|package| format!("{package}: "));
        write(ERROR, "error", &(package.unwrap_or_default() + &self.message));
        self.causes.iter().for_each(|cause| write(CAUSE, "  caused by", cause));
        self.help.iter().for_each(|help| write(HELP, "  help", help));
        lines
    }
}
