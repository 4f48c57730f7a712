//! A small project with fakes on PATH, and checks of the exit code and the complete output of
//! `cargo kdev` in it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::json_schema;

/// How long a started process may run: longer than any test on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
/// The configuration digest of the only image of the fake `docker`.
pub(crate) const CONFIG: &str =
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The image with its content tag.
pub(crate) const IMAGE: &str = "app:kdev-0123456789ab";

const MANIFEST: &str = "\
kind: Deployment
apiVersion: apps/v1
metadata: {name: app}
spec:
  template:
    spec:
      containers:
      - name: app
        image: app
      - name: other
        image: redis:7
";
const DEPLOYMENT: &str = r#"{"kind":"Deployment","metadata":{"name":"app","uid":"u","generation":1,"annotations":{"deployment.kubernetes.io/revision":"1"}},
  "spec":{"replicas":2},"status":{"observedGeneration":1,"replicas":2,"updatedReplicas":2,"availableReplicas":2}}"#;
/// The current `ReplicaSet` of the Deployment.
pub(crate) const REPLICA_SET: &str = r#"{"kind":"ReplicaSet","metadata":{"uid":"r","ownerReferences":[{"uid":"u"}],"annotations":{"deployment.kubernetes.io/revision":"1"}}}"#;
const CONTEXTS: &str = r#"{"current-context":"kind-test","contexts":[
  {"name":"kind-test","context":{"cluster":"here"}},{"name":"prod","context":{"cluster":"c"}}],
  "clusters":[{"name":"c","cluster":{"server":"https://10.0.0.9:6443"}},{"name":"here","cluster":{"server":"https://127.0.0.1:6443"}}]}"#;

/// The real tools that the fakes and the script on the node need.
const REAL_TOOLS: [&str; 23] = [
    "sh", "cat", "awk", "tr", "sed", "sleep", "grep", "mv", "cmp", "cut", "head", "touch", "mkdir",
    "rm", "printf", "diff", "kill", "env", "flock", "gzip", "tail", "date", "stty",
];

/// Returns a pod of the Deployment.
pub(crate) fn pod(name: &str, node: &str, container: &str, image: &str, status: &str) -> String {
    format!(
        r#"{{"kind":"Pod","metadata":{{"name":"{name}","ownerReferences":[{{"uid":"r"}}]}},
        "spec":{{"nodeName":"{node}","containers":[{{"name":"{container}","image":"{image}","imagePullPolicy":"Never"}}]}},
        "status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True"}}],"containerStatuses":[{status}]}}}}"#
    )
}

pub(crate) struct Project {
    root: TempDir,
}

/// Kills a process that runs in a folder if it is still running after [`LIMIT`]: a test that waits
/// for it would never end.
fn kill_later(pid: u32, folder: PathBuf) {
    thread::spawn(move || {
        thread::sleep(LIMIT);
        if fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
            let _ = kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL);
        }
    });
}

impl Project {
    /// Creates a crate `app` with a Dockerfile and a manifest, two nodes, and fakes with which
    /// `up` succeeds.
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("kdev-test-").tempdir().unwrap();
        let project = Self { root };
        for dir in ["src", "k8s", "fake", "bin", "tools"] {
            fs::create_dir(project.path(dir)).unwrap();
        }
        project.write("Cargo.toml", "[package]\nname = \"app\"\nedition = \"2024\"\n[workspace]\n");
        project.write("src/main.rs", "fn main() {}\n");
        project.write("Dockerfile", "FROM scratch\n");
        project.write("k8s/app.yaml", MANIFEST);
        project.write("fake/id", CONFIG);
        project.write("fake/contexts.json", CONTEXTS);
        project.write("fake/deployment.json", DEPLOYMENT);
        project.pods(&["n1", "n2"].map(|node| {
            let container = format!(r#"{{"name":"app","imageID":"{CONFIG}"}}"#);
            pod(&format!("app-{node}"), node, "app", IMAGE, &container)
        }));
        project.nodes(&[("n1", "10.0.0.1", "amd64"), ("n2", "10.0.0.2", "amd64")]);
        project.link_tools();
        project
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file in the project; `fake/NAME` controls a fake.
    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    /// Sets the objects with the label of the apply set, and adds them to its record.
    pub(crate) fn record_members(&self, ids: &str) -> &Self {
        let record = fs::read_to_string(self.path("fake/inventory")).unwrap();
        let (before, rest) = record.split_once(r#""members":""#).unwrap();
        let (recorded, after) = rest.split_once('"').unwrap();
        let mut members: Vec<String> = recorded.split(r"\n").map(str::to_owned).collect();
        for member in ids.lines().map(|id| format!("default {id}")) {
            if !members.contains(&member) {
                members.push(member);
            }
        }
        let members = members.join(r"\n");
        self.write("fake/inventory", &format!(r#"{before}"members":"{members}"{after}"#));
        self.write("fake/members", ids)
    }

    pub(crate) fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    /// Adds the table `[package.metadata.kdev]` with these lines.
    pub(crate) fn config(&self, lines: &str) -> &Self {
        let cargo = fs::read_to_string(self.path("Cargo.toml")).unwrap();
        // cargo rejects a second table, so that a test would check the error.
        assert!(!cargo.contains("[package.metadata.kdev]"), "{cargo}");
        self.write("Cargo.toml", &format!("{cargo}\n[package.metadata.kdev]\n{lines}\n"))
    }

    /// Sets the nodes of the cluster: name, address and architecture.
    pub(crate) fn nodes(&self, nodes: &[(&str, &str, &str)]) -> &Self {
        let items: Vec<String> = nodes.iter().map(|(name, address, arch)| format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"providerID":"kind://docker/test/{name}"}},"status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}}],
            "nodeInfo":{{"machineID":"{name}","bootID":"b","operatingSystem":"linux","architecture":"{arch}","containerRuntimeVersion":"containerd://1.6.20"}}}}}}"#
        )).collect();
        for (name, address, _) in nodes {
            self.machine(address, name, "b").machine(name, name, "b");
        }
        self.write("fake/nodes.json", &format!(r#"{{"items":[{}]}}"#, items.join(",")))
    }

    /// Sets the machine ID and the boot ID of the machine or container with this address.
    pub(crate) fn machine(&self, address: &str, machine_id: &str, boot_id: &str) -> &Self {
        self.write(&format!("fake/node-{address}.machine-id"), machine_id);
        self.write(&format!("fake/node-{address}.boot-id"), boot_id)
    }

    /// Sets the new pods of the Deployment.
    pub(crate) fn pods(&self, pods: &[String]) -> &Self {
        self.write("fake/pods.json", &format!("{REPLICA_SET},{}", pods.join(",")))
    }

    /// Changes the node objects.
    pub(crate) fn edit_nodes(&self, before: &str, after: &str) -> &Self {
        let nodes = fs::read_to_string(self.path("fake/nodes.json")).unwrap();
        assert!(nodes.contains(before), "{nodes}");
        self.write("fake/nodes.json", &nodes.replace(before, after))
    }

    /// Sets a Deployment whose controller has not created pods yet.
    pub(crate) fn remove_pods(&self) -> &Self {
        let live = r#"{"kind":"Deployment","metadata":{"name":"app","generation":1},"spec":{"replicas":1},"status":{}}"#;
        self.write("fake/deployment.json", live)
    }

    /// Adds a script to PATH.
    pub(crate) fn script(&self, name: &str, text: &str) -> &Self {
        let path = self.path("bin").join(name);
        // A link to a fake, which other tests use, too.
        let _ = fs::remove_file(&path);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Returns the command lines of the fakes.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.path("fake/log")).unwrap_or_default()
    }

    /// Returns the images on a node, sorted.
    pub(crate) fn images_on(&self, address: &str) -> Vec<String> {
        let file = self.path(&format!("fake/node-{address}/images"));
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut names: Vec<String> =
            text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        names.sort();
        names
    }

    pub(crate) fn applied(&self) -> Option<String> {
        fs::read_to_string(self.path("fake/applied")).ok()
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        self.run_with(&[], args)
    }

    /// Runs in a directory of the project.
    pub(crate) fn run_in<S: AsRef<OsStr>>(&self, dir: &str, args: &[S]) -> Ran {
        let output = self.command(args).current_dir(self.path(dir)).output().unwrap();
        check_json(args, &output);
        Ran { output: self.redacted(&output), code: output.status.code() }
    }

    /// Runs with additional environment variables.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, env: &[(&str, &str)], args: &[S]) -> Ran {
        let output = self.command(args).envs(env.iter().copied()).output().unwrap();
        check_json(args, &output);
        Ran { output: self.redacted(&output), code: output.status.code() }
    }

    /// Runs a command line from a help text in a shell.
    #[expect(clippy::disallowed_methods, reason = "a test runs the command of a help text")]
    pub(crate) fn sh(&self, line: &str) -> &Self {
        let plain = self.command(&["--version"]);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-ec", line]).current_dir(self.root.path()).env_clear();
        shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert!(shell.status().unwrap().success(), "{line}");
        self
    }

    /// Runs in a terminal and answers each question with `answer`.
    pub(crate) fn run_in_terminal(&self, args: &[&str], answer: &str) -> String {
        let answer = format!("{answer}\n");
        self.type_in_terminal(80, &[], args, "[y/N] ", &answer)
    }

    /// Runs in a terminal with `columns` columns. Types `typed` whenever the output ends with
    /// `seen`.
    #[expect(clippy::disallowed_methods, reason = "a test runs a program itself")]
    pub(crate) fn type_in_terminal(
        &self,
        columns: usize,
        env: &[(&str, &str)],
        args: &[&str],
        seen: &str,
        typed: &str,
    ) -> String {
        let plain = self.command(args);
        let args = [plain.get_program()].into_iter().chain(plain.get_args());
        let args: Vec<&str> = args.map(|arg| arg.to_str().unwrap()).collect();
        let command = format!("stty cols {columns} rows 30; exec {}", args.join(" "));
        // A program that never prints `seen` would block the test.
        let mut terminal = Command::new("/usr/bin/timeout");
        let script = ["--verbose", "300", "/usr/bin/script", "-qec", &command, "/dev/null"];
        terminal.args(script).current_dir(self.root.path());
        terminal
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .envs(env.iter().copied());
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut keyboard = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let (mut output, mut byte) = (Vec::new(), [0]);
        while screen.read(&mut byte).unwrap() > 0 {
            output.push(byte[0]);
            if output.ends_with(seen.as_bytes()) {
                keyboard.write_all(typed.as_bytes()).unwrap();
            }
        }
        child.wait().unwrap();
        String::from_utf8(output).unwrap()
    }

    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        let mut command = self.command(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        kill_later(child.id(), self.root.path().to_owned());
        child
    }

    #[expect(clippy::disallowed_methods, reason = "a test runs the program itself")]
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kdev"));
        let cargo = Path::new(env!("CARGO"));
        let path = [self.path("bin"), self.path("tools"), cargo.parent().unwrap().to_owned()];
        command
            .arg("kdev")
            .args(args)
            .current_dir(self.root.path())
            .env_clear()
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("CARGO", cargo)
            .env("HOME", self.root.path())
            .env("FAKE", self.path("fake"))
            // Most manifests of the tests have no readiness probe.
            .env("KDEV_SETTLE", "0")
            .stdin(Stdio::null());
        command
    }

    fn redacted(&self, output: &Output) -> [String; 2] {
        let root = self.root.path().to_str().unwrap();
        [&output.stdout, &output.stderr].map(|bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap().replace(root, "[ROOT]");
            text.lines().map(|line| without_seconds(line) + "\n").collect()
        })
    }

    /// Adds a fake of Podman.
    pub(crate) fn install_podman(&self) -> &Self {
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/fakes/podman");
        symlink(fake.canonicalize().unwrap(), self.path("bin/podman")).unwrap();
        self
    }

    fn link_tools(&self) {
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/fakes");
        for fake in fs::read_dir(fakes).unwrap() {
            let fake = fake.unwrap().path().canonicalize().unwrap();
            // Only `install_podman` adds it.
            if fake.ends_with("podman") {
                continue;
            }
            symlink(&fake, self.path("bin").join(fake.file_name().unwrap())).unwrap();
        }
        for tool in REAL_TOOLS {
            let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool));
            let found = found.into_iter().find(|path| path.exists()).unwrap();
            symlink(found, self.path("tools").join(tool)).unwrap();
        }
    }
}

/// Checks the output of `--message-format json`.
fn check_json<S: AsRef<OsStr>>(args: &[S], output: &Output) {
    let is_json =
        |arg: &S| ["json", "--message-format=json"].iter().any(|json| arg.as_ref() == *json);
    if args.iter().any(is_json) {
        json_schema::check_lines(&String::from_utf8_lossy(&output.stdout));
    }
}

/// Replaces a duration such as `in 1.3s`, which differs between runs.
fn without_seconds(line: &str) -> String {
    match line.rsplit_once(" in ") {
        Some((rest, time))
            if time.ends_with('s') && time.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            format!("{rest} in [TIME]")
        }
        _ => line.to_owned(),
    }
}

/// The result of a run. Each check compares the complete output.
pub(crate) struct Ran {
    output: [String; 2],
    code: Option<i32>,
}

impl Ran {
    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stderr was:\n{}", self.output[1]);
        self
    }

    /// Compares stderr; `[..]` matches any text within a line.
    #[track_caller]
    pub(crate) fn stderr(&self, expected: &str) -> &Self {
        matches(&self.output[1], expected);
        self
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.code
    }

    pub(crate) fn out(&self) -> &str {
        &self.output[0]
    }

    pub(crate) fn err(&self) -> &str {
        &self.output[1]
    }

    /// Compares stderr from the first error on; the output of the build before it varies.
    #[track_caller]
    pub(crate) fn error(&self, expected: &str) -> &Self {
        let stderr = &self.output[1];
        matches(&stderr[stderr.find("error: ").unwrap_or(0)..], expected);
        self
    }

    #[track_caller]
    pub(crate) fn stdout(&self, expected: &str) -> &Self {
        matches(&self.output[0], expected);
        self
    }
}

#[track_caller]
fn matches(actual: &str, expected: &str) {
    snapbox::assert_data_eq!(actual, snapbox::Data::text(expected));
}
