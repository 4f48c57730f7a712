//! The manifests, and the files that a kustomization or a chart reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use crate::config::Config;
use crate::inputs::tree::{self, Entry, Links};
use crate::inputs::{InputClass, Inputs};
use crate::manifests::{self, Generator, KUSTOMIZATION_FILES};
use crate::project::canonical;

/// The file of a chart that names charts in other folders.
const CHART_FILE: &str = "Chart.yaml";

pub(super) fn find(inputs: &mut Inputs, config: &Config) {
    for file in config.helm.values.iter().flatten() {
        inputs.add(file, InputClass::Manifest, "file with values of charts");
    }
    let mut finder = Finder { inputs, seen: BTreeSet::new() };
    for pattern in manifests::patterns(config) {
        for folder in tree::parents(&pattern) {
            finder.inputs.watch(&folder);
            finder.add_markers(&folder);
        }
        for path in manifests::matching_paths(&pattern) {
            if path.is_dir() {
                finder.find_rendered(&path);
            } else {
                finder.inputs.add(&path, InputClass::Manifest, "manifest");
            }
        }
    }
}

struct Finder<'a> {
    inputs: &'a mut Inputs,
    /// The folders that were read, because kustomizations can name each other.
    seen: BTreeSet<PathBuf>,
}

impl Finder<'_> {
    /// Adds the files that decide whether and how a folder is rendered.
    fn add_markers(&mut self, folder: &Path) {
        for name in KUSTOMIZATION_FILES.into_iter().chain([CHART_FILE]) {
            let reason = "marks a folder that is rendered";
            self.inputs.add(&folder.join(name), InputClass::Manifest, reason);
        }
    }

    fn find_rendered(&mut self, folder: &Path) {
        let folder = canonical(folder);
        if !self.seen.insert(folder.clone()) {
            return;
        }
        match Generator::detect(&folder) {
            Some(Generator::Kustomize) => self.find_kustomization(&folder),
            Some(Generator::Helm) => self.find_chart(&folder),
            None => {}
        }
        self.inputs.watch(&folder);
        self.add_markers(&folder);
    }

    fn find_kustomization(&mut self, folder: &Path) {
        let reason = format!("named by kustomization `{}`", folder.display());
        let files = KUSTOMIZATION_FILES.map(|name| folder.join(name));
        for file in files.iter().filter(|file| file.is_file()) {
            self.inputs.add(file, InputClass::Manifest, "kustomization");
            for text in scalars(file) {
                // In a list of files, the name of the key can precede the path.
                let path = text.rsplit_once('=').map_or(text.as_str(), |(_, path)| path);
                for text in BTreeSet::from([text.as_str(), path]) {
                    self.add_named(folder, text, &reason);
                }
            }
        }
        self.add_folder(&folder.join("charts"), &reason);
    }

    /// Adds a file or a folder that a kustomization names.
    fn add_named(&mut self, folder: &Path, text: &str, reason: &str) {
        if text.is_empty() || text.contains([' ', '\t', '\n', ':']) {
            return;
        }
        let path = folder.join(text);
        if path.is_dir() {
            let is_above = folder.starts_with(canonical(&path));
            if Generator::detect(&path) == Some(Generator::Kustomize) {
                self.find_rendered(&path);
            } else if !is_above && !Path::new(text).is_absolute() {
                self.add_folder(&path, reason);
            }
        } else if path.exists() || Path::new(text).extension().is_some() || text.starts_with('.') {
            self.inputs.add(&path, InputClass::Manifest, reason);
        }
    }

    fn find_chart(&mut self, folder: &Path) {
        self.add_folder(folder, &format!("in chart `{}`", folder.display()));
        let texts = scalars(&folder.join(CHART_FILE));
        for path in texts.iter().filter_map(|text| text.strip_prefix("file://")) {
            self.find_rendered(&folder.join(path));
        }
    }

    /// Adds all files of a folder.
    fn add_folder(&mut self, folder: &Path, reason: &str) {
        if !folder.is_dir() {
            return;
        }
        self.inputs.watch(folder);
        for found in tree::list(folder, Links::Follow, &|_, _| Entry::Listed) {
            if found.is_dir {
                self.inputs.watch(&found.path);
            } else {
                self.inputs.add(&found.path, InputClass::Manifest, reason);
            }
        }
    }
}

/// Returns all strings in a YAML file; an invalid file has none.
fn scalars(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut found = Vec::new();
    collect(&serde_yaml::from_str(&text).unwrap_or(Value::Null), &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Sequence(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Mapping(entries) => entries.values().for_each(|value| collect(value, found)),
        Value::Tagged(tagged) => collect(&tagged.value, found),
        _ => {}
    }
}
