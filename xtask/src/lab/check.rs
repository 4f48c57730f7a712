//! What the lab promises of itself, tried out: it heals, it is quick, and it
//! leaves nothing behind.

use super::paths::STATE;
use super::{daemon, down, status, up, wait};
use crate::term;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// How long `lab up` may take where nothing has to be built.
const QUICK: Duration = Duration::from_secs(15);
/// One of each kind: what runs pods, what starts them, what knows them, and
/// the way in.
const VICTIMS: [&str; 4] = ["kubelet-node-1", "containerd-node-2", "etcd", "sshd-node-2"];

/// Runs all checks, and leaves the lab running.
pub(crate) fn check(sh: &Shell) -> Result<()> {
    quick(sh, "a lab that runs")?;
    for victim in VICTIMS {
        heals(sh, victim)?;
    }
    down::down(sh)?;
    let before = Host::look(sh)?;
    quick(sh, "a lab from nothing")?;
    down::down(sh)?;
    let after = Host::look(sh)?;
    ensure!(before == after, "`lab down` left something behind:\n{}", after.beyond(&before));
    ensure!(!Path::new(STATE).exists(), "`lab down` left `{STATE}` behind");
    quick(sh, "a lab from nothing")
}

fn quick(sh: &Shell, what: &str) -> Result<()> {
    let begun = Instant::now();
    up(sh)?;
    let took = begun.elapsed();
    term::status("Measured", format!("{what}: up in {:.1} s", took.as_secs_f64()));
    ensure!(took < QUICK, "{what} took {took:?} to come up");
    Ok(())
}

fn heals(sh: &Shell, victim: &str) -> Result<()> {
    let pid = daemon::pid(victim).map(Pid::from_raw);
    let pid = pid.with_context(|| format!("{victim} does not run"))?;
    kill(pid, Signal::SIGKILL)?;
    wait::until(&format!("the end of {victim}"), 5, || !daemon::running(victim))?;
    ensure!(!status::is_healthy(sh), "nobody noticed that {victim} is gone");
    quick(sh, &format!("a lab without {victim}"))?;
    ensure!(status::is_healthy(sh), "the lab did not heal from the loss of {victim}");
    Ok(())
}

/// What the lab might leave on a host.
#[derive(PartialEq, Eq)]
pub(crate) struct Host(BTreeSet<String>);

impl Host {
    pub(crate) fn look(sh: &Shell) -> Result<Self> {
        let mut found = BTreeSet::new();
        let mut add = |kind: &str, text: &str| {
            found.extend(text.lines().map(|line| format!("{kind} {line}")));
        };
        add("link", &cmd!(sh, "ip -oneline -brief link").quiet().read()?);
        add("route", &cmd!(sh, "ip route").quiet().read()?);
        add("netns", &cmd!(sh, "ip netns").quiet().read()?);
        add("rule", &rules(&cmd!(sh, "iptables-save").quiet().ignore_stderr().read()?));
        add("mount", &fs::read_to_string("/proc/self/mounts")?);
        add("cgroup", &cmd!(sh, "find /sys/fs/cgroup -type d").quiet().read()?);
        add("process", &processes()?);
        Ok(Self(found))
    }

    /// What differs between the two.
    pub(crate) fn beyond(&self, other: &Self) -> String {
        self.0.symmetric_difference(&other.0).cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Without comments and counters, which change by themselves.
fn rules(saved: &str) -> String {
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    let counters = |line: &str| line.split(" [").next().unwrap_or(line).to_owned();
    lines.map(counters).collect::<Vec<_>>().join("\n")
}

/// Programs of the lab that still run. A defunct entry is no process any more.
fn processes() -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let cmdline = fs::read_to_string(entry?.path().join("cmdline")).unwrap_or_default();
        if cmdline.contains(STATE) {
            names.push(cmdline.replace('\0', " "));
        }
    }
    Ok(names.join("\n"))
}
