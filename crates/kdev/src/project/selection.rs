//! Which packages of a workspace a command acts on, as cargo selects them.

use std::path::PathBuf;

use glob::Pattern;
use kdev_core::shell;

use crate::project::error::{Error, Result};

/// Selects packages; by default the one in the current directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageSelection {
    /// Path of a Cargo.toml.
    pub manifest_path: Option<PathBuf>,
    /// Names of packages in the workspace; they may contain the wildcards `*`, `?`, and `[]`.
    pub packages: Vec<String>,
    /// All services of the workspace.
    pub workspace: bool,
    /// Names of packages that `workspace` leaves out; they may contain wildcards.
    pub exclude: Vec<String>,
}

impl PackageSelection {
    /// Returns whether no package is selected.
    pub(crate) fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether packages are selected by name, or all of the workspace.
    pub(crate) fn is_explicit(&self) -> bool {
        self.workspace || !self.packages.is_empty()
    }

    /// Returns the selection of one of the selected packages.
    pub(crate) fn of_package(&self, package: &str) -> Self {
        let (manifest_path, packages) = (self.manifest_path.clone(), vec![package.to_owned()]);
        Self { manifest_path, packages, ..Self::default() }
    }

    /// Returns the flags of `cargo kdev` that select the same packages, each after a space.
    pub(crate) fn to_flags(&self) -> String {
        let path = self.manifest_path.as_ref().map(|path| path.display().to_string());
        let workspace = if self.workspace { " --workspace" } else { "" };
        let names = |flag: &'static str, names: &[String]| {
            shell::flags(names.iter().map(|name| (flag, Some(name.clone()))))
        };
        let packages = names("--package", &self.packages);
        let exclude = names("--exclude", &self.exclude);
        format!("{packages}{workspace}{exclude}{}", shell::flags([("--manifest-path", path)]))
    }
}

/// What the selection needs to know of a package.
pub(super) struct Candidate {
    pub(super) name: String,
    /// Whether `--workspace` selects it.
    pub(super) is_service: bool,
}

/// Returns the positions of the packages that the names select, or all services without the
/// excluded ones. Each selected name must match a package.
pub(super) fn select(all: &[Candidate], selection: &PackageSelection) -> Result<Vec<usize>> {
    let excluded = patterns(&selection.exclude)?;
    let is_excluded = |name: &str| excluded.iter().any(|pattern| pattern.matches(name));
    let selected = patterns(&selection.packages)?;
    let available = || all.iter().map(|candidate| candidate.name.clone()).collect();
    let is_unknown =
        |pattern: &&Pattern| !all.iter().any(|candidate| pattern.matches(&candidate.name));
    if let Some(pattern) = selected.iter().find(is_unknown) {
        let package = pattern.as_str().to_owned();
        return Err(Error::PackageNotFound { package, available: available() });
    }
    let is_selected = |candidate: &Candidate| {
        let name = &candidate.name;
        let is_named = selected.iter().any(|pattern| pattern.matches(name));
        is_named || selection.workspace && candidate.is_service && !is_excluded(name)
    };
    let chosen: Vec<usize> = (0..all.len()).filter(|&index| is_selected(&all[index])).collect();
    if chosen.is_empty() && selection.workspace {
        let has_excluded = all.iter().any(|one| one.is_service && is_excluded(&one.name));
        return Err(Error::NoService { available: available(), has_excluded });
    }
    Ok(chosen)
}

/// Returns the names of excluded packages that do not exist.
pub(super) fn unknown_excluded(all: &[Candidate], selection: &PackageSelection) -> Vec<String> {
    let is_unknown = |name: &&String| {
        let pattern = Pattern::new(name).ok();
        !pattern.is_some_and(|pattern| all.iter().any(|one| pattern.matches(&one.name)))
    };
    selection.exclude.iter().filter(is_unknown).cloned().collect()
}

fn patterns(names: &[String]) -> Result<Vec<Pattern>> {
    let parse = |name: &String| {
        Pattern::new(name).map_err(|error| Error::InvalidPattern {
            pattern: name.clone(),
            reason: error.msg.to_owned(),
        })
    };
    names.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(packages: &[&str], workspace: bool, exclude: &[&str]) -> PackageSelection {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        PackageSelection {
            manifest_path: None,
            packages: owned(packages),
            workspace,
            exclude: owned(exclude),
        }
    }

    fn candidates() -> Vec<Candidate> {
        let services = [("api", true), ("lib", false), ("web", true), ("worker", true)];
        let candidate =
            |(name, is_service): (&str, bool)| Candidate { name: name.into(), is_service };
        services.map(candidate).into()
    }

    #[test]
    fn packages_are_selected_as_cargo_does() {
        type Selected = Result<&'static [&'static str], &'static str>;
        // `--package`, `--workspace`, `--exclude`, and the selected packages.
        let table: [(&[&str], bool, &[&str], Selected); 11] = [
            (&["web"], false, &[], Ok(&["web"])),
            // The order is that of the workspace, and each package is selected once.
            (&["web", "api", "web"], false, &[], Ok(&["api", "web"])),
            (&["w*"], false, &[], Ok(&["web", "worker"])),
            (&["w?b", "[al]*"], false, &[], Ok(&["api", "lib", "web"])),
            (&[], true, &[], Ok(&["api", "web", "worker"])),
            (&[], true, &["w*", "lib"], Ok(&["api"])),
            // A named package is selected even if it is not a service.
            (&["lib"], true, &["api"], Ok(&["lib", "web", "worker"])),
            (&["wib"], false, &[], Err("package `wib` not found in the workspace")),
            (&["web", "x*"], false, &[], Err("package `x*` not found in the workspace")),
            (&["a["], false, &[], Err("invalid package pattern `a[`: invalid range pattern")),
            (&[], true, &["*"], Err("no service found in the workspace")),
        ];
        let all = candidates();
        for (packages, workspace, exclude, expected) in table {
            let selection = selection(packages, workspace, exclude);
            let names =
                |chosen: Vec<usize>| chosen.iter().map(|&at| all[at].name.clone()).collect();
            let found: Result<Vec<String>, String> =
                select(&all, &selection).map(names).map_err(|error| error.to_string());
            let expected = expected.map(|names| names.iter().map(|&n| n.to_owned()).collect());
            assert_eq!(found, expected.map_err(str::to_owned), "{selection:?}");
        }
    }

    #[test]
    fn unknown_excluded_packages_are_found() {
        let selection = selection(&[], true, &["web", "x*", "w*", "old"]);
        assert_eq!(unknown_excluded(&candidates(), &selection), ["x*", "old"]);
    }

    #[test]
    fn flags_select_same_packages() {
        let table = [
            (selection(&[], false, &[]), ""),
            (selection(&["web", "a*"], false, &[]), " --package web --package 'a*'"),
            (selection(&[], true, &["web"]), " --workspace --exclude web"),
        ];
        for (selection, expected) in table {
            assert_eq!(selection.to_flags(), expected);
        }
        let one = PackageSelection {
            manifest_path: Some("a/Cargo.toml".into()),
            ..selection(&[], true, &["api"])
        };
        assert_eq!(one.of_package("web").to_flags(), " --package web --manifest-path a/Cargo.toml");
    }
}
