//! Parses the instructions of a Dockerfile, as far as they matter before a build.

use std::collections::VecDeque;

/// An instruction, which may span several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The number of its first line, from 1.
    pub(crate) line: usize,
    /// In upper case.
    pub(crate) name: String,
    /// The words after the name.
    pub(crate) args: Vec<String>,
}

/// Returns all instructions. Comments and empty lines are skipped, also within an
/// instruction, as are the lines of here-documents.
pub(crate) fn instructions(text: &str) -> Vec<Instruction> {
    let mut found: Vec<Instruction> = Vec::new();
    let mut is_continued = false;
    let mut ends: VecDeque<String> = VecDeque::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(end) = ends.front() {
            if line == end {
                ends.pop_front();
            }
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (line, continued) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let mut words = line.split_whitespace().map(str::to_owned);
        match found.last_mut().filter(|_| is_continued) {
            Some(instruction) => instruction.args.extend(words),
            None => found.push(Instruction {
                line: number + 1,
                name: words.next().unwrap_or_default().to_uppercase(),
                args: words.collect(),
            }),
        }
        is_continued = continued;
        if let Some(instruction) = found.last().filter(|_| !continued) {
            ends = here_document_ends(instruction);
        }
    }
    found
}

/// Returns the lines that end the here-documents of an instruction.
fn here_document_ends(instruction: &Instruction) -> VecDeque<String> {
    let is_possible = ["RUN", "COPY", "ADD"].contains(&&*instruction.name);
    let words = instruction.args.iter().filter(|_| is_possible);
    words.filter_map(|word| here_document(word)).map(str::to_owned).collect()
}

/// Returns the line that ends a here-document if a word is `<<EOF`, `<<-EOF` or `<<"EOF"`. A
/// shift such as `1 << 2` in a shell command is not one.
pub(crate) fn here_document(word: &str) -> Option<&str> {
    let end = word.strip_prefix("<<")?.trim_start_matches(['-', '"', '\'']);
    let end =
        &end[..end.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(end.len())];
    end.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(end)
}

/// Returns globs of the paths that are copied from the build context, with `*` for each
/// variable.
pub(crate) fn context_sources(text: &str) -> Vec<String> {
    let copies = instructions(text).into_iter().filter(|one| ["COPY", "ADD"].contains(&&*one.name));
    let from_context = copies.filter(|one| !one.args.iter().any(|word| word.starts_with("--from")));
    from_context.flat_map(|one| copy_sources(&one.args)).collect()
}

fn copy_sources(words: &[String]) -> Vec<String> {
    source_words(words).iter().map(|name| replace_variables(name)).collect()
}

/// Returns the sources of `COPY` or `ADD` as they are written.
pub(crate) fn source_words(args: &[String]) -> Vec<String> {
    let plain: Vec<String> = args.iter().filter(|word| !word.starts_with("--")).cloned().collect();
    // The arguments are either a JSON list or words.
    let mut names: Vec<String> = serde_json::from_str(&plain.join(" "))
        .unwrap_or_else(|_| plain.iter().map(|word| unquote(word).to_owned()).collect());
    // The last one is the destination.
    names.pop();
    names
}

/// Removes the quotes around a word.
pub(crate) fn unquote(word: &str) -> &str {
    let unquoted = |quote| word.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    unquoted('"').or_else(|| unquoted('\'')).unwrap_or(word)
}

/// Replaces variables: `a/${B}/c` and `a/$B/c` become `a/*/c`.
fn replace_variables(name: &str) -> String {
    let mut parts = name.split('$');
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = match part.strip_prefix('{') {
            Some(part) => part.split_once('}').map_or("", |(_, rest)| rest),
            None => part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'),
        };
        pattern.push('*');
        pattern.push_str(rest);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_instruction_is_one_instruction() {
        let text = "# syntax=x\nFROM a\nrun one \\\n  # no\n\n  two\nCOPY a b\n";
        let expected =
            [(2, "FROM", vec!["a"]), (3, "RUN", vec!["one", "two"]), (7, "COPY", vec!["a", "b"])];
        let expected = expected.map(|(line, name, words)| Instruction {
            line,
            name: name.to_owned(),
            args: words.into_iter().map(str::to_owned).collect(),
        });
        assert_eq!(instructions(text), expected);
    }

    #[test]
    fn here_document_contains_no_instructions() {
        let text = "RUN <<-EOF cat <<\"B\"\n\tCOPY a /\nEOF\nFROM b\nB\nCOPY <<E <<F /d/\nE\nFROM c\nF\nADD d /\n";
        let names: Vec<_> =
            instructions(text).into_iter().map(|one| (one.line, one.name)).collect();
        let expected = [(1, "RUN"), (6, "COPY"), (10, "ADD")];
        assert_eq!(names, expected.map(|(line, name)| (line, name.to_owned())));
    }

    #[test]
    fn context_sources_returns_copied_paths() {
        let table: [(&str, &[&str]); 11] = [
            ("FROM a\nCOPY target/release/app /app\n", &["target/release/app"]),
            ("copy --chown=1:1 a b /c/\n", &["a", "b"]),
            ("COPY [\"a\", \"b\", \"/c/\"]\n", &["a", "b"]),
            ("COPY [\"a\",\"/c\"]", &["a"]),
            ("COPY --from=build /app /app\n", &[]),
            ("ADD a \\\n  b \\\n  /c/\n", &["a", "b"]),
            ("COPY target/*/app /\n", &["target/*/app"]),
            ("COPY target/${PROFILE:-release}/$BIN.d /\n", &["target/*/*.d"]),
            ("COPY app target/app\n", &["app"]),
            ("COPY 'app' \"target/x\" /\n", &["app", "target/x"]),
            ("RUN cp a b\n# COPY a b\n", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(context_sources(text), expected, "{text:?}");
        }
    }
}
