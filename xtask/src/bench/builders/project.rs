//! The project that is built and deployed: an image in five layers, of which the last one changes.

use super::machines::Machine;
use crate::bench::cost::{self, Cost};
use crate::bench::images::Content;
use crate::bench::methods::{Bench, Method, PREFIX};
use crate::lab::{NODES, Node};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use xshell::cmd;

/// Layers below the one that changes.
const BASE_LAYERS: u64 = 4;
/// The size of the layer that changes.
const CHANGE_BYTES: u64 = 5_000_000;

/// All images are loaded onto node-2, which has containerd 2.x.
pub(super) const NODE: &Node = &NODES[1];

/// A change that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing is on the node and in the cache.
    First,
    /// 5 MB of random bytes.
    Noise,
    /// A program of 22 MB with one more condition.
    Program,
}

pub(super) struct Project<'a> {
    pub(super) bench: &'a Bench,
    machine: &'a Machine,
    folder: PathBuf,
}

impl<'a> Project<'a> {
    /// Creates a project with this content and size of the base.
    pub(super) fn create(
        bench: &'a Bench,
        machine: &'a Machine,
        (content, bytes): (Content, u64),
    ) -> Result<Self> {
        let folder = bench.folder.join("builders");
        for sub in ["src", "k8s"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let name = name();
        let cargo = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
        fs::write(folder.join("Cargo.toml"), cargo)?;
        fs::write(folder.join("src/main.rs"), "fn main() {}\n")?;
        fs::write(folder.join("k8s/all.yaml"), manifest(&name))?;
        let mut dockerfile = "FROM scratch\n".to_owned();
        let mut source = content.open(bench)?;
        for layer in 0..BASE_LAYERS {
            let mut part = (&mut source).take(bytes / BASE_LAYERS);
            io::copy(&mut part, &mut File::create(folder.join(format!("base-{layer}")))?)?;
            writeln!(dockerfile, "COPY base-{layer} /base-{layer}")?;
        }
        dockerfile += "COPY top /top\nENTRYPOINT [\"/top\"]\n";
        fs::write(folder.join("Dockerfile"), dockerfile)?;
        let project = Self { bench, machine, folder };
        Self::clean(bench)?;
        project.change(Change::Noise, Path::new(""))?;
        cmd!(bench.sh, "kubectl create namespace {name}").quiet().ignore_stdout().run()?;
        Ok(project)
    }

    /// Changes the file of the last layer.
    pub(super) fn change(&self, change: Change, program: &Path) -> Result<()> {
        let top = self.folder.join("top");
        match change {
            Change::Program => fs::copy(program, top).map(drop)?,
            Change::First | Change::Noise => {
                let mut noise = Content::Noise.open(self.bench)?.take(CHANGE_BYTES);
                io::copy(&mut noise, &mut File::create(top)?).map(drop)?;
            }
        }
        Ok(())
    }

    /// Runs `cargo kdev up`. The cost has the time from the start until the image is verified
    /// on the node, and the part of it after the build.
    pub(super) fn up(&self) -> Result<Cost> {
        let ((built, verified), cost) = cost::measure(&[NODE], || self.run_up())?;
        Ok(Cost { load: verified - built, command: verified, ..cost })
    }

    /// Returns the times of the end of the build and of the verification, in seconds.
    fn run_up(&self) -> Result<(f64, f64)> {
        let mut command = self.command();
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let (mut built, mut verified) = (None, None);
        for line in stdout.lines() {
            let event: Value = serde_json::from_str(&line?)?;
            let now = cost::seconds(start.elapsed());
            match event["reason"].as_str() {
                Some("built") => built = Some(now),
                Some("loaded") => verified = Some(now),
                Some("error") => bail!("`cargo kdev up` failed: {event}"),
                _ => {}
            }
        }
        ensure!(child.wait()?.success(), "`cargo kdev up` failed");
        Ok((built.context("nothing was built")?, verified.context("nothing was loaded")?))
    }

    fn command(&self) -> Command {
        let (kdev, name, node) = (self.bench.kdev_program(), name(), NODE.name);
        let up = self.machine.command(&self.bench.sh, kdev);
        let up = up.args(["kdev", "up", "--namespace", &name, "--node", node]);
        let mut command = Command::from(up.args(["--message-format", "json"]));
        command.env("XDG_CACHE_HOME", self.bench.folder.join("cache"));
        command.current_dir(&self.folder);
        command
    }

    /// Returns the time of `docker save`, in seconds.
    pub(super) fn save_seconds(&self) -> Result<f64> {
        let image = name();
        let save = self.machine.command(&self.bench.sh, "docker").args(["save", &image]);
        let mut command = Command::from(save);
        let start = Instant::now();
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "`docker save` failed with {status}");
        Ok(cost::seconds(start.elapsed()))
    }

    /// Loads the image without kdev.
    pub(super) fn load_with(&self, method: Method, node: &Node) -> Result<Cost> {
        let docker = self.machine.docker.as_deref().context("no Docker has the image")?;
        self.bench.with_docker(docker).load(method, node, &name())
    }

    pub(super) fn clean(bench: &Bench) -> Result<()> {
        let name = name();
        let delete = cmd!(bench.sh, "kubectl delete namespace --ignore-not-found {name}");
        Ok(delete.quiet().ignore_stdout().run()?)
    }
}

fn name() -> String {
    format!("{PREFIX}-builders")
}

/// Returns a Deployment without pods, because only the load is measured.
fn manifest(name: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - {{name: web, image: {name}}}
"
    )
}
