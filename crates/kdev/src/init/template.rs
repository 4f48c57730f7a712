//! Inserts values into the files of `files/`.

use std::fmt::Write;

/// Replaces each `{{key}}`. A line that consists of a key gets all lines of the value with its
/// indentation, and is removed if the value is empty.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    for line in template.lines() {
        let content = line.trim_start();
        let indent = &line[..line.len() - content.len()];
        let whole = values.iter().find(|(key, _)| content == format!("{{{{{key}}}}}"));
        if let Some((_, value)) = whole {
            for part in value.lines() {
                let _ = writeln!(filled, "{indent}{part}");
            }
            continue;
        }
        let insert = |text: String, (key, value): &(&str, &str)| {
            text.replace(&format!("{{{{{key}}}}}"), value)
        };
        filled += &values.iter().fold(line.to_owned(), insert);
        filled.push('\n');
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_inserted_with_indentation() {
        let values = [("a", "x"), ("lines", "one:\n  two: 2\n"), ("none", "")];
        let filled = fill("a: {{a}}-{{a}} # {{b}}\n  {{lines}}\n  {{none}}\nend\n", &values);
        assert_eq!(filled, "a: x-x # {{b}}\n  one:\n    two: 2\nend\n");
    }
}
