//! Turns an error into words: what failed, by what it was caused, and what
//! helps.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use kdev::{Error, NodeError};

pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = Style::new().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// The whole report, with colours that the stream may strip.
pub(crate) fn report(error: &Error) -> String {
    match error {
        // Each node has a cause and a cure of its own.
        Error::Nodes(failures) => failures.iter().map(node).collect(),
        _ => block(&error.to_string(), causes(error), error.help()),
    }
}

/// The same without colours, for JSON.
pub(crate) fn plain(error: &Error) -> String {
    anstream::adapter::strip_str(&report(error)).to_string()
}

fn node(failure: &NodeError) -> String {
    block(&failure.to_string(), causes(failure), failure.help())
}

fn causes(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string).collect()
}

fn block(what: &str, causes: Vec<String>, help: Option<String>) -> String {
    let mut text = String::new();
    let mut line = |style: Style, label: &str, words: &str| {
        let words = words.trim().replace('\n', "\n    ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{style}{label}:{style:#} {words}");
    };
    line(ERROR, "error", what);
    for cause in causes {
        line(CAUSE, "  caused by", &cause);
    }
    if let Some(help) = help {
        line(HELP, "  help", &help);
    }
    text
}
