//! Checks the lab itself: `lab up` replaces lost programs, is fast, and `lab down` leaves
//! nothing behind.

use super::paths::STATE;
use super::{down, pid_file, status, up, wait};
use crate::term;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// The maximum time of `lab up` if nothing has to be built.
const UP_LIMIT: Duration = Duration::from_secs(15);
/// One daemon of each kind.
const KILLED_DAEMONS: [&str; 4] = ["kubelet-node-1", "containerd-node-2", "etcd", "sshd-node-2"];

/// Runs all checks, and leaves the lab running.
pub(crate) fn check(sh: &Shell) -> Result<()> {
    check_up(sh, "a running lab")?;
    for name in KILLED_DAEMONS {
        check_recovery(sh, name)?;
    }
    down::down(sh)?;
    let before = HostState::read(sh)?;
    check_up(sh, "a new lab")?;
    down::down(sh)?;
    let after = HostState::read(sh)?;
    ensure!(before == after, "`lab down` left something behind:\n{}", after.difference(&before));
    ensure!(!Path::new(STATE).exists(), "`lab down` left `{STATE}` behind");
    check_up(sh, "a new lab")
}

fn check_up(sh: &Shell, what: &str) -> Result<()> {
    let start = Instant::now();
    up::up(sh)?;
    let duration = start.elapsed();
    term::status("Measured", format!("{what} is up in {:.1} s", duration.as_secs_f64()));
    ensure!(duration < UP_LIMIT, "`lab up` took {duration:?} for {what}");
    Ok(())
}

fn check_recovery(sh: &Shell, name: &str) -> Result<()> {
    let pid = pid_file::pid(name).map(Pid::from_raw);
    let pid = pid.with_context(|| format!("{name} is not running"))?;
    kill(pid, Signal::SIGKILL)?;
    wait::wait_until(&format!("the end of {name}"), 5, || !pid_file::is_running(name))?;
    ensure!(!status::is_healthy(sh), "`lab status` does not show that {name} has ended");
    check_up(sh, &format!("a lab without {name}"))?;
    ensure!(status::is_healthy(sh), "`lab up` did not replace {name}");
    Ok(())
}

/// The state of a host that the lab may change.
#[derive(PartialEq, Eq)]
pub(crate) struct HostState(BTreeSet<String>);

impl HostState {
    pub(crate) fn read(sh: &Shell) -> Result<Self> {
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

    /// Returns the differences between two states, one per line.
    pub(crate) fn difference(&self, other: &Self) -> String {
        self.0.symmetric_difference(&other.0).cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Removes comments and counters, which change over time.
fn rules(saved: &str) -> String {
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    let counters = |line: &str| line.split(" [").next().unwrap_or(line).to_owned();
    lines.map(counters).collect::<Vec<_>>().join("\n")
}

/// Returns the command lines of processes of the lab. Zombies have none.
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
