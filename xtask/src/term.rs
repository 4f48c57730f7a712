//! What the tasks say: progress and errors on stderr, in cargo's look.

use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::fmt;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// An error whose cure is known.
#[derive(Debug)]
pub(crate) struct Advised {
    message: String,
    help: String,
}

impl Advised {
    pub(crate) fn error(message: impl Into<String>, help: impl Into<String>) -> anyhow::Error {
        let (message, help) = (message.into(), help.into());
        Self { message, help }.into()
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Advised {}

/// One step, as cargo shows it: `    Starting etcd`.
pub(crate) fn status(verb: &str, message: impl fmt::Display) {
    say(&format!("{verb:>12} {message}"));
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

/// A result, on stdout.
pub(crate) fn print(text: &str) {
    // Whoever reads may have gone.
    let _ = writeln!(stdout(), "{text}");
}

#[expect(clippy::print_stderr, reason = "the one place where tasks talk")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// A step of minutes: it shows that time passes until it is dropped.
pub(crate) struct Slow {
    bar: Option<ProgressBar>,
    ticker: Option<Sender<()>>,
}

impl Slow {
    pub(crate) fn start(verb: &str, message: &str) -> Self {
        if stderr().is_terminal() {
            Self { bar: Some(spinner(verb, message)), ticker: None }
        } else {
            status(verb, message);
            Self { bar: None, ticker: Some(ticker(verb, message)) }
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Dropping the sender ends the ticker's thread.
        self.ticker.take();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner(verb: &str, message: &str) -> ProgressBar {
    let bar =
        ProgressBar::new_spinner().with_prefix(verb.to_owned()).with_message(message.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {msg} {spinner} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn ticker(verb: &str, message: &str) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let (verb, message, start) = (verb.to_owned(), message.to_owned(), Instant::now());
    thread::spawn(move || {
        while receiver.recv_timeout(Duration::from_secs(30)) == Err(RecvTimeoutError::Timeout) {
            status(&verb, format!("{message}: {} s so far", start.elapsed().as_secs()));
        }
    });
    sender
}
