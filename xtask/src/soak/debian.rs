//! Runs `cargo xtask demo` on a new Debian 12, to prove that the lab installs all packages
//! that it needs.

use super::debian_root::{DebianRoot, PREINSTALLED};
use super::report::Section;
use crate::lab::{self, HostState};
use crate::term;
use anyhow::{Context, Result, ensure};
use std::env;
use std::fs;
use std::path::PathBuf;
use xshell::{Shell, cmd};

/// Runs in the new root. The trap makes an interrupt end only the demo, not the cleanup.
const DEMO: &str = r#"
trap : INT
cd /root/kdev
start=$(date +%s)
code=0
cargo xtask demo || code=$?
echo "$code $(($(date +%s) - start))" >/root/result
exec cargo xtask lab down
"#;
/// Paths relative to the new root.
const RESULT: &str = "root/result";
const SOURCES: &str = "root/kdev";

pub(super) fn run(sh: &Shell, section: &mut Section) -> Result<()> {
    if lab::is_up() {
        term::status(
            "Stopping",
            "the lab of this machine, because the demo uses the same addresses",
        );
    }
    lab::down(sh)?;
    let root = DebianRoot::create(sh, "demo")?;
    let before = HostState::read(sh)?;
    let outcome = root.add_sources(sh, SOURCES).and_then(|()| {
        // Holds off other tasks that would start the lab.
        let _lock = lab::lock()?;
        run_demo(sh, &root)
    });
    let after = HostState::read(sh);
    // Stops the processes that a failed demo has left.
    let removed = lab::down(sh).and_then(|()| root.remove());
    add_results(&outcome?, &before, &after?, section);
    section.add_removal_check("the new Debian", &removed);
    Ok(())
}

/// The result of the demo.
struct DemoResult {
    code: i32,
    seconds: u64,
    is_down: bool,
}

/// Runs the demo in the new root, then `lab down`.
fn run_demo(sh: &Shell, root: &DebianRoot) -> Result<DemoResult> {
    let go = cmd!(sh, "go env GOROOT").quiet().read()?;
    let toolchains = toolchains(&go)?;
    term::status("Running", "`cargo xtask demo` on a new Debian 12 (15 to 40 minutes)");
    let enter = root.command(sh, &toolchains, DEMO)?.envs(variables(sh, &go)?);
    let is_down = enter.quiet().run().is_ok();
    let result = fs::read_to_string(root.path(RESULT)).context("the demo did not start")?;
    let (code, seconds) = result.trim().split_once(' ').context("no result of the demo")?;
    Ok(DemoResult { code: code.parse()?, seconds: seconds.parse()?, is_down })
}

/// Returns the folders of rustup, cargo and Go, and their paths in the new root.
fn toolchains(go: &str) -> Result<Vec<(PathBuf, String)>> {
    let home = PathBuf::from(env::var_os("HOME").context("`HOME` is not set")?);
    let folder = |variable: &str, default: &str| {
        env::var_os(variable).map_or_else(|| home.join(default), PathBuf::from)
    };
    let (rustup, cargo) = (folder("RUSTUP_HOME", ".rustup"), folder("CARGO_HOME", ".cargo"));
    let folders = vec![
        (rustup, "/root/.rustup".to_owned()),
        (cargo.join("bin"), "/root/.cargo/bin".to_owned()),
        (PathBuf::from(go), go.to_owned()),
    ];
    for (folder, _) in &folders {
        ensure!(
            folder.is_dir(),
            "`{}` not found; this case needs rustup, cargo and Go",
            folder.display()
        );
    }
    Ok(folders)
}

/// Returns the variables for the toolchains.
fn variables(sh: &Shell, go: &str) -> Result<Vec<(String, String)>> {
    let path = format!(
        "/root/.cargo/bin:{go}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    let mut found = vec![("PATH".to_owned(), path)];
    for name in ["GOPROXY", "GOSUMDB"] {
        found.push((name.to_owned(), cmd!(sh, "go env {name}").quiet().read()?));
    }
    Ok(found)
}

fn add_results(demo: &DemoResult, before: &HostState, after: &HostState, section: &mut Section) {
    let packages = PREINSTALLED.join(", ");
    section.add_fact("work", format!("`cargo xtask demo` on a new Debian 12 (minbase, {packages}, rustup, Go) with empty caches, then `cargo xtask lab down`"));
    let (minutes, seconds) = (demo.seconds / 60, demo.seconds % 60);
    section.add_fact("time of the demo", format!("{minutes} min {seconds} s"));
    section.add_check("the demo succeeds", format!("exit code {}", demo.code), demo.code == 0);
    let result = if demo.is_down { "yes" } else { "no" };
    section.add_check("`cargo xtask lab down` succeeds", result, demo.is_down);
    let left = after.difference(before);
    let result = if left.is_empty() { "nothing" } else { &left };
    section.add_check("nothing is left on this machine", result, left.is_empty());
}
