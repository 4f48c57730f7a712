//! Helpers for the text of messages.

/// Capitalizes the first letter.
pub fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}", first.to_uppercase())
}

/// Joins items as `a`, `b`, and `c`, each in backticks.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    let mut quoted: Vec<String> = items.iter().map(|i| format!("`{}`", i.as_ref())).collect();
    match (quoted.pop(), quoted.as_slice()) {
        (None, _) => "nothing".to_owned(),
        (Some(last), []) => last,
        (Some(last), [first]) => format!("{first} and {last}"),
        (Some(last), _) => format!("{}, and {last}", quoted.join(", ")),
    }
}

/// Removes control characters, which could control the terminal.
pub fn printable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_with_and() {
        assert_eq!(list::<&str>(&[]), "nothing");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b`, and `c`");
        assert_eq!(list(&["a", "b"]), "`a` and `b`");
    }
}
