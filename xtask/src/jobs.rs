//! Steps that run at the same time. The first failure ends the commands of all steps.

use anyhow::{Context, Error, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use xshell::Cmd;

/// A step, which runs in a separate thread.
pub(crate) type Step<'a> = Box<dyn FnOnce(&Jobs) -> Result<()> + Send + 'a>;

/// The running commands.
#[derive(Default)]
pub(crate) struct Jobs {
    running: Mutex<RunningCommands>,
}

#[derive(Default)]
struct RunningCommands {
    is_stopped: bool,
    pids: Vec<Pid>,
}

/// A command that failed, with its standard error.
#[derive(Debug)]
pub(crate) struct CommandError {
    name: &'static str,
    pub(crate) stderr: String,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.stderr)
    }
}

impl std::error::Error for CommandError {}

/// A command that was ended, or not started, because another step had failed.
#[derive(Debug)]
struct Canceled;

impl fmt::Display for Canceled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("canceled")
    }
}

impl std::error::Error for Canceled {}

impl Jobs {
    /// Runs all steps and returns the error of the step that failed first.
    pub(crate) fn run_all(&self, steps: Vec<Step<'_>>) -> Result<()> {
        let errors = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for step in steps {
                let errors = &errors;
                scope.spawn(move || {
                    let outcome = catch_unwind(AssertUnwindSafe(|| step(self)));
                    let panicked = |_| Err(anyhow!("a step panicked"));
                    if let Err(error) = outcome.unwrap_or_else(panicked) {
                        lock(errors).push(error);
                        self.stop();
                    }
                });
            }
        });
        let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        first_cause(errors).map_or(Ok(()), Err)
    }

    /// Runs a command and returns its stdout. `is_progress` gets each line of stderr; all other
    /// lines are part of the error if the command fails.
    pub(crate) fn run(
        &self,
        name: &'static str,
        command: Cmd<'_>,
        mut is_progress: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        let mut child = self.start(command)?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let (mut messages, mut output) = (Vec::new(), Ok(String::new()));
        thread::scope(|scope| {
            scope.spawn(|| output = io::read_to_string(stdout));
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            messages.extend(lines.filter(|line| !is_progress(line)));
        });
        messages.dedup();
        let status = self.wait(&mut child)?;
        match status.success() {
            true => Ok(output?),
            false if self.running().is_stopped => Err(Canceled.into()),
            false => Err(CommandError { name, stderr: messages.join("\n") }.into()),
        }
    }

    fn start(&self, command: Cmd<'_>) -> Result<Child> {
        let mut command = Command::from(command);
        let mut running = self.running();
        if running.is_stopped {
            return Err(Canceled.into());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        running.pids.push(pid(&child)?);
        Ok(child)
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let status = child.wait()?;
        let pid = pid(child)?;
        self.running().pids.retain(|other| *other != pid);
        Ok(status)
    }

    fn stop(&self) {
        let mut running = self.running();
        running.is_stopped = true;
        for pid in &running.pids {
            let _ = kill(*pid, Signal::SIGTERM);
        }
    }

    fn running(&self) -> MutexGuard<'_, RunningCommands> {
        lock(&self.running)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pid(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(child.id().try_into()?))
}

/// Returns the error of the first step that failed, not of a step that was canceled.
fn first_cause(errors: Vec<Error>) -> Option<Error> {
    let (consequences, causes): (Vec<_>, Vec<_>) =
        errors.into_iter().partition(Error::is::<Canceled>);
    causes.into_iter().chain(consequences).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::time::{Duration, Instant};
    use xshell::{Shell, cmd};

    #[test]
    fn failed_step_ends_commands_of_other_steps() {
        let start = Instant::now();
        let sleeps: Step<'_> = Box::new(|jobs| {
            let sh = Shell::new()?;
            jobs.run("sleep", cmd!(sh, "sleep 60"), |_| false).map(drop)
        });
        let fails: Step<'_> = Box::new(|_| {
            std::thread::sleep(Duration::from_millis(100));
            bail!("disk is full")
        });
        let error = Jobs::default().run_all(vec![sleeps, fails]).unwrap_err();
        assert_eq!(error.to_string(), "disk is full");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn command_returns_stdout_and_error_without_progress() {
        let (sh, jobs) = (Shell::new().unwrap(), Jobs::default());
        let script = "echo out; echo 1 of 2 >&2; echo bad >&2; exit $0";
        let run = |code: &str| {
            jobs.run("sh", cmd!(sh, "sh -c {script} {code}"), |line| line.contains(" of "))
        };
        assert_eq!(run("0").unwrap(), "out\n");
        assert_eq!(run("1").unwrap_err().to_string(), "sh: bad");
    }
}
