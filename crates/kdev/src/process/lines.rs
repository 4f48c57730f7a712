//! The lines of a running child.

use std::sync::mpsc::Receiver;

use crate::process::child::PIPE_TIMEOUT;

/// The lines that a running child prints to stdout.
pub(crate) struct Lines {
    lines: Receiver<String>,
    printed: String,
}

impl Lines {
    pub(super) fn new(lines: Receiver<String>) -> Self {
        Self { lines, printed: String::new() }
    }

    /// Returns the next line, or `None` after the last one.
    pub(crate) fn next(&mut self) -> Option<String> {
        let line = self.lines.recv().ok()?;
        self.record(&line);
        Some(line)
    }

    /// Returns everything that was printed.
    pub(super) fn finish(mut self) -> String {
        while let Ok(line) = self.lines.recv_timeout(PIPE_TIMEOUT) {
            self.record(&line);
        }
        self.printed
    }

    fn record(&mut self, line: &str) {
        self.printed.push_str(line);
        self.printed.push('\n');
    }
}
