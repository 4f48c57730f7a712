//! Imports follow the table in ARCHITECTURE.md and have no cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::repository::{files, read, root};

/// The imports of a file, each with its line.
type Imports = Vec<(Vec<String>, usize)>;

#[test]
fn folders_import_only_allowed_folders() {
    let architecture = read("ARCHITECTURE.md");
    let rows = architecture.split("\n## Imports\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = rows.lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let allowed: BTreeMap<String, Vec<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (names(cells[1])[0].clone(), names(cells[2]))
        })
        .collect();
    let source = root().join("crates/kdev/src");
    for (module, path) in modules(&source).into_iter().filter(|(module, _)| !module.is_empty()) {
        let own = &module[0];
        let allowed =
            allowed.get(own).unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for `{own}`"));
        for (import, line) in imports(&module, &fs::read_to_string(&path).unwrap()) {
            let Some(other) = import.first().filter(|other| *other != own) else { continue };
            let is_folder =
                source.join(other).is_dir() || source.join(format!("{other}.rs")).exists();
            assert!(
                !is_folder || allowed.contains(other),
                "{}:{line}: `{own}` must not import `{other}`",
                path.display()
            );
        }
    }
}

#[test]
fn files_have_no_import_cycles() {
    let names = ["cargo-kdev", "kdev", "kdev-core", "kdev-diagnosis", "kdev-manifest"];
    for name in names.map(|name| format!("crates/{name}")).into_iter().chain(["xtask".into()]) {
        let modules = modules(&root().join(&name).join("src"));
        let mut graph: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = modules
            .iter()
            .map(|(module, path)| {
                let imports = imports(module, &fs::read_to_string(path).unwrap());
                let target = |(import, _): &(Vec<String>, usize)| {
                    let prefixes = (0..=import.len()).rev().map(|end| import[..end].to_vec());
                    let known = prefixes.into_iter().find_map(|file| modules.get_key_value(&file));
                    known.map(|(file, _)| file).filter(|file| *file != module)
                };
                (module, imports.iter().filter_map(target).collect())
            })
            .collect();
        // A file that imports no other file of the graph is in no cycle.
        while let Some(leaf) = graph.iter().find(|(_, imports)| imports.is_empty()) {
            let leaf = *leaf.0;
            graph.remove(leaf);
            for imports in graph.values_mut() {
                imports.remove(leaf);
            }
        }
        // Nor is a file that no other file of the graph imports.
        while let Some(root) =
            graph.keys().copied().find(|file| !graph.values().any(|i| i.contains(file)))
        {
            graph.remove(root);
        }
        assert!(graph.is_empty(), "files of {name} import each other: {graph:#?}");
    }
}

/// Returns the files of a crate by module path, without test modules. The path of the root is
/// empty.
fn modules(source: &Path) -> BTreeMap<Vec<String>, std::path::PathBuf> {
    let is_code = |path: &std::path::PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        path.extension().is_some_and(|end| end == "rs") && !stem.ends_with("tests")
    };
    let module = |path: std::path::PathBuf| {
        let relative = path.strip_prefix(source).unwrap().with_extension("");
        let mut parts: Vec<String> =
            relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        parts.retain(|part| !["mod", "lib", "main"].contains(&part.as_str()));
        (parts, path)
    };
    files(source).into_iter().filter(is_code).map(module).collect()
}

/// Returns the paths in a file that start with `crate`, or with `super` in an import, relative
/// to the root of the crate. Test modules in the file do not count.
fn imports(module: &[String], text: &str) -> Imports {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let mut found = Imports::new();
    for (number, line) in code.lines().enumerate() {
        let starts_with =
            |word: &str| line.trim_start().trim_start_matches("pub ").starts_with(word);
        if starts_with("use super::") {
            let rest = statement(code, number).split("use super::").nth(1).unwrap().to_owned();
            let parent = &module[..module.len().saturating_sub(1)];
            let paths = expand(&rest).into_iter().map(|path| [parent, &path[..]].concat());
            found.extend(paths.map(|path| (path, number + 1)));
        } else if starts_with("use crate::") || starts_with("pub(crate) use crate::") {
            let rest = statement(code, number).split("use crate::").nth(1).unwrap().to_owned();
            found.extend(expand(&rest).into_iter().map(|path| (path, number + 1)));
        } else if !line.trim_start().starts_with("//") {
            let inline = line.split("crate::").skip(1).filter(|rest| !rest.starts_with('{'));
            let path = |rest: &str| -> Vec<String> {
                let end = rest.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
                let path = &rest[..end.unwrap_or(rest.len())];
                path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
            };
            found.extend(inline.map(|rest| (path(rest), number + 1)));
        }
    }
    found
}

/// Returns the statement that starts in a line, joined to one line.
fn statement(code: &str, line: usize) -> String {
    let lines: String = code.lines().skip(line).map(|line| line.trim().to_owned() + " ").collect();
    lines.split(';').next().unwrap().to_owned()
}

/// Returns the paths of a tree like `a::{b, c::D}`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap().split("::");
        return vec![
            path.map(|part| part.trim().to_owned()).filter(|part| part != "self").collect(),
        ];
    };
    let inner = &rest[..rest.rfind('}').unwrap()];
    let (mut branches, mut depth) = (vec![String::new()], 0);
    for c in inner.chars() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        match c {
            ',' if depth == 0 => branches.push(String::new()),
            c => branches.last_mut().unwrap().push(c),
        }
    }
    let head: Vec<String> = head
        .split("::")
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches
        .flat_map(|branch| expand(branch).into_iter().map(|rest| [&head[..], &rest].concat()))
        .collect()
}

#[test]
fn imports_are_found_in_each_form() {
    let module = ["a".to_owned(), "b".to_owned()];
    let text = "use crate::c::{D, e::{self, F}};\nuse super::g;\nfn x() { crate::h::i(); }\n// crate::j\n#[cfg(test)]\nmod tests { use crate::k; }\n";
    let found = imports(&module, text);
    let found: Vec<String> =
        found.iter().map(|(path, line)| format!("{line} {}", path.join("::"))).collect();
    assert_eq!(found, ["1 c::D", "1 c::e", "1 c::e::F", "2 a::g", "3 h::i"]);
}
