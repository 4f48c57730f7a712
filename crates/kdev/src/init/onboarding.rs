//! The script that sets up the project on the machine of a new team member.

use std::path::Path;

use kdev_core::shell::quote;
use xshell::cmd;

use crate::cx::Cx;
use crate::init::Result;
use crate::init::template::fill;
use crate::process::Command;
use crate::tools::TOOL_TIMEOUT;

const SCRIPT: &str = include_str!("files/onboard.sh");
/// The check of the program that builds the image.
const BUILDER: &str = "# Podman builds images, too.\nhas podman || need docker\n";
const FORWARD: &str = include_str!("files/forward.sh");

/// Returns the script. The source of cargo-kdev consists of arguments of `cargo install`; the
/// package is passed to each command if the project is a member of a workspace.
/// A service ends with an offer to forward its port. An image without a Dockerfile needs neither
/// Docker nor Podman.
pub(crate) fn script(
    source: &str,
    package: Option<&str>,
    has_port: bool,
    needs_docker: bool,
) -> String {
    // Within the quotes and braces of a parameter expansion.
    let source: String = source
        .chars()
        .flat_map(|c| "\\\"`$}".contains(c).then_some('\\').into_iter().chain([c]))
        .collect();
    let package = package.map_or(String::new(), |name| format!(" --package {}", quote(name)));
    let forward = if has_port { FORWARD } else { "" };
    let builder = if needs_docker { BUILDER } else { "" };
    let values = [("source", &*source), ("package", &package), ("forward", forward)];
    fill(SCRIPT, &[&values[..], &[("builder", builder)]].concat())
}

/// Returns the arguments of `cargo install` that select the source from which cargo-kdev was
/// installed on this machine. `None` if the source is a folder outside of the project, or the
/// registry crates.io, where anyone can publish a crate of that name.
pub(crate) fn installed_source(cx: &Cx, root: &Path) -> Result<Option<String>> {
    let sh = cx.shell()?;
    let command = Command::new(cmd!(sh, "cargo install --list")).timeout(TOOL_TIMEOUT);
    let Ok(output) = command.read(cx) else { return Ok(None) };
    Ok(parse_source(&output.text(), root))
}

/// Reads the line of cargo-kdev in the output of `cargo install --list`, such as
/// `cargo-kdev v0.1.0 (https://example.com/kdev?branch=main#1a2b3c4d):`.
fn parse_source(list: &str, root: &Path) -> Option<String> {
    let line = list.lines().find_map(|line| line.strip_prefix("cargo-kdev v"))?;
    let (version, rest) = line.trim_end_matches(':').split_once(' ')?;
    let source = rest.strip_prefix('(')?.strip_suffix(')')?;
    if let Some(registry) = source.strip_prefix("registry ") {
        let name = registry.trim_matches('`');
        let flag = if name.contains("://") { "--index" } else { "--registry" };
        return Some(format!("{flag} {name} --version ={version}"));
    }
    if let Ok(path) = Path::new(source).strip_prefix(root) {
        return Some(format!("--path {}", path.display()));
    }
    let (address, commit) = source.rsplit_once('#')?;
    let address = address.split('?').next().unwrap_or(address);
    // The script splits the arguments at blanks.
    if !address.contains("://") || address.contains(char::is_whitespace) {
        return None;
    }
    Some(format!("--git {address} --rev {commit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_of_installed_program_is_read() {
        let source = |text: &str| {
            let list = format!(
                "cargo-edit v0.1.0:\n    cargo-add\ncargo-kdev v0.1.0{text}:\n    cargo-kdev\n"
            );
            parse_source(&list, Path::new("/w"))
        };
        let table = [
            (
                " (https://example.com/kdev?branch=main#1a2b3c4d)",
                Some("--git https://example.com/kdev --rev 1a2b3c4d"),
            ),
            (" (ssh://git@host/kdev.git#1a2b)", Some("--git ssh://git@host/kdev.git --rev 1a2b")),
            (" (registry `team`)", Some("--registry team --version =0.1.0")),
            (
                " (registry `sparse+http://h/i/`)",
                Some("--index sparse+http://h/i/ --version =0.1.0"),
            ),
            (" (/w/tools/kdev)", Some("--path tools/kdev")),
            // Only this machine has the folder, and anyone can publish the name.
            (" (/home/jane/kdev)", None),
            ("", None),
            (" (https://example.com/a b#1)", None),
        ];
        for (text, expected) in table {
            assert_eq!(source(text).as_deref(), expected, "{text}");
        }
        assert_eq!(parse_source("other v1:\n", Path::new("/w")), None);
    }

    #[test]
    fn source_is_quoted_in_script() {
        let text = script("--git a$b}`\"\\", Some("web"), false, true);
        assert!(text.contains("${KDEV_SOURCE=--git a\\$b\\}\\`\\\"\\\\}\""), "{text}");
        assert!(text.contains("\nset -- --package web\n"), "{text}");
        assert!(script("", None, true, true).contains("\nset --\n"));
        assert!(text.contains("\nhas podman || need docker\n"), "{text}");
        assert!(!script("", None, true, false).contains("docker\nhas"));
    }
}
