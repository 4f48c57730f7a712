//! `cargo kdev up --watch`: flags and keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Args;
use kdev::{Cx, Error, Interrupt, UpRequest, WatchControl, WhyRequest};

use crate::ui::Ui;
use crate::ui::keyboard::{Input, Keyboard, signal_group};
use crate::ui::watch::WatchState;

#[derive(Clone, Debug, Args)]
pub(crate) struct WatchArgs {
    /// Deploy again after each change of a file that the build or the deployment depends on
    #[arg(long, conflicts_with_all = ["dry_run", "inputs"])]
    pub(crate) watch: bool,
    /// At the end of a watch, print how long the last ten deployments and their stages took
    #[arg(long, requires = "watch")]
    timings: bool,
}

/// A running watch.
struct Session<'a> {
    ui: &'a Ui,
    cx: &'a Cx<'a>,
    request: &'a UpRequest,
    control: WatchControl,
    interrupt: &'a Interrupt,
    has_ended: AtomicBool,
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
        args: &WatchArgs,
        request: &UpRequest,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        self.state().watch = Some(WatchState::default());
        let (control, has_ended) = (WatchControl::default(), AtomicBool::new(false));
        let session = Session { ui: self, cx, request, control, interrupt, has_ended };
        let result = thread::scope(|scope| {
            if let Some(keyboard) = self.open_keyboard() {
                scope.spawn(|| session.handle_keys(keyboard));
            }
            let _end = End(&session.has_ended);
            kdev::watch(cx, request, &session.control, |error| {
                self.clear_bars();
                self.print_error(error);
            })
        });
        let watch = self.state().watch.take();
        self.bars.hide_status();
        if let Some(watch) = watch.filter(|_| args.timings) {
            self.print_plain(&watch.timings.format());
        }
        result
    }
}

impl Session<'_> {
    fn handle_keys(&self, keyboard: &Keyboard) {
        while !self.has_ended.load(Ordering::SeqCst) {
            match keyboard.read() {
                // What is typed from now on is for the shell.
                Some(Input::Key(b'q' | b'Q')) => {
                    self.control.end();
                    self.interrupt.raise();
                    return;
                }
                // The width of the terminal may have changed.
                None => self.ui.update_status(),
                // The status line is below what the shell prints.
                Some(Input::Signal(signal)) => self.ui.bars.suspend(|| signal_group(signal)),
                Some(Input::Key(key)) => self.handle_key(key.to_ascii_lowercase()),
            }
        }
    }

    fn handle_key(&self, key: u8) {
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
            b'w' => self.explain(),
            b'\n' | b'\r' => self.ui.print_plain("\n"),
            _ => {}
        }
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
