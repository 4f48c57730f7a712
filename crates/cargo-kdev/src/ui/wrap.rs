//! Wraps lines at the width of the terminal, but never in a word or between backticks, so that
//! commands can be copied.

use console::Term;

/// A narrower terminal has no room for columns.
const NARROW_WIDTH: usize = 64;

/// Returns the width of the terminal of stdout, if it is one.
pub(crate) fn stdout_width() -> Option<usize> {
    width(&Term::stdout())
}

/// Returns the width of the terminal of stderr, if it is one.
pub(crate) fn stderr_width() -> Option<usize> {
    width(&Term::stderr())
}

fn width(term: &Term) -> Option<usize> {
    let (_, width) = term.size_checked()?;
    (width > 0).then_some(width.into())
}

pub(crate) fn is_narrow(width: Option<usize>) -> bool {
    width.is_some_and(|width| width < NARROW_WIDTH)
}

/// Wraps a text that starts at column `begin`. The following lines are indented to `column`.
/// Without a width, only the line breaks of the text apply.
pub(crate) fn wrap_text(text: &str, begin: usize, column: usize, width: Option<usize>) -> String {
    let indent = " ".repeat(column);
    let (mut wrapped, mut position) = (String::new(), begin);
    for (number, line) in text.trim().lines().enumerate() {
        if number > 0 {
            wrapped.push('\n');
            wrapped.push_str(&indent);
            position = column;
        }
        for (number, word) in split_words(line).into_iter().enumerate() {
            let length = word.chars().count();
            let space = usize::from(number > 0);
            let fits = |width: usize| position + space + length <= width;
            // A word that is longer than a line stays next to its label.
            let fits_on_new_line = |width: usize| number > 0 || column + length <= width;
            if position > column
                && width.is_some_and(|width| !fits(width) && fits_on_new_line(width))
            {
                wrapped.push('\n');
                wrapped.push_str(&indent);
                position = column;
            } else if space > 0 {
                wrapped.push(' ');
                position += 1;
            }
            wrapped.push_str(word);
            position += length;
        }
    }
    wrapped
}

/// Splits a line at spaces, except for spaces between backticks.
fn split_words(line: &str) -> Vec<&str> {
    let (mut words, mut begin, mut is_code) = (Vec::new(), 0, false);
    for (at, c) in line.char_indices() {
        match c {
            // An unclosed backtick is a normal character.
            '`' => is_code = !is_code && line[at + 1..].contains('`'),
            ' ' if !is_code => {
                words.push(&line[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    words.push(&line[begin..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wrap_at_terminal_width() {
        let text = "one two three\nfour";
        assert_eq!(wrap_text(text, 4, 2, None), "one two three\n  four");
        assert_eq!(wrap_text(text, 4, 2, Some(11)), "one two\n  three\n  four");
        // The terminal wraps a word that is longer than a line.
        assert_eq!(wrap_text("one sha256:0123456789", 4, 2, Some(11)), "one\n  sha256:0123456789");
        assert_eq!(wrap_text("sha256:0123456789", 4, 2, Some(11)), "sha256:0123456789");
        assert_eq!(wrap_text("sha256:01", 4, 2, Some(11)), "\n  sha256:01");
    }

    #[test]
    fn command_in_backticks_is_not_wrapped() {
        let text = "see `kubectl get pods`, or `a b c d e f g h i j` if not";
        assert_eq!(
            wrap_text(text, 6, 2, Some(20)),
            "see\n  `kubectl get pods`,\n  or\n  `a b c d e f g h i j`\n  if not"
        );
        assert_eq!(wrap_text("`a b c d e f g` h", 6, 2, Some(10)), "`a b c d e f g`\n  h");
        assert_eq!(wrap_text("a ` b c", 0, 0, Some(5)), "a ` b\nc");
    }
}
