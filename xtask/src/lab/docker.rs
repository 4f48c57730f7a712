//! Docker: the daemon of this machine if it is running, otherwise one that the lab starts.

use super::daemon::{self, Daemon};
use super::paths::{NODES, REGISTRY, state};
use super::{cgroup, network, pid_file};
use anyhow::Result;
use xshell::{Shell, cmd};

/// Docker and its containerd create sockets in `/run` regardless of their options, so that
/// they get a separate `/run`.
const WITH_SEPARATE_RUN: &str = r#"mount -n -t tmpfs tmpfs /run; exec "$0" "$@""#;
const NAME: &str = "dockerd";
/// The control group of the daemon and its containerd; containers have another one.
const CGROUP: &str = "dockerd";

/// Returns the address of the daemon that the lab starts.
pub(crate) fn host() -> String {
    format!("unix://{}", socket())
}

fn socket() -> String {
    state("docker.sock").display().to_string()
}

/// Returns whether a daemon that the lab has started is running.
pub(crate) fn is_started_by_lab() -> bool {
    pid_file::is_running(NAME)
}

/// Returns whether a Docker daemon is available to build with.
pub(crate) fn is_available(sh: &Shell) -> bool {
    is_started_by_lab() || is_responding(sh, None)
}

pub(crate) fn start(sh: &Shell) -> Result<()> {
    if !is_started_by_lab() && is_responding(sh, None) {
        pid_file::remove(NAME);
        return Ok(());
    }
    let container_cgroup = format!("{}/docker", cgroup::LAB);
    cgroup::create("docker")?;
    cgroup::create(CGROUP)?;
    network::create_docker_bridge(sh)?;
    let (host, data, exec, pid) =
        (host(), state("docker"), state("docker.run"), state("docker.pid"));
    let bridge = network::DOCKER_BRIDGE;
    if !is_started_by_lab() {
        // Left by a daemon that was killed; a new daemon would not start.
        cgroup::kill_all(CGROUP)?;
        let _ = std::fs::remove_file(&pid);
        let _ = std::fs::remove_file(exec.join("containerd/containerd.pid"));
    }
    // Docker uses a bridge of the lab, so that it does not change the firewall of the host.
    let dockerd = cmd!(
        sh,
        "unshare --mount --propagation slave sh -c {WITH_SEPARATE_RUN} dockerd --host {host} --data-root {data} --exec-root {exec} --pidfile {pid}
         --bridge {bridge} --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false
         --cgroup-parent /{container_cgroup} --exec-opt native.cgroupdriver=cgroupfs
         --insecure-registry {NODES} --registry-mirror http://{REGISTRY}"
    );
    // No traffic may leave the machine: with a proxy that does not exist, pulls fail at once.
    Daemon::new(NAME, dockerd)
        .cgroup(CGROUP.to_owned())
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("NO_PROXY", "localhost,127.0.0.0/8,10.213.77.0/24")
        .ensure()?;
    daemon::wait_until_ready(NAME, 30, || is_responding(sh, Some(&host)))
}

/// Returns whether a daemon responds, at `host` or where the settings of the user point.
fn is_responding(sh: &Shell, host: Option<&str>) -> bool {
    let format = "{{.ServerVersion}}";
    let info = cmd!(sh, "docker info --format {format}").quiet().ignore_stderr();
    let info = match host {
        Some(host) => info.env("DOCKER_HOST", host),
        None => info,
    };
    info.read().is_ok_and(|version| !version.trim().is_empty())
}
