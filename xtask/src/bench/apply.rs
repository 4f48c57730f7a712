//! From the manifests to ready pods: kdev beside `kubectl apply` and `kubectl
//! rollout status`, and how often either starts kubectl.

use super::cost::median;
use super::report::{Goal, Report};
use super::ways::{Bench, PREFIX};
use crate::term;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use xshell::cmd;

const UNCHANGED: &str = "nothing changed";
const CHANGED: &str = "template changed, apply to ready";
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /busybox\nENTRYPOINT [\"/busybox\", \"sh\", \"-c\", \"trap 'exit 0' TERM; /busybox httpd -p 8080 -h /; while :; do /busybox sleep 1 & wait $!; done\"]\n";

/// What one way took, and how often it started kubectl.
#[derive(Clone, Copy, Default)]
struct Taken {
    seconds: f64,
    starts: usize,
}

/// All rounds of one way.
struct Tries {
    case: &'static str,
    way: &'static str,
    taken: Vec<Taken>,
}

/// The project that is brought up, and a Deployment like it that kubectl alone
/// changes.
struct Service<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    image: String,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut service = Service::new(bench)?;
    let outcome = measure(&mut service, bench.rounds, report);
    service.clean()?;
    outcome
}

fn measure(service: &mut Service, rounds: usize, report: &mut Report) -> Result<()> {
    let tries = |case, way| Tries { case, way, taken: Vec::new() };
    let mut unchanged = tries(UNCHANGED, "`cargo kdev up`, over the build");
    let mut kdev = tries(CHANGED, "`cargo kdev up`, after the load");
    let mut hand = tries(CHANGED, "`kubectl apply` and `rollout status`");
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

impl Tries {
    fn add(&mut self, taken: Taken) {
        let Taken { seconds, starts } = taken;
        let what = format!("{}: {}: {seconds:.2} s, {starts} kubectls", self.case, self.way);
        term::status("Measured", what);
        self.taken.push(taken);
    }

    /// Hands the numbers over, and gives the median of each.
    fn end(self, report: &mut Report) -> Taken {
        let seconds = median(self.taken.iter().map(|taken| taken.seconds).collect());
        let starts = median(self.taken.iter().map(|taken| taken.starts).collect());
        let row = format!("| {} | {} | {seconds:.2} s | {starts} |", self.case, self.way);
        let values: Vec<Value> = self.taken.iter().map(Taken::json).collect();
        let json = json!({"case": self.case, "way": self.way, "values": values});
        report.row(row, json);
        Taken { seconds, starts }
    }
}

impl Taken {
    fn json(&self) -> Value {
        json!({"seconds": self.seconds, "kubectl_starts": self.starts})
    }
}

impl<'a> Service<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let folder = bench.folder.join("apply");
        for sub in ["src", "k8s", "bin"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let name = format!("{PREFIX}-apply");
        let cargo = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
        fs::write(folder.join("Cargo.toml"), cargo)?;
        fs::write(folder.join("src/main.rs"), "fn main() {}\n")?;
        fs::write(folder.join("Dockerfile"), DOCKERFILE)?;
        fs::copy("/bin/busybox", folder.join("busybox"))?;
        let service = Self { bench, folder, image: String::new() };
        service.count_starts()?;
        service.clean()?;
        for namespace in ["kdev", "hand"].map(|way| format!("{PREFIX}-{way}")) {
            cmd!(bench.sh, "kubectl create namespace {namespace}").quiet().ignore_stdout().run()?;
        }
        Ok(service)
    }

    /// A kubectl first on PATH that notes each start.
    fn count_starts(&self) -> Result<()> {
        let real = cmd!(self.bench.sh, "sh -c 'command -v kubectl'").quiet().read()?;
        let (wrapper, log) = (self.folder.join("bin/kubectl"), self.folder.join("starts"));
        let text = format!("#!/bin/sh\necho \"$*\" >>{}\nexec {real} \"$@\"\n", log.display());
        fs::write(&wrapper, text)?;
        Ok(fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?)
    }

    fn starts(&self) -> usize {
        fs::read_to_string(self.folder.join("starts")).map_or(0, |text| text.lines().count())
    }

    /// The same Deployment with another annotation in its template.
    fn change(&mut self, number: usize) -> Result<()> {
        Ok(fs::write(self.folder.join("k8s/all.yaml"), manifest(PREFIX, number))?)
    }

    /// What `up` took beside the build, and what it took from the load on.
    fn up(&mut self) -> Result<(Taken, Taken)> {
        let _ = fs::remove_file(self.folder.join("starts"));
        let mut command = self.command();
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let (mut build, mut loaded, mut ready) = (0.0, 0.0, 0.0);
        for line in stdout.lines() {
            let (event, now) = (serde_json::from_str::<Value>(&line?)?, begun.elapsed());
            match event["reason"].as_str() {
                Some("built") => {
                    build = event["took"].as_f64().unwrap_or_default();
                    event["image"].as_str().unwrap_or_default().clone_into(&mut self.image);
                }
                Some("loaded" | "present") => loaded = now.as_secs_f64(),
                Some("ready") => ready = now.as_secs_f64(),
                Some("error") => bail!("kdev has failed: {event}"),
                _ => {}
            }
        }
        let all = begun.elapsed().as_secs_f64();
        ensure!(child.wait()?.success(), "kdev has failed");
        let starts = self.starts();
        Ok((Taken { seconds: all - build, starts }, Taken { seconds: ready - loaded, starts }))
    }

    fn command(&self) -> Command {
        let (kdev, namespace) = (self.bench.kdev_program(), format!("{PREFIX}-kdev"));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.folder.join("bin").display());
        let up = cmd!(self.bench.sh, "{kdev} kdev up --namespace {namespace}");
        let mut command = Command::from(up.arg("--message-format").arg("json"));
        command.env("PATH", path).env("XDG_CACHE_HOME", self.folder.join("cache"));
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
