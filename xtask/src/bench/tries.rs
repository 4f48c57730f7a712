//! How long a command takes, and how often it starts kubectl.

use super::cost::median;
use super::report::Report;
use crate::term;
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// What one way took, and how often it started kubectl.
#[derive(Clone, Copy, Default)]
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    pub(crate) starts: usize,
}

/// All rounds of one way.
pub(crate) struct Tries {
    case: &'static str,
    way: &'static str,
    taken: Vec<Taken>,
}

/// A kubectl first on PATH that notes each start.
pub(crate) struct Counter {
    folder: PathBuf,
}

impl Tries {
    pub(crate) fn of(case: &'static str, way: &'static str) -> Self {
        Self { case, way, taken: Vec::new() }
    }

    pub(crate) fn add(&mut self, taken: Taken) {
        let Taken { seconds, starts } = taken;
        let what = format!("{}: {}: {seconds:.2} s, {starts} kubectls", self.case, self.way);
        term::status("Measured", what);
        self.taken.push(taken);
    }

    /// Hands the numbers over, and gives the median of each.
    pub(crate) fn end(self, report: &mut Report) -> Taken {
        let seconds = median(self.taken.iter().map(|taken| taken.seconds).collect());
        let starts = median(self.taken.iter().map(|taken| taken.starts).collect());
        let row = format!("| {} | {} | {seconds:.2} s | {starts} |", self.case, self.way);
        let values: Vec<Value> = self.taken.iter().map(Taken::json).collect();
        let json = json!({"case": self.case, "way": self.way, "values": values});
        report.row(row, json);
        Taken { seconds, starts }
    }
}

impl Taken {
    fn json(&self) -> Value {
        json!({"seconds": self.seconds, "kubectl_starts": self.starts})
    }
}

impl Counter {
    /// It lies in the folder, and so does what it notes.
    pub(crate) fn new(sh: &Shell, folder: &Path) -> Result<Self> {
        let counter = Self { folder: folder.to_owned() };
        let real = cmd!(sh, "sh -c 'command -v kubectl'").quiet().read()?;
        fs::create_dir_all(folder.join("bin"))?;
        let wrapper = folder.join("bin/kubectl");
        let log = counter.log();
        let text = format!("#!/bin/sh\necho \"$*\" >>{}\nexec {real} \"$@\"\n", log.display());
        fs::write(&wrapper, text)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        Ok(counter)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("starts")
    }

    /// A PATH on which it is the first.
    pub(crate) fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.folder.join("bin").display())
    }

    pub(crate) fn reset(&self) {
        let _ = fs::remove_file(self.log());
    }

    pub(crate) fn starts(&self) -> usize {
        fs::read_to_string(self.log()).map_or(0, |text| text.lines().count())
    }
}
