//! The cache of built programs.
//!
//! Each tool has a folder with the hash of its sources, flags and compiler in its name. The
//! folder is created by a rename, so that it is always complete.

use super::tools::{Part, TOOLS, Tool};
use super::{go, image};
use crate::jobs::{Jobs, Step};
use crate::paths::tool_cache;
use crate::term;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use xshell::Shell;

/// Folders with built programs.
pub(crate) struct BuiltTools {
    folders: Vec<PathBuf>,
}

impl BuiltTools {
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

    /// Returns a text that identifies these builds of the programs.
    pub(crate) fn stamp(&self) -> String {
        let folders = self.folders.iter().map(|folder| folder.to_string_lossy());
        folders.collect::<Vec<_>>().join("\n")
    }
}

/// Builds the tools of a part that are not in the cache. The caller must hold the lock of the
/// lab.
pub(crate) fn ensure(jobs: &Jobs, part: Part) -> Result<()> {
    let go = go::version(&Shell::new()?)?;
    // A build uses all processors, so only one runs at a time. Downloads run beside it.
    let build_lock = Mutex::new(());
    let (go, build_lock) = (&*go, &build_lock);
    let step = |tool| -> Step<'_> { Box::new(move |jobs| ensure_tool(jobs, tool, go, build_lock)) };
    jobs.run_all(tools(part).map(step).collect())
}

/// Returns the tools of a part that are in the cache.
pub(crate) fn find(sh: &Shell, part: Part) -> Result<BuiltTools> {
    let (go, cache) = (go::version(sh)?, tool_cache()?);
    let folders = tools(part).map(|tool| Ok(cache.join(tool.folder_name(&go)?)));
    let mut folders = folders.collect::<Result<Vec<_>>>()?;
    folders.retain(|folder| folder.exists());
    Ok(BuiltTools { folders })
}

fn tools(part: Part) -> impl Iterator<Item = &'static Tool> {
    TOOLS.iter().filter(move |tool| tool.part == part)
}

fn ensure_tool(jobs: &Jobs, tool: &Tool, go: &str, build_lock: &Mutex<()>) -> Result<()> {
    let cache = tool_cache()?;
    let folder = cache.join(tool.folder_name(go)?);
    if folder.exists() {
        return Ok(());
    }
    // Left by an interrupted build: the lock of the lab excludes another one.
    let unfinished = cache.join(format!("{}.unfinished", tool.name));
    let _ = fs::remove_dir_all(&unfinished);
    let built = build(jobs, tool, &unfinished, build_lock)
        .and_then(|()| Ok(fs::rename(unfinished.join("bin"), &folder)?))
        .with_context(|| format!("failed to build {}", tool.title));
    let _ = fs::remove_dir_all(&unfinished);
    built
}

fn build(jobs: &Jobs, tool: &Tool, unfinished: &Path, build_lock: &Mutex<()>) -> Result<()> {
    let (out, work) = (unfinished.join("bin"), unfinished.join("tmp"));
    fs::create_dir_all(&out)?;
    fs::create_dir_all(&work)?;
    let sh = Shell::new()?;
    sh.change_dir(tool.source());
    sh.set_var("GOTMPDIR", work);
    let plan = go::plan(&sh, jobs, tool)?;
    let _guard = build_lock.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    go::build(&sh, jobs, tool, plan, &out)?;
    if out.join("pause").exists() {
        image::create_pause(&sh, &out)?;
    }
    term::status("Built", format!("{} in {}", tool.title, term::format_duration(start.elapsed())));
    Ok(())
}
