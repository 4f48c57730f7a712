//! Docker 29, which keeps its images in containerd's image store. It runs beside the other
//! Docker while a benchmark needs it.

use super::daemon::{self, Daemon};
use super::paths::{program, state};
use super::{cgroup, pid_file, prepare, wait};
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use xshell::{Shell, cmd};

pub(crate) const NAME: &str = "moby";

/// A Docker 29 daemon that runs until this value is dropped.
pub(crate) struct Moby {
    pub(crate) host: String,
}

impl Moby {
    pub(crate) fn start(sh: &Shell) -> Result<Self> {
        Self::start_with(sh, &[])
    }

    /// Starts it with its own loopback interface, as in a virtual machine.
    pub(crate) fn start_with_own_network(sh: &Shell) -> Result<Self> {
        let script = r#"ip link set lo up; exec "$0" "$@""#;
        Self::start_with(sh, &["unshare", "--net", "sh", "-c", script])
    }

    fn start_with(sh: &Shell, wrapper: &[&str]) -> Result<Self> {
        prepare::ensure_test_tools(sh)?;
        let folder = state(NAME);
        fs::create_dir_all(&folder)?;
        cgroup::create(NAME)?;
        let path = |name: &str| folder.join(name).display().to_string();
        fs::write(path("daemon.json"), "{}")?;
        let host = format!("unix://{}", path("docker.sock"));
        let (moby, config, pid) = (program(NAME), path("daemon.json"), path("pid"));
        let (data, exec) = (path("root"), path("exec"));
        let serve = cmd!(
            sh,
            "env {wrapper...} {moby} --host {host} --config-file {config} --pidfile {pid} --data-root {data}
             --exec-root {exec} --bridge=none --iptables=false --ip6tables=false --ip-forward=false"
        );
        // It starts the containerd that the lab has built.
        let search_path = format!("{}:{}", state("lib").display(), sh.var("PATH")?);
        Daemon::new(NAME, serve).cgroup(NAME.to_owned()).env("PATH", &search_path).ensure()?;
        let is_ready = || {
            let info = cmd!(sh, "docker info").quiet().ignore_stdout().ignore_stderr();
            info.env("DOCKER_HOST", &host).run().is_ok()
        };
        daemon::wait_until_ready(NAME, 30, is_ready)?;
        Ok(Self { host })
    }
}

/// Returns the process ID of Docker 29, if it is running.
pub(crate) fn moby_pid() -> Option<i32> {
    pid_file::pid(NAME)
}

impl Drop for Moby {
    fn drop(&mut self) {
        if let Some(pid) = pid_file::pid(NAME) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = wait::wait_until("the end of Docker 29", 10, || !pid_file::is_running(NAME));
        pid_file::remove(NAME);
        let _ = fs::remove_dir_all(state(NAME));
    }
}
