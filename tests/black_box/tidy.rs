//! Rules of the repository that no other check knows.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project::Project;

/// A file that grows beyond this is two nouns.
const LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The files in a folder and below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The paths of a folder's files, relative to it.
fn names_in(folder: &str) -> Vec<String> {
    let folder = root().join(folder);
    let name = |path: PathBuf| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
    files(&folder).into_iter().map(name).collect()
}

#[test]
fn the_map_has_every_file_and_no_other() {
    let map = read("ARCHITECTURE.md");
    let folders = ["crates/kdev/src", "crates/cargo-kdev/src"];
    let files: Vec<String> = folders.iter().flat_map(|folder| names_in(folder)).collect();
    // Tests stand beside what they test, and each folder has its errors.
    let has_row = |file: &&String| {
        !["_tests.rs", "_tests.tsv", "/error.rs"].iter().any(|end| file.ends_with(end))
    };
    for file in files.iter().filter(has_row) {
        assert!(map.contains(&format!("`{file}`")), "ARCHITECTURE.md lacks `{file}`");
    }
    for line in map.lines().filter(|line| line.starts_with("| `")) {
        let file = line.split('`').nth(1).unwrap();
        assert!(files.iter().any(|name| name == file), "ARCHITECTURE.md names `{file}`");
    }
}

#[test]
fn the_exit_codes_are_the_same_everywhere() {
    let (readme, code) = (read("README.md"), read("crates/kdev/src/exit_code.rs"));
    let help = Project::new().run(&["--help"]).code(0).out().to_owned();
    let variants = code.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let mut count = 0;
    for (_, number) in variants {
        let row = readme.lines().find(|line| line.starts_with(&format!("| {number} |")));
        let words =
            row.unwrap_or_else(|| panic!("README.md lacks {number}")).split('|').nth(2).unwrap();
        let line = help.lines().find(|line| line.trim().starts_with(&format!("{number}  ")));
        let line = line.unwrap_or_else(|| panic!("--help lacks {number}"));
        assert!(line.ends_with(words.trim()), "{line} is not{words}");
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn every_key_of_the_configuration_is_in_the_readme() {
    let readme = read("README.md");
    let config = read("crates/kdev/src/config/mod.rs");
    let keys = config.split("const KEYS").nth(1).unwrap().split("];").next().unwrap();
    for key in keys.split('"').skip(1).step_by(2).filter(|key| *key != "nodes") {
        assert!(readme.contains(&format!("\n{key} = ")), "README.md lacks `{key}`");
    }
}

#[test]
fn the_changelog_has_the_version() {
    assert!(read("CHANGELOG.md").contains(&format!("\n## {} ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn files_open_with_their_purpose_and_stay_short() {
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
