//! A line with its timestamp, and its text without effect on a terminal.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;

/// The longest timestamp of a kubelet: nanoseconds and the offset of a time zone.
const MAX_TIME_LEN: usize = 40;

/// Splits a line of `kubectl logs --timestamps` into its time and its text. `None` if it has no
/// timestamp: then the kubelet wrote the line, not the container.
pub fn split_time(line: &[u8]) -> Option<(&str, Timestamp, &[u8])> {
    let end = line.iter().take(MAX_TIME_LEN).position(|byte| *byte == b' ');
    // An empty line is a timestamp and a space, which editors and tests may have removed.
    let end = end.or((line.len() <= MAX_TIME_LEN).then_some(line.len()))?;
    let time = std::str::from_utf8(&line[..end]).ok()?;
    let parsed = time.parse().ok()?;
    Some((time, parsed, line.get(end + 1..).unwrap_or_default()))
}

/// Returns the text of a line without the carriage return of `\r\n`. Invalid UTF-8 is replaced.
pub fn decode(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Appends a text so that it has no effect on the terminal: control characters are shown as `^[`
/// or `<U+009B>`. Only colors are kept, because they cannot hide, move, or overwrite anything;
/// returns whether there are any.
pub fn push_visible(line: &mut String, text: &str) -> bool {
    if !text.contains(is_unsafe) {
        line.push_str(text);
        return false;
    }
    let (mut rest, mut has_color) = (text, false);
    while let Some(at) = rest.find(is_unsafe) {
        line.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = color_len(rest) {
            line.push_str(&rest[..length]);
            (rest, has_color) = (&rest[length..], true);
            continue;
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some(c @ '\0'..='\x1f') => line.extend(['^', char::from(c as u8 + b'@')]),
            Some('\x7f') => line.push_str("^?"),
            Some(c) => {
                let _ = write!(line, "<U+{:04X}>", u32::from(c));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    line.push_str(rest);
    has_color
}

/// Whether a character controls the terminal or the direction of the text.
fn is_unsafe(c: char) -> bool {
    let is_direction = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t') || is_direction
}

/// Returns the length of the escape sequence at the start of the text, if it only sets colors.
fn color_len(text: &str) -> Option<usize> {
    /// Parameters that conceal the text or switch to another font.
    const REJECTED: [&str; 2] = ["8", "08"];
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    let is_color = parameters[length..].starts_with('m')
        && !parameters[..length].split(';').any(|one| REJECTED.contains(&one));
    is_color.then_some("\x1b[".len() + length + "m".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_split_from_text() {
        type Split = Option<(&'static str, &'static [u8])>;
        let table: [(&[u8], Split); 7] = [
            (
                b"2026-11-28T08:00:00.123456789Z a b",
                Some(("2026-11-28T08:00:00.123456789Z", b"a b")),
            ),
            (b"2026-11-28T09:00:00+01:00 ", Some(("2026-11-28T09:00:00+01:00", b""))),
            (b"2026-11-28T08:00:00Z", Some(("2026-11-28T08:00:00Z", b""))),
            (b"2026-11-28T08:00:00Z  \xff", Some(("2026-11-28T08:00:00Z", b" \xff"))),
            (b"unable to retrieve container logs for containerd://1", None),
            (b"\xff\xfe a", None),
            (b"", None),
        ];
        for (line, expected) in table {
            let split = split_time(line).map(|(time, _, text)| (time, text));
            assert_eq!(split, expected, "{line:?}");
        }
        let [winter, utc] = ["2026-11-28T09:00:00+01:00 a", "2026-11-28T08:00:00Z a"];
        assert_eq!(
            split_time(winter.as_bytes()).map(|s| s.1),
            split_time(utc.as_bytes()).map(|s| s.1)
        );
    }

    #[test]
    fn control_characters_are_shown() {
        let table = [
            ("plain ä → \tb", "plain ä → \tb", false),
            ("\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G", false),
            ("a\rb\x08\0\x7f", "a^Mb^H^@^?", false),
            ("\u{9b}2J \u{202e}x", "<U+009B>2J <U+202E>x", false),
            (
                "\x1b[32mINFO\x1b[0m \x1b[1;38;5;9mx\x1b[m",
                "\x1b[32mINFO\x1b[0m \x1b[1;38;5;9mx\x1b[m",
                true,
            ),
            ("\x1b[8mhidden\x1b[1;8m", "^[[8mhidden^[[1;8m", false),
            ("\x1b[10A\x1b[", "^[[10A^[[", false),
        ];
        for (text, expected, has_color) in table {
            let mut line = String::new();
            assert_eq!((push_visible(&mut line, text), line.as_str()), (has_color, expected));
        }
        assert_eq!(decode(b"a\xffb\r"), "a\u{fffd}b");
    }
}
