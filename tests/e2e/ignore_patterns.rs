//! kdev and Docker exclude the same files by the patterns of a `.dockerignore`.

use std::fs;
use std::path::Path;
use std::thread;

use kdev_core::dockerignore::Dockerignore;

use crate::exclusive::{Claim, Permit};
use crate::lab::docker;

/// The files of each context.
const FILES: [&str; 14] = [
    "a",
    "a.d",
    "a.txt",
    "ab/c",
    "ab/c.d",
    "b[1]",
    "build/a",
    "build/b/a",
    "build/b/c/a.d",
    "cab",
    "target/debug/app",
    "target/release/app",
    "target/release/deps/app.d",
    "target/x/release/app",
];
const PATTERNS: [&str; 22] = [
    "# a\n\n",
    "/target/\n!target/release\n",
    "./target/*\n!/target/*/app\n",
    "*\n!target/*/release/app\n",
    "*\n! target\ntarget/debug\n",
    "release\n**/debug\n",
    "**.d\n",
    "**.?\n",
    "**/a.?\n**/*.txt\n",
    "build/**\n!build/b\n",
    "a**\n",
    "build/**/a\n",
    "**/b/**\n!**/c\n",
    "?\n??\n",
    "[a-b]\n[^b]b\n",
    "b[[]1]\nb\\[1\\]\n",
    "a\\.d\n",
    "build\n!build/b\nbuild\n",
    "build\n!build/b\nbuild/b/a\n",
    "ab/../build/\n../a\n",
    "\u{feff}a\n  cab  \n#build\n !ab\n",
    "**\n!**/app\n",
];

/// Returns the files of an image that copies a context with these patterns.
fn copied_files(context: &Path, patterns: &str) -> Vec<&'static str> {
    for file in FILES {
        let path = context.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    fs::write(context.join(".dockerignore"), patterns).unwrap();
    let dockerfile = context.with_extension("Dockerfile");
    fs::write(&dockerfile, "FROM scratch\nCOPY . /\n").unwrap();
    let output = context.with_extension("out");
    let to = format!("type=local,dest={}", output.display());
    let mut build = docker(&["build", "--quiet", "--output", &to, "--file"]);
    build.arg(&dockerfile).arg(context).env("DOCKER_BUILDKIT", "1");
    let result = build.output().unwrap();
    assert!(result.status.success(), "{patterns:?}: {result:?}");
    FILES.into_iter().filter(|file| output.join(file).is_file()).collect()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn patterns_exclude_same_files_as_docker() {
    let _permit = Permit::acquire("ignore-patterns", Claim::default());
    let root = tempfile::tempdir().unwrap();
    let compare = |index: usize| {
        let patterns = PATTERNS[index];
        let copied = copied_files(&root.path().join(format!("context-{index}")), patterns);
        let ignore = Dockerignore::parse(patterns);
        let is_included = |file: &&str| ignore.is_excluded(file) == Some(false);
        let expected: Vec<_> = FILES.into_iter().filter(is_included).collect();
        (copied != expected).then(|| format!("{patterns:?}: {copied:?}, not {expected:?}"))
    };
    let compare_part = |part: usize| (part..PATTERNS.len()).step_by(4).filter_map(compare);
    let differences: Vec<String> = thread::scope(|scope| {
        let parts: Vec<_> = (0..4)
            .map(|part| scope.spawn(move || compare_part(part).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
