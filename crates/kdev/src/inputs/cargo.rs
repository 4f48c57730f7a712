//! The sources of the program, and the files that configure cargo.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{BuilderChoice, Config, escape_glob};
use crate::cx::Cx;
use crate::inputs::packages::{self, Packages};
use crate::inputs::sources::{self, LastSources};
use crate::inputs::tree::{self, Entry, Links};
use crate::inputs::{InputClass, Inputs, LastBuild};
use crate::project::{Project, canonical};

/// The files of a package that cargo finds without a setting.
const CONVENTIONAL: [&str; 3] = ["build.rs", "src/lib.rs", "src/main.rs"];

/// Returns whether kdev runs cargo, so that its outputs are no inputs of the image.
pub(super) fn is_run(config: &Config) -> bool {
    config.cargo_build.is_some() || config.builder == BuilderChoice::Cargo
}

pub(super) fn find(
    inputs: &mut Inputs,
    cx: &Cx,
    project: &Project,
    config: &Config,
    last_build: LastBuild,
) {
    if !is_run(config) {
        return;
    }
    find_configuration(inputs, cx, config);
    let packages = packages::find(&config.dir, &config.workspace_root);
    for manifest in &packages.manifests {
        inputs.add(manifest, InputClass::Cargo, "manifest of a package or the workspace");
    }
    let last = sources::find(project, config, &packages);
    for path in &last.files {
        let reason = "source of the last build";
        if path.is_dir() {
            find_below(inputs, config, path, &BTreeSet::new(), reason);
        } else {
            inputs.add(path, InputClass::Cargo, reason);
        }
    }
    for dir in &packages.dirs {
        for name in CONVENTIONAL {
            inputs.add(&dir.join(name), InputClass::Cargo, "source of a package");
        }
        for path in ["src/bin/*.rs", "src/bin/*/main.rs"] {
            let pattern = escape_glob(dir).join(path);
            for path in tree::matching(&pattern) {
                inputs.add(&path, InputClass::Cargo, "source of a package");
            }
        }
    }
    find_packages(inputs, project, config, &packages, &last, last_build);
}

/// Adds all files of the packages whose sources are not known.
fn find_packages(
    inputs: &mut Inputs,
    project: &Project,
    config: &Config,
    packages: &Packages,
    last: &LastSources,
    last_build: LastBuild,
) {
    let is_failed = last_build == LastBuild::Failed;
    let others: BTreeSet<_> =
        project.siblings().into_iter().map(|other| canonical(&other.dir)).collect();
    let others = others.difference(&packages.dirs).cloned().collect();
    for dir in &packages.dirs {
        let reason = match last.unknown.get(dir) {
            _ if is_failed => "in a package whose last build has failed",
            Some(cause) => cause,
            None => continue,
        };
        find_below(inputs, config, dir, &others, reason);
    }
}

fn find_configuration(inputs: &mut Inputs, cx: &Cx, config: &Config) {
    let (reason, class) = ("configuration of cargo", InputClass::Cargo);
    for dir in config.dir.ancestors() {
        for name in [".cargo/config.toml", ".cargo/config"] {
            inputs.add(&dir.join(name), class, reason);
        }
        for name in ["rust-toolchain.toml", "rust-toolchain"] {
            inputs.add(&dir.join(name), class, "selects the toolchain");
        }
    }
    for name in ["config.toml", "config"] {
        if let Some(home) = cx.cargo_home() {
            inputs.add(&home.join(name), class, reason);
        }
    }
    let lock = config.workspace_root.join("Cargo.lock");
    inputs.add(&lock, class, "versions of the dependencies");
}

/// Adds all files below a folder, without hidden folders, other packages, and target directories.
fn find_below(
    inputs: &mut Inputs,
    config: &Config,
    folder: &Path,
    others: &BTreeSet<PathBuf>,
    reason: &str,
) {
    let choose = |path: &Path, is_dir: bool| {
        let is_hidden = || path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        let is_target = || path == config.target_dir || path.join("CACHEDIR.TAG").is_file();
        let is_skipped = is_dir && (is_hidden() || is_target() || others.contains(path));
        if is_skipped { Entry::Skipped } else { Entry::Listed }
    };
    inputs.watch(folder);
    for found in tree::list(folder, Links::Follow, &choose) {
        if found.is_dir {
            inputs.watch(&found.path);
        } else {
            inputs.add(&found.path, InputClass::Cargo, reason);
        }
    }
}
