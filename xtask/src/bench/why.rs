//! Compares `why`, `status` and `doctor` with `kubectl describe` and `kubectl get`.

use super::methods::{Bench, PREFIX};
use super::report::{Goal, Report};
use super::samples::{KubectlCounter, Sample, Samples};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use xshell::cmd;

const PODS: usize = 12;
const MANY: &str = "12 pods without their image";
const ONE: &str = "one of these pods";
const ALL: &str = "the nodes and the project";
/// The maximum time of `why`, in seconds.
const WHY_LIMIT: f64 = 2.0;

/// A project with pods whose image does not exist.
struct Scenario<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    namespace: String,
    counter: KubectlCounter,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let scenario = Scenario::new(bench)?;
    let outcome = scenario.measure(report);
    scenario.clean()?;
    outcome
}

impl<'a> Scenario<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let folder = bench.folder.join("why");
        for sub in ["src", "k8s"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let name = format!("{PREFIX}-why");
        let cargo = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
        fs::write(folder.join("Cargo.toml"), cargo)?;
        fs::write(folder.join("src/main.rs"), "fn main() {}\n")?;
        fs::write(folder.join("Dockerfile"), "FROM scratch\n")?;
        fs::write(folder.join("k8s/all.yaml"), manifest(&name))?;
        let counter = KubectlCounter::new(&bench.sh, &folder)?;
        Ok(Self { bench, folder, namespace: name, counter })
    }

    /// Creates the pods, and waits until each reports that its image is missing.
    fn create_pods(&self) -> Result<()> {
        let (sh, namespace) = (&self.bench.sh, &self.namespace);
        self.clean()?;
        cmd!(sh, "kubectl create namespace {namespace}").quiet().ignore_stdout().run()?;
        let path = self.folder.join("k8s/all.yaml");
        let apply = cmd!(sh, "kubectl --namespace {namespace} apply --filename {path}");
        apply.quiet().ignore_stdout().run()?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let pods = cmd!(sh, "kubectl --namespace {namespace} get pods --no-headers");
            if pods.quiet().read()?.matches("ErrImageNeverPull").count() == PODS {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the pods do not report `ErrImageNeverPull`");
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn measure(&self, report: &mut Report) -> Result<()> {
        self.create_pods()?;
        let namespace = &*self.namespace;
        let list = cmd!(self.bench.sh, "kubectl --namespace {namespace} get pods --output name");
        let pod = list.quiet().read()?.lines().next().context("kubectl found no pod")?.to_owned();
        let in_namespace = ["--namespace", namespace];
        let kubectl = |args: &[&str]| self.command("kubectl".as_ref(), args);
        let kdev = |args: &[&str]| {
            let mut kdev = self.command(self.bench.kdev_program(), &["kdev"]);
            kdev.args(args);
            kdev
        };
        let output = kdev(&["why"]).args(in_namespace).stdout(Stdio::piped()).output()?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let other = format!("{} more pods are not ready", PODS - 1);
        ensure!(output.contains(&other), "`cargo kdev why` does not show all pods:\n{output}");
        let mut all = Samples::new(MANY, "`cargo kdev why`");
        let mut describe = Samples::new(MANY, "`kubectl describe pods`");
        let mut one = Samples::new(ONE, "`cargo kdev why POD`");
        let mut describe_one = Samples::new(ONE, "`kubectl describe POD`");
        let mut status = Samples::new(MANY, "`cargo kdev status`");
        let mut get = Samples::new(MANY, "`kubectl get pods --output wide`");
        let mut doctor = Samples::new(ALL, "`cargo kdev doctor`");
        for _ in 0..self.bench.rounds {
            all.add(self.measure_command(kdev(&["why"]).args(in_namespace))?);
            describe.add(self.measure_command(kubectl(&["describe", "pods"]).args(in_namespace))?);
            one.add(self.measure_command(kdev(&["why", &pod]).args(in_namespace))?);
            describe_one
                .add(self.measure_command(kubectl(&["describe", &pod]).args(in_namespace))?);
            status.add(self.measure_command(kdev(&["status"]).args(in_namespace))?);
            let wide = ["get", "pods", "--output", "wide"];
            get.add(self.measure_command(kubectl(&wide).args(in_namespace))?);
            doctor.add(self.measure_command(kdev(&["doctor"]).args(in_namespace))?);
        }
        let [all, _, one, _, _, _, _] = [all, describe, one, describe_one, status, get, doctor]
            .map(|samples| samples.add_to(report));
        report.add_goal(Goal::for_time(MANY, "`cargo kdev why`", all.seconds, WHY_LIMIT));
        report.add_goal(Goal::for_time(ONE, "`cargo kdev why POD`", one.seconds, WHY_LIMIT));
        Ok(())
    }

    fn command(&self, program: &std::path::Path, args: &[&str]) -> Command {
        let mut command = Command::from(cmd!(self.bench.sh, "{program} {args...}"));
        command.env("PATH", self.counter.path()).env("XDG_CACHE_HOME", self.folder.join("cache"));
        command.current_dir(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn measure_command(&self, command: &mut Command) -> Result<Sample> {
        self.counter.reset();
        let start = Instant::now();
        let status = command.status()?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(status.success(), "{command:?} failed: {status}");
        Ok(Sample { seconds, starts: self.counter.starts() })
    }

    fn clean(&self) -> Result<()> {
        let namespace = &self.namespace;
        let delete = cmd!(self.bench.sh, "kubectl delete namespace --ignore-not-found {namespace}");
        Ok(delete.quiet().ignore_stdout().run()?)
    }
}

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {PODS}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - {{name: web, image: {name}, imagePullPolicy: Never}}
"
    )
}
