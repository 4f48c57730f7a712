//! The crates of `Cargo.lock` that a package depends on.

use std::collections::BTreeSet;

use serde::Deserialize;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    version: String,
    /// `NAME`, `NAME VERSION`, or `NAME VERSION (SOURCE)`.
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Returns the names of all crates below a package, or of all crates if the package is not listed
/// yet.
pub(super) fn crates_below(lock: &str, package: &str) -> BTreeSet<String> {
    let packages = toml::from_str(lock).map_or_else(|_| Vec::new(), |lock: Lock| lock.package);
    let find = |dependency: &str| {
        let mut words = dependency.split(' ');
        let (name, version) = (words.next().unwrap_or_default().to_owned(), words.next());
        let version = version.map(str::to_owned);
        packages.iter().enumerate().filter(move |(_, one)| {
            one.name == name && version.as_ref().is_none_or(|version| *version == one.version)
        })
    };
    let mut waiting: Vec<usize> = find(package).map(|(index, _)| index).collect();
    if waiting.is_empty() {
        return packages.into_iter().map(|package| package.name).collect();
    }
    let mut seen: BTreeSet<usize> = waiting.iter().copied().collect();
    while let Some(index) = waiting.pop() {
        let found = packages[index].dependencies.iter().flat_map(|name| find(name));
        waiting.extend(found.map(|(index, _)| index).filter(|index| seen.insert(*index)));
    }
    seen.into_iter().map(|index| packages[index].name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_other_packages_do_not_count() {
        let package = |name: &str, version: &str, dependencies: &str| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ndependencies = [{dependencies}]\n"
            )
        };
        let lock = [
            "version = 4\n".to_owned(),
            package("web", "0.0.0", "\"one 1.0.0\""),
            package("xtask", "0.0.0", "\"one 2.0.0 (registry)\", \"web\""),
            package("one", "1.0.0", "\"leaf\""),
            package("one", "2.0.0", "\"cc\""),
            package("leaf", "1.0.0", "\"one 1.0.0\""),
            package("cc", "1.0.0", ""),
        ];
        let lock = lock.concat();
        let below = |name| crates_below(&lock, name).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(below("web"), "leaf one web");
        assert_eq!(below("xtask"), "cc leaf one web xtask");
        assert_eq!(below("new"), "cc leaf one web xtask");
        assert!(crates_below("", "web").is_empty() && crates_below("<<<", "web").is_empty());
    }
}
