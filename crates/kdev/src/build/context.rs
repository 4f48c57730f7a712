//! Finds the build context that a Dockerfile was written for, if it is another one.

use std::path::{Path, PathBuf};

use crate::build::error::ContextHint;
use crate::build::sources::{self, ContextSource};
use crate::config::Config;

/// Returns a copied path that the build context does not contain, but the workspace or the
/// package does.
pub(crate) fn find_hint(config: &Config, dockerfile: &str) -> Option<ContextHint> {
    let sources = sources::configured_sources(config, dockerfile);
    let mut missing = sources.into_iter().filter(|source| !exists(&config.context, source));
    missing.find_map(|source| hint(config, &source))
}

fn hint(config: &Config, source: &ContextSource) -> Option<ContextHint> {
    let (root, dir) = (&config.workspace_root, &config.dir);
    let ContextSource { line, path } = source.clone();
    if !is_same_dir(root, &config.context) && exists(root, source) {
        let context = relative_parent(dir, root).unwrap_or_else(|| root.clone());
        return Some(ContextHint::Workspace { path, line, context });
    }
    let dir_in_context = relative_child(&config.context, dir)?;
    exists(dir, source).then(|| ContextHint::Package { line, path: dir_in_context.join(path) })
}

fn exists(dir: &Path, source: &ContextSource) -> bool {
    let dir = glob::Pattern::escape(&dir.to_string_lossy());
    let found = glob::glob(&format!("{dir}/{}", source.path)).into_iter().flatten().flatten();
    found.count() > 0
}

fn is_same_dir(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// Returns the path from a folder to one above it.
fn relative_parent(dir: &Path, parent: &Path) -> Option<PathBuf> {
    Some(relative_child(parent, dir)?.components().map(|_| "..").collect())
}

/// Returns the path from a folder to one below it.
fn relative_child(dir: &Path, child: &Path) -> Option<PathBuf> {
    let (dir, child) = (dir.canonicalize().ok()?, child.canonicalize().ok()?);
    child.strip_prefix(dir).ok().filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned)
}
