//! Writes results to stdout, and keeps the first error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Stdout with the first error of a write. Nothing is written after an error.
#[derive(Default)]
pub(crate) struct Stdout {
    error: Mutex<Option<io::Error>>,
}

impl Stdout {
    /// Writes bytes unmodified.
    pub(crate) fn write(&self, text: &str) {
        self.try_write(|| write_all(io::stdout(), text));
    }

    /// Writes a text with colors, and removes them if stdout does not support colors.
    pub(crate) fn write_styled(&self, text: impl Display) {
        self.try_write(|| write_all(anstream::stdout(), text));
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn write_json(&self, line: &impl Serialize) {
        // The types of all lines can be represented in JSON.
        let json = serde_json::to_string(line).unwrap_or_default();
        self.write(&format!("{json}\n"));
    }

    /// Returns whether nothing more is written.
    pub(crate) fn has_ended(&self) -> bool {
        self.error().is_some()
    }

    /// Returns the message of the first error. A reader that closes its pipe has read all that
    /// it needs, so that is not an error.
    pub(crate) fn error_message(&self) -> Option<String> {
        let error = self.error();
        let error = error.as_ref().filter(|error| error.kind() != ErrorKind::BrokenPipe);
        error.map(ToString::to_string)
    }

    fn error(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_write(&self, write: impl FnOnce() -> io::Result<()>) {
        let mut error = self.error();
        if error.is_none() {
            *error = write().err();
        }
    }
}

/// Writes and flushes, because an error of the flush at the end of a process is lost.
fn write_all(mut stdout: impl Write, text: impl Display) -> io::Result<()> {
    write!(stdout, "{text}")?;
    stdout.flush()
}
