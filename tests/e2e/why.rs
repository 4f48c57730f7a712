//! `cargo kdev why` with failures: each test creates a scenario in the lab, expects its
//! causes, and follows the help until the pod runs. `cargo xtask record` saves the facts of
//! each scenario, so that its diagnosis can be tested without the lab.

mod container_config;
mod crash;
mod creation;
mod image;
mod node;
mod probe;
mod registry;
mod sandbox;
mod scheduling;
mod start;
mod volume;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::exclusive::{Claim, Permit};
use crate::images;
use crate::lab::{self, command, docker, get, in_node, kubectl, run, state, wait_for};
use crate::namespace;
use crate::test_service::NODES;

/// A namespace in which something fails. Its record, namespace and images have its name.
pub(crate) struct Scenario {
    /// The name of the record, the namespace and the images.
    pub(crate) name: &'static str,
    dir: TempDir,
    pub(crate) permit: Permit,
}

/// The JSON output of `why`.
pub(crate) struct WhyReport(Value);

impl Scenario {
    /// Creates a scenario whose pods run on one node.
    pub(crate) fn on_node(node: &'static str, name: &'static str) -> Self {
        Self::with_claim(name, Claim::node(node))
    }

    /// Creates a scenario on one node that is not recorded, because it has no cause.
    pub(crate) fn without_record(node: &'static str, name: &'static str) -> Self {
        Self::on_node(node, name)
    }

    /// Creates a scenario that uses or breaks other parts of the lab.
    pub(crate) fn with_claim(name: &'static str, claim: Claim) -> Self {
        let permit = Permit::acquire(name, claim);
        // In the state folder, because the nodes may not see the checkout.
        let dir = TempDir::new_in(state("")).unwrap();
        let scenario = Self { name, dir, permit };
        if namespace::exists(name) {
            // An earlier run was interrupted.
            scenario.clean_up();
            namespace::wait_until_gone(name);
        }
        namespace::create(name);
        scenario
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds an image with Docker that sleeps. Its content is unique, and it contains
    /// `/busybox`.
    pub(crate) fn build(&self, reference: &str) {
        self.build_with(reference, "ENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n");
    }

    /// Builds an image like `build`, but with these last lines in the Dockerfile.
    pub(crate) fn build_with(&self, reference: &str, lines: &str) {
        let from = "FROM scratch\nCOPY busybox /busybox\nCOPY name /name\n";
        fs::write(self.path("Dockerfile"), format!("{from}{lines}")).unwrap();
        // The folder is another one in each run. Docker's cache would otherwise give the layers of
        // an earlier run, which a node may still have.
        let name = format!("{} {reference} {}", self.name, self.dir.path().display());
        fs::write(self.path("name"), name).unwrap();
        fs::copy("/bin/busybox", self.path("busybox")).unwrap();
        run(docker(&["build", "--quiet", "--tag", reference]).arg(self.dir.path()));
    }

    /// Saves an image from Docker to `image.tar`.
    pub(crate) fn save(&self, reference: &str) {
        run(docker(&["save", "--output"]).arg(self.path("image.tar")).arg(reference));
    }

    /// Imports an image from Docker into a containerd namespace with `ctr`.
    pub(crate) fn import(&self, node: &str, namespace: &str, reference: &str) {
        self.save(reference);
        let archive = self.path("image.tar").display().to_string();
        run(&mut in_node(node, &["ctr", "-n", namespace, "images", "import", &archive]));
    }

    /// Loads an image from Docker with kdev.
    pub(crate) fn load(&self, reference: &str) {
        let mut load = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        load.args(["kdev", "load", reference]).env("KUBECONFIG", state("kubeconfig"));
        load.env("KDEV_CONTEXT", "kdev-lab").env("KDEV_SSH_CONFIG", state("ssh/config"));
        run(load.current_dir(self.dir.path()));
    }

    /// Creates a pod `web` on this node with one container `web`; `lines` are added to the
    /// container.
    pub(crate) fn create_pod(&self, node: &str, image: &str, lines: &str) {
        self.apply(&self.pod_manifest(node, image, lines));
    }

    #[expect(clippy::unused_self, reason = "a method like those beside it")]
    pub(crate) fn pod_manifest(&self, node: &str, image: &str, lines: &str) -> String {
        let lines = indent(lines, "    ");
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: web\n    image: {image:?}\n{lines}"
        )
    }

    /// Creates a Deployment `web` with one pod like that of `create_pod`.
    pub(crate) fn create_deployment(&self, node: &str, image: &str, lines: &str) {
        self.apply(&self.deployment_manifest(node, image, lines));
    }

    #[expect(clippy::unused_self, reason = "a method like those beside it")]
    pub(crate) fn deployment_manifest(&self, node: &str, image: &str, lines: &str) -> String {
        let lines = indent(lines, "        ");
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      nodeSelector: {{kubernetes.io/hostname: {node}}}\n      terminationGracePeriodSeconds: 0\n      containers:\n      - name: web\n        image: {image:?}\n{lines}"
        )
    }

    pub(crate) fn apply(&self, manifest: &str) {
        lab::apply(self.name, manifest);
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Command {
        kubectl(self.name, args)
    }

    /// Waits until a container has one of these waiting reasons.
    #[track_caller]
    pub(crate) fn wait_for_reason(&self, reasons: &[&str]) {
        wait_for(reasons[0], || {
            let pods = get(self.name, &["pods"]).to_string();
            reasons.iter().any(|r| pods.contains(&format!("\"reason\":\"{r}\""))).then_some(())
        });
    }

    /// Waits for an event whose message contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_event(&self, text: &str) {
        wait_for(text, || {
            let events = get(self.name, &["events"]);
            let mut messages = events["items"].as_array()?.iter().map(|event| &event["message"]);
            messages
                .any(|message| message.as_str().unwrap_or_default().contains(text))
                .then_some(())
        });
    }

    /// Waits until every pod is ready.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        wait_for("a pod that is ready", || {
            let pods = get(self.name, &["pods"]);
            // A kubelet that does not know a new label of its node yet rejects the pod. The pod
            // stays failed, and its controller creates another one.
            let pods = pods["items"].as_array()?.iter();
            let mut pods = pods.filter(|pod| pod["status"]["phase"] != "Failed").peekable();
            let is_ready = |pod: &Value| {
                let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
                conditions
                    .into_iter()
                    .flatten()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            };
            (pods.peek().is_some() && pods.all(is_ready)).then_some(())
        });
    }

    /// Returns a `cargo kdev why` command, outside of any project.
    pub(crate) fn why_command(&self, args: &[&str]) -> Command {
        let mut kdev = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        kdev.args(["kdev", "why", "--namespace", self.name])
            .args(args)
            .current_dir(self.dir.path());
        kdev.env("KUBECONFIG", state("kubeconfig")).env("KDEV_CONTEXT", "kdev-lab");
        kdev.env("KDEV_SSH_CONFIG", state("ssh/config"));
        kdev
    }

    /// Runs `why` for the namespace, and returns its output without the line that no problems
    /// were found.
    #[track_caller]
    pub(crate) fn check_namespace(&self) -> String {
        let stdout = run(&mut self.why_command(&[]));
        let well = format!("no problems found in namespace `{}`\n", self.name);
        stdout.strip_prefix(&well).map(str::to_owned).unwrap_or(stdout)
    }

    /// Runs `why web`, which must report these causes in this order. With `KDEV_RECORD`, saves
    /// the facts of the scenario.
    #[track_caller]
    pub(crate) fn assert_causes(&self, causes: &[&str]) -> WhyReport {
        let record = std::env::var_os("KDEV_RECORD")
            .map(|dir| Path::new(&dir).join(format!("{}.json", self.name)).display().to_string());
        let mut args = vec!["web", "--message-format", "json"];
        args.extend(record.iter().flat_map(|path| ["--record", path.as_str()]));
        let answer = run(&mut self.why_command(&args));
        let report = WhyReport(serde_json::from_str(answer.trim()).unwrap());
        assert_eq!(report.causes(), causes, "{:#}", report.0);
        report
    }
}

impl WhyReport {
    fn diagnoses(&self) -> &Vec<Value> {
        self.0["diagnoses"].as_array().unwrap()
    }

    fn causes(&self) -> Vec<&str> {
        self.diagnoses().iter().map(|one| one["cause"].as_str().unwrap()).collect()
    }

    /// Returns the help of a cause.
    pub(crate) fn help(&self, index: usize) -> &str {
        self.diagnoses()[index]["help"].as_str().unwrap()
    }

    /// Returns the message of a cause.
    pub(crate) fn message(&self, index: usize) -> &str {
        self.diagnoses()[index]["message"].as_str().unwrap()
    }

    pub(crate) fn confidence(&self, index: usize) -> &str {
        self.diagnoses()[index]["confidence"].as_str().unwrap()
    }

    /// Returns the evidence of a cause.
    pub(crate) fn evidence(&self, index: usize) -> String {
        self.diagnoses()[index]["evidence"].to_string()
    }

    /// Runs the first command in the help of a cause.
    #[track_caller]
    pub(crate) fn follow_help(&self, index: usize) {
        self.follow_help_with(index, &[]);
    }

    /// Runs the first command in the help of a cause, with placeholders replaced as a user would.
    #[track_caller]
    pub(crate) fn follow_help_with(&self, index: usize, fill: &[(&str, &str)]) {
        let help = self.help(index);
        let mut help_command =
            help.split('`').nth(1).unwrap_or_else(|| panic!("{help}")).to_owned();
        for (blank, value) in fill {
            assert!(help_command.contains(blank), "{help_command} has no {blank}");
            help_command = help_command.replace(blank, value);
        }
        self.run_in_shell(&help_command);
    }

    /// Runs the last command in the help of a cause, and returns its output.
    #[track_caller]
    pub(crate) fn follow_last_command(&self, index: usize) -> String {
        self.run_in_shell(self.help(index).rsplit('`').nth(1).unwrap())
    }

    #[expect(clippy::unused_self, reason = "a method like those beside it")]
    #[track_caller]
    fn run_in_shell(&self, help_command: &str) -> String {
        // With `cargo kdev` on PATH, as if it was installed.
        let program = Path::new(env!("CARGO_BIN_EXE_cargo-kdev"));
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", program.parent().unwrap().display());
        let mut shell = command("sh");
        shell.args(["-ec", help_command]).env("PATH", path).env("KUBECONFIG", state("kubeconfig"));
        shell.env("KDEV_SSH_CONFIG", state("ssh/config")).current_dir(state(""));
        run(&mut shell)
    }
}

impl Scenario {
    /// Returns whether an image belongs to the scenario. Its tag is ignored, because it may be
    /// the name of another scenario, such as `latest`.
    fn owns_image(&self, image: &str) -> bool {
        let name = image.rsplit('/').next().unwrap();
        let name = name.split([':', '@']).next().unwrap();
        name.strip_prefix("unused-").unwrap_or(name) == self.name
    }

    /// Removes the images, and then the namespace, whose existence shows that a cleanup is due.
    fn clean_up(&self) {
        for node in NODES {
            for namespace in ["k8s.io", "default"] {
                let list = in_node(node, &["ctr", "-n", namespace, "images", "ls", "-q"]).output();
                let names = String::from_utf8(list.unwrap().stdout).unwrap();
                for name in names.lines().filter(|name| self.owns_image(name)) {
                    run(&mut in_node(node, &["ctr", "-n", namespace, "images", "rm", name]));
                }
            }
        }
        let format = "{{.Repository}}:{{.Tag}}";
        let tags = run(&mut docker(&["image", "ls", "--format", format]));
        images::queue_removal(tags.lines().filter(|tag| self.owns_image(tag)));
        namespace::delete(self.name);
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if std::env::var_os("KDEV_TEST_KEEP").is_none() {
            self.clean_up();
        }
    }
}

/// Indents lines of a container for a manifest.
fn indent(lines: &str, by: &str) -> String {
    lines
        .lines()
        .filter(|line| !line.is_empty())
        .fold(String::new(), |text, line| text + by + line + "\n")
}
