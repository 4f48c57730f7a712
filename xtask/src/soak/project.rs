//! A project that is deployed many times: a small web server whose crate, image,
//! workload and namespace have the same name.

use crate::demo;
use crate::jobs::Jobs;
use crate::lab::{self, NODES, Node};
use crate::watched::{self, Watched};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xshell::{Cmd, Shell, cmd};

/// Bytes of the layer that never changes.
const NOISE: u64 = 30_000_000;
/// Docker's old builder continues from the newest equal step, so that each project
/// needs a first step that no other project has.
const DOCKERFILE: &str = r#"FROM scratch
LABEL soak=@NAME@
COPY noise /noise
COPY busybox /busybox
COPY www /www
ENTRYPOINT ["/busybox", "sh", "-c", "trap 'exit 0' TERM; /busybox httpd -p 8080 -h /www; while :; do /busybox sleep 1 & wait $!; done"]
"#;
/// Errors and progress as one text. The shell becomes the program, whose memory is
/// measured.
const MERGED: &str = r#"exec "$@" 2>&1"#;

/// Where the pods run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    /// One on each node.
    OnePerNode,
    /// A single one, on the first node.
    OnFirstNode,
}

pub(super) struct Project {
    pub(super) name: &'static str,
    pods: Pods,
    sh: Shell,
    folder: PathBuf,
    kdev: PathBuf,
}

impl Project {
    /// Writes the project, and creates its namespace.
    pub(super) fn create(sh: &Shell, name: &'static str, pods: Pods) -> Result<Self> {
        let folder = lab::state_path("soak").join(name);
        let project =
            Self { name, pods, sh: sh.clone(), folder, kdev: demo::build(&Jobs::default())? };
        // An interrupted run leaves everything behind.
        project.clean()?;
        project.prepare().inspect_err(|_| drop(project.clean()))?;
        Ok(project)
    }

    fn prepare(&self) -> Result<()> {
        let name = self.name;
        for folder in ["crate/src", "crate/k8s", "crate/www", "cache", "tmp"] {
            fs::create_dir_all(self.path(folder))?;
        }
        let cargo = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
        fs::write(self.path("crate/Cargo.toml"), cargo)?;
        fs::write(self.path("crate/src/main.rs"), "fn main() {}\n")?;
        fs::write(self.path("crate/Dockerfile"), DOCKERFILE.replace("@NAME@", name))?;
        fs::write(self.path("crate/k8s/all.yaml"), manifest(name, self.pods))?;
        fs::copy("/bin/busybox", self.path("crate/busybox"))?;
        let mut noise = File::open("/dev/urandom")?.take(NOISE);
        io::copy(&mut noise, &mut File::create(self.path("crate/noise"))?)?;
        cmd!(self.sh, "kubectl --context kdev-lab create namespace {name}")
            .quiet()
            .ignore_stdout()
            .run()?;
        // Without it the namespace takes no pods.
        lab::wait_until("the namespace's service account", 60, || {
            let account = self.kubectl(&["get", "serviceaccount", "default"]);
            account.ignore_stdout().ignore_stderr().run().is_ok()
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where kdev keeps layers.
    pub(super) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Where kdev creates temporary files.
    pub(super) fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    /// Changes what the next build serves.
    pub(super) fn write_page(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("crate/www/index.html"), format!("{text}\n"))?)
    }

    /// Runs `cargo kdev up`.
    pub(super) fn up(&self) -> Result<Watched> {
        let name = self.name;
        self.kdev(&["up", "--namespace", name])
    }

    /// Runs `cargo kdev up`, and fails where it fails.
    pub(super) fn deploy(&self) -> Result<String> {
        let up = self.up()?;
        let (status, output) = (up.status, up.output);
        ensure!(status.success(), "`cargo kdev up` failed with {status}: {}", end(&output));
        Ok(output)
    }

    /// Runs kdev on the lab, in the project.
    pub(super) fn kdev(&self, args: &[&str]) -> Result<Watched> {
        let kdev = &self.kdev;
        let command = cmd!(self.sh, "sh -c {MERGED} sh {kdev} kdev {args...} --context kdev-lab")
            .env("XDG_CACHE_HOME", self.cache())
            .env("TMPDIR", self.temporary())
            .env_remove("CARGO_TARGET_DIR");
        let mut command = Command::from(command);
        // A question would wait for an answer.
        command.current_dir(self.path("crate")).stdin(Stdio::null());
        watched::run(command)
    }

    pub(super) fn kubectl<'a>(&'a self, args: &[&str]) -> Cmd<'a> {
        let name = self.name;
        cmd!(self.sh, "kubectl --context kdev-lab --namespace {name} {args...}").quiet()
    }

    /// Waits until each pod serves this page.
    pub(super) fn serves(&self, page: &str) -> Result<()> {
        let nodes: &[Node] = if self.pods == Pods::OnePerNode { &NODES } else { &NODES[..1] };
        let expected = nodes.iter().map(|node| (node.name.to_owned(), page.to_owned()));
        let expected: Vec<_> = expected.collect();
        let mut found = Vec::new();
        let waited = lab::wait_until(&format!("the page `{page}`"), 20, || {
            found = self.pages().unwrap_or_default();
            found == expected
        });
        waited.with_context(|| format!("the pods serve {found:?}"))
    }

    /// The nodes of the pods, and what each pod serves. Pods that are being deleted
    /// do not count.
    fn pages(&self) -> Result<Vec<(String, String)>> {
        let pods = self.kubectl(&["get", "pods", "--output", "json"]).read()?;
        let pods: Value = serde_json::from_str(&pods)?;
        let pods = pods["items"].as_array().context("kubectl has printed no list")?;
        let current = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let mut pages: Vec<(String, String)> = current.map(|pod| self.page(pod)).collect();
        pages.sort();
        Ok(pages)
    }

    fn page(&self, pod: &Value) -> (String, String) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let url = format!("http://{}:8080/", pod["status"]["podIP"].as_str().unwrap_or_default());
        let page = cmd!(self.sh, "curl --silent --max-time 5 {url}").quiet().ignore_status();
        (node, page.read().unwrap_or_default().trim().to_owned())
    }

    /// Removes everything that belongs to the project. A step that fails does not
    /// stop the others.
    pub(super) fn clean(&self) -> Result<()> {
        let (name, word) = (self.name, format!("/{}:", self.name));
        let delete = ["delete", "namespace", name, "--ignore-not-found", "--timeout=120s"];
        let namespace = self.kubectl(&delete).ignore_stdout().run().map_err(Into::into);
        let nodes = NODES.each_ref().map(|node| lab::remove_from_node(&self.sh, node, &word));
        let docker = lab::remove_from_docker(&self.sh, name);
        let folder = remove_folder(&self.folder);
        [namespace, docker, folder].into_iter().chain(nodes).collect()
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The last lines of an output.
pub(super) fn end(output: &str) -> String {
    let mut lines: Vec<&str> = output.lines().rev().take(8).collect();
    lines.reverse();
    lines.join("\n")
}

fn manifest(name: &str, pods: Pods) -> String {
    let (replicas, place) = match pods {
        Pods::OnePerNode => (
            2,
            format!(
                "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [pod-template-hash], labelSelector: {{matchLabels: {{app: {name}}}}}}}]"
            ),
        ),
        Pods::OnFirstNode => {
            (1, format!("nodeSelector: {{kubernetes.io/hostname: {}}}", NODES[0].name))
        }
    };
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      {place}
      containers:
      - {{name: web, image: {name}, readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}}}
"
    )
}
