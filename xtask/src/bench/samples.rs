//! The time of a command, and the number of its starts of kubectl.

use super::cost::median;
use super::report::Report;
use crate::term;
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The time of a command, and the number of its starts of kubectl.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) starts: usize,
}

/// The samples of all rounds of a command.
pub(crate) struct Samples {
    case: &'static str,
    command: &'static str,
    samples: Vec<Sample>,
}

/// A wrapper of kubectl, first on PATH, that logs each start.
pub(crate) struct KubectlCounter {
    folder: PathBuf,
}

impl Samples {
    pub(crate) fn new(case: &'static str, command: &'static str) -> Self {
        Self { case, command, samples: Vec::new() }
    }

    pub(crate) fn add(&mut self, sample: Sample) {
        let Sample { seconds, starts } = sample;
        let message =
            format!("{}: {}: {seconds:.2} s, {starts} starts of kubectl", self.case, self.command);
        term::status("Measured", message);
        self.samples.push(sample);
    }

    /// Adds the values to the report. Returns the median of each.
    pub(crate) fn add_to(self, report: &mut Report) -> Sample {
        let seconds = median(self.samples.iter().map(|sample| sample.seconds).collect());
        let starts = median(self.samples.iter().map(|sample| sample.starts).collect());
        let row = format!("| {} | {} | {seconds:.2} s | {starts} |", self.case, self.command);
        let values: Vec<Value> = self.samples.iter().map(Sample::json).collect();
        let json = json!({"case": self.case, "command": self.command, "values": values});
        report.add_row(row, json);
        Sample { seconds, starts }
    }
}

impl Sample {
    fn json(&self) -> Value {
        json!({"seconds": self.seconds, "kubectl_starts": self.starts})
    }
}

impl KubectlCounter {
    /// Writes the wrapper into a folder, which gets the log, too.
    pub(crate) fn new(sh: &Shell, folder: &Path) -> Result<Self> {
        let counter = Self { folder: folder.to_owned() };
        let kubectl = cmd!(sh, "sh -c 'command -v kubectl'").quiet().read()?;
        fs::create_dir_all(folder.join("bin"))?;
        let wrapper = folder.join("bin/kubectl");
        let log = counter.log();
        let text = format!("#!/bin/sh\necho \"$*\" >>{}\nexec {kubectl} \"$@\"\n", log.display());
        fs::write(&wrapper, text)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        Ok(counter)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("starts")
    }

    /// Returns a PATH on which the wrapper is the first kubectl.
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
