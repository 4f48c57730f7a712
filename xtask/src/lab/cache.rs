//! The cache of the built programs.
//!
//! Each tool has a folder named after a hash of everything that it was built from.
//! The folder appears complete or not at all.

use super::image;
use super::tools::{Part, TOOLS, Tool};
use crate::term::{Advised, Slow};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

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
pub(crate) fn ensure(sh: &Shell, part: Part) -> Result<Built> {
    let go = go_version(sh)?;
    let folders = tools(part).map(|tool| ensure_tool(sh, tool, &go)).collect::<Result<_>>()?;
    Ok(Built { folders })
}

/// Returns the tools of one part that the cache has.
pub(crate) fn find(sh: &Shell, part: Part) -> Result<Built> {
    let (go, cache) = (go_version(sh)?, tool_cache()?);
    let folders = tools(part).map(|tool| Ok(cache.join(tool.folder(&go)?)));
    let mut folders = folders.collect::<Result<Vec<_>>>()?;
    folders.retain(|folder| folder.exists());
    Ok(Built { folders })
}

fn tools(part: Part) -> impl Iterator<Item = &'static Tool> {
    TOOLS.iter().filter(move |tool| tool.part == part)
}

fn ensure_tool(sh: &Shell, tool: &Tool, go: &str) -> Result<PathBuf> {
    let cache = tool_cache()?;
    let folder = cache.join(tool.folder(go)?);
    if folder.exists() {
        return Ok(folder);
    }
    // The lock makes this folder the caller's own: an older one is left from an
    // interrupted build.
    let unfinished = cache.join(format!("{}.unfinished", tool.name));
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    build(sh, tool, &unfinished)
        .and_then(|()| Ok(fs::rename(&unfinished, &folder)?))
        .inspect_err(|_| drop(fs::remove_dir_all(&unfinished)))
        .with_context(|| format!("cannot build {}", tool.name))?;
    Ok(folder)
}

fn build(sh: &Shell, tool: &Tool, out: &Path) -> Result<()> {
    let _slow = Slow::start("Building", &format!("{} ({})", tool.name, tool.minutes));
    let (packages, ldflags) = (tool.packages, tool.ldflags);
    let sh = sh.clone();
    sh.change_dir(tool.source());
    let binaries = format!("{}/", out.display());
    let built = cmd!(
        sh,
        "go build -trimpath -buildvcs=false -ldflags {ldflags} -o {binaries} {packages...}"
    )
    .env("CGO_ENABLED", "0")
    .quiet()
    .ignore_status()
    .output()?;
    if !built.status.success() {
        bail!("go build: {}", String::from_utf8_lossy(&built.stderr).trim_end());
    }
    if tool.name == "pause" {
        image::pause(&sh, out)?;
    }
    Ok(())
}

/// Returns the compiler's version, or an error if it is too old.
fn go_version(sh: &Shell) -> Result<String> {
    let help = "install Go 1.24 or later from https://go.dev/dl and put it on PATH";
    let version = cmd!(sh, "go env GOVERSION").quiet().ignore_stderr().read();
    let version = version.map_err(|_| {
        Advised::error("`go` not found on PATH; the lab builds Kubernetes from source", help)
    })?;
    let minor = version.strip_prefix("go1.").and_then(|rest| rest.split(['.', 'r', 'b']).next());
    match minor.and_then(|minor| minor.parse::<u32>().ok()) {
        Some(minor) if minor < 24 => {
            Err(Advised::error(format!("`go` is {version}, but the lab needs Go 1.24"), help))
        }
        _ => Ok(version),
    }
}
