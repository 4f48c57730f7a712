//! The compared methods to load an image onto a node, and the cleanup before them.

use super::cost::{self, Cost};
use crate::lab::{self, NODES, Node};
use crate::peak_memory;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use xshell::{Cmd, Shell, cmd};

/// The prefix of all image names, with which the images are found again.
pub(crate) const PREFIX: &str = "kdev-bench";
/// The port of the registry on each node.
const REGISTRY_PORT: u16 = 5055;

/// A method to load an image from Docker onto a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// `cargo kdev load`
    Kdev,
    /// `docker save | ssh NODE ctr image import -`
    Pipe,
    /// `docker save` to a file, `scp`, `ctr image import`
    Copy,
    /// `docker push` to a registry on the node, `ctr image pull` from it
    Registry,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kdev => "`cargo kdev load`",
            Self::Pipe => "`docker save` piped into `ctr image import`",
            Self::Copy => "`docker save`, `scp`, `ctr image import`",
            Self::Registry => "`docker push` to the node, `ctr image pull`",
        }
    }
}

/// The environment of a benchmark.
pub(crate) struct Bench {
    pub(crate) sh: Shell,
    pub(crate) rounds: usize,
    /// The folder for all files, in cargo's target folder
    pub(crate) folder: PathBuf,
    kdev: PathBuf,
}

impl Bench {
    pub(crate) fn new(sh: Shell, rounds: usize, kdev: Option<PathBuf>) -> Result<Self> {
        let target = std::env::current_exe()?;
        let target = target.ancestors().nth(2).context("no target folder")?.to_owned();
        let kdev = kdev.unwrap_or_else(|| target.join("release/cargo-kdev"));
        let folder = target.join("bench");
        fs::create_dir_all(&folder)?;
        Ok(Self { sh, rounds, folder, kdev })
    }

    /// Returns the same environment with another Docker daemon.
    pub(crate) fn with_docker(&self, host: &str) -> Self {
        let (folder, kdev) = (self.folder.clone(), self.kdev.clone());
        let sh = self.sh.clone();
        sh.set_var("DOCKER_HOST", host);
        Self { sh, rounds: self.rounds, folder, kdev }
    }

    /// Returns the path of the measured program.
    pub(crate) fn kdev_program(&self) -> &Path {
        &self.kdev
    }

    /// Composes a command of kubectl for a namespace.
    pub(crate) fn kubectl<'a>(&'a self, namespace: &str, args: &[&str]) -> Cmd<'a> {
        cmd!(self.sh, "kubectl --namespace {namespace} {args...}").quiet()
    }

    /// Removes all images, the cache of kdev, and the limits of links.
    pub(crate) fn clean(&self) -> Result<()> {
        lab::SlowLink::restore_all(&self.sh);
        NODES.iter().try_for_each(|node| self.clean_node(node))?;
        lab::remove_from_docker(&self.sh, &format!("{PREFIX}-*"))?;
        self.remove_cache()
    }

    /// Removes the images of the benchmark from a node.
    pub(crate) fn clean_node(&self, node: &Node) -> Result<()> {
        lab::remove_from_node(&self.sh, node, PREFIX)
    }

    /// Removes the cache of kdev.
    pub(crate) fn remove_cache(&self) -> Result<()> {
        match fs::remove_dir_all(self.folder.join("cache")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Loads an image and returns the cost.
    pub(crate) fn load(&self, method: Method, node: &Node, image: &str) -> Result<Cost> {
        let measure = |load: fn(&Self, &Node, &str) -> Result<()>| {
            cost::measure(&[node], || load(self, node, image)).map(|((), cost)| cost)
        };
        match method {
            Method::Kdev => self.load_with_kdev(&[node], image),
            Method::Pipe => measure(Self::load_with_pipe),
            Method::Copy => measure(Self::load_with_copy),
            Method::Registry => measure(Self::load_with_registry),
        }
    }

    pub(crate) fn load_with_kdev(&self, nodes: &[&Node], image: &str) -> Result<Cost> {
        let (kdev, cache) = (&self.kdev, self.folder.join("cache"));
        let node_args = nodes.iter().flat_map(|node| ["--node", node.name]);
        let command = cmd!(self.sh, "{kdev} kdev load {image} --message-format json")
            .args(node_args)
            .env("XDG_CACHE_HOME", cache);
        let (finished, mut cost) = cost::measure(nodes, || peak_memory::run(command.into()))?;
        let (output, status) = (finished.output, finished.status);
        ensure!(status.success(), "`cargo kdev load` failed with {status}");
        cost.memory = finished.memory;
        let seconds = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            let is_end =
                ["loaded", "already-present"].iter().any(|reason| event["reason"] == *reason);
            event["seconds"].as_f64().filter(|_| is_end)
        };
        let seconds: Vec<f64> = output.lines().filter_map(seconds).collect();
        ensure!(
            seconds.len() == nodes.len(),
            "`cargo kdev load` loaded {} nodes: {output}",
            seconds.len()
        );
        cost.load = seconds.into_iter().fold(0.0, f64::max);
        Ok(cost)
    }

    fn load_with_pipe(&self, node: &Node, image: &str) -> Result<()> {
        let (config, name) = (self.ssh_config()?, node.name);
        let import = format!("{} image import - >/dev/null 2>&1", ctr_command(node));
        let script = r#"set -o pipefail; docker save "$0" | ssh -F "$1" "$2" "$3""#;
        Ok(cmd!(self.sh, "bash -c {script} {image} {config} {name} {import}").quiet().run()?)
    }

    fn load_with_copy(&self, node: &Node, image: &str) -> Result<()> {
        let (config, name) = (self.ssh_config()?, node.name);
        let archive = self.folder.join("image.tar");
        let import = format!(
            "{} image import kdev-bench.tar >/dev/null 2>&1 && rm kdev-bench.tar",
            ctr_command(node)
        );
        cmd!(self.sh, "docker save --output {archive} {image}").quiet().run()?;
        cmd!(self.sh, "scp -q -F {config} {archive} {name}:kdev-bench.tar").quiet().run()?;
        cmd!(self.sh, "ssh -F {config} {name} {import}").quiet().run()?;
        Ok(())
    }

    fn load_with_registry(&self, node: &Node, image: &str) -> Result<()> {
        let (config, name) = (self.ssh_config()?, node.name);
        let remote = format!("{}:{REGISTRY_PORT}/{image}", node.address());
        let pull =
            format!("{} image pull --plain-http {remote} >/dev/null 2>&1", ctr_command(node));
        cmd!(self.sh, "docker tag {image} {remote}").quiet().run()?;
        cmd!(self.sh, "docker push --quiet {remote}").quiet().ignore_stdout().run()?;
        cmd!(self.sh, "ssh -F {config} {name} {pull}").quiet().run()?;
        Ok(())
    }

    fn ssh_config(&self) -> Result<String> {
        Ok(self.sh.var("KDEV_SSH_CONFIG")?)
    }
}

fn ctr_command(node: &Node) -> &'static str {
    if node.user == "root" { "ctr -n k8s.io" } else { "sudo -n ctr -n k8s.io" }
}

/// Allows the kubelet of a node to pull from its registry. The lab replaces all other registries.
const TRUST: &str = r#"mkdir -p "$0" && printf 'server = "http://%s"\n' "$1" >"$0/hosts.toml""#;

/// Debian's registry, which runs on a node until this value is dropped.
pub(crate) struct Registry {
    sh: Shell,
    node: &'static Node,
    child: Child,
    folder: PathBuf,
}

impl Registry {
    pub(crate) fn start(sh: &Shell, node: &'static Node) -> Result<Self> {
        let folder = node.folder().join("tmp/kdev-bench-registry");
        fs::create_dir_all(&folder)?;
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: /tmp/kdev-bench-registry }} }}\n\
             http: {{ addr: 0.0.0.0:{REGISTRY_PORT} }}\n",
        );
        fs::write(folder.join("config.yml"), config)?;
        let (enter, config) = (&node.nsenter_args()?, "/tmp/kdev-bench-registry/config.yml");
        let serve = cmd!(sh, "nsenter {enter...} docker-registry serve {config}").quiet();
        let mut command = Command::from(serve);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let registry = Self { sh: sh.clone(), node, child, folder };
        let (address, hosts) = (registry.address(), registry.hosts_folder());
        cmd!(sh, "nsenter {enter...} sh -c {TRUST} {hosts} {address}").quiet().run()?;
        lab::wait_for_port("the registry on the node", &address)?;
        Ok(registry)
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:{REGISTRY_PORT}", self.node.address())
    }

    fn hosts_folder(&self) -> String {
        format!("/etc/containerd/certs.d/{}", self.address())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
        if let Ok(enter) = self.node.nsenter_args() {
            let hosts = self.hosts_folder();
            let _ = cmd!(self.sh, "nsenter {enter...} rm -rf {hosts}").quiet().run();
        }
    }
}
