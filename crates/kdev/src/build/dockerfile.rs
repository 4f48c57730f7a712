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
}

/// Returns all instructions. Comments and empty lines are skipped, also within an
/// instruction.
pub(crate) fn instructions(text: &str) -> Vec<Instruction> {
    let mut found: Vec<Instruction> = Vec::new();
    let mut is_continued = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
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
    }
    found
}

/// Returns globs of the paths that are copied from the build context, with `*` for each
/// variable.
pub(crate) fn context_sources(text: &str) -> Vec<String> {
    let copies = instructions(text).into_iter().filter(|one| ["COPY", "ADD"].contains(&&*one.name));
    let from_context = copies.filter(|one| !one.args.iter().any(|word| word.starts_with("--from")));
    from_context.flat_map(|one| copy_sources(&one.args)).collect()
}

fn copy_sources(words: &[String]) -> Vec<String> {
    let plain: Vec<String> = words.iter().filter(|word| !word.starts_with("--")).cloned().collect();
    // The arguments are either a JSON list or words.
    let mut names: Vec<String> = serde_json::from_str(&plain.join(" ")).unwrap_or(plain);
    // The last one is the destination.
    names.pop();
    names.iter().map(|name| replace_variables(name)).collect()
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
    fn context_sources_returns_copied_paths() {
        let table: [(&str, &[&str]); 10] = [
            ("FROM a\nCOPY target/release/app /app\n", &["target/release/app"]),
            ("copy --chown=1:1 a b /c/\n", &["a", "b"]),
            ("COPY [\"a\", \"b\", \"/c/\"]\n", &["a", "b"]),
            ("COPY [\"a\",\"/c\"]", &["a"]),
            ("COPY --from=build /app /app\n", &[]),
            ("ADD a \\\n  b \\\n  /c/\n", &["a", "b"]),
            ("COPY target/*/app /\n", &["target/*/app"]),
            ("COPY target/${PROFILE:-release}/$BIN.d /\n", &["target/*/*.d"]),
            ("COPY app target/app\n", &["app"]),
            ("RUN cp a b\n# COPY a b\n", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(context_sources(text), expected, "{text:?}");
        }
    }
}
