//! The sources of the last build, from the dependency files that cargo has written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::build::artifacts;
use crate::config::{Config, cargo_flags, escape_glob};
use crate::inputs::packages::Packages;
use crate::inputs::tree;
use crate::project::{Project, canonical};

/// The sources of the last build.
#[derive(Debug, Default)]
pub(super) struct LastSources {
    pub(super) files: BTreeSet<PathBuf>,
    /// The packages that may have other sources, and why.
    pub(super) unknown: BTreeMap<PathBuf, &'static str>,
}

/// A program in the target directory, and the sources in its dependency file.
struct Built {
    time: SystemTime,
    sources: Vec<PathBuf>,
}

/// Reads the dependency files of the programs that the settings select.
pub(super) fn find(project: &Project, config: &Config, packages: &Packages) -> LastSources {
    let args: Vec<&str> = config.cargo_build.iter().flatten().map(String::as_str).collect();
    let folders = output_folders(config, &args);
    let selected: Vec<&str> = values(&args, "--bin").collect();
    let names = project.programs.iter().map(String::as_str);
    let names = names.filter(|name| selected.is_empty() || selected.contains(name));
    let built: Vec<Built> = names.filter_map(|name| newest(&folders, name, config)).collect();
    let files = built.iter().flat_map(|one| one.sources.iter().cloned()).collect();
    let mut found = LastSources { files, ..LastSources::default() };
    let builds_other = ["--example", "--examples", "--lib", "--test", "--tests", "--all-targets"];
    let is_other =
        args.iter().any(|arg| builds_other.contains(&arg.split('=').next().unwrap_or(arg)));
    if built.is_empty() || is_other || !built.iter().all(Built::is_fresh) {
        let cause = "in a package without a current build";
        found.unknown.extend(packages.dirs.iter().map(|dir| (dir.clone(), cause)));
        return found;
    }
    let scripts = packages.dirs.iter().filter(|dir| has_unlimited_script(dir, &folders));
    let cause = "in a package whose build script does not print `rerun-if-changed`";
    found.unknown.extend(scripts.map(|dir| (dir.clone(), cause)));
    found
}

impl Built {
    /// Returns whether no source has changed since the build. Only then the list is complete.
    fn is_fresh(&self) -> bool {
        self.sources.iter().all(|path| {
            let changed = fs::metadata(path).and_then(|data| data.modified());
            changed.is_ok_and(|changed| changed <= self.time)
        })
    }
}

/// Returns the folders to which cargo writes programs with these arguments: without `--target`
/// for the host, or for the targets of its configuration.
fn output_folders(config: &Config, args: &[&str]) -> Vec<PathBuf> {
    let owned: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let profile = cargo_flags::profile(&owned);
    let profile = match profile.as_deref() {
        None | Some("dev" | "test") => "debug",
        Some("bench") => "release",
        Some(profile) => profile,
    };
    let target_dir = match values(args, "--target-dir").last() {
        Some(dir) => config.dir.join(dir),
        None => config.target_dir.clone(),
    };
    let targets: Vec<&str> = values(args, "--target").collect();
    if !targets.is_empty() {
        return targets.iter().map(|one| target_dir.join(target_name(one)).join(profile)).collect();
    }
    let mut folders = tree::matching(&escape_glob(&target_dir).join("*").join(profile));
    folders.push(target_dir.join(profile));
    folders
}

/// Returns the name of a target, which can be the path of its specification.
fn target_name(target: &str) -> &str {
    let name = target.strip_suffix(".json").map(|path| path.rsplit('/').next().unwrap_or(path));
    name.unwrap_or(target)
}

/// Returns the values of `--flag VALUE` and `--flag=VALUE`.
fn values<'a>(args: &[&'a str], flag: &'a str) -> impl Iterator<Item = &'a str> {
    let value = move |(index, arg): (usize, &&'a str)| match arg.strip_prefix(flag)? {
        "" => args.get(index + 1).copied(),
        rest => rest.strip_prefix('='),
    };
    let found: Vec<&str> = args.iter().enumerate().filter_map(value).collect();
    found.into_iter()
}

/// Returns the newest program of this name.
fn newest(folders: &[PathBuf], name: &str, config: &Config) -> Option<Built> {
    let built = folders.iter().filter_map(|folder| {
        let program = folder.join(name);
        let text = fs::read_to_string(folder.join(format!("{name}.d"))).ok()?;
        let time = fs::metadata(&program).and_then(|data| data.modified()).ok()?;
        let sources = artifacts::dep_info_paths(&text)?;
        let sources = sources.iter().flat_map(|path| absolute(path, config)).collect();
        Some(Built { time, sources })
    });
    built.max_by_key(|built| built.time)
}

/// Returns a path of a dependency file. With `build.dep-info-basedir`, it is relative to a folder
/// that only cargo knows, which is most likely above the package.
fn absolute(path: &Path, config: &Config) -> Vec<PathBuf> {
    if path.is_absolute() {
        return vec![path.to_owned()];
    }
    let found = config.dir.ancestors().map(|dir| dir.join(path)).filter(|path| path.exists());
    let found: Vec<PathBuf> = found.map(|path| canonical(&path)).collect();
    if found.is_empty() { vec![config.dir.join(path)] } else { found }
}

/// Returns whether a package has a build script that cargo runs again after a change of any file
/// of the package, because it does not name the files on which it depends.
fn has_unlimited_script(dir: &Path, folders: &[PathBuf]) -> bool {
    let text = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let package = |key: &str| manifest.get("package").and_then(|package| package.get(key));
    let has_script = match package("build") {
        Some(toml::Value::Boolean(false)) => false,
        Some(_) => true,
        None => dir.join("build.rs").is_file(),
    };
    let name = package("name").and_then(toml::Value::as_str).unwrap_or_default();
    let pattern = format!("build/{}-*/output", glob::Pattern::escape(name));
    // The output for the host is beside the folder of the target.
    let roots = folders.iter().filter_map(|folder| {
        let above = folder.parent()?.parent()?;
        Some([folder.clone(), above.join(folder.file_name()?)])
    });
    let roots: BTreeSet<PathBuf> = roots.flatten().collect();
    let outputs: Vec<PathBuf> =
        roots.iter().flat_map(|root| tree::matching(&escape_glob(root).join(&pattern))).collect();
    let is_limited =
        |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains("rerun-if-"));
    has_script && (outputs.is_empty() || !outputs.iter().all(is_limited))
}
