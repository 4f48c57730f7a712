//! Helpers for the text of messages.

/// Capitalizes the first letter.
pub fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}", first.to_uppercase())
}

/// Returns a number with its noun, such as `1 pod` or `2 pods`.
pub fn pluralize(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Joins items as `a`, `b`, and `c`, each in backticks.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    join(&items.iter().map(|item| format!("`{}`", item.as_ref())).collect::<Vec<_>>())
}

/// Joins items as a, b, and c.
pub fn join(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first, last] => format!("{first} and {last}"),
        [others @ .., last] => format!("{}, and {last}", others.join(", ")),
    }
}

/// Returns a key as TOML writes it: bare, or quoted if it contains other characters, such as the
/// dots of a host name (<https://toml.io/en/v1.0.0#keys>).
pub fn toml_key(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(is_bare) {
        return key.to_owned();
    }
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Removes control characters, which could control the terminal.
pub fn printable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
        .collect()
}

/// Ends each line that is longer than `limit` characters with `…`.
pub fn shorten_lines(text: &str, limit: usize) -> String {
    let shorten = |line: &str| match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    };
    text.split('\n').map(shorten).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_keys_are_quoted_if_needed() {
        let table = [
            ("n-1_a", "n-1_a"),
            ("node.example.com", "\"node.example.com\""),
            ("", "\"\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
        ];
        for (key, expected) in table {
            assert_eq!(toml_key(key), expected, "{key}");
        }
    }

    #[test]
    fn lists_are_joined_with_and() {
        assert_eq!(list::<&str>(&[]), "nothing");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b`, and `c`");
        assert_eq!(list(&["a", "b"]), "`a` and `b`");
    }

    #[test]
    fn long_lines_are_shortened() {
        let table = [("", ""), ("abc\nd\n", "abc\nd\n"), ("äöüß\nabc\nabcd", "äöü…\nabc\nabc…")];
        for (text, expected) in table {
            assert_eq!(shorten_lines(text, 3), expected);
        }
    }
}
