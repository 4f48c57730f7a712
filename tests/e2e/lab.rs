//! Access to the lab: its state folder, `kubectl`, Docker, the nodes and the registry, and
//! helpers that wait for the cluster and follow the help of a message.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use crate::api::get;
use crate::failure_report::describe_cluster;
use crate::times::record_wait;

/// The longest time that `wait_for` waits.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(120);
/// The context of the lab, the only one that the tests use.
const CONTEXT: &str = "kdev-lab";

/// Returns the path of a file in the lab's state folder.
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

/// Returns a command that is killed when the test ends, even if the whole run is killed.
pub(crate) fn bound_command(program: &str) -> Command {
    let mut command = command("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Returns a free port: this one, which keeps recorded texts the same, or any other if it is 0
/// or in use. A port that the system selects could be given to another test, or to a connection,
/// before its program listens on it.
pub(crate) fn free_port(host: &str, preferred: u16) -> u16 {
    /// Below the ports of connections and of Services.
    const FIRST: u32 = 20_000;
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| TcpListener::bind((host, *port)).is_ok();
    if preferred != 0 && is_free(&preferred) {
        return preferred;
    }
    // Another run has another process ID.
    let first = std::process::id() % 100 * 100;
    let next = || FIRST + (first + COUNT.fetch_add(1, Ordering::SeqCst)) % 10_000;
    std::iter::repeat_with(|| next().try_into().unwrap()).take(10_000).find(is_free).unwrap()
}

/// Runs a command and returns its standard output; fails the test if the command fails.
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

/// Returns a `kubectl` command for the lab's context, independent of the environment.
pub(crate) fn kubectl(namespace: &str, args: &[&str]) -> Command {
    let mut command = command("kubectl");
    command.arg("--kubeconfig").arg(state("kubeconfig"));
    command.args(["--context", CONTEXT, "--namespace", namespace]).args(args);
    command
}

/// Applies a manifest client-side, as a user would.
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

/// Returns a command that runs as root in a node.
pub(crate) fn in_node(node: &str, args: &[&str]) -> Command {
    let holder = fs::read_to_string(state(&format!("nodes/{node}/pid"))).unwrap();
    let mut nsenter = command("nsenter");
    nsenter.args(["--target", holder.trim(), "--net", "--mount", "--uts", "--"]).args(args);
    nsenter
}

/// Returns the names of the node's images that contain `text`.
pub(crate) fn images_on(node: &str, text: &str) -> Vec<String> {
    let list = run(&mut in_node(node, &["ctr", "-n", "k8s.io", "images", "ls", "-q"]));
    list.lines().filter(|name| name.contains(text)).map(str::to_owned).collect()
}

/// Returns the host and port of the lab's registry.
pub(crate) fn registry_address() -> String {
    let config = fs::read_to_string(state("registry.yml")).unwrap();
    let address = config.lines().find_map(|line| line.trim().strip_prefix("addr:"));
    address.unwrap().trim().to_owned()
}

/// Counts the requests to the registry whose log line contains `text`.
pub(crate) fn count_registry_requests(text: &str) -> usize {
    let log = fs::read_to_string(state("registry.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains(text)).count()
}

/// Polls until `poll` returns a value. The message of a timeout describes the test's namespace.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = poll() {
            record_wait(what, started.elapsed());
            return answer;
        }
        assert!(
            started.elapsed() < CLUSTER_TIMEOUT,
            "timed out after {CLUSTER_TIMEOUT:?} waiting for {what}\n{}",
            describe_cluster()
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// Runs the first command in the help of an error message.
#[track_caller]
pub(crate) fn run_help(message: &str) {
    let help_command = message.split("  help: ").nth(1).unwrap().split('`').nth(1).unwrap();
    run(command("sh").args(["-c", help_command]));
}

/// Runs a command line on a new terminal, and types `answer` each time the output ends with
/// `end`. Returns the output.
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
        // The program may discard input that was typed before the question.
        if output.ends_with(end.as_bytes()) {
            keyboard.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&output).replace('\r', "")
}

/// Returns the path of a program on this machine.
pub(crate) fn program_path(program: &str) -> String {
    run(command("sh").args(["-c", &format!("command -v {program}")])).trim().to_owned()
}

pub(crate) fn stderr_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
