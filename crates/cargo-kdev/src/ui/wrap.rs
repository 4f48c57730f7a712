//! Breaks lines where the screen ends: never within a word, and never within
//! backticks, for a command is to be copied.

use console::Term;

/// A screen that is narrower has no room for columns.
const NARROW_WIDTH: usize = 64;

/// How wide stdout's screen is, if it has one.
pub(crate) fn stdout_width() -> Option<usize> {
    width(&Term::stdout())
}

/// How wide stderr's screen is, if it has one.
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

/// Words that begin at this place in their line; what does not fit goes on in lines
/// of its own, from `column` on. Without a width only the text's own lines do so.
pub(crate) fn wrap_text(words: &str, begin: usize, column: usize, width: Option<usize>) -> String {
    let indent = " ".repeat(column);
    let (mut text, mut place) = (String::new(), begin);
    for (number, line) in words.trim().lines().enumerate() {
        if number > 0 {
            text.push('\n');
            text.push_str(&indent);
            place = column;
        }
        for (number, piece) in split_words(line).into_iter().enumerate() {
            let length = piece.chars().count();
            let space = usize::from(number > 0);
            let has_room = |width: usize| place + space + length <= width;
            // What is longer than a line stays beside its label.
            let gains = |width: usize| number > 0 || column + length <= width;
            if place > column && width.is_some_and(|width| !has_room(width) && gains(width)) {
                text.push('\n');
                text.push_str(&indent);
                place = column;
            } else if space > 0 {
                text.push(' ');
                place += 1;
            }
            text.push_str(piece);
            place += length;
        }
    }
    text
}

/// What stands between spaces, where those in backticks are none.
fn split_words(line: &str) -> Vec<&str> {
    let (mut pieces, mut begin, mut is_code) = (Vec::new(), 0, false);
    for (at, c) in line.char_indices() {
        match c {
            // One that nothing closes is only a sign.
            '`' => is_code = !is_code && line[at + 1..].contains('`'),
            ' ' if !is_code => {
                pieces.push(&line[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&line[begin..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_where_the_screen_ends() {
        let words = "one two three\nfour";
        assert_eq!(wrap_text(words, 4, 2, None), "one two three\n  four");
        assert_eq!(wrap_text(words, 4, 2, Some(11)), "one two\n  three\n  four");
        // A word that is longer than a line is the terminal's to break.
        assert_eq!(wrap_text("one sha256:0123456789", 4, 2, Some(11)), "one\n  sha256:0123456789");
        assert_eq!(wrap_text("sha256:0123456789", 4, 2, Some(11)), "sha256:0123456789");
        assert_eq!(wrap_text("sha256:01", 4, 2, Some(11)), "\n  sha256:01");
    }

    #[test]
    fn a_command_is_never_broken() {
        let words = "see `kubectl get pods`, or `a b c d e f g h i j` if not";
        assert_eq!(
            wrap_text(words, 6, 2, Some(20)),
            "see\n  `kubectl get pods`,\n  or\n  `a b c d e f g h i j`\n  if not"
        );
        assert_eq!(wrap_text("`a b c d e f g` h", 6, 2, Some(10)), "`a b c d e f g`\n  h");
        assert_eq!(wrap_text("a ` b c", 0, 0, Some(5)), "a ` b\nc");
    }
}
