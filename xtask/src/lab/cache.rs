//! The cache of the built programs.
//!
//! Each tool has a folder named after a hash of everything that it was built from.
//! The folder appears complete or not at all.

use super::tools::{Part, TOOLS, Tool};
use super::{go, image};
use crate::jobs::{Jobs, Step};
use crate::term;
use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use xshell::Shell;

/// Folders with built programs.
pub(crate) struct Built {
    folders: Vec<PathBuf>,
}

impl Built {
    /// Returns the path of every built file.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in &self.folders {
            for entry in fs::read_dir(folder)? {
                files.push(entry?.path());
            }
        }
        Ok(files)
    }

    /// Returns a text that differs if any of the programs differs.
    pub(crate) fn stamp(&self) -> String {
        let folders = self.folders.iter().map(|folder| folder.to_string_lossy());
        folders.collect::<Vec<_>>().join("\n")
    }
}

/// Returns the folder in which the repository's tasks keep what is slow to build.
pub(crate) fn tool_cache() -> Result<PathBuf> {
    let caches = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").context("`HOME` is not set")?).join(".cache"),
    };
    let folder = caches.join("kdev-lab");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    Ok(folder)
}

/// Builds the tools of one part that the cache does not have. The caller holds the
/// lab's lock.
pub(crate) fn ensure(jobs: &Jobs, part: Part) -> Result<()> {
    let go = go::version(&Shell::new()?)?;
    // One build uses all processors; the next tool's modules are downloaded beside it.
    let turn = Mutex::new(());
    let (go, turn) = (&*go, &turn);
    let step = |tool| -> Step<'_> { Box::new(move |jobs| ensure_tool(jobs, tool, go, turn)) };
    jobs.together(tools(part).map(step).collect())
}

/// Returns the tools of one part that the cache has.
pub(crate) fn find(sh: &Shell, part: Part) -> Result<Built> {
    let (go, cache) = (go::version(sh)?, tool_cache()?);
    let folders = tools(part).map(|tool| Ok(cache.join(tool.folder(&go)?)));
    let mut folders = folders.collect::<Result<Vec<_>>>()?;
    folders.retain(|folder| folder.exists());
    Ok(Built { folders })
}

fn tools(part: Part) -> impl Iterator<Item = &'static Tool> {
    TOOLS.iter().filter(move |tool| tool.part == part)
}

fn ensure_tool(jobs: &Jobs, tool: &Tool, go: &str, turn: &Mutex<()>) -> Result<()> {
    let cache = tool_cache()?;
    let folder = cache.join(tool.folder(go)?);
    if folder.exists() {
        return Ok(());
    }
    // The lock makes this folder the caller's own: an older one is left from an
    // interrupted build.
    let unfinished = cache.join(format!("{}.unfinished", tool.name));
    let _ = fs::remove_dir_all(&unfinished);
    let built = build(jobs, tool, &unfinished, turn)
        .and_then(|()| Ok(fs::rename(unfinished.join("bin"), &folder)?))
        .with_context(|| format!("failed to build {}", tool.title));
    let _ = fs::remove_dir_all(&unfinished);
    built
}

fn build(jobs: &Jobs, tool: &Tool, unfinished: &Path, turn: &Mutex<()>) -> Result<()> {
    let (out, work) = (unfinished.join("bin"), unfinished.join("tmp"));
    fs::create_dir_all(&out)?;
    fs::create_dir_all(&work)?;
    let sh = Shell::new()?;
    sh.change_dir(tool.source());
    sh.set_var("GOTMPDIR", work);
    let plan = go::plan(&sh, jobs, tool)?;
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    go::build(&sh, jobs, tool, plan, &out)?;
    if out.join("pause").exists() {
        image::pause(&sh, &out)?;
    }
    term::status("Built", format!("{} in {}", tool.title, term::time(begun.elapsed())));
    Ok(())
}
