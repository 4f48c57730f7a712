//! The settings in `Cargo.toml` and `kdev.local.toml`, and the lines of `.gitignore`.

use std::fmt::Write;
use std::path::Path;

use crate::config::BuilderChoice;
use crate::init::image::BuildPlace;
use crate::init::{Error, Result};

/// Returns `Cargo.toml` with a new table `[package.metadata.kdev]` at the end; everything before
/// it stays unchanged.
pub(crate) fn append_table(path: &Path, text: &str, lines: &str) -> Result<String> {
    let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut after = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        after += line_break;
    }
    after += line_break;
    for line in ["[package.metadata.kdev]"].into_iter().chain(lines.lines()) {
        after += line;
        after += line_break;
    }
    let is_valid = || {
        let mut before: toml::Table = toml::from_str(text).ok()?;
        let added: toml::Table = toml::from_str(lines).ok()?;
        let package = before.get_mut("package")?.as_table_mut()?;
        let metadata = package.entry("metadata").or_insert_with(|| toml::Table::new().into());
        metadata.as_table_mut()?.insert("kdev".to_owned(), added.into());
        (toml::from_str::<toml::Table>(&after).ok()? == before).then_some(())
    };
    match is_valid() {
        Some(()) => Ok(after),
        None => Err(Error::CannotAppend { path: path.to_owned(), lines: lines.to_owned() }),
    }
}

/// Returns the lines of the table. The build context is the workspace.
pub(crate) fn table(
    image: &str,
    place: Option<&BuildPlace>,
    port: Option<u16>,
    builder: Option<&BuilderChoice>,
    path_in_workspace: &Path,
) -> String {
    let mut lines = format!("image = {}\n", quote(image));
    if place == Some(&BuildPlace::Cargo) {
        lines += "# kdev puts the static program of cargo into an image, without a Dockerfile.\n";
        lines += "builder = \"cargo\"\ncargo-build = [\"--release\"]\n";
        if let Some(port) = port {
            let _ = writeln!(lines, "container.ports = [{port}]");
        }
        return lines;
    }
    if let Some(builder) = builder {
        let _ = writeln!(lines, "builder = {}", quote(&builder.to_string()));
    }
    let Some(place) = place else { return lines };
    let depth = path_in_workspace.iter().count();
    if depth > 0 {
        let _ = writeln!(lines, "context = {}", quote(&vec![".."; depth].join("/")));
    }
    if let BuildPlace::Host { build, .. } = place {
        lines += "# The image contains only a static program, so cargo builds it first.\n";
        let args: Vec<String> = build.args.iter().map(|arg| quote(arg)).collect();
        let _ = writeln!(lines, "cargo-build = [{}]", args.join(", "));
    }
    lines
}

/// Returns the lines that select how the program is built and whose keys are not in a table.
pub(crate) fn missing_lines<'a>(lines: &'a str, table: &serde_json::Value) -> Vec<&'a str> {
    let is_missing = |line: &&str| match line.split_once(" = ") {
        Some(("cargo-build", _)) => table.get("cargo-build").is_none(),
        Some(("builder", value)) => {
            table.get("builder").is_none_or(|old| quote(old.as_str().unwrap_or_default()) != value)
        }
        _ => false,
    };
    lines.lines().filter(is_missing).collect()
}

/// Returns `kdev.local.toml` with the permission to change a context. Returns `None` if the file
/// already permits it, and an error with the line to add if it has other settings.
pub(crate) fn allow_context(before: Option<&str>, context: &str) -> Result<Option<String>, String> {
    let line = |contexts: &[String]| {
        let names: Vec<String> = contexts.iter().map(|name| quote(name)).collect();
        format!("contexts = [{}]", names.join(", "))
    };
    let Some(before) = before else {
        let reason = "# Personal settings, which git ignores.\n# kdev may change these clusters.\n";
        return Ok(Some(format!("{reason}{}\n", line(&[context.to_owned()]))));
    };
    let table = toml::from_str::<toml::Table>(before).unwrap_or_default();
    let known = table.get("contexts").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let mut known: Vec<String> =
        known.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    if known.iter().any(|name| name == context) {
        return Ok(None);
    }
    known.push(context.to_owned());
    Err(line(&known))
}

/// Returns a TOML string.
fn quote(text: &str) -> String {
    // JSON strings are valid in TOML.
    serde_json::Value::from(text).to_string()
}

/// Returns `.gitignore` with the entries that it lacks at the end; `None` if it has all.
pub(crate) fn ignore_lines(before: &str, entries: &[&str]) -> Option<String> {
    let lines: Vec<&str> = before.lines().map(str::trim).collect();
    let is_ignored = |entry: &&&str| {
        let name = entry.rsplit('/').next().unwrap_or_default();
        lines
            .iter()
            .any(|line| *line == **entry || *line == entry.trim_start_matches('/') || *line == name)
    };
    let missing: Vec<&&str> = entries.iter().filter(|entry| !is_ignored(entry)).collect();
    if missing.is_empty() {
        return None;
    }
    let line_break = if before.contains("\r\n") { "\r\n" } else { "\n" };
    let mut after = before.to_owned();
    if !before.is_empty() && !before.ends_with('\n') {
        after += line_break;
    }
    for entry in missing {
        after += entry;
        after += line_break;
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::toolchain::StaticBuild;

    fn append(text: &str) -> Result<String> {
        append_table(Path::new("Cargo.toml"), text, "image = \"a\"\n")
    }

    #[test]
    fn appended_table_keeps_bytes_before_it() {
        let table = [
            ("[package]\nname = \"a\" # x\n", "\n[package.metadata.kdev]\nimage = \"a\"\n"),
            ("[package]\nname = \"a\"", "\n\n[package.metadata.kdev]\nimage = \"a\"\n"),
            ("[package]\r\nname = \"a\"\r\n", "\r\n[package.metadata.kdev]\r\nimage = \"a\"\r\n"),
            (
                "[package]\nname = \"a\"\n[package.metadata.docs.rs]\nx = 1\n[workspace]\n",
                "\n[package.metadata.kdev]\nimage = \"a\"\n",
            ),
        ];
        for (text, added) in table {
            assert_eq!(append(text).unwrap(), format!("{text}{added}"), "{text}");
        }
    }

    #[test]
    fn table_is_not_appended_to_inline_table() {
        for text in [
            "[package]\nname = \"a\"\nmetadata = { x = 1 }\n",
            "package = { name = \"a\" }\n",
            "[package]\nname = \"a\"\n[package.metadata.kdev]\nimage = \"b\"\n",
            "[workspace]\n",
            "[package\n",
        ] {
            assert!(append(text).is_err(), "{text}");
        }
    }

    #[test]
    fn table_has_settings_of_build() {
        let build = StaticBuild { args: vec!["--release".into()], target: "t".into() };
        let place = BuildPlace::Host { build, target_dir: "target".into() };
        let lines = table("a", Some(&place), None, None, Path::new("crates/web"));
        let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            ["image = \"a\"", "context = \"../..\"", "cargo-build = [\"--release\"]"]
        );
        assert_eq!(table("a", None, None, None, Path::new("")), "image = \"a\"\n");
        let lines = table("a", Some(&BuildPlace::Cargo), Some(80), None, Path::new("crates/web"));
        let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "image = \"a\"",
            "builder = \"cargo\"",
            "cargo-build = [\"--release\"]",
            "container.ports = [80]",
        ];
        assert_eq!(lines, expected);
        let missing = |table| missing_lines("builder = \"cargo\"\ncargo-build = [\"x\"]\n", &table);
        assert_eq!(missing(serde_json::json!({"cargo-build": []})), ["builder = \"cargo\""]);
        assert_eq!(missing(serde_json::json!({"builder": "cargo"})), ["cargo-build = [\"x\"]"]);
        let both = serde_json::json!({"builder": "podman", "cargo-build": []});
        assert_eq!(missing(both), ["builder = \"cargo\""]);
    }

    #[test]
    fn existing_local_settings_are_not_changed() {
        let new = allow_context(None, "a\"b").unwrap().unwrap();
        assert!(new.ends_with("contexts = [\"a\\\"b\"]\n"), "{new}");
        assert_eq!(allow_context(Some(&new), "a\"b"), Ok(None));
        assert_eq!(allow_context(Some("timeout = 3\n"), "a"), Err("contexts = [\"a\"]".to_owned()));
        let other = allow_context(Some("contexts = [\"b\"]"), "a");
        assert_eq!(other, Err("contexts = [\"b\", \"a\"]".to_owned()));
    }

    #[test]
    fn only_missing_lines_are_ignored() {
        let entries = ["/kdev.local.toml", "/k8s/.env"];
        let table = [
            ("", Some("/kdev.local.toml\n/k8s/.env\n")),
            ("/target", Some("/target\n/kdev.local.toml\n/k8s/.env\n")),
            ("kdev.local.toml\n.env\n", None),
            ("/target\r\n.env\r\n", Some("/target\r\n.env\r\n/kdev.local.toml\r\n")),
        ];
        for (before, expected) in table {
            assert_eq!(ignore_lines(before, &entries).as_deref(), expected, "{before}");
        }
    }
}
