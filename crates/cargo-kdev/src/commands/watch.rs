//! `cargo kdev up --watch`: its flags, keys and output.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};

use clap::Args;
use kdev::{
    Cx, Error, Interrupt, LogBatch, UpRequest, WatchControl, WatchOutput, WatchRequest, WhyRequest,
};

use crate::ui::keyboard::{Input, Keyboard, signal_group};
use crate::ui::watch::WatchState;
use crate::ui::{NOTE, Ui};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of --watch")]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub(crate) struct WatchArgs {
    /// Deploy again after each change of a file that the build or the deployment depends on
    #[arg(long, conflicts_with_all = ["dry_run", "inputs"])]
    pub(crate) watch: bool,
    /// Port to forward: of this machine and of the pod, or one for both (repeatable)
    /// [default: the TCP ports of the project's first workload]
    #[arg(long, value_name = "PORT", requires = "watch")]
    forward: Vec<String>,
    /// Forward no port
    #[arg(long, requires = "watch", conflicts_with = "forward")]
    no_forward: bool,
    /// Do not show the logs of the pods
    #[arg(long, requires = "watch")]
    no_logs: bool,
    /// Run this shell command after each cycle whose pods are ready; the next cycle stops it
    #[arg(long, value_name = "COMMAND", requires = "watch")]
    then: Option<String>,
    /// Notify the terminal at the end of each cycle
    #[arg(long, requires = "watch")]
    pub(crate) notify: bool,
    /// At the end, delete the package, unless it was applied before the watch
    #[arg(long, requires = "watch")]
    down_on_exit: bool,
    /// At the end, print how long the last ten deployments and their stages took
    #[arg(long, requires = "watch")]
    pub(crate) timings: bool,
}

/// A running watch.
struct Session<'a> {
    ui: &'a Ui,
    cx: &'a Cx<'a>,
    request: &'a UpRequest,
    control: &'a WatchControl,
    interrupt: &'a Interrupt,
    has_ended: AtomicBool,
    /// Whether the problems are being explained.
    is_explaining: AtomicBool,
}

/// Ends the thread that reads keys, also after a panic.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Ui {
    /// Runs a watch, and prints the errors after which it continues.
    pub(crate) fn watch(
        &self,
        cx: &Cx,
        mut request: WatchRequest,
        interrupt: &Interrupt,
        shows_timings: bool,
    ) -> Result<(), Error> {
        request.logs &= !self.quiet;
        self.state().watch = Some(WatchState::default());
        let WatchRequest { up, control, .. } = &request;
        let has_ended = AtomicBool::new(false);
        let is_explaining = AtomicBool::new(false);
        let session =
            Session { ui: self, cx, request: up, control, interrupt, has_ended, is_explaining };
        let result = thread::scope(|scope| {
            if let Some(keyboard) = self.open_keyboard() {
                scope.spawn(|| session.handle_keys(scope, keyboard));
            }
            let _end = End(&session.has_ended);
            self.run_watch(cx, &request, interrupt)
        });
        let watch = self.state().watch.take();
        self.bars.hide_status();
        if let Some(watch) = watch.filter(|_| shows_timings) {
            self.print_plain(&watch.timings.format());
        }
        result
    }

    fn run_watch(
        &self,
        cx: &Cx,
        request: &WatchRequest,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let show_error = |error: &Error| {
            self.clear_bars();
            self.bars.suspend(|| self.print_error(error));
        };
        let show_log = |batch: &LogBatch| {
            if !self.state().watch.as_ref().is_some_and(|watch| watch.hides_logs) {
                self.bars.suspend(|| self.print_log(batch, false));
            }
            if self.json && self.stdout.has_ended() {
                interrupt.raise();
            }
        };
        kdev::watch(cx, request, WatchOutput { show_error: &show_error, show_log: &show_log })
    }
}

impl Session<'_> {
    fn handle_keys<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, keyboard: &Keyboard) {
        while !self.has_ended.load(Ordering::SeqCst) {
            match keyboard.read() {
                // What is typed from now on is for the shell.
                Some(Input::Key(b'q' | b'Q')) => {
                    keyboard.close();
                    self.control.end();
                    self.interrupt.raise();
                    return;
                }
                // The width of the terminal may have changed.
                None => self.ui.update_status(),
                // The status line is below what the shell prints.
                Some(Input::Signal(signal)) => self.ui.bars.suspend(|| signal_group(signal)),
                Some(Input::Key(key)) => self.handle_key(scope, key.to_ascii_lowercase()),
            }
        }
    }

    fn handle_key<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, key: u8) {
        match key {
            b'r' => self.control.deploy(),
            b'p' => {
                let is_paused = self.control.toggle_pause();
                if let Some(watch) = &mut self.ui.state().watch {
                    watch.is_paused = is_paused;
                }
                self.ui.update_status();
            }
            b't' => {
                let table = self.ui.state().watch.as_ref().map(|watch| watch.timings.format());
                self.ui.print_plain(&table.unwrap_or_default());
            }
            b'l' => self.toggle_logs(),
            // A cluster that does not respond must not keep the other keys waiting.
            b'w' if !self.is_explaining.swap(true, Ordering::SeqCst) => {
                scope.spawn(|| {
                    self.explain();
                    self.is_explaining.store(false, Ordering::SeqCst);
                });
            }
            b'\n' | b'\r' => self.ui.print_plain("\n"),
            _ => {}
        }
    }

    fn toggle_logs(&self) {
        let hides_logs = self.ui.state().watch.as_mut().is_some_and(|watch| {
            watch.hides_logs = !watch.hides_logs;
            watch.hides_logs
        });
        let text = if hides_logs { "the logs are hidden" } else { "the logs are shown" };
        self.ui.print_line(NOTE, "Note", text);
    }

    /// Explains the problems in the namespace to which the watch deploys.
    fn explain(&self) {
        let mut target = self.request.target.clone();
        if let Some(context) = self.control.context() {
            target.context = Some(context);
        }
        let request = WhyRequest {
            query: None,
            selection: self.request.selection.clone(),
            target,
            record: None,
            replay: None,
            flags: self.request.flags.clone(),
        };
        let result = kdev::why(self.cx, &request);
        self.ui.bars.suspend(|| match &result {
            Ok(report) => self.ui.print_why_report(report),
            Err(error) => self.ui.print_error(error),
        });
    }
}

impl WatchArgs {
    /// Returns the request of a watch whose cycles have these options.
    pub(crate) fn into_request(self, up: UpRequest) -> WatchRequest {
        WatchRequest {
            up,
            then: self.then,
            down_on_exit: self.down_on_exit,
            logs: !self.no_logs,
            forward: !self.no_forward,
            ports: self.forward,
            control: WatchControl::default(),
        }
    }
}
