//! From the manifests to ready pods: kdev beside `kubectl apply` and `kubectl
//! rollout status`, and how often either starts kubectl.

use super::report::{Goal, Report};
use super::tries::{Counter, Taken, Tries};
use super::ways::{Bench, PREFIX};
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

/// The project that is brought up, and a Deployment like it that kubectl alone
/// changes.
struct Service<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    counter: Counter,
    image: String,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut service = Service::new(bench)?;
    let outcome = measure(&mut service, bench.rounds, report);
    service.clean()?;
    outcome
}

fn measure(service: &mut Service, rounds: usize, report: &mut Report) -> Result<()> {
    let mut unchanged = Tries::of(UNCHANGED, "`cargo kdev up`, over the build");
    let mut kdev = Tries::of(CHANGED, "`cargo kdev up`, after the load");
    let mut hand = Tries::of(CHANGED, "`kubectl apply` and `rollout status`");
    service.change(0)?;
    service.up()?;
    service.by_hand()?;
    for round in 1..=rounds {
        service.change(round)?;
        kdev.add(service.up()?.1);
        hand.add(service.by_hand()?);
        unchanged.add(service.up()?.0);
    }
    let [unchanged, kdev, hand] = [unchanged, kdev, hand].map(|tries| tries.end(report));
    report.goal(Goal::time(UNCHANGED, "over the docker build", unchanged.seconds, 1.0));
    report.goal(Goal::count(UNCHANGED, "kubectl starts", unchanged.starts, 3));
    let more = kdev.seconds - hand.seconds;
    report.goal(Goal::time(CHANGED, "more than by hand", more, 0.5));
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
        let counter = Counter::new(&bench.sh, &folder)?;
        let service = Self { bench, folder, counter, image: String::new() };
        service.clean()?;
        for namespace in ["kdev", "hand"].map(|way| format!("{PREFIX}-{way}")) {
            cmd!(bench.sh, "kubectl create namespace {namespace}").quiet().ignore_stdout().run()?;
        }
        Ok(service)
    }

    /// The same Deployment with another annotation in its template.
    fn change(&mut self, number: usize) -> Result<()> {
        Ok(fs::write(self.folder.join("k8s/all.yaml"), manifest(PREFIX, number))?)
    }

    /// What `up` took beside the build, and what it took from the load on.
    fn up(&mut self) -> Result<(Taken, Taken)> {
        self.counter.reset();
        let mut command = self.command();
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let (mut build, mut loaded, mut ready) = (0.0, 0.0, 0.0);
        for line in stdout.lines() {
            let (event, now) = (serde_json::from_str::<Value>(&line?)?, begun.elapsed());
            match event["reason"].as_str() {
                Some("built") => {
                    build = event["seconds"].as_f64().unwrap_or_default();
                    event["image"].as_str().unwrap_or_default().clone_into(&mut self.image);
                }
                Some("loaded" | "already-present") => loaded = now.as_secs_f64(),
                Some("ready") => ready = now.as_secs_f64(),
                Some("error") => bail!("kdev has failed: {event}"),
                _ => {}
            }
        }
        let all = begun.elapsed().as_secs_f64();
        ensure!(child.wait()?.success(), "kdev has failed");
        let starts = self.counter.starts();
        Ok((Taken { seconds: all - build, starts }, Taken { seconds: ready - loaded, starts }))
    }

    fn command(&self) -> Command {
        let (kdev, namespace) = (self.bench.kdev_program(), format!("{PREFIX}-kdev"));
        let up = cmd!(self.bench.sh, "{kdev} kdev up --namespace {namespace}");
        let mut command = Command::from(up.arg("--message-format").arg("json"));
        command.env("PATH", self.counter.path()).env("XDG_CACHE_HOME", self.folder.join("cache"));
        command.current_dir(&self.folder);
        command
    }

    /// The same change of a Deployment of its own, the image being there.
    fn by_hand(&self) -> Result<Taken> {
        let text = fs::read_to_string(self.folder.join("k8s/all.yaml"))?;
        let image = format!("image: {}, imagePullPolicy: Never", self.image);
        let text = text.replace(&format!("image: {PREFIX}-apply"), &image);
        let namespace = format!("{PREFIX}-hand");
        let sh = &self.bench.sh;
        let begun = Instant::now();
        let apply = cmd!(sh, "kubectl --namespace {namespace} apply --server-side --filename -");
        apply.stdin(text).quiet().ignore_stdout().run()?;
        let status = cmd!(sh, "kubectl --namespace {namespace} rollout status deployment/{PREFIX}");
        status.quiet().ignore_stdout().run()?;
        Ok(Taken { seconds: begun.elapsed().as_secs_f64(), starts: 2 })
    }

    fn clean(&self) -> Result<()> {
        let namespaces = ["kdev", "hand"].map(|way| format!("{PREFIX}-{way}"));
        let delete = cmd!(self.bench.sh, "kubectl delete namespace --ignore-not-found");
        delete.args(namespaces).quiet().ignore_stdout().run()?;
        let _ = fs::remove_dir_all(self.folder.join("cache"));
        Ok(())
    }
}

/// Two pods, one a node, that are ready as soon as they answer.
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
