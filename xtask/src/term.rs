//! What the tasks say: progress and errors on stderr, in cargo's look.

mod live;
mod measure;

pub(crate) use live::Slow;
pub(crate) use measure::Progress;

use std::error::Error;
use std::fmt;
use std::io::{Write, stdout};
use std::time::Duration;

/// An error whose cure is known.
#[derive(Debug)]
pub(crate) struct Advised {
    message: String,
    help: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Advised {
    pub(crate) fn error(message: impl Into<String>, help: impl Into<String>) -> anyhow::Error {
        let (message, help) = (message.into(), help.into());
        Self { message, help, source: None }.into()
    }

    /// Returns an error with a fix and with its own cause.
    pub(crate) fn because(
        source: anyhow::Error,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> anyhow::Error {
        let (message, help) = (message.into(), help.into());
        Self { message, help, source: Some(source.into()) }.into()
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// One step, as cargo shows it: `    Starting etcd`.
pub(crate) fn status(verb: &str, message: impl fmt::Display) {
    say(&step(verb, message));
}

fn step(verb: &str, message: impl fmt::Display) -> String {
    format!("{verb:>12} {message}")
}

pub(crate) fn report(error: &anyhow::Error) {
    say(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        say(&format!("  caused by: {cause}"));
    }
    for advised in error.chain().filter_map(<dyn Error>::downcast_ref::<Advised>) {
        say(&format!("  help: {}", advised.help));
    }
}

/// `41.3 s`, `2 min 41 s`
pub(crate) fn time(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// A result, on stdout.
pub(crate) fn print(text: &str) {
    // The reader may have closed the pipe.
    live::above(|| drop(writeln!(stdout(), "{text}")));
}

fn say(line: &str) {
    live::above(|| write(line));
}

#[expect(clippy::print_stderr, reason = "the one place where tasks talk")]
fn write(line: &str) {
    eprintln!("{line}");
}
