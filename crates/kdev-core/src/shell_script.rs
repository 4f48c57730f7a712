//! Shortens a shell script that is sent over a network.

use std::collections::VecDeque;

/// Returns the POSIX shell script without comment lines, blank lines, and indentation. Strings
/// and here-documents that span lines are unchanged. In a `$(…)`, the patterns of a `case` must
/// have both parentheses.
pub fn minify(script: &str) -> String {
    let mut scanner = Scanner::default();
    let mut short = String::with_capacity(script.len());
    for line in script.lines() {
        let is_code = scanner.is_at_code();
        let line = if is_code { line.trim_start_matches([' ', '\t']) } else { line };
        if is_code && (line.is_empty() || line.starts_with('#')) {
            continue;
        }
        short.push_str(line);
        short.push('\n');
        scanner.read_line(line);
    }
    short
}

/// A construct that ends at a certain character, possibly on a later line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// `${…}`
    Parameter,
    /// `$(…)` and `(…)`
    Commands,
    /// A parenthesis of `$((…))`
    Arithmetic,
    /// A command between backticks
    Backtick,
}

/// Here-documents whose text has not ended: the last line, and whether it may have tabs before it.
type HereDocuments = VecDeque<(String, bool)>;

/// Follows the syntax of a script line by line.
#[derive(Default)]
struct Scanner {
    open: Vec<Open>,
    here_documents: HereDocuments,
    /// The last line ends with a backslash.
    is_continued: bool,
}

impl Scanner {
    /// Returns whether the next line begins with code, and not in a string or here-document.
    fn is_at_code(&self) -> bool {
        !self.is_continued && self.here_documents.is_empty() && self.is_code()
    }

    fn is_code(&self) -> bool {
        matches!(self.open.last(), None | Some(Open::Commands | Open::Backtick))
    }

    fn read_line(&mut self, line: &str) {
        self.is_continued = false;
        if let Some((end, allows_tabs)) = self.here_documents.front() {
            if (if *allows_tabs { line.trim_start_matches('\t') } else { line }) == end {
                self.here_documents.pop_front();
            }
            return;
        }
        let mut rest = line;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            let is_comment = first == '#' && self.is_code() && " \t;&|()".contains(before);
            if is_comment {
                return;
            }
            let length = self.read_token(first, rest);
            before = rest[..length].chars().last().unwrap_or(first);
            rest = &rest[length..];
        }
    }

    /// Reads the token at the beginning of `rest`, and returns its length.
    fn read_token(&mut self, first: char, rest: &str) -> usize {
        let top = self.open.last().copied();
        if top == Some(Open::Single) {
            if first == '\'' {
                self.open.pop();
            }
            return first.len_utf8();
        }
        if first == '\\' {
            let escaped = rest[1..].chars().next();
            self.is_continued = escaped.is_none();
            return 1 + escaped.map_or(0, char::len_utf8);
        }
        if self.is_code() && rest.starts_with("<<") {
            return self.read_here_document(rest);
        }
        for (start, opened) in [
            ("$((", &[Open::Arithmetic, Open::Arithmetic][..]),
            ("$(", &[Open::Commands]),
            ("${", &[Open::Parameter]),
        ] {
            if rest.starts_with(start) {
                self.open.extend(opened);
                return start.len();
            }
        }
        self.read_delimiter(first, top);
        first.len_utf8()
    }

    /// Opens or closes a construct with one character.
    fn read_delimiter(&mut self, character: char, top: Option<Open>) {
        let is_end = matches!(
            (character, top),
            ('"', Some(Open::Double))
                | ('}', Some(Open::Parameter))
                | (')', Some(Open::Commands | Open::Arithmetic))
                | ('`', Some(Open::Backtick))
        );
        let opened = match character {
            _ if is_end => {
                self.open.pop();
                None
            }
            '"' => Some(Open::Double),
            '`' => Some(Open::Backtick),
            '\'' if self.is_code() => Some(Open::Single),
            // Within double quotes, it is an ordinary character.
            '\'' if top == Some(Open::Parameter) && !self.open.contains(&Open::Double) => {
                Some(Open::Single)
            }
            '(' if top == Some(Open::Arithmetic) => Some(Open::Arithmetic),
            '(' if self.is_code() => Some(Open::Commands),
            _ => None,
        };
        self.open.extend(opened);
    }

    /// Reads `<<END`, `<<-END`, and the like.
    fn read_here_document(&mut self, rest: &str) -> usize {
        let after = &rest[2..];
        let allows_tabs = after.starts_with('-');
        let word = after[usize::from(allows_tabs)..].trim_start_matches([' ', '\t']);
        let end = word.find([' ', '\t', ';', '&', '|', '<', '>', '(', ')']).unwrap_or(word.len());
        let last_line = word[..end].replace(['\'', '"', '\\'], "");
        self.here_documents.push_back((last_line, allows_tabs));
        rest.len() - word.len() + end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_indentation_are_removed() {
        let table = [
            ("# a\n\nif x; then\n\ty # z\n\t# b\nfi\n", "if x; then\ny # z\nfi\n"),
            ("#!/bin/sh\n  a\\ b\n", "a\\ b\n"),
            // The comment does not open a string, and a word with `#` is no comment.
            ("a # don't\n\t# b\n\tc\n", "a # don't\nc\n"),
            ("a b#'c\n\t# d'\n\te\n", "a b#'c\n\t# d'\ne\n"),
            ("x=${y#z}\n\tb\n", "x=${y#z}\nb\n"),
            ("x=${y##*\\'}\n\tb\n", "x=${y##*\\'}\nb\n"),
            ("x=${y#'\n\t# }'}\n\tb\n", "x=${y#'\n\t# }'}\nb\n"),
            ("x=\"${y%\"'\"}\"\n\tb\n", "x=\"${y%\"'\"}\"\nb\n"),
            ("case x in\n\ta) b ;;\nesac\n", "case x in\na) b ;;\nesac\n"),
            ("x=$(a |\n\t# b\n\tc)\n\td\n", "x=$(a |\nc)\nd\n"),
            ("x=`a |\n\tc`\n\td\n", "x=`a |\nc`\nd\n"),
            ("x=$((1<<2))\n\t# a\n\tb\n", "x=$((1<<2))\nb\n"),
            ("x=$(((1 + 2) * 3))\n\tb\n", "x=$(((1 + 2) * 3))\nb\n"),
        ];
        for (script, expected) in table {
            assert_eq!(minify(script), expected, "{script}");
        }
    }

    #[test]
    fn strings_and_here_documents_are_unchanged() {
        let scripts = [
            "a 'b\n\n\t# c\n\td'\n",
            "a \"b\n\t# c\n\t$(d \"e\" 'f')\n\tg\"\n",
            "a \"it's\n\t# b\"\n",
            "a \"$(b '\n\t# c\n')\"\n",
            "a \\\n\t# b\n",
            "cat <<END\n\n\t# a\n\tEND\nEND\n",
            "cat <<-'END' | x\n\t# a 'b\n\tEND\n",
            "cat <<A; cat <<\"B\"\n\t# a\nA\n\t# b\nB\n",
        ];
        for script in scripts {
            assert_eq!(minify(script), script);
            let more = format!("{script}\t# x\n\ty\n");
            assert_eq!(minify(&more), format!("{script}y\n"));
        }
    }
}
