//! The package and its path dependencies, read from their manifests. A start of `cargo metadata`
//! with dependencies would access the network if `Cargo.lock` is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::project::canonical;

/// The packages on which a program depends, except for those of a registry or a git repository.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// The directories of the packages.
    pub(super) dirs: BTreeSet<PathBuf>,
    /// The manifests of the packages and of the workspace.
    pub(super) manifests: BTreeSet<PathBuf>,
}

/// Finds the packages from the manifest of one of them.
pub(super) fn find(dir: &Path, workspace_root: &Path) -> Packages {
    let root = read(workspace_root);
    let mut found = Packages::default();
    found.manifests.insert(workspace_root.join(MANIFEST));
    let mut pending = vec![dir.to_owned()];
    pending.extend(patched(&root, workspace_root));
    while let Some(dir) = pending.pop() {
        let dir = canonical(&dir);
        if !found.dirs.insert(dir.clone()) {
            continue;
        }
        found.manifests.insert(dir.join(MANIFEST));
        let manifest = read(&dir);
        pending.extend(dependencies(&manifest, &dir, &root, workspace_root));
        if let Some(path) = manifest.get("package").and_then(|package| package.get("workspace")) {
            let root = path.as_str().map(|path| canonical(&dir.join(path)));
            found.manifests.extend(root.map(|root| root.join(MANIFEST)));
        }
    }
    found
}

const MANIFEST: &str = "Cargo.toml";

fn read(dir: &Path) -> Table {
    let text = fs::read_to_string(dir.join(MANIFEST)).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// Returns the path dependencies of a package. Those for tests count, because cargo reads their
/// manifests, too.
fn dependencies(manifest: &Table, dir: &Path, root: &Table, root_dir: &Path) -> Vec<PathBuf> {
    let tables = |parent: &Table| -> Vec<Table> {
        let names = ["dependencies", "build-dependencies", "dev-dependencies"];
        names.iter().filter_map(|name| parent.get(*name)?.as_table().cloned()).collect()
    };
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let targets = targets.filter_map(|(_, target)| target.as_table()).flat_map(tables);
    let shared = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let all = tables(manifest).into_iter().chain(targets).flatten();
    let path = |(name, dependency): (String, Value)| {
        let is_shared = dependency.get("workspace").and_then(Value::as_bool) == Some(true);
        let own = dependency.get("path").and_then(Value::as_str).map(|path| dir.join(path));
        let inherited = || shared?.get(&name)?.get("path")?.as_str().map(|p| root_dir.join(p));
        own.or_else(|| is_shared.then(inherited).flatten())
    };
    all.filter_map(path).collect()
}

/// Returns the paths in `[patch]`, which can replace a dependency of any package.
fn patched(root: &Table, root_dir: &Path) -> Vec<PathBuf> {
    let tables = root.get("patch").and_then(Value::as_table).into_iter().flatten();
    let patches = tables.filter_map(|(_, table)| table.as_table()).flatten();
    let replaced = root.get("replace").and_then(Value::as_table).into_iter().flatten();
    let paths = patches.chain(replaced).filter_map(|(_, value)| value.get("path")?.as_str());
    paths.map(|path| root_dir.join(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_dependencies_are_followed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let files = [
            (
                "",
                "[workspace.dependencies]\nb = { path = \"b\" }\nunused = { path = \"u\" }\n[patch.crates-io]\np = { path = \"p\" }\n",
            ),
            (
                "a",
                "[dependencies]\nserde = \"1\"\nb.workspace = true\n[target.'cfg(unix)'.dependencies]\nc = { path = \"../c\" }\n",
            ),
            ("b", "[build-dependencies]\nd = { path = \"../d\" }\n"),
            ("c", "[dependencies]\na = { path = \"../a\" }\n"),
            ("d", "not toml"),
            ("p", ""),
            ("u", ""),
        ];
        for (dir, text) in files {
            fs::create_dir_all(root.join(dir)).unwrap();
            fs::write(root.join(dir).join(MANIFEST), text).unwrap();
        }
        let found = find(&root.join("a"), &root);
        assert_eq!(found.dirs, ["a", "b", "c", "d", "p"].map(|dir| root.join(dir)).into());
        let manifests = ["", "a", "b", "c", "d", "p"].map(|dir| root.join(dir).join(MANIFEST));
        assert_eq!(found.manifests, manifests.into());
    }
}
