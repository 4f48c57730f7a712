//! Finds and reads the manifest files and folders.

use std::fs;
use std::path::{Path, PathBuf};

use glob::MatchOptions;
use kdev_core::shell::quote;

use crate::config::{self, Config, escape_glob};
use crate::cx::Cx;
use crate::event::Event;
use crate::manifests::error::{Error, Result};
use crate::manifests::generator::Generator;
use crate::manifests::helm::RenderTarget;
use crate::manifests::source::Manifest;
use crate::process;

impl Manifest {
    /// Reads the files that match the configured patterns, in the order of the patterns, and
    /// sorted by name for each pattern. Folders with a kustomization or a chart are rendered,
    /// charts for the target.
    pub(crate) fn read_all(cx: &Cx, config: &Config, target: RenderTarget) -> Result<Vec<Self>> {
        let mut manifests = Vec::new();
        let patterns = patterns(config);
        for pattern in &patterns {
            for path in expand_glob(cx, pattern)? {
                manifests.extend(read_path(cx, &path, config, target)?);
            }
        }
        if manifests.is_empty() {
            let is_default = patterns == default_patterns(&config.dir);
            let create_command = is_default.then(|| first_manifest_command(cx, config));
            let patterns = patterns.iter().map(|p| p.display().to_string()).collect();
            return Err(Error::NotFound { patterns, create_command: create_command.transpose()? });
        }
        Ok(manifests)
    }
}

/// Returns the configured patterns, or the default ones.
pub(crate) fn patterns(config: &Config) -> Vec<PathBuf> {
    config.manifests.clone().unwrap_or_else(|| default_patterns(&config.dir))
}

/// Returns the files and folders that a pattern selects; an invalid pattern selects none.
pub(crate) fn matching_paths(pattern: &Path) -> Vec<PathBuf> {
    select(pattern).unwrap_or_default()
}

/// Reads a file or renders a folder; `None` for a folder without kustomization or chart.
fn read_path(
    cx: &Cx,
    path: &Path,
    config: &Config,
    target: RenderTarget,
) -> Result<Option<Manifest>> {
    if path.is_file() {
        return read_file(path).map(Some);
    }
    Generator::detect(path).map(|generator| generator.run(cx, path, config, target)).transpose()
}

fn read_file(path: &Path) -> Result<Manifest> {
    let text = fs::read_to_string(path).map_err(process::Error::read(path))?;
    Ok(Manifest { path: path.to_owned(), text, generated_by: None, uses_lookup: false })
}

/// Returns the command that creates a first manifest.
fn first_manifest_command(cx: &Cx, config: &Config) -> Result<String> {
    let image = config.image.name().familiar();
    let name = image.rsplit('/').next().unwrap_or_default().replace(['_', '.'], "-");
    // A relative path is enough in the package's folder.
    let is_current_dir = cx.shell()?.current_dir() == config.dir;
    let folder = if is_current_dir { PathBuf::from("k8s") } else { config.dir.join("k8s") };
    let (folder, file) = (folder.to_string_lossy(), folder.join(format!("{name}.yaml")));
    Ok(format!(
        "mkdir -p {} && kubectl create deployment {name} --image {image} --dry-run=client --output yaml > {}",
        quote(&folder),
        quote(&file.to_string_lossy())
    ))
}

/// Returns the files that match a pattern, except for hidden files and backups that editors and
/// macOS create beside a manifest. A pattern must name these in full.
fn expand_glob(cx: &Cx, pattern: &Path) -> Result<Vec<PathBuf>> {
    let found = select(pattern)?;
    for path in glob_with(pattern, MatchOptions::new())? {
        if path.is_file() && !found.contains(&path) {
            cx.emit(Event::Note {
                text: format!("skipping hidden file or backup `{}`", path.display()),
            });
        }
    }
    Ok(found)
}

fn select(pattern: &Path) -> Result<Vec<PathBuf>> {
    let strict = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let is_backup = |path: &Path| path.to_string_lossy().ends_with('~');
    let mut found = glob_with(pattern, strict)?;
    found.retain(|path| is_backup(pattern) || !is_backup(path));
    Ok(found)
}

fn glob_with(pattern: &Path, options: MatchOptions) -> Result<Vec<PathBuf>> {
    let paths = glob::glob_with(&pattern.to_string_lossy(), options).map_err(|error| {
        let reason = format!("`{}`: {error}", pattern.display());
        config::Error::invalid("manifests", "the settings", reason)
    })?;
    Ok(paths.filter_map(std::result::Result::ok).collect())
}

/// Returns the default patterns.
fn default_patterns(dir: &Path) -> Vec<PathBuf> {
    if Generator::detect(&dir.join("k8s")).is_some() {
        return vec![escape_glob(dir).join("k8s")];
    }
    ["k8s/*.yaml", "k8s/*.yml", "k8s/*.json"]
        .iter()
        .map(|glob| escape_glob(dir).join(glob))
        .collect()
}
