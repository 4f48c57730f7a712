//! Compares `cargo kdev up --workspace` of five services with `up` of one of them: the time from its
//! start until all pods are ready.

use super::methods::{Bench, PREFIX};
use super::report::{Goal, Report};
use super::samples::{KubectlCounter, Sample, Samples};
use anyhow::{Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use xshell::cmd;

const ONE: &str = "one of five services changed";
const ALL: &str = "five services changed";
const NOTHING: &str = "five services, nothing changed";
const SERVICES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A workspace of services whose images cargo builds, each with its own manifest.
struct Workspace<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    counter: KubectlCounter,
    changes: usize,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut workspace = Workspace::new(bench)?;
    let outcome = measure(&mut workspace, bench.rounds, report);
    workspace.clean()?;
    outcome
}

fn measure(workspace: &mut Workspace, rounds: usize, report: &mut Report) -> Result<()> {
    let mut alone =
        SERVICES.map(|name| (name, Samples::new(ONE, "`cargo kdev up --package` of it")));
    let mut one = Samples::new(ONE, "`cargo kdev up --workspace`");
    let mut all = Samples::new(ALL, "`cargo kdev up --workspace`");
    let mut nothing = Samples::new(NOTHING, "`cargo kdev up --workspace`");
    workspace.up(&["--workspace"])?;
    for _ in 0..rounds {
        for (name, samples) in &mut alone {
            workspace.change(&[name])?;
            samples.add(workspace.up(&["--package", &package(name)])?);
        }
        workspace.change(&SERVICES[..1])?;
        one.add(workspace.up(&["--workspace"])?);
        workspace.change(&SERVICES)?;
        all.add(workspace.up(&["--workspace"])?);
        nothing.add(workspace.up(&["--workspace"])?);
    }
    let alone = alone.map(|(_, samples)| samples.add_to(report).seconds);
    let [one, all, _] = [one, all, nothing].map(|samples| samples.add_to(report).seconds);
    let slowest = alone.into_iter().fold(0.0, f64::max);
    report.add_goal(Goal::for_ratio(ONE, "both", "of the service alone", one / alone[0], 1.15));
    report.add_goal(Goal::for_ratio(ALL, "both", "of the slowest alone", all / slowest, 1.5));
    Ok(())
}

impl<'a> Workspace<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let folder = bench.folder.join("services");
        fs::create_dir_all(&folder)?;
        let members = SERVICES.map(|name| format!("\"{name}\"")).join(", ");
        fs::write(
            folder.join("Cargo.toml"),
            format!("[workspace]\nmembers = [{members}]\nresolver = \"3\"\n"),
        )?;
        for name in SERVICES {
            let dir = folder.join(name);
            for sub in ["src", "k8s"] {
                fs::create_dir_all(dir.join(sub))?;
            }
            let package = package(name);
            let cargo = format!(
                "[package]\nname = \"{package}\"\nedition = \"2024\"\n[package.metadata.kdev]\nbuilder = \"cargo\"\n"
            );
            fs::write(dir.join("Cargo.toml"), cargo)?;
            fs::write(dir.join("k8s/all.yaml"), manifest(&package))?;
        }
        let counter = KubectlCounter::new(&bench.sh, &folder)?;
        let mut workspace = Self { bench, folder, counter, changes: 0 };
        workspace.clean()?;
        workspace.change(&SERVICES)?;
        let namespace = namespace();
        cmd!(bench.sh, "kubectl create namespace {namespace}").quiet().ignore_stdout().run()?;
        Ok(workspace)
    }

    /// Changes a text in the program of these services.
    fn change(&mut self, names: &[&str]) -> Result<()> {
        self.changes += 1;
        for name in names {
            let text = SOURCE.replace("CHANGE", &self.changes.to_string());
            fs::write(self.folder.join(name).join("src/main.rs"), text)?;
        }
        Ok(())
    }

    fn up(&self, selection: &[&str]) -> Result<Sample> {
        self.counter.reset();
        let (kdev, namespace) = (self.bench.kdev_program(), namespace());
        let up = cmd!(self.bench.sh, "{kdev} kdev up --quiet --namespace {namespace}");
        let mut command = Command::from(up.args(selection));
        command.env("PATH", self.counter.path()).env("XDG_CACHE_HOME", self.folder.join("cache"));
        command.current_dir(&self.folder).stdin(Stdio::null());
        let start = Instant::now();
        ensure!(command.status()?.success(), "`cargo kdev up` failed");
        Ok(Sample { seconds: start.elapsed().as_secs_f64(), starts: self.counter.starts() })
    }

    fn clean(&self) -> Result<()> {
        let namespace = namespace();
        let delete = cmd!(self.bench.sh, "kubectl delete namespace --ignore-not-found {namespace}");
        delete.quiet().ignore_stdout().run()?;
        let _ = fs::remove_dir_all(self.folder.join("cache"));
        Ok(())
    }
}

fn namespace() -> String {
    format!("{PREFIX}-services")
}

fn package(name: &str) -> String {
    format!("{PREFIX}-service-{name}")
}

/// A program that is ready as soon as it accepts connections. `CHANGE` is replaced.
const SOURCE: &str = r#"use std::io::Write;

fn main() {
    let listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
    for stream in listener.incoming() {
        let _ = stream.unwrap().write_all(b"HTTP/1.1 200 OK\r\n\r\nCHANGE\n");
    }
}
"#;

/// Returns a Deployment with one pod that is ready as soon as it accepts connections.
fn manifest(name: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: web, image: {name}, readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}}}
"
    )
}
