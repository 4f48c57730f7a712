//! Programs that outlive the task: started here, and found again by their
//! recorded process and its start time, so that a reused number fools nobody.

use super::node::Node;
use super::paths::state;
use super::{cgroup, wait};
use crate::term;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use xshell::Cmd;

/// Enters the group before anything else, and only then becomes the program.
const ENTER_GROUP: &str = r#"echo $$ > "$0" && exec "$@""#;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to be kept running.
pub(crate) struct Daemon {
    name: String,
    group: String,
    argv: Vec<OsString>,
    env: Vec<(String, String)>,
    output: PathBuf,
}

impl Daemon {
    /// One of the host's.
    pub(crate) fn new(name: &str, command: Cmd<'_>) -> Self {
        let command = Command::from(command);
        let argv = std::iter::once(command.get_program()).chain(command.get_args());
        Self {
            name: name.to_owned(),
            group: "host".to_owned(),
            argv: argv.map(OsString::from).collect(),
            env: vec![("PATH".into(), PATH.into()), ("HOME".into(), "/root".into())],
            output: log(name),
        }
    }

    /// One of a node's, in its namespaces.
    pub(crate) fn in_node(node: &Node, program: &str, command: Cmd<'_>) -> Result<Self> {
        let mut daemon = Self::new(&format!("{program}-{}", node.name), command);
        let mut argv = vec![OsString::from("nsenter")];
        argv.append(&mut node.enter()?);
        argv.append(&mut daemon.argv);
        daemon.argv = argv;
        daemon.group = node.group();
        Ok(daemon)
    }

    pub(crate) fn group(mut self, group: String) -> Self {
        self.group = group;
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where its standard output goes, if not to its log.
    pub(crate) fn output(mut self, path: PathBuf) -> Self {
        self.output = path;
        self
    }

    /// Starts it unless it runs.
    pub(crate) fn ensure(&self) -> Result<()> {
        if running(&self.name) {
            return Ok(());
        }
        term::status("Starting", self.name.replace("-node", " on node"));
        let pid = self.spawn().with_context(|| format!("cannot start {}", self.name))?;
        record(&self.name, pid)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the lab spawns what outlives it"
    )]
    fn spawn(&self) -> Result<u32> {
        let open = |path: &PathBuf| File::options().create(true).append(true).open(path);
        let child = Command::new("setsid")
            .args(["sh", "-c", ENTER_GROUP])
            .arg(cgroup::procs(&self.group))
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

/// The names of all that was started, by the order of their starts.
pub(crate) fn recorded() -> Vec<(String, i32)> {
    let mut found: Vec<(String, i32)> = fs::read_dir(state("run"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".pid")?.to_owned()))
        .filter_map(|name| Some((name.clone(), read(&name)?.0)))
        .collect();
    found.sort_by_key(|(_, pid)| *pid);
    found
}

/// The process of a daemon, where it still is the one that was started.
pub(crate) fn pid(name: &str) -> Option<i32> {
    let (pid, started) = read(name)?;
    (start_time(pid)? == started).then_some(pid)
}

/// Drops the record of one that is not needed any more.
pub(crate) fn forget(name: &str) {
    let _ = fs::remove_file(pid_file(name));
}

pub(crate) fn running(name: &str) -> bool {
    pid(name).is_some()
}

/// Ends a daemon, and waits until it has ended.
pub(crate) fn stop(name: &str) -> Result<()> {
    if let Some(pid) = pid(name) {
        // It may have ended by itself just now.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    wait::until(&format!("the end of {name}"), 20, || !running(name))
}

/// Waits for a daemon to answer, and gives up early where it has died.
pub(crate) fn answers(name: &str, seconds: u64, mut ready: impl FnMut() -> bool) -> Result<()> {
    let mut dead = false;
    let answered = wait::until(name, seconds, || {
        dead = !running(name);
        dead || ready()
    });
    if dead {
        return Err(crash(name));
    }
    answered.with_context(|| format!("see `{}`", log(name).display()))
}

fn crash(name: &str) -> anyhow::Error {
    let text = fs::read_to_string(log(name)).unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(empty)");
    term::Advised::error(
        format!("{name} has ended: {last}"),
        format!("read `{}`", log(name).display()),
    )
}

fn record(name: &str, pid: u32) -> Result<()> {
    let pid = i32::try_from(pid)?;
    let started = start_time(pid).unwrap_or(0);
    fs::write(pid_file(name), format!("{pid}\n{started}\n"))?;
    Ok(())
}

fn read(name: &str) -> Option<(i32, u64)> {
    let text = fs::read_to_string(pid_file(name)).ok()?;
    let mut lines = text.lines();
    Some((lines.next()?.parse().ok()?, lines.next()?.parse().ok()?))
}

fn pid_file(name: &str) -> PathBuf {
    state("run").join(format!("{name}.pid"))
}

/// When a process began, in ticks since boot; none for the dead and zombies.
fn start_time(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may hold anything.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}
