//! Compares `cargo kdev up` after the load with `kubectl apply` and `kubectl rollout status`:
//! the time until the pods are ready, and the number of starts of kubectl.

use super::methods::{Bench, PREFIX};
use super::report::{Goal, Report};
use super::samples::{KubectlCounter, Sample, Samples};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use xshell::cmd;

const UNCHANGED: &str = "nothing changed";
const CHANGED: &str = "template changed, apply to ready";
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /busybox\nENTRYPOINT [\"/busybox\", \"sh\", \"-c\", \"trap 'exit 0' TERM; /busybox httpd -p 8080 -h /; while :; do /busybox sleep 1 & wait $!; done\"]\n";

/// A project that kdev deploys, and a copy of its Deployment that kubectl deploys.
struct Service<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    counter: KubectlCounter,
    image: String,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut service = Service::new(bench)?;
    let outcome = measure(&mut service, bench.rounds, report);
    service.clean()?;
    outcome
}

fn measure(service: &mut Service, rounds: usize, report: &mut Report) -> Result<()> {
    let mut unchanged = Samples::new(UNCHANGED, "`cargo kdev up`, without the build");
    let mut kdev = Samples::new(CHANGED, "`cargo kdev up`, after the load");
    let mut kubectl = Samples::new(CHANGED, "`kubectl apply` and `rollout status`");
    service.change_template(0)?;
    service.up()?;
    service.apply_with_kubectl()?;
    for round in 1..=rounds {
        service.change_template(round)?;
        kdev.add(service.up()?.1);
        kubectl.add(service.apply_with_kubectl()?);
        unchanged.add(service.up()?.0);
    }
    let [unchanged, kdev, kubectl] =
        [unchanged, kdev, kubectl].map(|samples| samples.add_to(report));
    report.add_goal(Goal::for_time(UNCHANGED, "without the Docker build", unchanged.seconds, 1.0));
    report.add_goal(Goal::for_count(UNCHANGED, "kubectl starts", unchanged.starts, 3));
    let more = kdev.seconds - kubectl.seconds;
    report.add_goal(Goal::for_time(CHANGED, "more than kubectl", more, 0.5));
    Ok(())
}

impl<'a> Service<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let folder = bench.folder.join("apply");
        for sub in ["src", "k8s"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let name = format!("{PREFIX}-apply");
        let cargo = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
        fs::write(folder.join("Cargo.toml"), cargo)?;
        fs::write(folder.join("src/main.rs"), "fn main() {}\n")?;
        fs::write(folder.join("Dockerfile"), DOCKERFILE)?;
        fs::copy("/bin/busybox", folder.join("busybox"))?;
        let counter = KubectlCounter::new(&bench.sh, &folder)?;
        let service = Self { bench, folder, counter, image: String::new() };
        service.clean()?;
        for namespace in ["kdev", "kubectl"].map(|tool| format!("{PREFIX}-{tool}")) {
            cmd!(bench.sh, "kubectl create namespace {namespace}").quiet().ignore_stdout().run()?;
        }
        Ok(service)
    }

    /// Changes an annotation in the template of the Deployment.
    fn change_template(&mut self, number: usize) -> Result<()> {
        Ok(fs::write(self.folder.join("k8s/all.yaml"), manifest(PREFIX, number))?)
    }

    /// Runs `cargo kdev up`. Returns its time without the build, and its time after the load.
    fn up(&mut self) -> Result<(Sample, Sample)> {
        self.counter.reset();
        let mut command = self.command();
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let (mut build, mut loaded, mut ready) = (0.0, 0.0, 0.0);
        for line in stdout.lines() {
            let (event, now) = (serde_json::from_str::<Value>(&line?)?, start.elapsed());
            match event["reason"].as_str() {
                Some("built") => {
                    build = event["seconds"].as_f64().unwrap_or_default();
                    event["image"].as_str().unwrap_or_default().clone_into(&mut self.image);
                }
                Some("loaded" | "already-present") => loaded = now.as_secs_f64(),
                Some("ready") => ready = now.as_secs_f64(),
                Some("error") => bail!("`cargo kdev up` failed: {event}"),
                _ => {}
            }
        }
        let total = start.elapsed().as_secs_f64();
        ensure!(child.wait()?.success(), "`cargo kdev up` failed");
        let starts = self.counter.starts();
        Ok((Sample { seconds: total - build, starts }, Sample { seconds: ready - loaded, starts }))
    }

    fn command(&self) -> Command {
        let (kdev, namespace) = (self.bench.kdev_program(), format!("{PREFIX}-kdev"));
        let up = cmd!(self.bench.sh, "{kdev} kdev up --namespace {namespace}");
        let mut command = Command::from(up.arg("--message-format").arg("json"));
        command.env("PATH", self.counter.path()).env("XDG_CACHE_HOME", self.folder.join("cache"));
        command.current_dir(&self.folder);
        command
    }

    /// Makes the same change with kubectl, in another namespace. The image is already loaded.
    fn apply_with_kubectl(&self) -> Result<Sample> {
        let text = fs::read_to_string(self.folder.join("k8s/all.yaml"))?;
        let image = format!("image: {}, imagePullPolicy: Never", self.image);
        let text = text.replace(&format!("image: {PREFIX}-apply"), &image);
        let namespace = format!("{PREFIX}-kubectl");
        let sh = &self.bench.sh;
        let start = Instant::now();
        let apply = cmd!(sh, "kubectl --namespace {namespace} apply --server-side --filename -");
        apply.stdin(text).quiet().ignore_stdout().run()?;
        let status = cmd!(sh, "kubectl --namespace {namespace} rollout status deployment/{PREFIX}");
        status.quiet().ignore_stdout().run()?;
        Ok(Sample { seconds: start.elapsed().as_secs_f64(), starts: 2 })
    }

    fn clean(&self) -> Result<()> {
        let namespaces = ["kdev", "kubectl"].map(|tool| format!("{PREFIX}-{tool}"));
        let delete = cmd!(self.bench.sh, "kubectl delete namespace --ignore-not-found");
        delete.args(namespaces).quiet().ignore_stdout().run()?;
        let _ = fs::remove_dir_all(self.folder.join("cache"));
        Ok(())
    }
}

/// Returns a Deployment with two pods that are ready as soon as they accept connections.
fn manifest(name: &str, number: usize) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {{number: \"{number}\"}}}}
    spec:
      containers:
      - {{name: web, image: {name}-apply, readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}}}
"
    )
}
