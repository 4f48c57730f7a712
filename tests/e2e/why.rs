//! `cargo kdev why` on what really goes wrong: each scenario is made in the lab, its
//! cause must be found, and its cure, followed, must work. `cargo xtask record`
//! keeps the facts of each, to be judged again without a lab.

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

/// A namespace of its own, of the scenario's name, in which something goes wrong.
pub(crate) struct Scenario {
    /// The name of its record, of its namespace and of its images.
    pub(crate) name: &'static str,
    dir: TempDir,
    pub(crate) permit: Permit,
}

/// What `why` has found, in its JSON form.
pub(crate) struct WhyReport(Value);

impl Scenario {
    /// A scenario whose pods run on this node only.
    pub(crate) fn on_node(node: &'static str, name: &'static str) -> Self {
        Self::with_claim(name, Claim::node(node))
    }

    /// A scenario without a record, because nothing is wrong in the end.
    pub(crate) fn without_record(node: &'static str, name: &'static str) -> Self {
        Self::on_node(node, name)
    }

    /// A scenario that uses or breaks other parts of the lab.
    pub(crate) fn with_claim(name: &'static str, claim: Claim) -> Self {
        let permit = Permit::acquire(name, claim);
        // The nodes see the lab's own folder, wherever the checkout lies.
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

    /// Builds an image in docker that sleeps. It is unlike those of all other
    /// scenes, and it holds a busybox as `/busybox`.
    pub(crate) fn build(&self, reference: &str) {
        self.build_with(reference, "ENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n");
    }

    /// The same with these last lines of its Dockerfile.
    pub(crate) fn build_with(&self, reference: &str, lines: &str) {
        let from = "FROM scratch\nCOPY busybox /busybox\nCOPY name /name\n";
        fs::write(self.path("Dockerfile"), format!("{from}{lines}")).unwrap();
        fs::write(self.path("name"), format!("{} {reference}", self.name)).unwrap();
        fs::copy("/bin/busybox", self.path("busybox")).unwrap();
        run(docker(&["build", "--quiet", "--tag", reference]).arg(self.dir.path()));
    }

    /// Saves an image of docker's to `image.tar`.
    pub(crate) fn save(&self, reference: &str) {
        run(docker(&["save", "--output"]).arg(self.path("image.tar")).arg(reference));
    }

    /// Imports an image of docker's by hand, into a namespace of containerd's.
    pub(crate) fn import(&self, node: &str, namespace: &str, reference: &str) {
        self.save(reference);
        let archive = self.path("image.tar").display().to_string();
        run(&mut in_node(node, &["ctr", "-n", namespace, "images", "import", &archive]));
    }

    /// Loads an image of docker's with kdev.
    pub(crate) fn load(&self, reference: &str) {
        let mut load = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        load.args(["kdev", "load", reference]).env("KUBECONFIG", state("kubeconfig"));
        load.env("KDEV_CONTEXT", "kdev-lab").env("KDEV_SSH_CONFIG", state("ssh/config"));
        run(load.current_dir(self.dir.path()));
    }

    /// A pod `web` on a node of choice, with one container `web`; `lines` are more
    /// of the container's.
    pub(crate) fn create_pod(&self, node: &str, image: &str, lines: &str) {
        self.apply(&self.pod_manifest(node, image, lines));
    }

    #[expect(clippy::unused_self, reason = "it reads like its sisters")]
    pub(crate) fn pod_manifest(&self, node: &str, image: &str, lines: &str) -> String {
        let lines = indent(lines, "    ");
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: web\n    image: {image:?}\n{lines}"
        )
    }

    /// The same as a Deployment `web` of one pod.
    pub(crate) fn create_deployment(&self, node: &str, image: &str, lines: &str) {
        self.apply(&self.deployment_manifest(node, image, lines));
    }

    #[expect(clippy::unused_self, reason = "it reads like its sisters")]
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

    /// Waits until a container of the scenario's pods waits for one of these reasons.
    #[track_caller]
    pub(crate) fn wait_for_reason(&self, reasons: &[&str]) {
        wait_for(reasons[0], || {
            let pods = get(self.name, &["pods"]).to_string();
            reasons.iter().any(|r| pods.contains(&format!("\"reason\":\"{r}\""))).then_some(())
        });
    }

    /// Waits until an event of the scenario's namespace holds these words.
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
            // A kubelet that has not yet seen a label of its node refuses the pod, which
            // fails for good; its controller has created another one.
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

    /// `cargo kdev why`, outside of any project.
    pub(crate) fn why_command(&self, args: &[&str]) -> Command {
        let mut kdev = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        kdev.args(["kdev", "why", "--namespace", self.name])
            .args(args)
            .current_dir(self.dir.path());
        kdev.env("KUBECONFIG", state("kubeconfig")).env("KDEV_CONTEXT", "kdev-lab");
        kdev.env("KDEV_SSH_CONFIG", state("ssh/config"));
        kdev
    }

    /// Asks about the namespace; what is stdout of causes, if anything.
    #[track_caller]
    pub(crate) fn check_namespace(&self) -> String {
        let stdout = run(&mut self.why_command(&[]));
        let well = format!("nothing is wrong in namespace `{}`\n", self.name);
        stdout.strip_prefix(&well).map(str::to_owned).unwrap_or(stdout)
    }

    /// Asks about `web`, and is told of these causes, in this order. Where records
    /// are made, these are the facts of the scenario.
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

    /// The advice on one of the causes, by its index.
    pub(crate) fn help(&self, index: usize) -> &str {
        self.diagnoses()[index]["help"].as_str().unwrap()
    }

    /// What is stdout of one of the causes, by its index.
    pub(crate) fn message(&self, index: usize) -> &str {
        self.diagnoses()[index]["message"].as_str().unwrap()
    }

    pub(crate) fn confidence(&self, index: usize) -> &str {
        self.diagnoses()[index]["confidence"].as_str().unwrap()
    }

    /// What one of the causes was seen by.
    pub(crate) fn evidence(&self, index: usize) -> String {
        self.diagnoses()[index]["evidence"].to_string()
    }

    /// Does what the advice on one of the causes says.
    #[track_caller]
    pub(crate) fn follow_help(&self, index: usize) {
        self.follow_help_with(index, &[]);
    }

    /// The same with what a person would fill in.
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

    /// Does what stands last in the advice on one of the causes, and tells what
    /// came of it.
    #[track_caller]
    pub(crate) fn follow_last_command(&self, index: usize) -> String {
        self.run_in_shell(self.help(index).rsplit('`').nth(1).unwrap())
    }

    #[expect(clippy::unused_self, reason = "it reads like its sisters")]
    #[track_caller]
    fn run_in_shell(&self, help_command: &str) -> String {
        // As in a shell where `cargo kdev` is installed.
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
    /// Whether an image is the scenario's, whatever its tag: that may be a name of
    /// another scenario's, such as `latest`.
    fn owns_image(&self, image: &str) -> bool {
        let name = image.rsplit('/').next().unwrap();
        let name = name.split([':', '@']).next().unwrap();
        name.strip_prefix("unused-").unwrap_or(name) == self.name
    }

    /// Removes the images, and then the namespace, which shows that there was something.
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
        if std::env::var_os("KDEV_KEEP").is_none() {
            self.clean_up();
        }
    }
}

/// Lines of a container's in a manifest.
fn indent(lines: &str, by: &str) -> String {
    lines
        .lines()
        .filter(|line| !line.is_empty())
        .fold(String::new(), |text, line| text + by + line + "\n")
}
