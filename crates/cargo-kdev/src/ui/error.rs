//! Turns an error into words: what failed, by what it was caused, and what
//! helps.

use std::error::Error as StdError;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use kdev::{Error, LoadError, NodeError};
use serde::Serialize;

use crate::ui::wrap::wrap_text;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = Style::new().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// One thing that failed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    message: String,
    causes: Vec<String>,
    help: Option<String>,
}

/// An error as one report, or as one for each node: each node has a cause and
/// a cure of its own.
pub(crate) fn reports(error: &Error) -> Vec<Report> {
    match error {
        _ if error.is_interrupt() => vec![Report::interrupted()],
        Error::Load(LoadError::Nodes(failures)) => failures.iter().map(node_report).collect(),
        Error::Diagnosed(diagnosed) => {
            let mut report = Report::new(error, error.help());
            report.causes.extend(diagnosed.diagnoses.iter().map(|one| one.message.clone()));
            vec![report]
        }
        _ => vec![Report::new(error, error.help())],
    }
}

fn node_report(failure: &NodeError) -> Report {
    Report::new(failure, failure.help())
}

impl Report {
    fn new(error: &dyn StdError, help: Option<String>) -> Self {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        Self { message: error.to_string(), causes: causes.map(ToString::to_string).collect(), help }
    }

    /// Who stopped it knows why, so that no stage and no command is named.
    fn interrupted() -> Self {
        Self { message: "interrupted".to_owned(), causes: Vec::new(), help: None }
    }

    /// For people, in colours that the stream may strip; on a screen of this width lines
    /// are broken.
    pub(crate) fn format(&self, width: Option<usize>) -> String {
        let mut text = String::new();
        let mut line = |style: Style, label: &str, words: &str| {
            let words = wrap_text(words, ": ".len() + label.len(), 4, width);
            let _ = writeln!(text, "{style}{label}:{style:#} {words}");
        };
        line(ERROR, "error", &self.message);
        self.causes.iter().for_each(|cause| line(CAUSE, "  caused by", cause));
        self.help.iter().for_each(|help| line(HELP, "  help", help));
        text
    }
}
