//! Runs `cargo xtask demo` on a new Debian 12, to prove that the lab installs all packages
//! that it needs.

use super::report::Section;
use crate::lab::{self, HostState};
use crate::paths;
use crate::term::{self, ErrorWithHelp, SlowTask};
use anyhow::{Context, Result, ensure};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The packages that README takes for granted: cargo needs a linker, and downloads need
/// certificates.
const PREINSTALLED: [&str; 3] = ["ca-certificates", "gcc", "libc6-dev"];
const ENTER: &str = include_str!("enter.sh");
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
/// The variables with the proxy of this machine.
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

pub(super) fn run(sh: &Shell, section: &mut Section) -> Result<()> {
    let base = ensure_base(sh)?;
    if lab::is_up() {
        term::status(
            "Stopping",
            "the lab of this machine, because the demo uses the same addresses",
        );
    }
    lab::down(sh)?;
    let root = paths::tool_cache()?.join("debian-12.run");
    let before = HostState::read(sh)?;
    let outcome = copy_base(sh, &base, &root).and_then(|()| {
        // Holds off other tasks that would start the lab.
        let _lock = lab::lock()?;
        run_demo(sh, &root)
    });
    let after = HostState::read(sh);
    // Stops the processes that a failed demo has left.
    let removed = lab::down(sh).and_then(|()| remove(&root));
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

/// Returns the folder with a new Debian, which is installed once.
fn ensure_base(sh: &Shell) -> Result<PathBuf> {
    let base = paths::tool_cache()?.join(format!("debian-12-{}", PREINSTALLED.join("-")));
    if base.exists() {
        return Ok(base);
    }
    lab::ensure_packages(sh, &["debootstrap"])?;
    let unfinished = paths::tool_cache()?.join("debian-12.unfinished");
    remove(&unfinished)?;
    install_debian(sh, &unfinished)?;
    fs::rename(&unfinished, &base)?;
    Ok(base)
}

fn install_debian(sh: &Shell, root: &Path) -> Result<()> {
    let _slow = SlowTask::start("Installing", "Debian 12 into a folder (2 to 5 minutes, once)");
    let packages = format!("--include={}", PREINSTALLED.join(","));
    // The mounts of debootstrap end with its namespace.
    let install = cmd!(
        sh,
        "unshare --mount --propagation private debootstrap --variant=minbase {packages} bookworm {root}"
    );
    let output = install.quiet().ignore_status().output()?;
    if !output.status.success() {
        let help = format!("read `{}`", root.join("debootstrap/debootstrap.log").display());
        return Err(ErrorWithHelp::error("`debootstrap` failed", help));
    }
    // A new machine has no package lists.
    let lists = root.join("var/lib/apt/lists");
    fs::remove_dir_all(&lists)?;
    fs::create_dir_all(lists.join("partial"))?;
    Ok(())
}

/// Copies the Debian and the committed files of this checkout. All caches are empty.
fn copy_base(sh: &Shell, base: &Path, root: &Path) -> Result<()> {
    remove(root)?;
    cmd!(sh, "cp --archive {base} {root}").quiet().run()?;
    for file in ["etc/resolv.conf", "etc/hosts", CERTIFICATES] {
        let from = Path::new("/").join(file);
        fs::copy(&from, root.join(file)).with_context(|| format!("{}", from.display()))?;
    }
    let (archive, sources) = (root.join("root/kdev.tar"), root.join(SOURCES));
    fs::create_dir_all(&sources)?;
    cmd!(sh, "git archive --output {archive} HEAD").quiet().run()?;
    cmd!(sh, "tar --extract --file {archive} --directory {sources}").quiet().run()?;
    Ok(fs::remove_file(archive)?)
}

/// Runs the demo in the new root, then `lab down`.
fn run_demo(sh: &Shell, root: &Path) -> Result<DemoResult> {
    let go = cmd!(sh, "go env GOROOT").quiet().read()?;
    let toolchains = toolchains(&go)?;
    term::status("Running", "`cargo xtask demo` on a new Debian 12 (15 to 40 minutes)");
    let binds = toolchains.iter().flat_map(|(from, to)| [from.display().to_string(), to.clone()]);
    let script = root.join("tmp/enter.sh");
    fs::write(&script, ENTER)?;
    let enter = cmd!(sh, "unshare --mount --propagation private sh {script} {root}")
        .args(binds)
        .args(["--", "sh", "-c", DEMO])
        .env_clear()
        .envs(variables(sh, &go)?);
    let is_down = enter.quiet().run().is_ok();
    let result = fs::read_to_string(root.join(RESULT)).context("the demo did not start")?;
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

/// Returns the environment of a login, with the proxies.
fn variables(sh: &Shell, go: &str) -> Result<Vec<(String, String)>> {
    let path = format!(
        "/root/.cargo/bin:{go}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    let mut found = vec![("PATH".to_owned(), path), ("HOME".to_owned(), "/root".to_owned())];
    for name in ["GOPROXY", "GOSUMDB"] {
        found.push((name.to_owned(), cmd!(sh, "go env {name}").quiet().read()?));
    }
    let proxies =
        PROXY_VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?)));
    found.extend(proxies);
    Ok(found)
}

/// Removes a root. Fails if a file system is mounted in it, whose files would be removed, too.
fn remove(root: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mounted = points.find(|point| Path::new(point).starts_with(root));
    ensure!(mounted.is_none(), "`{}` is still mounted", mounted.unwrap_or_default());
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", root.display()))
        }
        _ => Ok(()),
    }
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
