//! kdev and `BuildKit` find the same here-documents in a Dockerfile.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::daemons::Builder;
use crate::lab::stderr_text;
use crate::test_service::Service;

/// The table of the unit test.
const TABLE: &str = include_str!("../../crates/kdev/src/build/here_documents.tsv");

/// Returns whether `BuildKit` reads the line after an instruction as an instruction, which does
/// not exist. The last stage is invalid, so that nothing is built.
fn is_instruction(mut build: Command, folder: &Path, instruction: &str, end: &str) -> bool {
    let dockerfile = format!("FROM scratch\n{instruction}\nMARK\n{end}\nFROM\n");
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let output = build.current_dir(folder).output().unwrap();
    let stderr = stderr_text(&output);
    let (is_mark, is_end) = (
        stderr.contains("unknown instruction: MARK"),
        stderr.contains("FROM requires either one or three arguments"),
    );
    assert!(is_mark != is_end, "{instruction}: {stderr}");
    is_mark
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn here_documents_are_those_of_buildkit() {
    let mut service = Service::on_node("node-2", "here-docs");
    let builder = Builder::start_remote(&mut service);
    let folder = service.path("www");
    for row in TABLE.lines().filter(|row| !row.starts_with('#')) {
        let (instruction, end) = row.split_once('\t').unwrap();
        let end = end.replace("\\t", "\t");
        let build = builder.docker(&["buildx", "build", "--builder", "far", "."]);
        assert_eq!(is_instruction(build, &folder, instruction, &end), end.is_empty(), "{row}");
    }
}
