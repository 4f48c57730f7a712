//! The project of a test: a small web server whose image, workload and namespace have the
//! name of the service. Image and namespace are removed at the end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::distributions::SPARE;
use crate::exclusive::{Claim, Permit};
use crate::images;
use crate::lab::{command, get, state};
use crate::namespace;

/// The Dockerfile after its `FROM` line.
const DOCKERFILE: &str = r#"COPY busybox /busybox
COPY www /www
ENTRYPOINT ["/busybox", "sh", "-c", "trap 'exit 0' TERM; /busybox httpd -p 8080 -h /www; while :; do /busybox sleep 1 & wait $!; done"]
"#;

pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];

pub(crate) struct Service {
    pub(crate) name: &'static str,
    dir: TempDir,
    /// The Docker host for builds, if it is not the lab's.
    pub(crate) docker_host: Option<String>,
    /// More environment variables of kdev.
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) permit: Permit,
}

impl Service {
    /// Creates a service with pods on both nodes.
    pub(crate) fn new(name: &'static str) -> Self {
        Self::with_claim(name, Claim::both_nodes())
    }

    /// Creates a service with pods on one node.
    pub(crate) fn on_node(node: &'static str, name: &'static str) -> Self {
        let service = Self::with_claim(name, Claim::node(node));
        service.pin_to(node);
        service
    }

    /// Creates a service for a test that uses or breaks other parts of the lab.
    pub(crate) fn with_claim(name: &'static str, claim: Claim) -> Self {
        let permit = Permit::acquire(name, claim);
        // In the state folder, because the nodes may not see the checkout.
        let dir = TempDir::new_in(state("")).unwrap();
        let service = Self { name, dir, docker_host: None, variables: Vec::new(), permit };
        for dir in ["src", "k8s", "www"] {
            fs::create_dir(service.path(dir)).unwrap();
        }
        let cargo = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
        service.write("Cargo.toml", &cargo);
        service.write("src/main.rs", "fn main() {}\n");
        // Among equal steps, Docker's old builder continues from the newest. A unique first step
        // prevents tests from replacing each other's cache.
        service.write("Dockerfile", &format!("FROM scratch\nLABEL test={name}\n{DOCKERFILE}"));
        // Folders of kdev and of a test's own Docker, which are not part of the build context.
        service.write(".dockerignore", "cache\ndocker\n");
        service.set_page("first");
        // Unique content, because equal content has the same image ID.
        service.write("www/name", name);
        fs::copy("/bin/busybox", service.path("busybox")).unwrap();
        service.write("k8s/all.yaml", &deployment(name, "imagePullPolicy: Always"));
        if namespace::exists(name) {
            // An earlier run was interrupted.
            service.clean_up();
            namespace::wait_until_gone(name);
        }
        namespace::create(name);
        service
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Changes the manifest so that the workload runs on one node.
    pub(crate) fn pin_to(&self, node: &str) {
        let selector =
            format!("      nodeSelector: {{kubernetes.io/hostname: {node}}}\n      containers:\n");
        let pinned = deployment(self.name, "").replace("      containers:\n", &selector);
        self.write("k8s/all.yaml", &pinned.replace("DoNotSchedule", "ScheduleAnyway"));
    }

    /// Sets the page that the next build serves.
    pub(crate) fn set_page(&self, text: &str) {
        self.write("www/index.html", &format!("{text}\n"));
    }

    /// Returns a `cargo kdev up` command in the project.
    pub(crate) fn up(&self, args: &[&str]) -> Command {
        self.kdev(&[&["up", "--namespace", self.name], args].concat())
    }

    pub(crate) fn kdev(&self, args: &[&str]) -> Command {
        let mut kdev = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        kdev.arg("kdev").args(args).current_dir(self.dir.path());
        kdev.env("KDEV_CONTEXT", "kdev-lab").env("KUBECONFIG", state("kubeconfig"));
        kdev.env("KDEV_SSH_CONFIG", state("ssh/config"));
        // Tests of readiness without a probe set it again.
        kdev.env("KDEV_SETTLE", "0");
        // A separate cache for each test.
        kdev.env("XDG_CACHE_HOME", self.path("cache"));
        kdev.env_remove("CARGO_TARGET_DIR");
        kdev.envs(self.docker_host.iter().map(|host| ("DOCKER_HOST", host)));
        kdev.envs(self.variables.iter().cloned());
        kdev
    }

    #[track_caller]
    pub(crate) fn up_ok(&self) -> String {
        let output = self.up(&[]).output().unwrap();
        let stderr = crate::lab::stderr_text(&output);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    }

    /// Runs `up`, which must exit with this code, and returns its standard error from the first
    /// `error:` on.
    #[track_caller]
    pub(crate) fn up_fails(&self, args: &[&str], code: i32) -> String {
        let output: Output = self.up(args).output().unwrap();
        let stderr = crate::lab::stderr_text(&output);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        // A build that kdev aborts ends with errors of Docker.
        let own = &stderr[stderr.rfind("\nERROR: ").unwrap_or(0)..];
        own[own.find("error:").unwrap_or(0)..].to_owned()
    }

    /// Like `up_fails`, with the whole standard error and the time from the apply to the end.
    /// The time before the apply depends on the load of the lab.
    #[track_caller]
    pub(crate) fn up_fails_timed(&self, args: &[&str], code: i32) -> (String, Duration) {
        let mut child = self.up(args).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stderr, mut applied) = (String::new(), None);
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.trim_start().starts_with("Applied ") {
                applied = Some(Instant::now());
            }
            stderr += &line;
            stderr.push('\n');
        }
        assert_eq!(child.wait().unwrap().code(), Some(code), "{stderr}");
        (stderr, applied.expect("nothing was applied").elapsed())
    }

    pub(crate) fn start_up(&self, args: &[&str]) -> Child {
        self.up(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Returns the pods that are not terminating.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let pods = get(self.name, &["pods"]);
        let is_running = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_none();
        pods["items"].as_array().unwrap().iter().filter(is_running).cloned().collect()
    }

    /// Returns the node and the page of each pod.
    pub(crate) fn pages(&self) -> Vec<(String, String)> {
        let answer = |pod: &Value| {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            (node, fetch(&format!("http://{address}:8080/")))
        };
        let mut pages: Vec<_> = self.pods().iter().map(answer).collect();
        pages.sort();
        pages
    }

    /// Removes the images, and then the namespace, whose existence shows that a cleanup is due.
    fn clean_up(&self) {
        images::remove(self.name, running_machines());
        namespace::delete(self.name);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::env::var_os("KDEV_TEST_KEEP").is_none() {
            images::clean_up(|| self.clean_up());
        }
    }
}

/// Returns the running machines of the lab.
pub(crate) fn running_machines() -> impl Iterator<Item = &'static str> {
    let is_open = |machine: &&str| state(&format!("nodes/{machine}/pid")).exists();
    NODES.into_iter().chain([SPARE]).filter(is_open)
}

/// Returns a Deployment with one pod on each of two nodes and the tag `:latest`, as a user
/// would write it. `policy` is a line of the container, such as the pull policy.
pub(crate) fn deployment(name: &str, policy: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [pod-template-hash], labelSelector: {{matchLabels: {{app: {name}}}}}}}
      containers:
      - name: web
        image: {name}:latest # as built
        {policy}
        ports: [{{containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"
    )
}

/// Fetches a page from the host, which has a route to the pods.
pub(crate) fn fetch(url: &str) -> String {
    let output = command("curl").args(["--silent", "--max-time", "5", url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
