//! The manifests, and the files that a kustomization or a chart reads.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::inputs::tree::{self, Entry, Links};
use crate::inputs::{InputClass, Inputs};
use crate::manifests;

pub(super) fn find(inputs: &mut Inputs, config: &Config) {
    for pattern in manifests::patterns(config) {
        inputs.watch(&fixed_part(&pattern));
        for path in manifests::matching_paths(&pattern) {
            if path.is_dir() {
                find_folder(inputs, &path);
            } else {
                inputs.add(&path, InputClass::Manifest, "manifest");
            }
        }
    }
}

fn find_folder(inputs: &mut Inputs, folder: &Path) {
    inputs.watch(folder);
    for found in tree::list(folder, Links::Follow, &|_, _| Entry::Listed) {
        if found.is_dir {
            inputs.watch(&found.path);
        } else {
            inputs.add(&found.path, InputClass::Manifest, "file of a manifest folder");
        }
    }
}

/// Returns the folder of a glob: its components before the first one with a wildcard.
fn fixed_part(pattern: &Path) -> PathBuf {
    let is_fixed = |part: &&std::ffi::OsStr| !part.to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = pattern.iter().take_while(is_fixed).collect();
    if fixed == pattern { fixed.parent().unwrap_or(&fixed).to_owned() } else { fixed }
}
