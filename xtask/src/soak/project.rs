//! A small web server that is deployed many times. Its crate, image, workload and namespace
//! have the same name.

use super::report::Section;
use crate::demo;
use crate::jobs::Jobs;
use crate::lab::{self, NODES, Node};
use crate::peak_memory::{self, CommandResult};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xshell::{Cmd, Shell, cmd};

/// The size of a layer that never changes, in bytes.
const RANDOM_BYTES: u64 = 30_000_000;
/// The label gives each project a first step that no other project has: Docker's old builder
/// continues from the latest build with the same steps.
const DOCKERFILE: &str = r#"FROM scratch
LABEL soak=@NAME@
COPY noise /noise
COPY busybox /busybox
COPY www /www
ENTRYPOINT ["/busybox", "sh", "-c", "trap 'exit 0' TERM; /busybox httpd -p 8080 -h /www; while :; do /busybox sleep 1 & wait $!; done"]
"#;
/// Merges stdout and stderr. `exec` makes the shell the program whose memory is measured.
const MERGE_OUTPUT: &str = r#"exec "$@" 2>&1"#;

/// The nodes of the pods.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// One pod on each node.
    OnePerNode,
    /// A single pod, on the first node.
    FirstNode,
}

pub(super) struct Project {
    pub(super) name: &'static str,
    placement: Placement,
    sh: Shell,
    folder: PathBuf,
    kdev: PathBuf,
}

/// Runs a case in the lab with a new project, and removes the project after it, also if it fails.
pub(super) fn run_case(
    sh: &Shell,
    name: &'static str,
    placement: Placement,
    section: &mut Section,
    case: impl FnOnce(&Shell, &Project, &mut Section) -> Result<()>,
) -> Result<()> {
    let sh = &lab::up(sh)?.shell(sh);
    let project = Project::create(sh, name, placement)?;
    let outcome = case(sh, &project, section);
    section.add_removal_check("the project", &project.clean());
    outcome
}

impl Project {
    /// Writes the project, and creates its namespace.
    pub(super) fn create(sh: &Shell, name: &'static str, placement: Placement) -> Result<Self> {
        let folder = lab::state_path("soak").join(name);
        let project =
            Self { name, placement, sh: sh.clone(), folder, kdev: demo::build(&Jobs::default())? };
        // Left by an interrupted run.
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
        fs::write(self.path("crate/k8s/all.yaml"), manifest(name, self.placement))?;
        fs::copy("/bin/busybox", self.path("crate/busybox"))?;
        let mut noise = File::open("/dev/urandom")?.take(RANDOM_BYTES);
        io::copy(&mut noise, &mut File::create(self.path("crate/noise"))?)?;
        cmd!(self.sh, "kubectl --context kdev-lab create namespace {name}")
            .quiet()
            .ignore_stdout()
            .run()?;
        // Without its service account, the namespace accepts no pods.
        lab::wait_until("the namespace's service account", 60, || {
            let account = self.kubectl(&["get", "serviceaccount", "default"]);
            account.ignore_stdout().ignore_stderr().run().is_ok()
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the cache folder of kdev.
    pub(super) fn cache_folder(&self) -> PathBuf {
        self.path("cache")
    }

    /// Returns the folder for temporary files of kdev.
    pub(super) fn temporary_folder(&self) -> PathBuf {
        self.path("tmp")
    }

    /// Replaces the page that the next build serves, as editors do.
    pub(super) fn rename_page(&self, text: &str) -> Result<()> {
        fs::write(self.path("page"), format!("{text}\n"))?;
        Ok(fs::rename(self.path("page"), self.path("crate/www/index.html"))?)
    }

    /// Changes the page that the next build serves.
    pub(super) fn write_page(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("crate/www/index.html"), format!("{text}\n"))?)
    }

    /// Runs `cargo kdev up` and returns its result, also if it fails.
    pub(super) fn up(&self) -> Result<CommandResult> {
        let name = self.name;
        self.run_kdev(&["up", "--namespace", name])
    }

    /// Runs `cargo kdev up` and returns its output, or an error if it fails.
    pub(super) fn deploy(&self) -> Result<String> {
        let up = self.up()?;
        let (status, output) = (up.status, up.output);
        ensure!(status.success(), "`cargo kdev up` failed with {status}: {}", last_lines(&output));
        Ok(output)
    }

    /// Runs kdev in the project, with the context of the lab.
    pub(super) fn run_kdev(&self, args: &[&str]) -> Result<CommandResult> {
        peak_memory::run(self.command(args))
    }

    /// Composes a command of kdev in the project.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let kdev = &self.kdev;
        let command =
            cmd!(self.sh, "sh -c {MERGE_OUTPUT} sh {kdev} kdev {args...} --context kdev-lab")
                .env("XDG_CACHE_HOME", self.cache_folder())
                .env("TMPDIR", self.temporary_folder())
                .env_remove("CARGO_TARGET_DIR");
        let mut command = Command::from(command);
        // Without a stdin, kdev cannot wait for a confirmation.
        command.current_dir(self.path("crate")).stdin(Stdio::null());
        command
    }

    pub(super) fn kubectl<'a>(&'a self, args: &[&str]) -> Cmd<'a> {
        let name = self.name;
        cmd!(self.sh, "kubectl --context kdev-lab --namespace {name} {args...}").quiet()
    }

    /// Waits until each pod serves this page.
    pub(super) fn wait_for_page(&self, page: &str) -> Result<()> {
        let nodes: &[Node] =
            if self.placement == Placement::OnePerNode { &NODES } else { &NODES[..1] };
        let expected = nodes.iter().map(|node| (node.name.to_owned(), page.to_owned()));
        let expected: Vec<_> = expected.collect();
        let mut found = Vec::new();
        let waited = lab::wait_until(&format!("the page `{page}`"), 20, || {
            found = self.pages().unwrap_or_default();
            found == expected
        });
        waited.with_context(|| format!("the pods serve {found:?}"))
    }

    /// Returns the node and the page of each pod, except for pods that are being deleted.
    fn pages(&self) -> Result<Vec<(String, String)>> {
        let pods = self.kubectl(&["get", "pods", "--output", "json"]).read()?;
        let pods: Value = serde_json::from_str(&pods)?;
        let pods = pods["items"].as_array().context("`kubectl get pods` printed no list")?;
        let current = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let mut pages: Vec<(String, String)> = current.map(|pod| self.fetch_page(pod)).collect();
        pages.sort();
        Ok(pages)
    }

    fn fetch_page(&self, pod: &Value) -> (String, String) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let url = format!("http://{}:8080/", pod["status"]["podIP"].as_str().unwrap_or_default());
        let page = cmd!(self.sh, "curl --silent --max-time 5 {url}").quiet().ignore_status();
        (node, page.read().unwrap_or_default().trim().to_owned())
    }

    /// Removes everything that belongs to the project. If a step fails, the others are still
    /// done.
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

/// Returns the last lines of an output.
pub(super) fn last_lines(output: &str) -> String {
    let mut lines: Vec<&str> = output.lines().rev().take(8).collect();
    lines.reverse();
    lines.join("\n")
}

fn manifest(name: &str, placement: Placement) -> String {
    let (replicas, node_rules) = match placement {
        Placement::OnePerNode => (
            2,
            format!(
                "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [pod-template-hash], labelSelector: {{matchLabels: {{app: {name}}}}}}}]"
            ),
        ),
        Placement::FirstNode => {
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
      {node_rules}
      containers:
      - {{name: web, image: {name}, readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}}}
"
    )
}
