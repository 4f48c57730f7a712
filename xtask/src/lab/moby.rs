//! Docker 29, beside the lab's docker, as long as something needs it: its images
//! lie in containerd's image store.

use super::daemon::{self, Daemon};
use super::paths::{program, state};
use super::{cgroup, prepare, wait};
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use xshell::{Shell, cmd};

pub(crate) const NAME: &str = "moby";

/// It ends with this.
pub(crate) struct Moby {
    pub(crate) host: String,
}

impl Moby {
    pub(crate) fn start(sh: &Shell) -> Result<Self> {
        prepare::ensure_test_tools(sh)?;
        let folder = state(NAME);
        fs::create_dir_all(&folder)?;
        cgroup::create(NAME)?;
        let at = |name: &str| folder.join(name).display().to_string();
        fs::write(at("daemon.json"), "{}")?;
        let host = format!("unix://{}", at("docker.sock"));
        let (moby, config, pid) = (program(NAME), at("daemon.json"), at("pid"));
        let (data, exec) = (at("root"), at("exec"));
        let serve = cmd!(
            sh,
            "{moby} --host {host} --config-file {config} --pidfile {pid} --data-root {data}
             --exec-root {exec} --bridge=none --iptables=false --ip6tables=false --ip-forward=false"
        );
        // Its containerd is the lab's.
        let path = format!("{}:{}", state("lib").display(), sh.var("PATH")?);
        Daemon::new(NAME, serve).group(NAME.to_owned()).env("PATH", &path).ensure()?;
        let answers = || {
            let info = cmd!(sh, "docker info").quiet().ignore_stdout().ignore_stderr();
            info.env("DOCKER_HOST", &host).run().is_ok()
        };
        daemon::answers(NAME, 30, answers)?;
        Ok(Self { host })
    }
}

impl Drop for Moby {
    fn drop(&mut self) {
        if let Some(pid) = daemon::pid(NAME) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = wait::until("the end of Docker 29", 10, || !daemon::running(NAME));
        daemon::forget(NAME);
        let _ = fs::remove_dir_all(state(NAME));
    }
}
