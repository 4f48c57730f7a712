//! The output of the tasks: results on stdout, progress and errors on stderr, in the style
//! of cargo.

mod line;
mod live;
mod measure;

pub(crate) use live::SlowTask;
pub(crate) use measure::Progress;

use std::error::Error;
use std::fmt;
use std::io::{Write, stdout};
use std::time::Duration;

/// An error with a fix.
#[derive(Debug)]
pub(crate) struct ErrorWithHelp {
    message: String,
    help: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ErrorWithHelp {
    /// Creates an error without a cause.
    pub(crate) fn error(message: impl Into<String>, help: impl Into<String>) -> anyhow::Error {
        let (message, help) = (message.into(), help.into());
        Self { message, help, source: None }.into()
    }

    /// Creates an error with a cause.
    pub(crate) fn with_source(
        source: anyhow::Error,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> anyhow::Error {
        let (message, help) = (message.into(), help.into());
        Self { message, help, source: Some(source.into()) }.into()
    }
}

impl fmt::Display for ErrorWithHelp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ErrorWithHelp {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Prints a step, like `    Starting etcd`.
pub(crate) fn status(verb: &str, message: impl fmt::Display) {
    print_line(&line::step(verb, message));
}

/// Prints an error with its causes and its fixes.
pub(crate) fn report(error: &anyhow::Error) {
    print_line(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        print_line(&format!("  caused by: {cause}"));
    }
    for error in error.chain().filter_map(<dyn Error>::downcast_ref::<ErrorWithHelp>) {
        print_line(&format!("  help: {}", error.help));
    }
}

/// Formats a duration: `41.3 s`, `2 min 41 s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Prints a result on stdout.
pub(crate) fn print(text: &str) {
    // The reader may have closed the pipe.
    live::print_above(|| drop(writeln!(stdout(), "{text}")));
}

fn print_line(text: &str) {
    live::print_above(|| line::write(text));
}
