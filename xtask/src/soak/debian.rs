//! README's first command on a new Debian 12, to prove that the lab installs all the
//! packages that it needs.

use super::report::Section;
use crate::lab::{self, Host};
use crate::term::{self, Advised, Slow};
use anyhow::{Context, Result, ensure};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// What README requires without a word: rustup's cargo needs a linker, and downloads need
/// certificates.
const GIVEN: [&str; 3] = ["ca-certificates", "gcc", "libc6-dev"];
const ENTER: &str = include_str!("enter.sh");
/// Runs in the new root. An interrupt ends the demo, and not what cleans up.
const DEMO: &str = r#"
trap : INT
cd /root/kdev
begun=$(date +%s)
code=0
cargo xtask demo || code=$?
echo "$code $(($(date +%s) - begun))" >/root/result
exec cargo xtask lab down
"#;
/// Relative to the new root.
const RESULT: &str = "root/result";
const SOURCES: &str = "root/kdev";
/// How this machine reaches the network.
const NETWORK: [&str; 6] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

pub(super) fn run(sh: &Shell, section: &mut Section) -> Result<()> {
    let base = base(sh)?;
    if lab::is_up() {
        term::status("Stopping", "the lab of this machine, whose addresses the demo uses");
    }
    lab::down(sh)?;
    let root = lab::tool_cache()?.join("debian-12.run");
    let before = Host::look(sh)?;
    let outcome = prepare(sh, &base, &root).and_then(|()| {
        // No other task may start the lab in the meantime.
        let _lock = lab::lock()?;
        demo(sh, &root)
    });
    let after = Host::look(sh);
    // Ends what an unsuccessful demo has left.
    let removed = lab::down(sh).and_then(|()| remove(&root));
    report(&outcome?, &before, &after?, section);
    section.check_removal("the new Debian", &removed);
    Ok(())
}

/// The result of the run.
struct Demo {
    code: i32,
    seconds: u64,
    is_down: bool,
}

/// Returns the folder of a new Debian, which is created once.
fn base(sh: &Shell) -> Result<PathBuf> {
    let base = lab::tool_cache()?.join(format!("debian-12-{}", GIVEN.join("-")));
    if base.exists() {
        return Ok(base);
    }
    lab::ensure_packages(sh, &["debootstrap"])?;
    let unfinished = lab::tool_cache()?.join("debian-12.unfinished");
    remove(&unfinished)?;
    install(sh, &unfinished)?;
    fs::rename(&unfinished, &base)?;
    Ok(base)
}

fn install(sh: &Shell, root: &Path) -> Result<()> {
    let _slow = Slow::start("Installing", "Debian 12 into a folder (2 to 5 minutes, once)");
    let given = format!("--include={}", GIVEN.join(","));
    // What it mounts ends with it.
    let install = cmd!(
        sh,
        "unshare --mount --propagation private debootstrap --variant=minbase {given} bookworm {root}"
    );
    let output = install.quiet().ignore_status().output()?;
    if !output.status.success() {
        let help = format!("read `{}`", root.join("debootstrap/debootstrap.log").display());
        return Err(Advised::error("debootstrap has failed", help));
    }
    // A new machine has no lists of packages.
    let lists = root.join("var/lib/apt/lists");
    fs::remove_dir_all(&lists)?;
    fs::create_dir_all(lists.join("partial"))?;
    Ok(())
}

/// Copies the Debian and this checkout. All caches are empty.
fn prepare(sh: &Shell, base: &Path, root: &Path) -> Result<()> {
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
fn demo(sh: &Shell, root: &Path) -> Result<Demo> {
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
    Ok(Demo { code: code.parse()?, seconds: seconds.parse()?, is_down })
}

/// Returns the folders of rustup's and Go's programs, and where they are visible.
fn toolchains(go: &str) -> Result<Vec<(PathBuf, String)>> {
    let home = PathBuf::from(env::var_os("HOME").context("`HOME` is not set")?);
    let folder = |variable: &str, usual: &str| {
        env::var_os(variable).map_or_else(|| home.join(usual), PathBuf::from)
    };
    let (rustup, cargo) = (folder("RUSTUP_HOME", ".rustup"), folder("CARGO_HOME", ".cargo"));
    let folders = vec![
        (rustup, "/root/.rustup".to_owned()),
        (cargo.join("bin"), "/root/.cargo/bin".to_owned()),
        (PathBuf::from(go), go.to_owned()),
    ];
    for (folder, _) in &folders {
        ensure!(folder.is_dir(), "the case needs rustup's cargo and Go: no `{}`", folder.display());
    }
    Ok(folders)
}

/// Returns the environment of a login, and how to reach the network.
fn variables(sh: &Shell, go: &str) -> Result<Vec<(String, String)>> {
    let path = format!(
        "/root/.cargo/bin:{go}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    let mut found = vec![("PATH".to_owned(), path), ("HOME".to_owned(), "/root".to_owned())];
    for name in ["GOPROXY", "GOSUMDB"] {
        found.push((name.to_owned(), cmd!(sh, "go env {name}").quiet().read()?));
    }
    let network =
        NETWORK.iter().filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?)));
    found.extend(network);
    Ok(found)
}

/// Removes a root, unless something is mounted in it: that would be removed, too.
fn remove(root: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mounted = points.find(|point| Path::new(point).starts_with(root));
    ensure!(mounted.is_none(), "`{}` is mounted", mounted.unwrap_or_default());
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", root.display()))
        }
        _ => Ok(()),
    }
}

fn report(demo: &Demo, before: &Host, after: &Host, section: &mut Section) {
    let given = GIVEN.join(", ");
    section.fact("work", format!("`cargo xtask demo` on a new Debian 12 (minbase, {given}, rustup, Go) with empty caches, then `cargo xtask lab down`"));
    let (minutes, seconds) = (demo.seconds / 60, demo.seconds % 60);
    section.fact("time of the demo", format!("{minutes} min {seconds} s"));
    section.check("the demo succeeds", format!("exit code {}", demo.code), demo.code == 0);
    let down = if demo.is_down { "it does" } else { "it fails" };
    section.check("`cargo xtask lab down` succeeds", down, demo.is_down);
    let left = after.beyond(before);
    let result = if left.is_empty() { "nothing" } else { &left };
    section.check("nothing is left on this machine", result, left.is_empty());
}
