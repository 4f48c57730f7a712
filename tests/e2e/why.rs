//! `cargo kdev why` on what really goes wrong: each scene is made in the lab, its
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
use crate::lab::{self, command, docker, eventually, get, in_node, kubectl, run, state};
use crate::namespace;
use crate::test_service::NODES;

/// A namespace of its own, of the scene's name, in which something goes wrong.
pub(crate) struct Scene {
    /// The name of its record, of its namespace and of its images.
    pub(crate) name: &'static str,
    dir: TempDir,
    pub(crate) permit: Permit,
}

/// What `why` has found, in its JSON form.
pub(crate) struct Found(Value);

impl Scene {
    /// A scene whose pods run on this node only.
    pub(crate) fn on(node: &'static str, name: &'static str) -> Self {
        Self::claiming(name, Claim::node(node))
    }

    /// A scene without a record, because nothing is wrong in the end.
    pub(crate) fn of_nothing_wrong(node: &'static str, name: &'static str) -> Self {
        Self::on(node, name)
    }

    /// A scene that uses or breaks other parts of the lab.
    pub(crate) fn claiming(name: &'static str, claim: Claim) -> Self {
        let permit = Permit::wait(name, claim);
        // The nodes see the lab's own folder, wherever the checkout lies.
        let dir = TempDir::new_in(state("")).unwrap();
        let scene = Self { name, dir, permit };
        if namespace::exists(name) {
            // An earlier run was interrupted.
            scene.clean();
            namespace::is_gone(name);
        }
        namespace::create(name);
        scene
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
    pub(crate) fn pod(&self, node: &str, image: &str, lines: &str) {
        self.apply(&self.pod_manifest(node, image, lines));
    }

    #[expect(clippy::unused_self, reason = "it reads like its sisters")]
    pub(crate) fn pod_manifest(&self, node: &str, image: &str, lines: &str) -> String {
        let lines = indented(lines, "    ");
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: web\n    image: {image:?}\n{lines}"
        )
    }

    /// The same as a Deployment `web` of one pod.
    pub(crate) fn deployment(&self, node: &str, image: &str, lines: &str) {
        self.apply(&self.deployment_manifest(node, image, lines));
    }

    #[expect(clippy::unused_self, reason = "it reads like its sisters")]
    pub(crate) fn deployment_manifest(&self, node: &str, image: &str, lines: &str) -> String {
        let lines = indented(lines, "        ");
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

    /// Waits until a container of the scene's pods waits for one of these reasons.
    #[track_caller]
    pub(crate) fn waits(&self, reasons: &[&str]) {
        eventually(reasons[0], || {
            let pods = get(self.name, &["pods"]).to_string();
            reasons.iter().any(|r| pods.contains(&format!("\"reason\":\"{r}\""))).then_some(())
        });
    }

    /// Waits until an event of the scene's namespace holds these words.
    #[track_caller]
    pub(crate) fn reports(&self, words: &str) {
        eventually(words, || {
            let events = get(self.name, &["events"]);
            let mut messages = events["items"].as_array()?.iter().map(|event| &event["message"]);
            messages
                .any(|message| message.as_str().unwrap_or_default().contains(words))
                .then_some(())
        });
    }

    /// Waits until every pod is ready.
    #[track_caller]
    pub(crate) fn runs(&self) {
        eventually("a pod that is ready", || {
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
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut kdev = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        kdev.args(["kdev", "why", "--namespace", self.name])
            .args(args)
            .current_dir(self.dir.path());
        kdev.env("KUBECONFIG", state("kubeconfig")).env("KDEV_CONTEXT", "kdev-lab");
        kdev.env("KDEV_SSH_CONFIG", state("ssh/config"));
        kdev
    }

    /// Asks about the namespace; what is said of causes, if anything.
    #[track_caller]
    pub(crate) fn is_well(&self) -> String {
        let said = run(&mut self.command(&[]));
        let well = format!("nothing is wrong in namespace `{}`\n", self.name);
        said.strip_prefix(&well).map(str::to_owned).unwrap_or(said)
    }

    /// Asks about `web`, and is told of these causes, in this order. Where records
    /// are made, these are the facts of the scene.
    #[track_caller]
    pub(crate) fn is_judged(&self, causes: &[&str]) -> Found {
        let record = std::env::var_os("KDEV_RECORD")
            .map(|dir| Path::new(&dir).join(format!("{}.json", self.name)).display().to_string());
        let mut args = vec!["web", "--message-format", "json"];
        args.extend(record.iter().flat_map(|path| ["--record", path.as_str()]));
        let answer = run(&mut self.command(&args));
        let found = Found(serde_json::from_str(answer.trim()).unwrap());
        assert_eq!(found.causes(), causes, "{:#}", found.0);
        found
    }
}

impl Found {
    fn diagnoses(&self) -> &Vec<Value> {
        self.0["diagnoses"].as_array().unwrap()
    }

    fn causes(&self) -> Vec<&str> {
        self.diagnoses().iter().map(|one| one["cause"].as_str().unwrap()).collect()
    }

    /// The advice on one of the causes, by its place.
    pub(crate) fn help(&self, place: usize) -> &str {
        self.diagnoses()[place]["help"].as_str().unwrap()
    }

    /// What is said of one of the causes, by its place.
    pub(crate) fn words(&self, place: usize) -> &str {
        self.diagnoses()[place]["message"].as_str().unwrap()
    }

    pub(crate) fn confidence(&self, place: usize) -> &str {
        self.diagnoses()[place]["confidence"].as_str().unwrap()
    }

    /// What one of the causes was seen by.
    pub(crate) fn evidence(&self, place: usize) -> String {
        self.diagnoses()[place]["evidence"].to_string()
    }

    /// Does what the advice on one of the causes says.
    #[track_caller]
    pub(crate) fn follow(&self, place: usize) {
        self.follow_with(place, &[]);
    }

    /// The same with what a person would fill in.
    #[track_caller]
    pub(crate) fn follow_with(&self, place: usize, fill: &[(&str, &str)]) {
        let help = self.help(place);
        let mut advised = help.split('`').nth(1).unwrap_or_else(|| panic!("{help}")).to_owned();
        for (blank, value) in fill {
            assert!(advised.contains(blank), "{advised} has no {blank}");
            advised = advised.replace(blank, value);
        }
        self.does(&advised);
    }

    /// Does what stands last in the advice on one of the causes, and tells what
    /// came of it.
    #[track_caller]
    pub(crate) fn follow_last(&self, place: usize) -> String {
        self.does(self.help(place).rsplit('`').nth(1).unwrap())
    }

    #[expect(clippy::unused_self, reason = "it reads like its sisters")]
    #[track_caller]
    fn does(&self, advised: &str) -> String {
        // As in a shell where `cargo kdev` is installed.
        let program = Path::new(env!("CARGO_BIN_EXE_cargo-kdev"));
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", program.parent().unwrap().display());
        let mut shell = command("sh");
        shell.args(["-ec", advised]).env("PATH", path).env("KUBECONFIG", state("kubeconfig"));
        shell.env("KDEV_SSH_CONFIG", state("ssh/config")).current_dir(state(""));
        run(&mut shell)
    }
}

impl Scene {
    /// Whether an image is the scene's, whatever its tag: that may be a name of
    /// another scene's, such as `latest`.
    fn is_of(&self, image: &str) -> bool {
        let name = image.rsplit('/').next().unwrap();
        let name = name.split([':', '@']).next().unwrap();
        name.strip_prefix("unused-").unwrap_or(name) == self.name
    }

    /// Removes the images, and then the namespace, which shows that there was something.
    fn clean(&self) {
        for node in NODES {
            for namespace in ["k8s.io", "default"] {
                let list = in_node(node, &["ctr", "-n", namespace, "images", "ls", "-q"]).output();
                let names = String::from_utf8(list.unwrap().stdout).unwrap();
                for name in names.lines().filter(|name| self.is_of(name)) {
                    run(&mut in_node(node, &["ctr", "-n", namespace, "images", "rm", name]));
                }
            }
        }
        let format = "{{.Repository}}:{{.Tag}}";
        let tags = run(&mut docker(&["image", "ls", "--format", format]));
        images::remove_later(tags.lines().filter(|tag| self.is_of(tag)));
        namespace::delete(self.name);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::env::var_os("KDEV_KEEP").is_none() {
            self.clean();
        }
    }
}

/// Lines of a container's in a manifest.
fn indented(lines: &str, by: &str) -> String {
    lines
        .lines()
        .filter(|line| !line.is_empty())
        .fold(String::new(), |text, line| text + by + line + "\n")
}
