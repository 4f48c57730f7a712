//! The lines of a Rust source file without comments and without unit tests.

/// A line of code with its number, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) code: String,
}

/// Returns the lines of a source file up to its unit tests. Comments are removed; string
/// literals stay.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let code = without_comments(text);
    let all: Vec<&str> = code.lines().collect();
    let is_test_module = |at: usize| {
        all[at].trim() == "#[cfg(test)]"
            && all[at + 1..].iter().find(|line| !line.trim().is_empty()).is_some_and(|line| {
                line.trim_start().starts_with("mod ") && !line.trim_end().ends_with(';')
            })
    };
    let end = (0..all.len()).find(|at| is_test_module(*at)).unwrap_or(all.len());
    let line = |(at, code): (usize, &&str)| Line { number: at + 1, code: (*code).to_owned() };
    all[..end].iter().enumerate().map(line).filter(|line| !line.code.trim().is_empty()).collect()
}

/// Removes comments, and keeps line breaks. Raw strings with quotes in them are not recognized.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let (mut is_string, mut depth) = (false, 0);
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match c {
            '*' if depth > 0 && next == Some('/') => {
                chars.next();
                depth -= 1;
            }
            '/' if !is_string && next == Some('*') => {
                chars.next();
                depth += 1;
            }
            '\n' => code.push('\n'),
            _ if depth > 0 => {}
            '/' if !is_string && next == Some('/') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '\\' if is_string => {
                code.push(c);
                code.extend(chars.next());
            }
            // The character literal of a quote.
            '\'' if !is_string && next == Some('"') => {
                chars.next();
                chars.next();
                code.push_str("' '");
            }
            '"' => {
                is_string = !is_string;
                code.push(c);
            }
            _ => code.push(c),
        }
    }
    code
}

/// Returns the string literals of a line of code.
pub(crate) fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

/// Returns the identifiers and keywords of a line of code, without those in string literals.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    let outside = code.split('"').step_by(2);
    let is_boundary = |c: char| !c.is_alphanumeric() && c != '_';
    outside.flat_map(move |part| part.split(is_boundary)).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_unit_tests_are_removed() {
        let text = r#"//! bind("0.0.0.0:1")
fn main() { /* loop
  /* nested */ */ print("http://x", '"'); // loop
}

#[cfg(test)]
use a::b;
#[cfg(test)]
mod other;
fn f() {}
#[cfg(test)]

mod tests {
    fn g() { loop {} }
"#;
        let found: Vec<(usize, String)> =
            lines(text).into_iter().map(|line| (line.number, line.code)).collect();
        let expected = [
            (2, "fn main() { "),
            (3, r#" print("http://x", ' '); "#),
            (4, "}"),
            (6, "#[cfg(test)]"),
            (7, "use a::b;"),
            (8, "#[cfg(test)]"),
            (9, "mod other;"),
            (10, "fn f() {}"),
        ];
        assert_eq!(found, expected.map(|(number, code)| (number, code.to_owned())));
    }

    #[test]
    fn words_exclude_literals() {
        let found: Vec<&str> = words(r#"let x = a::bind("loop {}")?;"#).collect();
        assert_eq!(found, ["let", "x", "a", "bind"]);
        assert_eq!(literals(r#"f("a", "b")"#).collect::<Vec<_>>(), ["a", "b"]);
    }
}
