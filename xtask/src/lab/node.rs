//! A node: namespaces that look like a machine of its own from within.

use super::paths::{self, fill, state};
use super::{cgroup, containerd, daemon, kubelet, network, ssh};
use crate::lab::daemon::Daemon;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// A node's fixed properties.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) number: u8,
    /// Who comes in by ssh.
    pub(crate) user: &'static str,
    /// The lab's own programs that stand in for Debian's.
    pub(crate) programs: &'static [&'static str],
    pub(crate) containerd_config: &'static str,
}

/// They differ in what matters to a client: the version of containerd, and
/// whether its socket needs sudo.
pub(crate) const NODES: [Node; 2] = [
    Node {
        name: "node-1",
        number: 1,
        user: "root",
        programs: &[],
        containerd_config: include_str!("files/containerd-1.toml"),
    },
    Node {
        name: "node-2",
        number: 2,
        user: "dev",
        programs: &["containerd", "containerd-shim-runc-v2", "ctr"],
        containerd_config: include_str!("files/containerd-2.toml"),
    },
];

/// A machine that is not in the cluster, for tests that break one: as long as one of the
/// cluster's nodes is broken, no other test can use it.
pub(crate) const SPARE: Node = Node {
    name: "spare",
    number: 3,
    user: "root",
    programs: &[],
    containerd_config: include_str!("files/containerd-1.toml"),
};

/// The nodes and the spare machine.
pub(crate) fn machines() -> impl Iterator<Item = &'static Node> {
    NODES.iter().chain([&SPARE])
}

const INIT: &str = include_str!("files/node-init.sh");
const USER_ID: u32 = 4242;

impl Node {
    pub(crate) fn address(&self) -> String {
        format!("10.213.77.{}", 10 + self.number)
    }

    pub(crate) fn pods(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        state("nodes").join(self.name)
    }

    /// The control group of the node's own programs; its pods' lie beside it.
    pub(crate) fn group(&self) -> String {
        format!("{}/system", self.name)
    }

    pub(crate) fn kubelet_group(&self) -> String {
        format!("{}/{}", cgroup::LAB, self.name)
    }

    /// The process that holds the namespaces open.
    pub(crate) fn holder(&self) -> Option<i32> {
        daemon::pid(self.name)
    }

    /// What `nsenter` is told, before a command that is to run in the node.
    pub(crate) fn enter(&self) -> Result<Vec<OsString>> {
        let holder = self.holder().with_context(|| format!("{} does not run", self.name))?;
        let words = ["--target", &holder.to_string(), "--net", "--mount", "--uts"];
        Ok(words.map(OsString::from).to_vec())
    }

    /// The names of the node's programs that run, without those in pods.
    pub(crate) fn programs(&self) -> BTreeSet<String> {
        let processes = cgroup::processes(&self.group()).into_iter();
        let names =
            processes.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        names.map(|name| name.trim().to_owned()).collect()
    }

    /// What a new node finds on its disk.
    pub(crate) fn create(&self) -> Result<()> {
        let dir = self.folder();
        for path in [
            "etc.work",
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
        fs::write(dir.join("address"), self.address() + "\n")?;
        fs::write(dir.join("boot_id"), fs::read_to_string("/proc/sys/kernel/random/uuid")?)?;
        kubelet::write_config(self)?;
        self.write_etc()
    }

    /// The upper layer over the host's `/etc`.
    fn write_etc(&self) -> Result<()> {
        let etc = self.folder().join("etc");
        for path in [
            "containerd/certs.d/_default",
            "containerd/certs.d/docker.io",
            "cni/net.d",
            "sudoers.d",
        ] {
            fs::create_dir_all(etc.join(path))?;
        }
        let machine_id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
        fs::write(etc.join("machine-id"), machine_id)?;
        fs::write(etc.join("hostname"), format!("{}\n", self.name))?;
        fs::write(
            etc.join("hosts"),
            format!("127.0.0.1 localhost\n{} {}\n", self.address(), self.name),
        )?;
        // Nobody serves names there, and so a look-up fails at once.
        fs::write(etc.join("resolv.conf"), format!("nameserver {}\n", paths::HOST))?;
        fs::write(
            etc.join("cni/net.d/10-kdev-lab.conflist"),
            fill(include_str!("files/cni.json"), &[("PODS", &self.pods())]),
        )?;
        containerd::write_config(self, &etc.join("containerd"))?;
        if self.user != "root" {
            self.add_user(&etc)?;
        }
        Ok(())
    }

    /// An ordinary user, known to this node alone, who may use sudo.
    fn add_user(&self, etc: &Path) -> Result<()> {
        let (user, id) = (self.user, USER_ID);
        let lines = [
            ("passwd", 0o644, format!("{user}:x:{id}:{id}::/home/{user}:/bin/bash\n")),
            ("shadow", 0o640, format!("{user}:*:19000:0:99999:7:::\n")),
            ("group", 0o644, format!("{user}:x:{id}:\n")),
        ];
        for (file, mode, line) in lines {
            let theirs = fs::read_to_string(Path::new("/etc").join(file))?;
            fs::write(etc.join(file), format!("{}\n{line}", theirs.trim_end()))?;
            set_mode(&etc.join(file), mode)?;
        }
        let rule = etc.join("sudoers.d").join(user);
        fs::write(&rule, format!("{user} ALL=(ALL) NOPASSWD: ALL\n"))?;
        set_mode(&rule, 0o440)?;
        let home = self.folder().join("home").join(user);
        fs::create_dir_all(&home)?;
        std::os::unix::fs::chown(&home, Some(USER_ID), Some(USER_ID))?;
        Ok(())
    }

    /// Opens the namespaces, connects them, and starts what a machine has
    /// before it joins a cluster.
    pub(crate) fn start(&self) -> Result<()> {
        let sh = Shell::new()?;
        cgroup::create(&self.group())?;
        if self.holder().is_none() {
            self.open(&sh)?;
            network::connect(&sh, self)?;
            self.mark_open()?;
        }
        ssh::serve(&sh, self)?;
        containerd::start(&sh, self)
    }

    /// Whether it was started at all.
    pub(crate) fn was_opened(&self) -> bool {
        self.ready().exists()
    }

    /// What the process within it writes when the namespaces are ready.
    fn ready(&self) -> PathBuf {
        self.folder().join("ready")
    }

    /// Whether its namespaces are open and connected.
    pub(crate) fn is_open(&self) -> bool {
        let marked = fs::read_to_string(self.folder().join("pid")).unwrap_or_default();
        self.holder().is_some_and(|pid| marked.trim() == pid.to_string())
    }

    fn mark_open(&self) -> Result<()> {
        let pid = self.holder().with_context(|| format!("{} has ended", self.name))?;
        Ok(fs::write(self.folder().join("pid"), format!("{pid}\n"))?)
    }

    fn open(&self, sh: &Shell) -> Result<()> {
        let (dir, name, programs) = (self.folder(), self.name, self.programs);
        let init = dir.join("init.sh");
        fs::write(&init, INIT)?;
        let state = paths::STATE;
        let holder = cmd!(
            sh,
            "unshare --net --mount --uts --propagation private
             sh {init} {state} {name} {programs...}"
        );
        Daemon::new(name, holder).group(self.group()).ensure()?;
        let ready = self.ready();
        daemon::answers(name, 10, || ready.exists())?;
        Ok(())
    }
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
