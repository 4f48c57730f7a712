//! The Dockerfile, its ignore file, and what it copies from the build context.

use std::path::Path;

use crate::build::dockerignore::{self, Dockerignore};
use crate::config::{BuilderChoice, Config};
use crate::inputs::tree::{self, Entry, Links};
use crate::inputs::{InputClass, Inputs, cargo};

pub(super) fn find(inputs: &mut Inputs, config: &Config) {
    if config.builder == BuilderChoice::Cargo {
        for asset in &config.container.assets {
            find_tree(inputs, config, &config.dir.join(&asset.from), None);
        }
        return;
    }
    inputs.add(&config.dockerfile, InputClass::Docker, "Dockerfile");
    for path in dockerignore::candidates(config) {
        inputs.add(&path, InputClass::Docker, "ignore file of the build context");
    }
    find_tree(inputs, config, &config.context, Some(&Dockerignore::read(config)));
}

/// Adds a file, or a folder with its content, except for ignored files and the outputs of cargo.
fn find_tree(inputs: &mut Inputs, config: &Config, path: &Path, ignore: Option<&Dockerignore>) {
    let reason = "in the build context";
    let is_output = |path: &Path| cargo::is_run(config) && path == config.target_dir;
    let choose = |path: &Path, _: bool| {
        let relative = path.strip_prefix(&config.context).unwrap_or(path);
        if is_output(path) {
            Entry::Skipped
        } else if ignore.is_some_and(|ignore| ignore.excludes(relative)) {
            Entry::Entered
        } else {
            Entry::Listed
        }
    };
    inputs.add(path, InputClass::Docker, reason);
    if !path.is_dir() {
        return;
    }
    inputs.watch(path);
    for found in tree::list(path, Links::Keep, &choose) {
        if found.is_dir {
            inputs.watch(&found.path);
        }
        inputs.add(&found.path, InputClass::Docker, reason);
    }
}
