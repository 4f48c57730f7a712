//! The files that `cargo build` has written, from its JSON messages.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What kdev can learn from a run of `cargo build`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BuildArgs {
    /// The arguments that request messages instead of those of the user.
    pub(crate) args: Vec<String>,
    /// Whether cargo then prints the messages that kdev needs.
    pub(crate) has_messages: bool,
}

/// The files of one cargo target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// The files that cargo wrote or found up to date.
    pub(crate) files: Vec<PathBuf>,
    /// The source file of the crate root, if the artifact is a program.
    pub(crate) program_root: Option<PathBuf>,
    /// The program, if the artifact is one.
    pub(crate) program: Option<BuiltProgram>,
}

/// A program that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuiltProgram {
    pub(crate) path: PathBuf,
    /// The name of the cargo target.
    pub(crate) name: String,
    /// The `Cargo.toml` of its package.
    pub(crate) manifest: PathBuf,
    /// Whether it is a binary, and not an example or a test.
    pub(crate) is_binary: bool,
}

/// Adds the flag with which cargo prints messages to stdout, and diagnostics to stderr as
/// usual. JSON that the user has requested stays unchanged.
pub(crate) fn with_messages(user: &[String]) -> BuildArgs {
    const FLAG: &str = "--message-format";
    let (mut args, mut formats) = (Vec::new(), Vec::new());
    let mut words = user.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(FLAG) {
            Some("") => formats.extend(words.next().cloned()),
            Some(value) if value.starts_with('=') => formats.push(value[1..].to_owned()),
            _ => args.push(word.clone()),
        }
    }
    let format = match formats.iter().map(|format| format.to_lowercase()).collect::<Vec<_>>() {
        formats if formats.iter().all(|format| format == "human") => "json-render-diagnostics",
        formats if formats == ["short"] => "json-render-diagnostics,json-diagnostic-short",
        _ => return BuildArgs { args: user.to_vec(), has_messages: false },
    };
    args.insert(0, format!("{FLAG}={format}"));
    BuildArgs { args, has_messages: true }
}

/// The fields of cargo's messages that kdev needs. Other fields and reasons may be of a newer
/// cargo.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    profile: Profile,
    #[serde(default)]
    manifest_path: PathBuf,
}

#[derive(Default, Deserialize)]
struct Profile {
    /// Whether it is the test harness of the target.
    #[serde(default)]
    test: bool,
}

#[derive(Default, Deserialize)]
struct Target {
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: Vec<String>,
    #[serde(default)]
    src_path: PathBuf,
}

/// Reads the messages of a build. Also returns the lines that are not messages:
/// compiler wrappers and procedural macros can print to stdout.
pub(crate) fn read_messages(lines: Vec<String>) -> (Vec<Artifact>, Vec<String>) {
    let (mut artifacts, mut other) = (Vec::new(), Vec::new());
    for line in lines {
        match serde_json::from_str::<Message>(&line) {
            Ok(message) if message.reason == "compiler-artifact" => {
                artifacts.push(Artifact::from(message));
            }
            Ok(_) => {}
            Err(_) => other.push(line),
        }
    }
    (artifacts, other)
}

impl From<Message> for Artifact {
    fn from(message: Message) -> Self {
        let target = message.target;
        let program = message.executable.as_ref().map(|path| BuiltProgram {
            path: path.clone(),
            name: target.name,
            manifest: message.manifest_path,
            is_binary: !message.profile.test && target.kind.iter().any(|kind| kind == "bin"),
        });
        let program_root = program.as_ref().map(|_| target.src_path);
        let mut files = message.filenames;
        files.extend(message.executable.filter(|path| !files.contains(path)));
        Self { files, program_root, program }
    }
}

/// Returns whether two paths are the same file.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one).ok().is_some_and(|one| fs::canonicalize(other).ok() == Some(one))
}

/// Returns the source files in the dependency file that cargo writes beside each artifact, or
/// `None` without one. `base` is the folder of relative paths.
pub(crate) fn parse_dep_info(text: &str, base: &Path) -> Option<Vec<PathBuf>> {
    Some(dep_info_paths(text)?.iter().map(|path| base.join(path)).collect())
}

/// Like [`parse_dep_info`], but with the paths as they are written.
pub(crate) fn dep_info_paths(text: &str) -> Option<Vec<PathBuf>> {
    let (_, sources) = text.lines().next()?.split_once(": ")?;
    // A space within a path is escaped.
    let marked = sources.replace("\\ ", "\0");
    let paths = marked.split_whitespace().map(|path| path.replace('\0', " ").into());
    Some(paths.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_messages_keeps_style_of_diagnostics() {
        const RENDER: &str = "--message-format=json-render-diagnostics";
        const SHORT: &str = "--message-format=json-render-diagnostics,json-diagnostic-short";
        let table: [(&[&str], &[&str], bool); 8] = [
            (&[], &[RENDER], true),
            (&["--release"], &[RENDER, "--release"], true),
            (&["--message-format", "human", "-q"], &[RENDER, "-q"], true),
            (&["-q", "--message-format=short"], &[SHORT, "-q"], true),
            (&["--message-format", "SHORT"], &[SHORT], true),
            (&["--message-format=json"], &["--message-format=json"], false),
            (
                &["--message-format=short", "--message-format", "human"],
                &["--message-format=short", "--message-format", "human"],
                false,
            ),
            (&["--message-formats"], &[RENDER, "--message-formats"], true),
        ];
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for (user, args, has_messages) in table {
            let expected = BuildArgs { args: owned(args), has_messages };
            assert_eq!(with_messages(&owned(user)), expected, "{user:?}");
        }
    }

    #[test]
    fn messages_have_files_and_crate_roots() {
        let target = r#""target":{"kind":["bin"],"crate_types":["bin"],"name":"a","src_path":"/p/src/main.rs","edition":"2024","doc":true,"doctest":false,"test":true}"#;
        let artifact = |executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///p#0.1.0","manifest_path":"/p/Cargo.toml",{target},"profile":{{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":false}},"features":[],"filenames":["/t/a"],"executable":{executable},"fresh":true}}"#
            )
        };
        let lines = [
            artifact("\"/t/a\""),
            artifact("null"),
            "printed by a macro".to_owned(),
            r#"{"reason":"of-the-future"}"#.to_owned(),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let (artifacts, other) = read_messages(lines.into());
        let files = vec![PathBuf::from("/t/a")];
        let program = BuiltProgram {
            path: "/t/a".into(),
            name: "a".to_owned(),
            manifest: "/p/Cargo.toml".into(),
            is_binary: true,
        };
        let program = Artifact {
            files: files.clone(),
            program_root: Some("/p/src/main.rs".into()),
            program: Some(program),
        };
        assert_eq!(artifacts, [program, Artifact { files, program_root: None, program: None }]);
        assert_eq!(other, ["printed by a macro"]);
    }

    #[test]
    fn test_program_is_not_binary() {
        let message = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","target":{{"kind":["bin"],"name":"a","src_path":"/p/src/main.rs"}},"profile":{{"test":{test}}},"filenames":["/t/a"],"executable":"/t/a"}}"#
            )
        };
        let (artifacts, _) = read_messages(vec![message(false), message(true)]);
        let binaries = artifacts.into_iter().map(|one| one.program.unwrap().is_binary);
        assert_eq!(binaries.collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn dep_info_has_absolute_sources() {
        let table = [
            (
                "/t/a: /p/src/main.rs /p/a\\ b.rs\n\n/p/x:\n",
                Some(vec!["/p/src/main.rs", "/p/a b.rs"]),
            ),
            ("/t/a: src/main.rs\n", Some(vec!["/p/src/main.rs"])),
            ("/t/a:\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|paths| paths.into_iter().map(PathBuf::from).collect());
            assert_eq!(parse_dep_info(text, Path::new("/p")), expected, "{text:?}");
        }
    }
}
