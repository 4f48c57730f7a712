//! The sources of the program, and the files that configure cargo.

use std::path::Path;

use crate::config::{BuilderChoice, Config};
use crate::cx::Cx;
use crate::inputs::tree::{self, Entry, Links};
use crate::inputs::{InputClass, Inputs, LastBuild};

/// Returns whether kdev runs cargo, so that its outputs are no inputs of the image.
pub(super) fn is_run(config: &Config) -> bool {
    config.cargo_build.is_some() || config.builder == BuilderChoice::Cargo
}

pub(super) fn find(inputs: &mut Inputs, cx: &Cx, config: &Config, _last_build: LastBuild) {
    if !is_run(config) {
        return;
    }
    for dir in config.dir.ancestors() {
        for name in [".cargo/config.toml", ".cargo/config"] {
            inputs.add(&dir.join(name), InputClass::Cargo, "configuration of cargo");
        }
        for name in ["rust-toolchain.toml", "rust-toolchain"] {
            inputs.add(&dir.join(name), InputClass::Cargo, "selects the toolchain");
        }
    }
    for name in ["config.toml", "config"] {
        if let Some(home) = cx.cargo_home() {
            inputs.add(&home.join(name), InputClass::Cargo, "configuration of cargo");
        }
    }
    let lock = config.workspace_root.join("Cargo.lock");
    inputs.add(&lock, InputClass::Cargo, "versions of the dependencies");
    for dir in [&config.dir, &config.workspace_root] {
        find_sources(inputs, config, dir);
    }
}

/// Adds all files below a folder, without hidden ones and without the target directory.
fn find_sources(inputs: &mut Inputs, config: &Config, folder: &Path) {
    let choose = |path: &Path, _: bool| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_skipped = name.starts_with('.') || path == config.target_dir;
        if is_skipped { Entry::Skipped } else { Entry::Listed }
    };
    inputs.watch(folder);
    for found in tree::list(folder, Links::Follow, &choose) {
        if found.is_dir {
            inputs.watch(&found.path);
        } else {
            inputs.add(&found.path, InputClass::Cargo, "in a folder of the package");
        }
    }
}
