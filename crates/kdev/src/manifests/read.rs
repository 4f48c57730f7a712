//! Finds the files and folders of manifests, and reads them.

use std::fs;
use std::path::{Path, PathBuf};

use kdev_core::shell::quote;

use crate::cluster::kubeconfig::ClusterTarget;
use crate::config::{self, Config, escape_glob};
use crate::cx::Cx;
use crate::manifests::error::{Error, Result};
use crate::manifests::generator::Generator;
use crate::manifests::source::Manifest;
use crate::process;

impl Manifest {
    /// Reads every file that the configured globs match, in the order of the
    /// globs, and by name within one. A kustomization's or a chart's folder is
    /// rendered first, a chart for the namespace of this cluster.
    pub(crate) fn read_all(cx: &Cx, config: &Config, target: &ClusterTarget) -> Result<Vec<Self>> {
        let mut manifests = Vec::new();
        let usual = default_patterns(&config.dir);
        let patterns = config.manifests.as_ref().unwrap_or(&usual);
        for pattern in patterns {
            for path in expand_glob(pattern)? {
                manifests.extend(read_path(cx, &path, config, target)?);
            }
        }
        if manifests.is_empty() {
            let by = (*patterns == usual).then(|| create_command(cx, config));
            let patterns = patterns.iter().map(|p| p.display().to_string()).collect();
            return Err(Error::NotFound { patterns, create_command: by.transpose()? });
        }
        Ok(manifests)
    }
}

/// `None` for a folder from which nothing is made.
fn read_path(cx: &Cx, path: &Path, config: &Config, target: &ClusterTarget) -> Result<Option<Manifest>> {
    if path.is_file() {
        return read_file(path).map(Some);
    }
    Generator::detect(path).map(|generator| generator.run(cx, path, config, target)).transpose()
}

fn read_file(path: &Path) -> Result<Manifest> {
    let text = fs::read_to_string(path).map_err(process::Error::read(path))?;
    Ok(Manifest { path: path.to_owned(), text, generated_by: None })
}

/// The command that writes a manifest to begin with.
fn create_command(cx: &Cx, config: &Config) -> Result<String> {
    let image = config.image.name().familiar();
    let name = image.rsplit('/').next().unwrap_or_default().replace(['_', '.'], "-");
    // A folder's whole path need not be shown to whoever is in it.
    let is_here = cx.shell()?.current_dir() == config.dir;
    let folder = if is_here { PathBuf::from("k8s") } else { config.dir.join("k8s") };
    let (folder, file) = (folder.to_string_lossy(), folder.join(format!("{name}.yaml")));
    Ok(format!(
        "mkdir -p {} && kubectl create deployment {name} --image {image} --dry-run=client --output yaml > {}",
        quote(&folder),
        quote(&file.to_string_lossy())
    ))
}

fn expand_glob(pattern: &Path) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(&pattern.to_string_lossy()).map_err(|error| {
        let reason = format!("`{}`: {error}", pattern.display());
        config::Error::invalid("manifests", "the settings", reason)
    })?;
    Ok(paths.filter_map(std::result::Result::ok).collect())
}

/// The patterns where none are set.
fn default_patterns(dir: &Path) -> Vec<PathBuf> {
    if Generator::detect(&dir.join("k8s")).is_some() {
        return vec![escape_glob(dir).join("k8s")];
    }
    ["k8s/*.yaml", "k8s/*.yml", "k8s/*.json"].iter().map(|glob| escape_glob(dir).join(glob)).collect()
}
