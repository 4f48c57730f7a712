//! A project of a test's own: a small web server in an image of its own name,
//! in a namespace of its own, both gone at the end.

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
use crate::lab::{command, docker, get, run, state};
use crate::namespace;

/// Comes after `FROM`.
const DOCKERFILE: &str = r#"COPY busybox /busybox
COPY www /www
ENTRYPOINT ["/busybox", "sh", "-c", "trap 'exit 0' TERM; /busybox httpd -p 8080 -h /www; while :; do /busybox sleep 1 & wait $!; done"]
"#;

pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];

pub(crate) struct Service {
    pub(crate) name: &'static str,
    dir: TempDir,
    /// The docker to build with, where that is not the lab's.
    pub(crate) docker_host: Option<String>,
    pub(crate) permit: Permit,
}

impl Service {
    /// A crate whose image, workload and namespace all have this name.
    pub(crate) fn new(name: &'static str) -> Self {
        Self::with_claim(name, Claim::both_nodes())
    }

    /// The same with pods on one node only.
    pub(crate) fn on_node(node: &'static str, name: &'static str) -> Self {
        let service = Self::with_claim(name, Claim::node(node));
        service.pin_to(node);
        service
    }

    /// The same for a test that uses or breaks other parts of the lab.
    pub(crate) fn with_claim(name: &'static str, claim: Claim) -> Self {
        let permit = Permit::acquire(name, claim);
        // The nodes see the lab's own folder, wherever the checkout lies.
        let dir = TempDir::new_in(state("")).unwrap();
        let service = Self { name, dir, docker_host: None, permit };
        for dir in ["src", "k8s", "www"] {
            fs::create_dir(service.path(dir)).unwrap();
        }
        let cargo = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
        service.write("Cargo.toml", &cargo);
        service.write("src/main.rs", "fn main() {}\n");
        // Of equal steps docker's old builder goes on from the newest: without a
        // first step of its own a test would lose its place in the cache to another.
        service.write("Dockerfile", &format!("FROM scratch\nLABEL test={name}\n{DOCKERFILE}"));
        // What kdev and a docker of the test's keep here is not for the builder.
        service.write(".dockerignore", "cache\ndocker\n");
        service.set_page("first");
        // No two tests share a content: an image's ID is its content's.
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

    /// Makes the workload run on one node only.
    pub(crate) fn pin_to(&self, node: &str) {
        let selector =
            format!("      nodeSelector: {{kubernetes.io/hostname: {node}}}\n      containers:\n");
        let pinned = deployment(self.name, "").replace("      containers:\n", &selector);
        self.write("k8s/all.yaml", &pinned.replace("DoNotSchedule", "ScheduleAnyway"));
    }

    /// What the server answers in the next build.
    pub(crate) fn set_page(&self, text: &str) {
        self.write("www/index.html", &format!("{text}\n"));
    }

    /// `cargo kdev up` in the project, with these arguments.
    pub(crate) fn up(&self, args: &[&str]) -> Command {
        self.kdev(&[&["up", "--namespace", self.name], args].concat())
    }

    pub(crate) fn kdev(&self, args: &[&str]) -> Command {
        let mut kdev = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        kdev.arg("kdev").args(args).current_dir(self.dir.path());
        kdev.env("KDEV_CONTEXT", "kdev-lab").env("KUBECONFIG", state("kubeconfig"));
        kdev.env("KDEV_SSH_CONFIG", state("ssh/config"));
        // No test finds what another one has cached.
        kdev.env("XDG_CACHE_HOME", self.path("cache"));
        kdev.env_remove("CARGO_TARGET_DIR");
        kdev.envs(self.docker_host.iter().map(|host| ("DOCKER_HOST", host)));
        kdev
    }

    #[track_caller]
    pub(crate) fn up_ok(&self) -> String {
        let output = self.up(&[]).output().unwrap();
        let stderr = crate::lab::stderr_text(&output);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    }

    /// `up` must end with this code; gives what it stderr.
    #[track_caller]
    pub(crate) fn up_fails(&self, args: &[&str], code: i32) -> String {
        let output: Output = self.up(args).output().unwrap();
        let stderr = crate::lab::stderr_text(&output);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        stderr[stderr.find("error:").unwrap_or(0)..].to_owned()
    }

    /// The same, with the time from the apply to the end: what comes before depends
    /// on how busy the lab is.
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

    /// The pods that are not on their way out.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let pods = get(self.name, &["pods"]);
        let is_running = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_none();
        pods["items"].as_array().unwrap().iter().filter(is_running).cloned().collect()
    }

    /// What a pod of each node answers.
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

    /// Removes the images, and then the namespace, which shows that there was something.
    fn clean_up(&self) {
        for node in running_machines() {
            for image in crate::lab::images_on(node, &format!("/{}:", self.name)) {
                run(&mut crate::lab::in_node(
                    node,
                    &["ctr", "-n", "k8s.io", "images", "rm", &image],
                ));
            }
        }
        let format = "{{.Repository}}:{{.Tag}}";
        let tags = run(&mut docker(&["image", "ls", "--format", format, self.name]));
        images::queue_removal(tags.lines());
        namespace::delete(self.name);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::env::var_os("KDEV_KEEP").is_none() {
            self.clean_up();
        }
    }
}

/// The machines of the lab that run.
fn running_machines() -> impl Iterator<Item = &'static str> {
    let is_open = |machine: &&str| state(&format!("nodes/{machine}/pid")).exists();
    NODES.into_iter().chain([SPARE]).filter(is_open)
}

/// A deployment of two pods, one a node, as its author wrote it: `:latest`,
/// and a pull policy that cannot work.
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

/// A page, fetched from the host: pods are routed to.
pub(crate) fn fetch(url: &str) -> String {
    let output = command("curl").args(["--silent", "--max-time", "5", url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
