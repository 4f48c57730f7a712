//! Counts the starts of the programs that kdev uses.

use anyhow::Result;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

const PROGRAMS: [&str; 7] = ["cargo", "docker", "git", "helm", "kubectl", "rustc", "ssh"];

/// Wrappers of the programs, first on PATH, that log each start.
pub(super) struct Starts {
    folder: PathBuf,
    path: String,
}

impl Starts {
    /// Writes the wrappers into a folder, which gets the log, too.
    pub(super) fn new(sh: &Shell, folder: &Path) -> Result<Self> {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin)?;
        let starts = Self {
            folder: folder.to_owned(),
            path: format!("{}:{}", bin.display(), sh.var("PATH")?),
        };
        for program in PROGRAMS {
            let script = format!("command -v {program}");
            let found = cmd!(sh, "sh -c {script}").quiet().ignore_status().read()?;
            if found.is_empty() {
                continue;
            }
            let log = starts.log();
            let text =
                format!("#!/bin/sh\necho {program} >>{}\nexec {found} \"$@\"\n", log.display());
            fs::write(bin.join(program), text)?;
            fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755))?;
        }
        starts.reset();
        Ok(starts)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("starts")
    }

    /// Returns a PATH on which the wrappers are first.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn reset(&self) {
        let _ = fs::remove_file(self.log());
    }

    pub(super) fn count(&self) -> usize {
        fs::read_to_string(self.log()).map_or(0, |text| text.lines().count())
    }
}
