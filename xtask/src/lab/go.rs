//! Builds Go programs, with progress.

use super::tools::{COMPILE, Tool};
use crate::jobs::{CommandError, Jobs};
use crate::term::{ErrorWithHelp, Progress, SlowTask};
use anyhow::{Error, Result};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use xshell::{Cmd, Shell, cmd};

/// Prints a line for each package: whether it must be compiled, its name, and its files.
const FORMAT: &str =
    "{{.Stale}}\t{{.Name}}\t{{.ImportPath}}\t{{.Dir}}{{range .GoFiles}}\t{{.}}{{end}}";
/// Linking takes as long as this part of the compilation of all packages: a twentieth.
const LINK_DIVISOR: u64 = 20;
/// `GOGC` of the compiler and the linker: garbage collection at five times the live memory
/// instead of twice takes a fifth less time, for at most 0.6 GB in each compiler.
const GOGC: &str = "400";
/// Messages of `go` if it cannot reach the module proxy.
const OFFLINE_MESSAGES: [&str; 6] = [
    "dial tcp",
    "no such host",
    "connection refused",
    "connection reset",
    "i/o timeout",
    "TLS handshake timeout",
];

/// The packages that are left to compile.
#[derive(Debug, Default)]
pub(crate) struct BuildPlan {
    weights: HashMap<String, u64>,
    progress: Progress,
}

impl BuildPlan {
    /// Parses the output of `go list`.
    fn parse(listed: &str, size: impl Fn(&Path) -> u64) -> Self {
        let mut plan = Self::default();
        let (mut all, mut links) = (0, false);
        for line in listed.lines() {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default();
            let (is_stale, name, package, folder) = (next() == "true", next(), next(), next());
            let weight: u64 = fields.map(|file| size(&Path::new(folder).join(file))).sum();
            all += weight;
            if is_stale {
                links |= name == "main";
                plan.weights.insert(package.to_owned(), weight);
            }
        }
        plan.progress.total = plan.weights.len();
        let links = if links { all / LINK_DIVISOR } else { 0 };
        plan.progress.weight_total = plan.weights.values().sum::<u64>() + links;
        plan
    }

    /// Counts the package if the line is the name of one. `go build -v` prints these names.
    fn count_package(&mut self, line: &str) -> bool {
        let weight = self.weights.remove(line);
        if let Some(weight) = weight {
            self.progress.done += 1;
            self.progress.weight_done += weight;
        }
        weight.is_some()
    }
}

/// Downloads the modules and lists the packages that must be compiled.
pub(crate) fn plan(sh: &Shell, jobs: &Jobs, tool: &Tool) -> Result<BuildPlan> {
    let slow = SlowTask::start("Downloading", &format!("Go modules for {}", tool.title));
    let mut progress = Progress::default();
    let is_download = |line: &str| {
        let is_download = line.starts_with("go: downloading ");
        progress.done += usize::from(is_download);
        slow.set_progress(progress);
        is_download
    };
    let list = cmd!(sh, "setpriv --pdeathsig TERM go list -deps -f {FORMAT}");
    let listed = jobs.run("go list", with_flags(list, tool), is_download).map_err(add_help)?;
    Ok(BuildPlan::parse(&listed, |file| fs::metadata(file).map_or(0, |file| file.len())))
}

/// Compiles and links the tool's programs into the folder `out`.
pub(crate) fn build(
    sh: &Shell,
    jobs: &Jobs,
    tool: &Tool,
    mut plan: BuildPlan,
    out: &Path,
) -> Result<()> {
    let slow = SlowTask::start("Building", tool.title);
    slow.set_progress(plan.progress);
    let binaries = format!("{}/", out.display());
    let build = cmd!(sh, "setpriv --pdeathsig TERM go build -v -o {binaries}");
    let is_progress = |line: &str| {
        let is_package = plan.count_package(line);
        slow.set_progress(plan.progress);
        is_package || line.starts_with("go: downloading ")
    };
    jobs.run("go build", with_flags(build, tool), is_progress).map_err(add_help)?;
    Ok(())
}

fn with_flags<'a>(go: Cmd<'a>, tool: &Tool) -> Cmd<'a> {
    go.args(COMPILE)
        .args(["-ldflags", tool.ldflags])
        .args(tool.packages)
        .env("CGO_ENABLED", "0")
        .env("GOGC", GOGC)
}

fn add_help(error: Error) -> Error {
    let is_offline = |failed: &CommandError| {
        OFFLINE_MESSAGES.iter().any(|message| failed.stderr.contains(message))
    };
    if !error.downcast_ref::<CommandError>().is_some_and(is_offline) {
        return error;
    }
    let help = "connect this machine to the module proxy that `go env GOPROXY` prints";
    ErrorWithHelp::with_source(error, "failed to download Go modules", help)
}

/// Returns the compiler's version, or an error if it is too old.
pub(crate) fn version(sh: &Shell) -> Result<String> {
    let help = "install Go 1.24 or later from https://go.dev/dl and add it to PATH";
    let version = cmd!(sh, "go env GOVERSION").quiet().ignore_stderr().read();
    let version = version.map_err(|_| {
        ErrorWithHelp::error("`go` not found on PATH; the lab builds Kubernetes from source", help)
    })?;
    let minor = version.strip_prefix("go1.").and_then(|rest| rest.split(['.', 'r', 'b']).next());
    match minor.and_then(|minor| minor.parse::<u32>().ok()) {
        Some(minor) if minor < 24 => {
            Err(ErrorWithHelp::error(format!("`go` is {version}, but the lab needs Go 1.24"), help))
        }
        _ => Ok(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_counts_what_must_be_compiled() {
        let listed = "false\tfmt\tfmt\t/go/fmt\tprint.go\tscan.go\n\
            true\tyaml\tsigs.k8s.io/yaml\t/mod/yaml\tyaml.go\n\
            true\tmain\tlab/pause\t/lab/pause\tmain.go\n";
        let size = |file: &Path| if file.starts_with("/go") { 1000 } else { 500 };
        let mut plan = BuildPlan::parse(listed, size);
        assert_eq!(
            (plan.progress.total, plan.progress.weight_total),
            (2, 1000 + 3000 / LINK_DIVISOR)
        );
        assert!(plan.count_package("sigs.k8s.io/yaml"));
        assert!(!plan.count_package("sigs.k8s.io/yaml"), "counted twice");
        assert!(!plan.count_package("# sigs.k8s.io/yaml"));
        assert_eq!((plan.progress.done, plan.progress.weight_done), (1, 500));
    }
}
