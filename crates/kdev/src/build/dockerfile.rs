//! Parses the instructions of a Dockerfile, as far as they matter before a build.

/// An instruction, which may span several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The number of its first line, from 1.
    pub(crate) line: usize,
    /// In upper case.
    pub(crate) name: String,
    /// The words after the name.
    pub(crate) args: Vec<String>,
    /// Whether lines after it belong to it.
    pub(crate) has_here_documents: bool,
}

/// Returns all instructions. Comments and empty lines are skipped, also within an
/// instruction, as are the lines of here-documents.
pub(crate) fn instructions(text: &str) -> Vec<Instruction> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found: Vec<Instruction> = Vec::new();
    let mut is_continued = false;
    let mut number = 0;
    while let Some(line) = lines.get(number).map(|line| line.trim()) {
        number += 1;
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
                line: number,
                name: words.next().unwrap_or_default().to_uppercase(),
                args: words.collect(),
                has_here_documents: false,
            }),
        }
        is_continued = continued;
        if let Some(instruction) = found.last_mut().filter(|_| !continued) {
            let length = here_documents_length(instruction, &lines[number..]);
            instruction.has_here_documents = length > 0;
            number += length;
        }
    }
    found
}

/// Returns the number of lines after an instruction that belong to its here-documents. The
/// legacy builder has no here-documents, so one without an end is not one: `BuildKit` rejects it.
fn here_documents_length(instruction: &Instruction, following: &[&str]) -> usize {
    let name = match (&*instruction.name, instruction.args.first()) {
        ("ONBUILD", Some(name)) => name.to_uppercase(),
        (name, _) => name.to_owned(),
    };
    if !["RUN", "COPY", "ADD"].contains(&&*name) {
        return 0;
    }
    let mut lines = following.iter();
    let words = shell_words(&instruction.args.join(" "));
    for document in words.iter().filter_map(|word| here_document(word)) {
        if !lines.any(|line| document.ends_at(line)) {
            return 0;
        }
    }
    following.len() - lines.len()
}

/// A here-document, as `BuildKit` parses it: `<<EOF`, `<< EOF`, `<<-EOF`, `<<"EOF"` or `3<<EOF`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HereDocument {
    end: String,
    /// Whether tabs at the beginning of a line are ignored.
    ignores_tabs: bool,
}

impl HereDocument {
    fn ends_at(&self, line: &str) -> bool {
        let line = if self.ignores_tabs { line.trim_start_matches('\t') } else { line };
        line == self.end
    }
}

/// Parses a word that begins a here-document. A word in quotes does not.
pub(crate) fn here_document(word: &str) -> Option<HereDocument> {
    let end = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (end, ignores_tabs) = match end.strip_prefix('-') {
        Some(end) => (end, true),
        None => (end, false),
    };
    let end = end.trim_start();
    if end.is_empty() || end.contains('<') {
        return None;
    }
    Some(HereDocument { end: end.replace(['"', '\'', '\\'], ""), ignores_tabs })
}

/// Splits a line at white space outside of quotes, which are kept, and not after `<<`; returns no
/// words if a quote is not closed.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quote, mut chars) = (None, line.chars());
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t') if word.ends_with("<<") && !word.ends_with("<<<") => word.push(c),
            (None, c) if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            (None | Some('"'), '\\') => {
                word.push(c);
                word.extend(chars.next());
            }
            _ => {
                word.push(c);
                quote = match quote {
                    None => Some(c).filter(|c| ['"', '\''].contains(c)),
                    Some(open) => Some(open).filter(|open| *open != c),
                };
            }
        }
    }
    words.push(word);
    if quote.is_some() { Vec::new() } else { words }
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
            has_here_documents: false,
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
    fn here_documents_are_those_of_buildkit() {
        for row in include_str!("here_documents.tsv").lines().filter(|row| !row.starts_with('#')) {
            let (instruction, end) = row.split_once('\t').unwrap();
            let end = end.replace("\\t", "\t");
            let text = format!("FROM scratch\n{instruction}\nMARK\n{end}\n");
            let has_mark = instructions(&text).iter().any(|one| one.name == "MARK");
            assert_eq!(has_mark, end.is_empty(), "{row}");
        }
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
