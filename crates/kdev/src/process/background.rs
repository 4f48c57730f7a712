//! Children that run while other commands do.

use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::cx::{Cx, Interrupt};
use crate::process::child::{
    EXIT_GRACE_PERIOD, PipeReader, has_exited, send_lines, spawn, supervise,
};
use crate::process::{Command, Failure, Outcome};

/// How often an interrupt is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A child that ends when its stdin is closed, also if kdev is killed. It is terminated if it
/// does not end soon after this value is dropped.
pub(crate) struct BackgroundChild {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<PipeReader>,
    display: String,
}

impl Command {
    /// Starts the command and returns while it runs.
    pub(crate) fn start(self) -> Result<BackgroundChild, Failure> {
        let display = self.to_string();
        let mut command = self.into_std();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command, &display)?;
        let (send, lines) = mpsc::channel();
        send_lines(child.stdout.take(), &send);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take().map(PipeReader::read_tail));
        Ok(BackgroundChild { child, stdin, lines, stderr, display })
    }
}

impl BackgroundChild {
    /// Waits until the child prints a line that ends with this text. It is an error if the
    /// child exits before, or does not print the line in time.
    pub(crate) fn wait_for_line(
        &mut self,
        cx: &Cx,
        end: &str,
        limit: Duration,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            match self.lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) if line.ends_with(end) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(self.fail(None)),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
            if cx.interrupt().is_raised() {
                return Err(self.fail(Some(Outcome::Interrupted)));
            }
            if started.elapsed() > limit {
                return Err(self.fail(Some(Outcome::TimedOut(limit))));
            }
        }
    }

    /// Returns whether the child is running.
    pub(crate) fn is_running(&mut self) -> bool {
        !has_exited(&mut self.child)
    }

    /// Ends the child and returns why it was of no use.
    fn fail(&mut self, outcome: Option<Outcome>) -> Failure {
        self.end();
        let stderr = self.stderr.take().map(PipeReader::into_text).unwrap_or_default();
        let exited = self.child.wait().map(Outcome::from_status);
        let outcome = outcome.or(exited.ok()).unwrap_or(Outcome::Interrupted);
        Failure { command: self.display.clone(), outcome, stderr }
    }

    fn end(&mut self) {
        drop(self.stdin.take());
        let _ = supervise(
            &Interrupt::never(),
            Some(EXIT_GRACE_PERIOD),
            &mut [&mut self.child],
            &mut || None,
        );
    }
}

impl Drop for BackgroundChild {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::{Shell, cmd};

    fn start(script: &str) -> BackgroundChild {
        let sh = Shell::new().unwrap();
        Command::new(cmd!(sh, "sh -c {script}")).start().unwrap()
    }

    #[test]
    fn child_ends_with_its_stdin() {
        let events = |_| ();
        let mut child = start("echo noise; echo is ready; cat");
        child.wait_for_line(&Cx::new(&events), "ready", Duration::from_secs(10)).unwrap();
        assert!(child.is_running());
        let started = Instant::now();
        child.end();
        assert!(!child.is_running() && started.elapsed() < EXIT_GRACE_PERIOD);
    }

    #[test]
    fn missing_line_shows_exit_code_and_stderr() {
        let events = |_| ();
        let mut child = start("echo why >&2; exit 7");
        let failure = child.wait_for_line(&Cx::new(&events), "ready", Duration::from_secs(10));
        let failure = failure.unwrap_err();
        assert_eq!((failure.outcome, failure.stderr.trim()), (Outcome::Code(7), "why"));
    }

    #[test]
    fn missing_line_ends_child_at_limit_and_interrupt() {
        let events = |_| ();
        let (limit, interrupt) = (Duration::from_millis(50), Interrupt::never());
        let mut child = start("cat");
        let failure = child.wait_for_line(&Cx::new(&events), "ready", limit).unwrap_err();
        assert_eq!(failure.outcome, Outcome::TimedOut(limit));
        interrupt.raise();
        let mut child = start("cat");
        let cx = Cx::new(&events).with_interrupt(interrupt);
        let failure = child.wait_for_line(&cx, "ready", Duration::from_secs(10)).unwrap_err();
        assert!(failure.is_interrupt() && !child.is_running());
    }
}
