//! Splits the output of `kubectl logs` into lines.

use std::io::{self, Read};

/// The size of the buffer, and so the longest line that is not split.
const BUFFER_SIZE: usize = 1024 * 1024;

/// A piece of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A line without its newline.
    Line(&'a [u8]),
    /// A part of a line that is longer than the buffer.
    Part(&'a [u8]),
    /// The end of a line of which [`Piece::Part`] was the beginning.
    LastPart(&'a [u8]),
}

/// Reads lines with limited memory.
pub(crate) struct LineReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The bytes of the buffer that are filled.
    filled: usize,
    is_within_line: bool,
}

impl<R: Read> LineReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER_SIZE], filled: 0, is_within_line: false }
    }

    /// Waits for more output and passes its complete lines, all at once. Returns false at the end.
    pub(crate) fn read(&mut self, on_pieces: impl FnOnce(&[Piece])) -> io::Result<bool> {
        let count = self.input.read(&mut self.buffer[self.filled..])?;
        if count == 0 {
            return Ok(false);
        }
        let searched = self.filled;
        self.filled += count;
        let filled = &self.buffer[..self.filled];
        // The beginning has no newline: it was searched before.
        let Some(last) = filled[searched..].iter().rposition(|byte| *byte == b'\n') else {
            if self.filled == self.buffer.len() {
                on_pieces(&[Piece::Part(filled)]);
                (self.filled, self.is_within_line) = (0, true);
            }
            return Ok(true);
        };
        let end = searched + last;
        let mut pieces: Vec<Piece> =
            filled[..end].split(|byte| *byte == b'\n').map(Piece::Line).collect();
        if let (true, Some(Piece::Line(text))) = (self.is_within_line, pieces.first().copied()) {
            pieces[0] = Piece::LastPart(text);
        }
        on_pieces(&pieces);
        self.is_within_line = false;
        self.buffer.copy_within(end + 1..self.filled, 0);
        self.filled -= end + 1;
        Ok(true)
    }

    /// Returns the end of the output after its last newline, and whether it ended within a line
    /// that is longer than the buffer.
    pub(crate) fn rest(&self) -> (&[u8], bool) {
        (&self.buffer[..self.filled], self.is_within_line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns at most one byte for each read, or all at once.
    struct Input<'a>(&'a [u8], usize);

    impl Read for Input<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(buffer.len());
            let (read, rest) = self.0.split_at(count);
            buffer[..count].copy_from_slice(read);
            self.0 = rest;
            Ok(count)
        }
    }

    fn read_all(text: &[u8], step: usize) -> (Vec<String>, String) {
        let mut reader = LineReader::new(Input(text, step));
        let mut lines = Vec::new();
        let show = |piece: &Piece| match piece {
            Piece::Line(text) => String::from_utf8_lossy(text).into_owned(),
            Piece::Part(text) => format!("part {}", text.len()),
            Piece::LastPart(text) => format!("last part {}", text.len()),
        };
        while reader.read(|pieces| lines.extend(pieces.iter().map(show))).unwrap() {}
        (lines, String::from_utf8_lossy(reader.rest().0).into_owned())
    }

    #[test]
    fn output_is_split_at_newlines() {
        let table: [(&str, &[&str], &str); 5] = [
            ("a\nb\n", &["a", "b"], ""),
            ("a\n\n\nb", &["a", "", ""], "b"),
            ("\n", &[""], ""),
            ("a", &[], "a"),
            ("", &[], ""),
        ];
        for (text, lines, rest) in table {
            for step in [1, 2, 100] {
                let read = read_all(text.as_bytes(), step);
                assert_eq!(read.0, lines, "{text:?} {step}");
                assert_eq!(read.1, rest, "{text:?} {step}");
            }
        }
    }

    #[test]
    fn very_long_line_is_split() {
        let text = format!("a\n{}\nb\n", "x".repeat(2 * BUFFER_SIZE + 5));
        for step in [1000, BUFFER_SIZE] {
            let (lines, _) = read_all(text.as_bytes(), step);
            let sum: usize = lines
                .iter()
                .filter_map(|line| line.rsplit_once("part ")?.1.parse::<usize>().ok())
                .sum();
            assert_eq!(sum, 2 * BUFFER_SIZE + 5, "{lines:?}");
            assert_eq!(
                (lines.first().unwrap().as_str(), lines.last().unwrap().as_str()),
                ("a", "b")
            );
            assert!(lines.iter().rev().nth(1).unwrap().starts_with("last part "), "{lines:?}");
        }
    }
}
