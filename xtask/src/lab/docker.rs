//! Docker: the machine's own where one runs, else one of the lab's.

use super::daemon::{self, Daemon};
use super::paths::{NODES, REGISTRY, state};
use super::{cgroup, down, network};
use anyhow::Result;
use xshell::{Shell, cmd};

/// docker and its containerd leave sockets in `/run`, whatever they are told.
const OWN_RUN: &str = r#"mount -n -t tmpfs tmpfs /run; exec "$0" "$@""#;
const NAME: &str = "dockerd";
/// Of the daemon and its containerd; the containers' group is another.
const GROUP: &str = "dockerd";

/// The address of the lab's own.
pub(crate) fn host() -> String {
    format!("unix://{}", socket())
}

fn socket() -> String {
    state("docker.sock").display().to_string()
}

/// Whether the lab has one of its own.
pub(crate) fn is_own() -> bool {
    daemon::running(NAME)
}

/// Whether there is one to build with.
pub(crate) fn is_there(sh: &Shell) -> bool {
    is_own() || answers(sh, None)
}

pub(crate) fn start(sh: &Shell) -> Result<()> {
    if !is_own() && answers(sh, None) {
        daemon::forget(NAME);
        return Ok(());
    }
    let group = format!("{}/docker", cgroup::LAB);
    cgroup::create("docker")?;
    cgroup::create(GROUP)?;
    network::create_docker_bridge(sh)?;
    let (host, data, exec, pid) =
        (host(), state("docker"), state("docker.run"), state("docker.pid"));
    let bridge = network::DOCKER_BRIDGE;
    if !is_own() {
        // One that was killed left these, and its successor would stumble.
        down::kill_all(GROUP)?;
        let _ = std::fs::remove_file(&pid);
        let _ = std::fs::remove_file(exec.join("containerd/containerd.pid"));
    }
    // The bridge is the lab's, so that docker changes no rule of the host's.
    let dockerd = cmd!(
        sh,
        "unshare --mount --propagation slave sh -c {OWN_RUN} dockerd --host {host} --data-root {data} --exec-root {exec} --pidfile {pid}
         --bridge {bridge} --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false
         --cgroup-parent /{group} --exec-opt native.cgroupdriver=cgroupfs
         --insecure-registry {NODES} --registry-mirror http://{REGISTRY}"
    );
    // Nothing leaves the machine: a proxy that is not there refuses at once.
    Daemon::new(NAME, dockerd)
        .group(GROUP.to_owned())
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("NO_PROXY", "localhost,127.0.0.0/8,10.213.77.0/24")
        .ensure()?;
    daemon::answers(NAME, 30, || answers(sh, Some(&host)))
}

/// Whether a daemon answers, there or where the user's own settings point.
fn answers(sh: &Shell, host: Option<&str>) -> bool {
    let format = "{{.ServerVersion}}";
    let info = cmd!(sh, "docker info --format {format}").quiet().ignore_stderr();
    let info = match host {
        Some(host) => info.env("DOCKER_HOST", host),
        None => info,
    };
    info.read().is_ok_and(|version| !version.trim().is_empty())
}
