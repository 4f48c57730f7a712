//! The patterns of `.dockerignore`, with the semantics of `BuildKit`. Docker's legacy builder
//! differs in two points: `.` excludes everything, and in an excluded folder it only looks for an
//! exception whose text begins with the name of the folder (`!target/*/app` includes nothing of
//! `target/x`).

/// The patterns of a `.dockerignore`, in their order.
#[derive(Clone, Debug, Default)]
pub struct Dockerignore(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    /// `None` for a pattern that Docker rejects, and for `.`.
    pattern: Option<Pattern>,
    excludes: bool,
}

/// Docker compares simple patterns as text, and turns others into regular expressions, which
/// can match less: `**.d` matches `a.d`, and `**.?` does not.
#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Debug)]
enum Part {
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyName,
    /// `**` before other parts: nothing, or folders with a `/` at their end.
    AnyFolders,
    /// `**` at the end.
    Anything,
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Dockerignore {
    /// Parses the text of a file.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
        Self(lines.filter(|line| !line.is_empty()).map(rule).collect())
    }

    /// Returns whether a path, relative to the context, is excluded; `None` if Docker rejects a
    /// pattern, or if it depends on the builder.
    pub fn is_excluded(&self, path: &str) -> Option<bool> {
        let (mut matched, mut excluded) = (vec![false; self.0.len()], false);
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        // From the outermost folder: what has matched a folder applies to its content.
        for end in ends {
            excluded = false;
            for (rule, matched) in self.0.iter().zip(&mut matched) {
                let pattern = rule.pattern.as_ref()?;
                // Docker does not compare a pattern that would change nothing.
                *matched = *matched || (rule.excludes != excluded && pattern.matches(&path[..end]));
                if *matched {
                    excluded = rule.excludes;
                }
            }
        }
        Some(excluded)
    }
}

impl Dockerignore {
    /// Returns whether an exception may include a path in a folder, relative to the context, that
    /// is excluded itself.
    pub fn may_include_below(&self, folder: &str) -> bool {
        self.0.iter().any(|rule| {
            let is_certain = |pattern: &Pattern| !pattern.may_match_below(folder);
            !rule.excludes && !rule.pattern.as_ref().is_some_and(is_certain)
        })
    }
}

impl Pattern {
    /// Returns whether it may match a path in a folder, judged by the text before its first
    /// wildcard.
    fn may_match_below(&self, folder: &str) -> bool {
        let start = match self {
            Self::Exact(text) | Self::Prefix(text) => text.clone(),
            Self::Suffix(_) => return true,
            Self::Parts(parts) => parts
                .iter()
                .map_while(|part| match part {
                    Part::Char(c) => Some(*c),
                    _ => None,
                })
                .collect(),
        };
        let is_exact = matches!(self, Self::Exact(_));
        let folder = format!("{folder}/");
        start.starts_with(&folder)
            || (!is_exact && folder.starts_with(&start))
            || (is_exact && folder.starts_with(&format!("{start}/")))
    }
}

fn rule(line: &str) -> Rule {
    let (line, excludes) = match line.strip_prefix('!') {
        Some(line) => (line.trim(), false),
        None => (line, true),
    };
    let pattern = Some(clean(line)).filter(|text| text != ".").and_then(|text| compile(&text));
    Rule { pattern, excludes }
}

/// Removes empty components, `.`, and `..` with the component before it.
fn clean(line: &str) -> String {
    let is_absolute = line.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in line.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => _ = parts.pop(),
            None if part == ".." && is_absolute => {}
            _ => parts.push(part),
        }
    }
    if parts.is_empty() && !is_absolute { ".".to_owned() } else { parts.join("/") }
}

fn compile(pattern: &str) -> Option<Pattern> {
    let mut parts = Vec::new();
    let mut is_plain = true;
    let mut has_prefix = false;
    let mut has_suffix = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let is_first = parts.is_empty();
        let part = match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                let is_last = chars.peek().is_none();
                match (is_first, is_last) {
                    (true, _) => has_suffix = true,
                    (false, true) if is_plain && !has_suffix => has_prefix = true,
                    (false, _) => is_plain = false,
                }
                if is_last { Part::Anything } else { Part::AnyFolders }
            }
            '*' => Part::AnyName,
            '?' => Part::AnyChar,
            '\\' => Part::Char(chars.next()?),
            '[' => class(&mut chars)?,
            c => Part::Char(c),
        };
        is_plain &=
            !matches!(part, Part::AnyName | Part::AnyChar | Part::Class { .. }) && c != '\\';
        parts.push(part);
    }
    let simple = is_plain.then(|| pattern.to_owned());
    Some(match simple {
        Some(text) if has_suffix => Pattern::Suffix(text[2..].to_owned()),
        Some(text) if has_prefix => Pattern::Prefix(text.trim_end_matches("**").to_owned()),
        Some(text) => Pattern::Exact(text),
        None => Pattern::Parts(parts),
    })
}

/// Reads the rest of a class such as `[^a-z]`. Docker would insert an expression for `*` and
/// `?` in it.
fn class(chars: &mut std::iter::Peekable<std::str::Chars>) -> Option<Part> {
    let is_negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let first = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Part::Class { is_negated, ranges }),
            '*' | '?' => return None,
            // A named class, such as `[:alpha:]`.
            '[' if chars.peek() == Some(&':') => return None,
            '\\' => chars.next()?,
            c => c,
        };
        let mut ahead = chars.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                *chars = ahead;
                last
            }
            _ => first,
        };
        if last < first || last == '\\' {
            return None;
        }
        ranges.push((first, last));
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(text) => path.starts_with(text.as_str()),
            Self::Suffix(text) => {
                path.ends_with(text.as_str()) || text.strip_prefix('/') == Some(path)
            }
            Self::Parts(parts) => matches_parts(parts, path),
        }
    }
}

fn matches_parts(parts: &[Part], path: &str) -> bool {
    let Some((part, rest)) = parts.split_first() else { return path.is_empty() };
    let mut chars = path.chars();
    let next = chars.next();
    let after = chars.as_str();
    match part {
        Part::Char(c) => next == Some(*c) && matches_parts(rest, after),
        Part::AnyChar => next.is_some_and(|c| c != '/') && matches_parts(rest, after),
        Part::Class { is_negated, ranges } => {
            let is_in = |c: char| ranges.iter().any(|(first, last)| (*first..=*last).contains(&c));
            next.is_some_and(|c| is_in(c) != *is_negated) && matches_parts(rest, after)
        }
        Part::AnyName => {
            let name = path.find('/').unwrap_or(path.len());
            let ends = path[..name].char_indices().map(|(at, _)| at).chain([name]);
            ends.into_iter().any(|end| matches_parts(rest, &path[end..]))
        }
        Part::AnyFolders => {
            let ends = path.match_indices('/').map(|(at, _)| at + 1);
            [0].into_iter().chain(ends).any(|end| matches_parts(rest, &path[end..]))
        }
        Part::Anything => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_matching_pattern_decides() {
        let table = [
            ("", "target/a", Some(false)),
            ("# target\n\n", "target/a", Some(false)),
            ("\u{feff}target\n", "target/release/a", Some(true)),
            ("/target/\n", "target/release/a", Some(true)),
            ("./target/*\n", "target/release/a", Some(true)),
            ("release\n", "target/release/a", Some(false)),
            ("**/release\n", "target/release/a", Some(true)),
            ("**/release\n", "release", Some(true)),
            ("*\n!target/*/release/a\n", "target/x/release/a", Some(false)),
            ("*\n!target/*/release/a\n", "target/release/a", Some(true)),
            ("*\n! target\ntarget/debug\n", "target/release/a", Some(false)),
            ("**/a.d\n", "target/release/a", Some(false)),
            (".\n", "a", None),
            ("a/../b\n", "b", Some(true)),
            ("**.d\n", "x/a.d", Some(true)),
            ("**.d\n", "a", Some(false)),
            ("**.?\n", "x/a.d", Some(false)),
            ("**/a.?\n", "x/a.d", Some(true)),
            ("a/**\n", "a/b/c", Some(true)),
            ("a**\n", "ab/c", Some(true)),
            ("a/**/c\n", "a/c", Some(true)),
            ("a/**/c\n", "a/b/b/c", Some(true)),
            ("a/**/c\n", "abc", Some(false)),
            ("a?c\n", "abc", Some(true)),
            ("a?c\n", "a/c", Some(false)),
            ("[a-c]x\n", "bx", Some(true)),
            ("[^a-c]x\n", "bx", Some(false)),
            ("a\\*\n", "a*", Some(true)),
            ("a\\*\n", "ab", Some(false)),
            ("b[[]1]\n", "b[1]", Some(true)),
            ("[\n", "a", None),
            ("[[:alpha:]]\n", "a", None),
            ("[*]\n", "a", None),
            // A pattern that changes nothing for a folder does not apply to its content.
            ("a\n!a/b\na\n", "a/b", Some(false)),
            ("a\n!a/b\na\n", "a/c", Some(true)),
        ];
        for (text, path, expected) in table {
            assert_eq!(Dockerignore::parse(text).is_excluded(path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn exceptions_may_include_files_in_excluded_folders() {
        let table = [
            ("*\n", "target", false),
            ("*\n!src\n", "target", false),
            ("*\n!src\n", "src", true),
            ("*\n!src/a\n", "src", true),
            ("*\n!src\n", "src/a", true),
            ("*\n!src/a\n", "src/b", false),
            ("*\n!srcs\n", "src", false),
            ("*\n!target/*/app\n", "target", true),
            ("*\n!target/*/app\n", "target/release/deps", true),
            ("*\n!target/*/app\n", "other", false),
            ("*\n!ta*\n", "target", true),
            ("*\n!**/app\n", "a/b", true),
            ("*\n![\n", "a", true),
        ];
        for (text, folder, expected) in table {
            let found = Dockerignore::parse(text).may_include_below(folder);
            assert_eq!(found, expected, "{text:?} {folder}");
        }
    }
}
