//! The packed crates, as a registry would have them.
#![expect(clippy::disallowed_methods, reason = "a test runs cargo and tar")]

use std::path::Path;
use std::process::Command;

use crate::repository::{files, root};

/// The warnings of `cargo package`: there is no public address, and the tests of the program are
/// not in its crate.
const KNOWN_WARNINGS: [&str; 3] = [
    "manifest has no documentation, homepage or repository",
    "ignoring test `cli` as",
    "ignoring test `e2e` as",
];
/// The fields of `[package]` that a registry shows.
const FIELDS: [&str; 7] =
    ["authors", "categories", "description", "keywords", "license", "readme", "rust-version"];

#[test]
fn packed_crates_are_complete() {
    let dir = tempfile::tempdir().unwrap();
    let mut package = Command::new(env!("CARGO"));
    package.args(["package", "--workspace", "--exclude", "xtask", "--offline", "--no-verify"]);
    // Only CI has a clean checkout.
    package.arg("--allow-dirty").arg("--target-dir").arg(dir.path());
    let output = package.env("CARGO_TERM_COLOR", "never").current_dir(root()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let mut warnings = stderr.lines().filter_map(|line| line.strip_prefix("warning: "));
    let unknown = warnings.find(|one| !KNOWN_WARNINGS.iter().any(|known| one.starts_with(known)));
    assert_eq!(unknown, None, "{stderr}");
    for entry in root().join("crates").read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        check_crate(&dir.path().join("package"), &name);
    }
}

fn check_crate(dir: &Path, name: &str) {
    let folder = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
    let mut tar = Command::new("tar");
    let status = tar.arg("xzf").arg(format!("{folder}.crate")).current_dir(dir).status().unwrap();
    assert!(status.success(), "{name}");
    let folder = dir.join(folder);
    for file in ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert!(text.lines().count() > 10, "{name} has no {file}");
    }
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for field in FIELDS {
        assert!(manifest.contains(&format!("\n{field} = ")), "{name} has no {field}");
    }
    let is_test = |path: &Path| path.to_string_lossy().ends_with("_tests.rs");
    for path in files(&folder.join("src")).iter().filter(|path| !is_test(path)) {
        let text = std::fs::read_to_string(path).unwrap();
        let included =
            text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next());
        for file in included {
            let file = path.parent().unwrap().join(file);
            assert!(file.exists(), "{} includes {}", path.display(), file.display());
        }
    }
}
