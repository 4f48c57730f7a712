//! The inputs of an image contain every file whose change changes the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use crate::exclusive::{Claim, Permit};
use crate::lab::{command, docker};

/// The files of each context, beside those of the package.
const FILES: [&str; 13] = [
    "a",
    "a b",
    "a.d",
    "ab/c",
    "ab/d/e",
    "build/a",
    "build/b/a",
    "build/b/c.d",
    "cab",
    "empty/.keep",
    "target/release/app",
    "target/x/release/app",
    ".hidden/f",
];
/// Folders in which a file is created.
const FOLDERS: [&str; 5] = ["", "ab", "ab/d", "build/b", "target/release"];

/// A Dockerfile.
#[derive(Default)]
struct Case {
    dockerfile: &'static str,
    ignore: &'static str,
    /// The name of another ignore file than `.dockerignore`.
    ignore_file: Option<&'static str>,
    settings: &'static str,
    args: &'static [&'static str],
}

impl Case {
    fn new(dockerfile: &'static str) -> Self {
        Self { dockerfile, ..Self::default() }
    }

    fn ignoring(dockerfile: &'static str, ignore: &'static str) -> Self {
        Self { dockerfile, ignore, ..Self::default() }
    }
}

const ALL: &str = "FROM scratch\nCOPY . /\n";
const STAGES: &str = "FROM scratch AS one\nCOPY a /\nFROM scratch AS two\nCOPY ab /ab\nFROM one AS three\nCOPY cab /\nFROM scratch\nCOPY --from=three / /\nCOPY --from=0 / /zero/\n";

fn cases() -> Vec<Case> {
    let with_args = |dockerfile, settings, args| Case { settings, args, ..Case::new(dockerfile) };
    vec![
        Case::new(ALL),
        Case::ignoring(ALL, "target\n**/*.d\n.hidden\n"),
        Case::ignoring(ALL, "*\n!target/*/release\n!ab\nab/d\n"),
        Case::ignoring(ALL, "*\n!**/a\n"),
        Case::ignoring(ALL, "**/.*\n!.hidden/f\nDockerfile\n"),
        Case { ignore_file: Some("Dockerfile.dockerignore"), ..Case::ignoring(ALL, "ab\n") },
        Case::ignoring("FROM scratch\nCOPY ab build /x/\n", "ab/d\nbuild/*/*.d\n"),
        Case::new("FROM scratch\nCOPY a ab /x/\n"),
        Case::new("FROM scratch\nADD build /x\n"),
        Case::new("FROM scratch\nCOPY a* /x/\n"),
        Case::new("FROM scratch\nCOPY ?ab build/*/a /x/\n"),
        Case::new("FROM scratch\nCOPY [a-b] /x/\n"),
        Case::new("FROM scratch\nCOPY target/*/release/app /x/\n"),
        Case::new("FROM scratch\nCOPY ../a /ab/ ./build/../cab /x/\n"),
        Case::new("FROM scratch\nCOPY [\"a b\", \"/x/\"]\n"),
        Case::new("# none\nfrom scratch\ncopy a \\\n# comment\n\n  cab \\\n  /x/\n"),
        Case::new(STAGES),
        with_args(STAGES, "target = \"two\"", &["--target", "two"]),
        Case::new("ARG BASE=one\nFROM scratch AS one\nCOPY a /\nFROM $BASE\nCOPY cab /\n"),
        Case::new("FROM scratch\nARG A=build\nCOPY ${A}/a $A.d* /x/\n"),
        Case::new("FROM scratch\nENV A=a\nARG A=cab\nCOPY $A /x\n"),
        Case::new("FROM scratch\nCOPY ${UNKNOWN}a ${UNKNOWN:-cab} /x/\n"),
        with_args(
            "FROM scratch\nARG A=a\nCOPY $A /x\n",
            "build-args = { A = \"cab\" }",
            &["--build-arg", "A=cab"],
        ),
        Case::new("FROM scratch\nCOPY link /x\n"),
        Case::new("FROM scratch\nCOPY folder/c /x/\n"),
        Case::new("FROM scratch\nCOPY folder /x\n"),
        Case::new("FROM scratch\nCOPY chain /x\n"),
        Case::new("# escape=`\nFROM scratch\nCOPY a `\n  cab /x/\n"),
        Case::new("FROM scratch AS base\nONBUILD COPY a /x\nFROM base\nCOPY cab /\n"),
        Case::new(
            "FROM scratch AS base\nCOPY busybox /busybox\nFROM base\nRUN --mount=type=bind,source=ab,target=/m [\"/busybox\", \"cp\", \"/m/c\", \"/c\"]\n",
        ),
        Case::new(
            "FROM scratch AS base\nCOPY busybox /busybox\nFROM base\nRUN --mount=target=/m [\"/busybox\", \"cp\", \"/m/build/b/a\", \"/c\"]\n",
        ),
        Case::new(
            "FROM scratch AS base\nCOPY busybox /busybox\nFROM scratch AS one\nCOPY build /\nFROM base\nRUN --mount=from=one,target=/m [\"/busybox\", \"cp\", \"/m/a\", \"/c\"]\nCOPY a.d /\n",
        ),
    ]
}

fn create_context(context: &Path, case: &Case) {
    for file in FILES.into_iter().chain(["src/main.rs"]) {
        let path = context.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "fn main() {}\n").unwrap();
    }
    let cargo = format!(
        "[package]\nname = \"inputs\"\nedition = \"2024\"\n[workspace]\n[package.metadata.kdev]\n{}\n",
        case.settings
    );
    fs::write(context.join("Cargo.toml"), cargo).unwrap();
    fs::write(context.join("Dockerfile"), case.dockerfile).unwrap();
    fs::write(context.join(case.ignore_file.unwrap_or(".dockerignore")), case.ignore).unwrap();
    fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    let links = [("build/a", "link"), ("ab", "folder"), ("./folder/../link", "chain")];
    for (target, link) in links {
        symlink(target, context.join(link)).unwrap();
    }
}

/// Builds the image, and returns its files with their content.
fn build(context: &Path, case: &Case) -> BTreeMap<PathBuf, Vec<u8>> {
    let output = context.with_extension("out");
    let to = format!("type=local,dest={}", output.display());
    let mut build = docker(&["build", "--quiet", "--network=none", "--output", &to]);
    build.args(case.args).arg(".").current_dir(context).env("DOCKER_BUILDKIT", "1");
    let result = build.output().unwrap();
    assert!(result.status.success(), "{}: {result:?}", case.dockerfile);
    let mut files = BTreeMap::new();
    read_tree(&output, &mut files);
    let root = output.clone();
    let files = files
        .into_iter()
        .map(|(path, content)| (path.strip_prefix(&root).unwrap().to_owned(), content));
    let files = files.collect();
    fs::remove_dir_all(output).unwrap();
    files
}

fn read_tree(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            files.insert(
                path.clone(),
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            );
        } else if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            read_tree(&path, files);
        } else {
            let mode = format!("{:o} ", path.metadata().unwrap().permissions().mode());
            files.insert(path.clone(), [mode.into_bytes(), fs::read(&path).unwrap()].concat());
        }
    }
}

/// Returns the files on which the image depends according to kdev.
fn inputs(context: &Path) -> BTreeSet<PathBuf> {
    let mut kdev = command(env!("CARGO_BIN_EXE_cargo-kdev"));
    kdev.args(["kdev", "up", "--inputs", "--message-format", "json"]).current_dir(context);
    let output = kdev.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let inputs = lines.filter(|line| line["reason"] == "input" && line["class"] == "docker");
    inputs.map(|line| PathBuf::from(line["path"].as_str().unwrap())).collect()
}

/// Changes all files that are no inputs, and creates new ones. Returns a description if this
/// changes the image, and the number of inputs that exist.
fn compare(context: &Path, case: &Case) -> (Option<String>, usize) {
    create_context(context, case);
    let before = build(context, case);
    let found = inputs(context);
    let mut changed = Vec::new();
    for file in FILES.into_iter().chain(["src/main.rs", "busybox"]) {
        let path = context.join(file);
        if !found.contains(&path) {
            let old = fs::read(&path).unwrap();
            fs::write(&path, [&old, &b"changed"[..]].concat()).unwrap();
            changed.push(file.to_owned());
        }
    }
    let created = FOLDERS.map(|folder| context.join(folder).join("an.new.d"));
    for path in &created {
        fs::write(path, "new").unwrap();
    }
    let found = inputs(context);
    for path in created {
        if found.contains(&path) {
            fs::remove_file(path).unwrap();
        } else {
            changed.push(path.display().to_string());
        }
    }
    let after = build(context, case);
    let differs = (before != after).then(|| {
        format!("{:?} with {:?}: one of {changed:?} is in the image", case.dockerfile, case.ignore)
    });
    (differs, found.iter().filter(|path| path.is_file()).count())
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn inputs_contain_every_file_that_changes_image() {
    let _permit = Permit::acquire("inputs", Claim::default());
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let cases = cases();
    let run = |index: usize| compare(&root.join(format!("context-{index}")), &cases[index]);
    let run_part = |part: usize| (part..cases.len()).step_by(3).map(run).collect::<Vec<_>>();
    let results: Vec<_> = thread::scope(|scope| {
        let parts: Vec<_> = (0..3).map(|part| scope.spawn(move || run_part(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let differences: Vec<String> = results.iter().filter_map(|(text, _)| text.clone()).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // Needless inputs cost time, so their number must not grow unnoticed.
    let count: usize = results.iter().map(|(_, count)| count).sum();
    assert!(count < 400, "{count} inputs");
}
