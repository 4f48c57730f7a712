//! Finds what a build may read from its context. What is not understood may read all of it.

use std::path::PathBuf;

use crate::build::dockerfile;
use crate::build::sources;
use crate::config::Config;

pub(crate) use crate::build::sources::{ContextUse, Unclear};

/// Returns what the build reads from its context.
pub(crate) fn context_use(config: &Config, dockerfile: &str) -> ContextUse {
    let mut found = sources::context_use(config, dockerfile);
    found.unclear.extend(unclear_syntax(dockerfile));
    let is_special = |path: &str| path.contains("**") || path.contains(['[', '\\', '"', '\'']);
    for source in found.sources.iter().filter(|source| is_special(&source.path)) {
        let cause = format!("the path `{}`", source.path);
        found.unclear.push(Unclear { line: source.line, cause });
    }
    found
}

/// Returns the folders on this machine that `--build-context NAME=PATH` of `docker build` names.
pub(crate) fn named_contexts(config: &Config) -> Vec<PathBuf> {
    let values = config.docker_build_values("--build-context").into_iter();
    let paths = values.filter_map(|value| Some(value.split_once('=')?.1));
    let paths = paths.map(|path| path.strip_prefix("oci-layout://").unwrap_or(path));
    paths.filter(|path| !path.contains("://")).map(|path| config.dir.join(path)).collect()
}

/// Returns the parts of a Dockerfile that can change how the rest of it is read.
fn unclear_syntax(dockerfile: &str) -> Vec<Unclear> {
    let mut found = Vec::new();
    let mut add = |line, cause: &str| found.push(Unclear { line, cause: cause.to_owned() });
    for (index, line) in dockerfile.lines().enumerate() {
        if line.trim().strip_prefix('#').is_some_and(is_unknown_directive) {
            add(index + 1, "the directive");
        }
    }
    for instruction in dockerfile::instructions(dockerfile) {
        let base = instruction.args.iter().find(|word| !word.starts_with("--"));
        // Only recent frontends have here-documents.
        if instruction.has_here_documents {
            add(instruction.line, "the here-document");
        }
        if instruction.name == "ONBUILD" {
            add(instruction.line, "`ONBUILD`");
        } else if instruction.name == "FROM" && base.is_some_and(|base| base.contains("onbuild")) {
            add(instruction.line, "the `ONBUILD` instructions of the base image");
        }
    }
    found
}

/// Returns whether a comment changes the escape character or selects another frontend.
fn is_unknown_directive(comment: &str) -> bool {
    let Some((name, value)) = comment.split_once('=') else { return false };
    let value = value.trim();
    match name.trim().to_lowercase().as_str() {
        "escape" => value != "\\",
        "syntax" => {
            let image = value.strip_prefix("docker.io/").unwrap_or(value);
            !image.starts_with("docker/dockerfile")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigLayer;

    /// Returns the paths, and the lines of the unclear instructions.
    fn read(dockerfile: &str, docker_build: &[&str]) -> (String, Vec<usize>) {
        let mut config = Config::from_flags(ConfigLayer::default()).unwrap();
        config.docker_build = docker_build.iter().map(|&word| word.to_owned()).collect();
        let found = context_use(&config, dockerfile);
        let paths: Vec<_> = found.sources.into_iter().map(|source| source.path).collect();
        (paths.join(" "), found.unclear.into_iter().map(|unclear| unclear.line).collect())
    }

    #[test]
    fn unclear_instructions_are_reported() {
        let table: [(&str, &str, &[usize]); 26] = [
            ("FROM scratch\nCOPY a b /\n", "a b", &[]),
            ("FROM scratch\nCOPY --chown=1 --chmod=1 --link a /\n", "a", &[]),
            ("FROM scratch\nCOPY --parents a /\n", "a", &[2]),
            ("FROM scratch\nCOPY --exclude=x a /\n", "", &[2]),
            ("FROM scratch\nCOPY --new a /\n", "a", &[2]),
            ("FROM scratch\nADD --checksum=x --keep-git-dir a /\n", "a", &[]),
            ("FROM scratch\nCOPY <<EOF /\nx\nEOF\n", "", &[2]),
            ("FROM scratch\nRUN sh -c 'cat <<EOF'\nCOPY a /\nEOF\n", "a", &[]),
            ("# a <<b\nFROM scratch\nCOPY a /\n", "a", &[]),
            ("# escape=`\nFROM scratch\nCOPY a /\n", "a", &[1]),
            ("# syntax=docker/dockerfile:1\nFROM scratch\nCOPY a /\n", "a", &[]),
            ("# syntax = docker.io/docker/dockerfile:1\nFROM scratch\n", "", &[]),
            ("#syntax=example/front\nFROM scratch\nCOPY a /\n", "a", &[1]),
            ("FROM scratch\nONBUILD COPY a /\n", "", &[2]),
            ("FROM node:onbuild\n", "", &[1]),
            ("FROM scratch\nCOPY $A /\n", "", &[2]),
            ("FROM scratch\nARG A=a\nCOPY $A /\n", "a", &[]),
            ("FROM $A\nCOPY a /\n", "a", &[1]),
            // A stage that is not built.
            ("FROM x AS a\nCOPY $A /\nFROM scratch\nCOPY b /\n", "b", &[]),
            ("FROM scratch AS a\nCOPY a /\nFROM scratch\nCOPY --from=$A /a /\n", "", &[4]),
            ("FROM x\nRUN --mount=target=/c true\n", "", &[2]),
            ("FROM x\nRUN --mount=type=cache,target=/c true\n", "", &[]),
            ("FROM x\nRUN --mount=type=$T,target=/c true\n", "", &[2]),
            ("FROM x\nRUN --mount=from=$T,target=/c true\n", "", &[2]),
            ("FROM x\nCOPY a/**/b /\n", "a/**/b", &[2]),
            ("COPY a /\n", "", &[1]),
        ];
        for (text, paths, lines) in table {
            assert_eq!(read(text, &[]), (paths.to_owned(), lines.to_vec()), "{text}");
        }
        let text = "FROM x\nARG A=a\nCOPY $A /\n";
        assert_eq!(read(text, &["--build-arg=A"]), (String::new(), vec![3]));
        assert_eq!(read(text, &["--build-arg", "A=b"]), ("b".to_owned(), vec![]));
    }

    #[test]
    fn named_contexts_are_folders() {
        let mut config = Config::from_flags(ConfigLayer::default()).unwrap();
        config.dir = "/p".into();
        let args = ["--build-context", "a=../a", "--build-context=b=/b", "--x"];
        let remote = ["--build-context", "c=docker-image://x", "--build-context"];
        config.docker_build = args.iter().chain(&remote).map(|&word| word.to_owned()).collect();
        assert_eq!(named_contexts(&config), [PathBuf::from("/p/../a"), "/b".into()]);
    }
}
