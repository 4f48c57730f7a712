//! Creates and starts the machine of a node: its disk, its namespaces and its daemons.

use super::daemon::{self, Daemon};
use super::node::Node;
use super::paths::{self, fill};
use super::{cgroup, containerd, kubelet, network, ssh};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use xshell::{Shell, cmd};

const INIT: &str = include_str!("files/node-init.sh");
const USER_ID: u32 = 4242;

/// Creates the files of a new node.
pub(crate) fn create(node: &Node) -> Result<()> {
    let dir = node.folder();
    for path in [
        "etc.work",
        "cni",
        "log",
        "home",
        "root",
        "var-lib/containerd",
        "var-lib/kubelet",
        "var-lib/cni",
        "var-lib/sudo/lectured",
    ] {
        fs::create_dir_all(dir.join(path))?;
    }
    fs::create_dir_all(dir.join("var-lib").join(state_name()))?;
    fs::create_dir_all(dir.join("tmp"))?;
    set_mode(&dir.join("tmp"), 0o1777)?;
    set_mode(&dir.join("root"), 0o700)?;
    fs::write(dir.join("address"), node.address() + "\n")?;
    fs::write(dir.join("boot_id"), fs::read_to_string("/proc/sys/kernel/random/uuid")?)?;
    kubelet::write_config(node)?;
    write_etc(node)
}

/// Writes the upper layer of the overlay on the host's `/etc`.
fn write_etc(node: &Node) -> Result<()> {
    let etc = node.folder().join("etc");
    for path in
        ["containerd/certs.d/_default", "containerd/certs.d/docker.io", "cni/net.d", "sudoers.d"]
    {
        fs::create_dir_all(etc.join(path))?;
    }
    // Mounted over `/etc/cni/net.d`, which may have configurations of the host, such as that of
    // Podman.
    fs::write(
        node.folder().join("cni/10-kdev-lab.conflist"),
        fill(include_str!("files/cni.json"), &[("PODS", &node.pod_cidr())]),
    )?;
    let machine_id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
    fs::write(etc.join("machine-id"), machine_id)?;
    fs::write(etc.join("hostname"), format!("{}\n", node.name))?;
    fs::write(
        etc.join("hosts"),
        format!("127.0.0.1 localhost\n{} {}\n", node.address(), node.name),
    )?;
    // No DNS server listens at this address, so that lookups fail at once.
    fs::write(etc.join("resolv.conf"), format!("nameserver {}\n", paths::HOST))?;
    containerd::write_config(node, &etc.join("containerd"))?;
    if node.user != "root" {
        add_user(node, &etc)?;
    }
    Ok(())
}

/// Adds an ordinary user with sudo to this node only.
fn add_user(node: &Node, etc: &Path) -> Result<()> {
    let (user, id) = (node.user, USER_ID);
    let lines = [
        ("passwd", 0o644, format!("{user}:x:{id}:{id}::/home/{user}:/bin/bash\n")),
        ("shadow", 0o640, format!("{user}:*:19000:0:99999:7:::\n")),
        ("group", 0o644, format!("{user}:x:{id}:\n")),
    ];
    for (file, mode, line) in lines {
        let host = fs::read_to_string(Path::new("/etc").join(file))?;
        fs::write(etc.join(file), format!("{}\n{line}", host.trim_end()))?;
        set_mode(&etc.join(file), mode)?;
    }
    let rule = etc.join("sudoers.d").join(user);
    fs::write(&rule, format!("{user} ALL=(ALL) NOPASSWD: ALL\n"))?;
    set_mode(&rule, 0o440)?;
    let home = node.folder().join("home").join(user);
    fs::create_dir_all(&home)?;
    std::os::unix::fs::chown(&home, Some(USER_ID), Some(USER_ID))?;
    Ok(())
}

/// Opens the namespaces, connects them, and starts sshd and containerd.
pub(crate) fn start(node: &Node) -> Result<()> {
    let sh = Shell::new()?;
    cgroup::create(&node.cgroup())?;
    if node.holder().is_none() {
        open(&sh, node)?;
        network::connect(&sh, node)?;
        record_connection(node)?;
    }
    ssh::start_server(&sh, node)?;
    containerd::start(&sh, node)
}

fn record_connection(node: &Node) -> Result<()> {
    let pid = node.holder().with_context(|| format!("{} has exited", node.name))?;
    Ok(fs::write(node.connected_file(), format!("{pid}\n"))?)
}

fn open(sh: &Shell, node: &Node) -> Result<()> {
    let (dir, name, programs) = (node.folder(), node.name, node.programs);
    let init = dir.join("init.sh");
    fs::write(&init, INIT)?;
    let state = paths::STATE;
    let holder = cmd!(
        sh,
        "unshare --net --mount --uts --propagation private
             sh {init} {state} {name} {programs...}"
    );
    Daemon::new(name, holder).cgroup(node.cgroup()).ensure()?;
    let ready = node.ready_file();
    daemon::wait_until_ready(name, 10, || ready.exists())
}

fn state_name() -> String {
    Path::new(paths::STATE)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}
