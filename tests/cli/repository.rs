//! Rules of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// The maximum number of lines in a file.
const LINES: usize = 500;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Returns the files in a folder and its subfolders.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn architecture_names_every_crate_and_folder() {
    let text = read("ARCHITECTURE.md");
    for (folder, form) in [("crates", "**`NAME`**"), ("crates/kdev/src", "`NAME")] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let name = if form == "`NAME" && entry.path().is_dir() { name + "/`" } else { name };
            let named = form.replace("NAME", &name);
            assert!(text.contains(&named), "ARCHITECTURE.md does not name {named}");
        }
    }
    let all: Vec<String> = ["crates", "xtask", "tests", "fuzz", "templates"]
        .iter()
        .flat_map(|folder| files(&root().join(folder)))
        .map(|path| path.display().to_string())
        .collect();
    let is_source = |name: &&str| Path::new(name).extension().is_some_and(|end| end == "rs");
    let names = text.split('`').skip(1).step_by(2).filter(is_source);
    for name in names {
        let is_there = all.iter().any(|path| path.ends_with(&format!("/{name}")));
        assert!(is_there, "ARCHITECTURE.md names `{name}`");
    }
}

#[test]
fn no_file_is_empty() {
    let folders = ["crates", "docs", "tests", "xtask"];
    let files = folders.iter().flat_map(|folder| files(&root().join(folder)));
    let empty: Vec<_> = files.filter(|file| fs::metadata(file).unwrap().len() == 0).collect();
    assert!(empty.is_empty(), "{empty:?}");
}

#[test]
fn changelog_has_version() {
    assert!(read("CHANGELOG.md").contains(&format!("\n## {} ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn files_start_with_doc_comment_and_are_short() {
    let templates = fs::read_dir(root().join("templates")).unwrap();
    let templates = templates.map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // Without the target directories of builds.
        if name == "workspace" {
            format!("templates/{name}/api")
        } else {
            format!("templates/{name}/src")
        }
    });
    let folders = ["crates", "xtask/src", "tests", "fuzz/targets"].map(str::to_owned);
    for folder in folders.into_iter().chain(templates) {
        let sources = files(&root().join(folder));
        for path in sources.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
            let text = fs::read_to_string(path).unwrap();
            assert!(
                text.starts_with("//! "),
                "{} does not start with a doc comment",
                path.display()
            );
            let lines = text.lines().count();
            assert!(lines <= LINES, "{} has {lines} lines", path.display());
        }
    }
}

/// Words and phrases that texts and names do not use, with their replacements. The file has no
/// extension that the test reads.
const REJECTED_WORDS: &str = include_str!("rejected_words.tsv");
/// Output of other programs that contains such a word: the file, and a part of the line.
const EXEMPT_LINES: [(&str, &str); 0] = [];

/// Returns the words of a line in lower case, split at underscores and in CamelCase.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut follows_lower_case = false;
    for c in line.chars() {
        if !c.is_ascii_alphabetic() || (c.is_ascii_uppercase() && follows_lower_case) {
            words.push(String::new());
        }
        if c.is_ascii_alphabetic() {
            words.last_mut().unwrap().push(c.to_ascii_lowercase());
        }
        follows_lower_case = c.is_ascii_lowercase();
    }
    words
}

/// Returns the rejected words in a file, each with its line. Words are also found in
/// identifiers; phrases only in text (`is_none` belongs to the standard library), also if they
/// continue on the next line.
fn rejected_words(name: &str, text: &str) -> Vec<String> {
    let rejected: Vec<&str> =
        REJECTED_WORDS.lines().map(|line| line.split('\t').next().unwrap()).collect();
    let is_exempt =
        |line: &str| EXEMPT_LINES.iter().any(|(file, part)| *file == name && line.contains(part));
    let mut found = Vec::new();
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !is_exempt(line)) {
        let words = words(line).into_iter().filter(|word| rejected.contains(&word.as_str()));
        found.extend(words.map(|word| format!("{name}:{}: {word}", at + 1)));
        let content = line.trim_start().trim_start_matches(['/', '!', '#', '>', '-']);
        tokens.extend(content.split_whitespace().map(|token| (at + 1, token.to_lowercase())));
    }
    let punctuation = |c: char| ".,;:!?()\"'".contains(c);
    for phrase in rejected.into_iter().filter(|word| word.contains(' ')) {
        let parts: Vec<&str> = phrase.split(' ').collect();
        let is_phrase = |window: &&[(usize, String)]| {
            let tokens = window.iter().map(|(_, token)| token.trim_matches(punctuation));
            tokens.eq(parts.iter().copied())
        };
        let windows = tokens.windows(parts.len()).filter(is_phrase);
        found.extend(windows.map(|window| format!("{name}:{}: {phrase}", window[0].0)));
    }
    found
}

/// Returns the sources and documents in a folder, without build output and hidden folders.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_skipped = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name == "target" || name.starts_with('.')
    };
    let is_document = |path: &PathBuf| {
        path.extension().is_some_and(|end| ["rs", "md", "sh"].iter().any(|known| end == *known))
    };
    entries
        .filter(|path| !is_skipped(path))
        .flat_map(|path| if path.is_dir() { documents(&path) } else { vec![path] })
        .filter(is_document)
        .collect()
}

#[test]
fn texts_and_names_have_no_rejected_words() {
    let root = root();
    let documents = documents(&root);
    assert!(documents.len() > 200, "{}", documents.len());
    let mut found = Vec::new();
    for path in documents {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        found.extend(rejected_words(&name, &fs::read_to_string(&path).unwrap()));
    }
    found.sort();
    assert!(
        found.is_empty(),
        "{} rejected words, see tests/cli/rejected_words.tsv:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn rejected_words_are_found_in_identifiers_and_across_lines() {
    let rejected = || REJECTED_WORDS.lines().map(|line| line.split('\t').next().unwrap());
    let word = rejected().find(|word| !word.contains(' ')).unwrap();
    let hump = word[..1].to_uppercase() + &word[1..];
    let text = format!("fn is_{word}() {{}}\nstruct Was{hump}Once;\nlet un{word} = 1;\n");
    let expected = [format!("a.rs:1: {word}"), format!("a.rs:2: {word}")];
    assert_eq!(rejected_words("a.rs", &text), expected);
    let phrase = rejected().find(|word| word.contains(' ')).unwrap();
    let (first, rest) = phrase.split_once(' ').unwrap();
    let text = format!("/// One {first}\n/// {rest}.\nfn {}() {{}}\n", phrase.replace(' ', "_"));
    assert_eq!(rejected_words("a.rs", &text), [format!("a.rs:1: {phrase}")]);
}
