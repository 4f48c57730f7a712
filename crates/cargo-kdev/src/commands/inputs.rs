//! `cargo kdev up --inputs`: the output.

use std::fmt::Write;
use std::path::Path;

use kdev::{InputRow, InputsReport, pluralize};
use serde::Serialize;

use crate::ui::{NOTE, Ui};

/// An input in the JSON output.
#[derive(Serialize)]
struct InputLine<'a> {
    version: u32,
    reason: &'static str,
    package: &'a str,
    #[serde(flatten)]
    row: &'a InputRow,
}

impl Ui {
    /// Prints the inputs of a package, one per line.
    pub(crate) fn print_inputs(&self, report: &InputsReport) {
        if self.json {
            for row in &report.rows {
                let (version, reason) = (kdev::JSON_VERSION, "input");
                let package = &report.package;
                self.stdout.write_json(&InputLine { version, reason, package, row });
            }
            return;
        }
        let current = std::env::current_dir().unwrap_or_default();
        self.stdout.write(&format_rows(&report.rows, &current));
        let missing: u64 = report.rows.iter().filter(|row| !row.exists).map(|_| 1).sum();
        if missing > 0 {
            let files = pluralize(missing, "file");
            let text = format!(
                "{files} that would also be read if they existed are only listed with `--message-format json`"
            );
            self.print_line(NOTE, "Note", &text);
        }
    }
}

/// Formats the files that exist, with paths relative to a directory if they are in it.
fn format_rows(rows: &[InputRow], current: &Path) -> String {
    let shown =
        |row: &InputRow| row.path.strip_prefix(current).unwrap_or(&row.path).display().to_string();
    let rows: Vec<&InputRow> = rows.iter().filter(|row| row.exists).collect();
    let width = rows.iter().map(|row| shown(row).chars().count()).max().unwrap_or_default();
    let mut lines = String::new();
    for row in rows {
        let (class, path, cause) = (row.class.as_str(), shown(row), &row.cause);
        let _ = writeln!(lines, "{class:8}  {path:width$}  {cause}");
    }
    lines
}
