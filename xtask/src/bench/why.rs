//! What is asked about a cluster: kdev beside kubectl, whose answers a person still
//! has to understand.

use super::report::{Goal, Report};
use super::tries::{Counter, Taken, Tries};
use super::ways::{Bench, PREFIX};
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
/// How long `why` may take, in seconds.
const GOAL: f64 = 2.0;

/// A project, and pods whose image is nowhere.
struct Scene<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    namespace: String,
    counter: Counter,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let scene = Scene::new(bench)?;
    let outcome = scene.measure(report);
    scene.clean()?;
    outcome
}

impl<'a> Scene<'a> {
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
        let counter = Counter::new(&bench.sh, &folder)?;
        Ok(Self { bench, folder, namespace: name, counter })
    }

    /// Makes the pods, and waits until each waits for its image.
    fn make(&self) -> Result<()> {
        let (sh, namespace) = (&self.bench.sh, &self.namespace);
        self.clean()?;
        cmd!(sh, "kubectl create namespace {namespace}").quiet().ignore_stdout().run()?;
        let path = self.folder.join("k8s/all.yaml");
        let apply = cmd!(sh, "kubectl --namespace {namespace} apply --filename {path}");
        apply.quiet().ignore_stdout().run()?;
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let pods = cmd!(sh, "kubectl --namespace {namespace} get pods --no-headers");
            if pods.quiet().read()?.matches("ErrImageNeverPull").count() == PODS {
                return Ok(());
            }
            ensure!(Instant::now() < patience, "the pods do not come to wait for their image");
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn measure(&self, report: &mut Report) -> Result<()> {
        self.make()?;
        let namespace = &*self.namespace;
        let list = cmd!(self.bench.sh, "kubectl --namespace {namespace} get pods --output name");
        let pod = list.quiet().read()?.lines().next().context("there is no pod")?.to_owned();
        let of_namespace = ["--namespace", namespace];
        let kubectl = |args: &[&str]| self.command("kubectl".as_ref(), args);
        let kdev = |args: &[&str]| {
            let mut kdev = self.command(self.bench.kdev_program(), &["kdev"]);
            kdev.args(args);
            kdev
        };
        let found = kdev(&["why"]).args(of_namespace).stdout(Stdio::piped()).output()?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        let other = format!("{} more of its pods are not ready", PODS - 1);
        ensure!(found.contains(&other), "`why` does not see what it is measured on:\n{found}");
        let mut all = Tries::of(MANY, "`cargo kdev why`");
        let mut described = Tries::of(MANY, "`kubectl describe pods`");
        let mut one = Tries::of(ONE, "`cargo kdev why POD`");
        let mut one_described = Tries::of(ONE, "`kubectl describe POD`");
        let mut status = Tries::of(MANY, "`cargo kdev status`");
        let mut listed = Tries::of(MANY, "`kubectl get pods --output wide`");
        let mut doctor = Tries::of(ALL, "`cargo kdev doctor`");
        for _ in 0..self.bench.rounds {
            all.add(self.take(kdev(&["why"]).args(of_namespace))?);
            described.add(self.take(kubectl(&["describe", "pods"]).args(of_namespace))?);
            one.add(self.take(kdev(&["why", &pod]).args(of_namespace))?);
            one_described.add(self.take(kubectl(&["describe", &pod]).args(of_namespace))?);
            status.add(self.take(kdev(&["status"]).args(of_namespace))?);
            let wide = ["get", "pods", "--output", "wide"];
            listed.add(self.take(kubectl(&wide).args(of_namespace))?);
            doctor.add(self.take(kdev(&["doctor"]).args(of_namespace))?);
        }
        let [all, _, one, _, _, _, _] =
            [all, described, one, one_described, status, listed, doctor]
                .map(|tries| tries.end(report));
        report.goal(Goal::time(MANY, "`cargo kdev why`", all.seconds, GOAL));
        report.goal(Goal::time(ONE, "`cargo kdev why POD`", one.seconds, GOAL));
        Ok(())
    }

    fn command(&self, program: &std::path::Path, args: &[&str]) -> Command {
        let mut command = Command::from(cmd!(self.bench.sh, "{program} {args...}"));
        command.env("PATH", self.counter.path()).env("XDG_CACHE_HOME", self.folder.join("cache"));
        command.current_dir(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn take(&self, command: &mut Command) -> Result<Taken> {
        self.counter.reset();
        let begun = Instant::now();
        let status = command.status()?;
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(status.success(), "{command:?} has failed: {status}");
        Ok(Taken { seconds, starts: self.counter.starts() })
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
