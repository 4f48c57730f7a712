//! The files that `.dockerignore` keeps out of the build context.

use std::fs;
use std::path::Path;

use glob::{MatchOptions, Pattern};

/// The patterns of a `.dockerignore`, in their order.
#[derive(Debug, Default)]
pub(crate) struct Dockerignore(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// `None` for a pattern that only Docker understands.
    pattern: Option<Pattern>,
    excludes: bool,
}

impl Dockerignore {
    /// Reads the file of the Dockerfile, else that of the context.
    pub(crate) fn read(dockerfile: &Path, context: &Path) -> Self {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        let text = fs::read_to_string(own)
            .or_else(|_| fs::read_to_string(context.join(".dockerignore")))
            .unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        Self(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(rule).collect())
    }

    /// Returns whether a path, relative to the context, may be excluded.
    pub(crate) fn may_exclude(&self, path: &Path) -> bool {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        let mut excluded = false;
        for rule in &self.0 {
            let Some(pattern) = &rule.pattern else { return true };
            // A pattern that matches a folder applies to its content.
            let mut paths = path.ancestors().filter(|path| !path.as_os_str().is_empty());
            if paths.any(|path| pattern.matches_path_with(path, options)) {
                excluded = rule.excludes;
            }
        }
        excluded
    }
}

fn rule(line: &str) -> Rule {
    let (line, excludes) = match line.strip_prefix('!') {
        Some(line) => (line.trim(), false),
        None => (line, true),
    };
    let line = line.trim_start_matches("./").trim_matches('/');
    let text = if line == "." { "**" } else { line };
    Rule { pattern: Pattern::new(text).ok(), excludes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_matching_pattern_decides() {
        let table = [
            ("", "target/a", false),
            ("# target\n\n", "target/a", false),
            ("target\n", "target/release/a", true),
            ("/target/\n", "target/release/a", true),
            ("./target/*\n", "target/release/a", true),
            ("release\n", "target/release/a", false),
            ("**/release\n", "target/release/a", true),
            ("*\n!target/*/release/a\n", "target/x/release/a", false),
            ("*\n!target/*/release/a\n", "target/release/a", true),
            ("*\n! target\ntarget/debug\n", "target/release/a", false),
            ("**/a.d\n", "target/release/a", false),
            (".\n", "a", true),
            ("**.d\n", "a", true),
        ];
        for (text, path, expected) in table {
            let ignore = Dockerignore::parse(text);
            assert_eq!(ignore.may_exclude(Path::new(path)), expected, "{text:?} {path}");
        }
    }
}
