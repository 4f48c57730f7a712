//! The lines that tasks print on stderr.

use std::fmt;

/// Formats a step as cargo does: `    Starting etcd`.
pub(super) fn step(verb: &str, message: impl fmt::Display) -> String {
    format!("{verb:>12} {message}")
}

#[expect(clippy::print_stderr, reason = "the only place where tasks print on stderr")]
pub(super) fn write(line: &str) {
    eprintln!("{line}");
}
