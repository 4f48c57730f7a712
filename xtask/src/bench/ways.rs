//! The ways to bring an image to a node, and the state that they begin from.

use super::cost::{self, Cost};
use crate::lab::{self, NODES, Node};
use crate::watched;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use xshell::{Shell, cmd};

/// What all images of the bench are called, so that they are found again.
pub(crate) const PREFIX: &str = "kdev-bench";
/// A registry's port on each node.
const PORT: u16 = 5055;

/// A way to bring an image that docker has to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `cargo kdev load`.
    Kdev,
    /// One pipe: `docker save | ssh NODE ctr image import -`.
    Pipe,
    /// By hand: `docker save` to a file, `scp`, `ctr image import`.
    Copy,
    /// `docker push` to a registry on the node, and a pull there.
    Registry,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kdev => "`cargo kdev load`",
            Self::Pipe => "`docker save` piped into `ctr image import`",
            Self::Copy => "`docker save`, `scp`, `ctr image import`",
            Self::Registry => "`docker push` to the node, pull there",
        }
    }
}

/// Where the bench works, and with what.
pub(crate) struct Bench {
    pub(crate) sh: Shell,
    pub(crate) rounds: usize,
    /// Everything that it makes; a folder of cargo's.
    pub(crate) folder: PathBuf,
    kdev: PathBuf,
}

impl Bench {
    pub(crate) fn new(sh: Shell, rounds: usize) -> Result<Self> {
        let target = std::env::current_exe()?;
        let target = target.ancestors().nth(2).context("no target folder")?.to_owned();
        let (kdev, folder) = (target.join("release/cargo-kdev"), target.join("bench"));
        fs::create_dir_all(&folder)?;
        Ok(Self { sh, rounds, folder, kdev })
    }

    /// The same with another docker.
    pub(crate) fn with_docker(&self, host: &str) -> Self {
        let (folder, kdev) = (self.folder.clone(), self.kdev.clone());
        let sh = self.sh.clone();
        sh.set_var("DOCKER_HOST", host);
        Self { sh, rounds: self.rounds, folder, kdev }
    }

    /// The program, built for release.
    pub(crate) fn kdev_program(&self) -> &Path {
        &self.kdev
    }

    /// As if nothing had ever been loaded, and all links were fast.
    pub(crate) fn clean(&self) -> Result<()> {
        lab::Link::restore_all(&self.sh);
        NODES.iter().try_for_each(|node| self.clean_node(node))?;
        lab::remove_from_docker(&self.sh, &format!("{PREFIX}-*"))?;
        self.forget()
    }

    /// Takes the bench's images off a node.
    pub(crate) fn clean_node(&self, node: &Node) -> Result<()> {
        lab::remove_from_node(&self.sh, node, PREFIX)
    }

    /// Takes away what kdev keeps between its runs.
    pub(crate) fn forget(&self) -> Result<()> {
        match fs::remove_dir_all(self.folder.join("cache")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Loads, and tells what that has cost.
    pub(crate) fn load(&self, way: Way, node: &Node, image: &str) -> Result<Cost> {
        let of = |load: fn(&Self, &Node, &str) -> Result<()>| {
            cost::of(&[node], || load(self, node, image)).map(|((), cost)| cost)
        };
        match way {
            Way::Kdev => self.kdev(&[node], image),
            Way::Pipe => of(Self::pipe),
            Way::Copy => of(Self::copy),
            Way::Registry => of(Self::registry),
        }
    }

    pub(crate) fn kdev(&self, nodes: &[&Node], image: &str) -> Result<Cost> {
        let (kdev, cache) = (&self.kdev, self.folder.join("cache"));
        let asked = nodes.iter().flat_map(|node| ["--node", node.name]);
        let command = cmd!(self.sh, "{kdev} kdev load {image} --message-format json")
            .args(asked)
            .env("XDG_CACHE_HOME", cache);
        let (watched, mut cost) = cost::of(nodes, || watched::run(command.into()))?;
        let (output, status) = (watched.output, watched.status);
        ensure!(status.success(), "kdev has failed with {status}");
        cost.memory = watched.memory;
        let took = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            let ends = ["loaded", "already-present"].iter().any(|reason| event["reason"] == *reason);
            event["seconds"].as_f64().filter(|_| ends)
        };
        let took: Vec<f64> = output.lines().filter_map(took).collect();
        ensure!(took.len() == nodes.len(), "kdev has loaded {} nodes: {output}", took.len());
        cost.load = took.into_iter().fold(0.0, f64::max);
        Ok(cost)
    }

    fn pipe(&self, node: &Node, image: &str) -> Result<()> {
        let (config, name) = (self.ssh_config()?, node.name);
        let import = format!("{} image import - >/dev/null 2>&1", ctr(node));
        let script = r#"set -o pipefail; docker save "$0" | ssh -F "$1" "$2" "$3""#;
        Ok(cmd!(self.sh, "bash -c {script} {image} {config} {name} {import}").quiet().run()?)
    }

    fn copy(&self, node: &Node, image: &str) -> Result<()> {
        let (config, name) = (self.ssh_config()?, node.name);
        let archive = self.folder.join("image.tar");
        let import = format!(
            "{} image import kdev-bench.tar >/dev/null 2>&1 && rm kdev-bench.tar",
            ctr(node)
        );
        cmd!(self.sh, "docker save --output {archive} {image}").quiet().run()?;
        cmd!(self.sh, "scp -q -F {config} {archive} {name}:kdev-bench.tar").quiet().run()?;
        cmd!(self.sh, "ssh -F {config} {name} {import}").quiet().run()?;
        Ok(())
    }

    fn registry(&self, node: &Node, image: &str) -> Result<()> {
        let (config, name) = (self.ssh_config()?, node.name);
        let remote = format!("{}:{PORT}/{image}", node.address());
        let pull = format!("{} image pull --plain-http {remote} >/dev/null 2>&1", ctr(node));
        cmd!(self.sh, "docker tag {image} {remote}").quiet().run()?;
        cmd!(self.sh, "docker push --quiet {remote}").quiet().ignore_stdout().run()?;
        cmd!(self.sh, "ssh -F {config} {name} {pull}").quiet().run()?;
        Ok(())
    }

    fn ssh_config(&self) -> Result<String> {
        Ok(self.sh.var("KDEV_SSH_CONFIG")?)
    }
}

fn ctr(node: &Node) -> &'static str {
    if node.user == "root" { "ctr -n k8s.io" } else { "sudo -n ctr -n k8s.io" }
}

/// Debian's registry, in a node; it ends with its owner.
pub(crate) struct Registry {
    child: Child,
    folder: PathBuf,
}

impl Registry {
    pub(crate) fn start(sh: &Shell, node: &Node) -> Result<Self> {
        let folder = node.folder().join("tmp/kdev-bench-registry");
        fs::create_dir_all(&folder)?;
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: /tmp/kdev-bench-registry }} }}\n\
             http: {{ addr: 0.0.0.0:{PORT} }}\n",
        );
        fs::write(folder.join("config.yml"), config)?;
        let (enter, config) = (node.enter()?, "/tmp/kdev-bench-registry/config.yml");
        let serve = cmd!(sh, "nsenter {enter...} docker-registry serve {config}").quiet();
        let mut command = Command::from(serve);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let address = format!("{}:{PORT}", node.address());
        lab::wait_for_port("the node's registry", &address)?;
        Ok(Self { child, folder })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
