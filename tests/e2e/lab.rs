//! The lab as the tests use it: its variables, its kubectl, its registry.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use crate::api::get;
use crate::times::record_wait;

/// How long anything in the cluster may take.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(120);
/// The only context that is ever touched.
const CONTEXT: &str = "kdev-lab";

/// The lab's state folder.
pub(crate) fn state(name: &str) -> PathBuf {
    let state = std::env::var_os("KDEV_LAB");
    PathBuf::from(state.expect("KDEV_LAB is not set: run `cargo xtask test`")).join(name)
}

#[expect(clippy::disallowed_methods, reason = "tests run programs themselves")]
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs it, and fails the test if it fails.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// kubectl on the lab's own context, whatever the environment says.
pub(crate) fn kubectl(namespace: &str, args: &[&str]) -> Command {
    let mut command = command("kubectl");
    command.arg("--kubeconfig").arg(state("kubeconfig"));
    command.args(["--context", CONTEXT, "--namespace", namespace]).args(args);
    command
}

/// Applies a text, client-side, as a person would.
#[track_caller]
pub(crate) fn apply(namespace: &str, manifest: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), manifest).unwrap();
    run(kubectl(namespace, &["apply", "--filename"]).arg(file.path()));
}

pub(crate) fn docker(args: &[&str]) -> Command {
    let mut docker = command("docker");
    docker.args(args);
    docker
}

/// A command as root within a node, as if one sat there.
pub(crate) fn in_node(node: &str, args: &[&str]) -> Command {
    let holder = fs::read_to_string(state(&format!("nodes/{node}/pid"))).unwrap();
    let mut nsenter = command("nsenter");
    nsenter.args(["--target", holder.trim(), "--net", "--mount", "--uts", "--"]).args(args);
    nsenter
}

/// Names of the node's images that hold this text.
pub(crate) fn images_on(node: &str, text: &str) -> Vec<String> {
    let list = run(&mut in_node(node, &["ctr", "-n", "k8s.io", "images", "ls", "-q"]));
    list.lines().filter(|name| name.contains(text)).map(str::to_owned).collect()
}

/// Where the lab's registry listens, host and port.
pub(crate) fn registry_address() -> String {
    let config = fs::read_to_string(state("registry.yml")).unwrap();
    let address = config.lines().find_map(|line| line.trim().strip_prefix("addr:"));
    address.unwrap().trim().to_owned()
}

/// The registry's requests so far that hold this text.
pub(crate) fn count_registry_requests(text: &str) -> usize {
    let log = fs::read_to_string(state("registry.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains(text)).count()
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = poll() {
            record_wait(what, begun.elapsed());
            return answer;
        }
        assert!(
            begun.elapsed() < CLUSTER_TIMEOUT,
            "{what} did not happen within {CLUSTER_TIMEOUT:?}"
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// Does what a message's help says.
#[track_caller]
pub(crate) fn run_help(message: &str) {
    let help_command = message.split("  help: ").nth(1).unwrap().split('`').nth(1).unwrap();
    run(command("sh").args(["-c", help_command]));
}

/// Runs a command line on a terminal of its own, on which somebody answers this
/// whenever a question ends so.
#[track_caller]
pub(crate) fn run_on_terminal(line: &str, setting: &Command, end: &str, answer: &str) -> String {
    let mut terminal = command("script");
    terminal.args(["-qec", line, "/dev/null"]);
    setting.get_current_dir().map(|dir| terminal.current_dir(dir));
    for (name, value) in setting.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut output, mut byte) = (Vec::new(), [0]);
    while screen.read(&mut byte).unwrap() > 0 {
        output.push(byte[0]);
        // What is typed before the question is asked may be thrown away.
        if output.ends_with(end.as_bytes()) {
            keyboard.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&output).replace('\r', "")
}

/// Where a program of this machine lies.
pub(crate) fn program_path(program: &str) -> String {
    run(command("sh").args(["-c", &format!("command -v {program}")])).trim().to_owned()
}

pub(crate) fn stderr_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
