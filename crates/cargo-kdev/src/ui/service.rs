//! The events of one of several services: lines that begin with the package, and one status line
//! for each package on a terminal.

use std::io::Write;

use indicatif::HumanBytes;
use kdev::Event;

use crate::ui::line::{Line, NOTE};
use crate::ui::{Ui, rollout};

impl Ui {
    /// Prints an event of a service.
    pub(super) fn print_service(&self, package: &str, event: Event) {
        let has_status = !self.bars.is_hidden();
        match event {
            Event::ToolOutput { line, .. } if has_status => {
                self.show_status(package, "Building", &line);
                self.hide(package, line);
            }
            Event::ToolOutput { line, .. } => {
                let _ = writeln!(anstream::stderr(), "{package}: {line}");
            }
            Event::Building { target, command, .. } => {
                let text = if self.verbose { command } else { target };
                self.print_progress(package, "Building", &text);
            }
            Event::Loading { node, bytes, .. } => {
                let text = format!("{node} ({})", HumanBytes(bytes));
                self.print_progress(package, "Loading", &text);
            }
            Event::Waiting { workload, ready, desired, pods } => {
                let text = rollout::format_full(&workload, ready, desired, &pods);
                self.print_progress(package, "Waiting", &text);
            }
            Event::Settling { workload, pods, containers, duration } => {
                let text = rollout::format_settling(&workload, pods, duration);
                let cause = rollout::format_settling_cause(&containers);
                self.print_progress(package, "Settling", &format!("{text}, {cause}"));
            }
            event => {
                if ends_status(&event) {
                    self.bars.clear(package);
                }
                if let Some(line) = Line::new(&event) {
                    self.print_line(line.style, line.verb, &format!("{package}: {}", line.text));
                }
            }
        }
    }

    /// Shows the progress in the status line of the package, or as a line without a terminal.
    fn print_progress(&self, package: &str, verb: &'static str, text: &str) {
        if self.bars.is_hidden() {
            self.print_line(NOTE, verb, &format!("{package}: {text}"));
        } else {
            self.show_status(package, verb, text);
        }
    }

    fn show_status(&self, package: &str, verb: &str, text: &str) {
        self.bars.show_spinner(package, verb, format!("{package}: {text}"));
    }
}

/// Returns whether nothing happens to the service until its next event.
fn ends_status(event: &Event) -> bool {
    matches!(
        event,
        Event::Built { .. }
            | Event::Loaded { .. }
            | Event::AlreadyPresent { .. }
            | Event::LoadFailed { .. }
            | Event::Ready { .. }
            | Event::Failed { .. }
            | Event::Finished { .. }
    )
}
