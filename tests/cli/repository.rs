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
fn changelog_has_version() {
    assert!(read("CHANGELOG.md").contains(&format!("\n## {} ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn files_start_with_doc_comment_and_are_short() {
    for folder in ["crates", "xtask/src", "tests", "templates/service/src", "fuzz/targets"] {
        let sources = files(&root().join(folder));
        for path in sources.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.starts_with("//! "), "{} does not say what it is for", path.display());
            let lines = text.lines().count();
            assert!(lines <= LINES, "{} has {lines} lines", path.display());
        }
    }
}
