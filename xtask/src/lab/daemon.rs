//! Programs that keep running after the task has ended.

use super::node::Node;
use super::paths::state;
use super::{cgroup, pid_file, wait};
use crate::term;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use xshell::Cmd;

/// Enters the control group first, so that every child is in it, too.
const ENTER_CGROUP: &str = r#"echo $$ > "$0" && exec "$@""#;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that the lab starts in the background.
pub(crate) struct Daemon {
    name: String,
    cgroup: String,
    argv: Vec<OsString>,
    env: Vec<(String, String)>,
    output: PathBuf,
}

impl Daemon {
    /// Creates a daemon of the host.
    pub(crate) fn new(name: &str, command: Cmd<'_>) -> Self {
        let command = Command::from(command);
        let argv = std::iter::once(command.get_program()).chain(command.get_args());
        Self {
            name: name.to_owned(),
            cgroup: "host".to_owned(),
            argv: argv.map(OsString::from).collect(),
            env: vec![("PATH".into(), PATH.into()), ("HOME".into(), "/root".into())],
            output: log(name),
        }
    }

    /// Creates a daemon that runs in the namespaces of a node.
    pub(crate) fn in_node(node: &Node, program: &str, command: Cmd<'_>) -> Result<Self> {
        let mut daemon = Self::new(&format!("{program}-{}", node.name), command);
        let mut argv = vec![OsString::from("nsenter")];
        argv.append(&mut node.nsenter_args()?);
        argv.append(&mut daemon.argv);
        daemon.argv = argv;
        daemon.cgroup = node.cgroup();
        Ok(daemon)
    }

    pub(crate) fn cgroup(mut self, cgroup: String) -> Self {
        self.cgroup = cgroup;
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the file for standard output; the default is the log.
    pub(crate) fn output(mut self, path: PathBuf) -> Self {
        self.output = path;
        self
    }

    /// Starts the daemon unless it is running.
    pub(crate) fn ensure(&self) -> Result<()> {
        if pid_file::is_running(&self.name) {
            return Ok(());
        }
        term::status("Starting", self.name.replace("-node", " on node"));
        let pid = self.spawn().with_context(|| format!("failed to start {}", self.name))?;
        pid_file::write(&self.name, pid)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the only place where the lab starts background processes"
    )]
    fn spawn(&self) -> Result<u32> {
        let open = |path: &PathBuf| File::options().create(true).append(true).open(path);
        let child = Command::new("setsid")
            .args(["sh", "-c", ENTER_CGROUP])
            .arg(cgroup::procs_file(&self.cgroup))
            .args(&self.argv)
            .env_clear()
            .envs(self.env.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(open(&self.output)?)
            .stderr(open(&log(&self.name))?)
            .spawn()?;
        Ok(child.id())
    }
}

pub(crate) fn log(name: &str) -> PathBuf {
    state("log").join(format!("{name}.log"))
}

/// Stops a daemon and waits until its process has ended.
pub(crate) fn stop(name: &str) -> Result<()> {
    if let Some(pid) = pid_file::pid(name) {
        // The process may have ended in the meantime.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    wait::wait_until(&format!("the end of {name}"), 20, || !pid_file::is_running(name))
}

/// Waits until a daemon is ready, or fails as soon as its process has ended.
pub(crate) fn wait_until_ready(
    name: &str,
    seconds: u64,
    mut is_ready: impl FnMut() -> bool,
) -> Result<()> {
    let mut has_exited = false;
    let waited = wait::wait_until(name, seconds, || {
        has_exited = !pid_file::is_running(name);
        has_exited || is_ready()
    });
    if has_exited {
        return Err(exit_error(name));
    }
    waited.with_context(|| format!("see `{}`", log(name).display()))
}

fn exit_error(name: &str) -> anyhow::Error {
    let text = fs::read_to_string(log(name)).unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(empty)");
    term::ErrorWithHelp::error(
        format!("{name} has exited: {last}"),
        format!("read `{}`", log(name).display()),
    )
}
