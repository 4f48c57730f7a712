//! The file with the results: one section per case.

use crate::term;
use anyhow::{Context, Result};
use std::fmt::{Display, Write};
use std::fs;
use xshell::{Shell, cmd};

const FILE: &str = "docs/soak.md";
const INTRO: &str = "\
# Soak results

The checks of `cargo xtask soak` run for a long time. The command writes this file. Each run of
a case replaces the section of that case.";
const HEADING: &str = "## ";

/// The result of a case.
pub(super) struct Section {
    name: &'static str,
    facts: Vec<(String, String)>,
    checks: Vec<Check>,
}

/// A check and its result.
struct Check {
    name: String,
    result: String,
    passed: bool,
}

impl Section {
    /// Creates a section with the date and the commit.
    pub(super) fn new(sh: &Shell, name: &'static str) -> Result<Self> {
        let mut section = Self { name, facts: Vec::new(), checks: Vec::new() };
        section.add_fact("date", cmd!(sh, "date --utc +%Y-%m-%d").quiet().read()?);
        section.add_fact("commit", commit(sh)?);
        Ok(section)
    }

    /// Adds a fact about the run, for example a measured value.
    pub(super) fn add_fact(&mut self, name: impl Into<String>, value: impl Display) {
        self.facts.push((name.into(), value.to_string()));
    }

    /// Adds a check.
    pub(super) fn add_check(
        &mut self,
        name: impl Into<String>,
        result: impl Display,
        passed: bool,
    ) {
        self.checks.push(Check { name: name.into(), result: result.to_string(), passed });
    }

    /// Adds a check that a case has removed something that it created. Also prints a failure
    /// at once, because after an error of the case the section is not written.
    pub(super) fn add_removal_check(&mut self, what: &str, removed: &Result<()>) {
        if let Err(error) = removed {
            term::status("Failed", format!("to remove {what}: {error:#}"));
        }
        let result = removed.as_ref().map_or_else(|error| format!("{error:#}"), |()| "yes".into());
        self.add_check(format!("{what} is removed"), result, removed.is_ok());
    }

    /// Returns a line for each failed check.
    pub(super) fn failures(&self) -> Vec<String> {
        let failed = self.checks.iter().filter(|check| !check.passed);
        failed.map(|check| format!("{}: {}: {}", self.name, check.name, check.result)).collect()
    }

    /// Formats the section as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("{HEADING}{}\n\n| fact | value |\n|---|---|\n", self.name);
        for (name, value) in &self.facts {
            let _ = writeln!(text, "| {} | {} |", cell(name), cell(value));
        }
        text += "\n| check | result | passed |\n|---|---|---|\n";
        for Check { name, result, passed } in &self.checks {
            let passed = if *passed { "yes" } else { "**no**" };
            let _ = writeln!(text, "| {} | {} | {passed} |", cell(name), cell(result));
        }
        text
    }

    /// Writes the section into the file.
    pub(super) fn write(&self) -> Result<()> {
        let path = crate::paths::repository().join(FILE);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let text = with_section(&text, self.name, &self.markdown());
        fs::write(&path, text).with_context(|| format!("failed to write `{FILE}`"))
    }
}

/// Returns the commit of the checkout, and whether there are uncommitted changes.
fn commit(sh: &Shell) -> Result<String> {
    let commit = cmd!(sh, "git rev-parse --short=12 HEAD").quiet().read()?;
    // Each case changes this file.
    let others = format!(":(exclude){FILE}");
    let changed = cmd!(sh, "git status --porcelain -- . {others}").quiet().read()?;
    let suffix = if changed.is_empty() { "" } else { ", with uncommitted changes" };
    Ok(format!("{commit}{suffix}"))
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', "<br>")
}

/// Replaces the section with the same name in a file, or appends the section.
fn with_section(file: &str, name: &str, section: &str) -> String {
    let mut parts = split(file);
    let heading = format!("{HEADING}{name}\n");
    let section = section.trim_end().to_owned();
    match parts.iter_mut().find(|part| format!("{part}\n").starts_with(&heading)) {
        Some(part) => *part = section,
        None => parts.push(section),
    }
    parts.join("\n\n") + "\n"
}

/// Splits a file into the text before the first section and the sections.
fn split(file: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in file.lines() {
        if line.starts_with(HEADING) {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    for part in &mut parts {
        part.truncate(part.trim_end().len());
    }
    if parts[0].is_empty() {
        INTRO.clone_into(&mut parts[0]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_replaces_only_its_predecessor() {
        let cases = [
            ("", "## one\n", format!("{INTRO}\n\n## one\n")),
            ("# Own\n", "## one\nnew\n", "# Own\n\n## one\nnew\n".to_owned()),
            (
                "# Own\n\n## one\n\nold\n\n## one more\nstays\n",
                "## one\n\nnew\n\n",
                "# Own\n\n## one\n\nnew\n\n## one more\nstays\n".to_owned(),
            ),
            (
                "# Own\n\n## two\nstays\n\n## one\nold",
                "## one\nnew\n",
                "# Own\n\n## two\nstays\n\n## one\nnew\n".to_owned(),
            ),
        ];
        for (file, section, expected) in cases {
            assert_eq!(with_section(file, "one", section), expected);
            // A second write of the same section changes nothing.
            assert_eq!(with_section(&expected, "one", section), expected);
        }
    }

    #[test]
    fn section_has_facts_checks_and_failures() {
        let mut section = Section { name: "one", facts: Vec::new(), checks: Vec::new() };
        section.add_fact("date", "2026-01-02");
        section.add_fact("work", "a | b");
        section.add_check("nothing is left", "nothing", true);
        section.add_check("time", "1 s\n2 s", false);
        let expected = "\
## one

| fact | value |
|---|---|
| date | 2026-01-02 |
| work | a \\| b |

| check | result | passed |
|---|---|---|
| nothing is left | nothing | yes |
| time | 1 s<br>2 s | **no** |
";
        assert_eq!(section.markdown(), expected);
        assert_eq!(section.failures(), ["one: time: 1 s\n2 s"]);
    }
}
