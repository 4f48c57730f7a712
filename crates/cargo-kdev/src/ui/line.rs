//! An event as one line.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::HumanBytes;
use kdev::{CycleOutcome, Event, pluralize};

use crate::ui::follow;
use crate::ui::pruned::format_pruned;
use crate::ui::rollout;
use crate::ui::watch;

pub(crate) const DONE: Style = AnsiColor::Green.on_default().bold();
pub(crate) const NOTE: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const FAILED: Style = AnsiColor::Red.on_default().bold();

/// A line in the style of cargo: a verb, and a text.
pub(super) struct Line {
    pub(super) style: Style,
    pub(super) verb: &'static str,
    pub(super) text: String,
}

impl Line {
    /// Returns the line of an event, if it is printed as a line. Progress is shown by bars.
    pub(super) fn new(event: &Event) -> Option<Self> {
        let (style, verb, text) = match event {
            Event::Building { target, .. } => (DONE, "Building", target.clone()),
            Event::Built { image, duration, .. } => {
                (DONE, "Built", format!("{image} in {}", format_seconds(*duration)))
            }
            Event::NodeSkipped { node, cause } => (NOTE, "Skipping", format!("{node}: {cause}")),
            Event::Loaded { node, bytes, reused, duration } => {
                (DONE, "Loaded", format!("{node}: {}", format_sent(*bytes, *reused, *duration)))
            }
            Event::AlreadyPresent { node, .. } => {
                (DONE, "Present", format!("{node}: image is already loaded"))
            }
            Event::Pruned { node, engine, images, bytes } => {
                let verb = if images.is_empty() { "Unchanged" } else { "Removed" };
                (DONE, verb, format_pruned(node.as_deref(), *engine, images, *bytes))
            }
            Event::Applied { objects, context, namespaces } => {
                let namespaces = format_namespaces(namespaces);
                (DONE, "Applied", format!("{} to {context}{namespaces}", objects.join(", ")))
            }
            Event::Deleted { objects, context } => {
                (DONE, "Deleted", format!("{} from {context}", objects.join(", ")))
            }
            Event::Unchanged { context } => (DONE, "Unchanged", format!("{context} is up to date")),
            problem @ Event::Problem { .. } => (WARN, "Problem", rollout::format_problem(problem)),
            Event::Ready { workload, pods, duration } => {
                let (pods, seconds) = (pluralize(*pods, "pod"), format_seconds(*duration));
                (DONE, "Ready", format!("{workload}: {pods} in {seconds}"))
            }
            Event::RolledBack { workload } => {
                (WARN, "Rolled back", format!("{workload} to the previous revision"))
            }
            Event::Restarted { workloads, context } => {
                (DONE, "Restarted", format!("{} in {context}", workloads.join(", ")))
            }
            Event::Failed { message } => (FAILED, "Failed", message.clone()),
            Event::Note { text } | Event::ConfigChanged { text, .. } => {
                (NOTE, "Note", text.clone())
            }
            gap @ Event::LogGap { .. } => (WARN, "Gap", follow::format_gap(gap)),
            Event::Forward { pod: Some(_), .. } => {
                (DONE, "Forwarding", follow::format_forward(event))
            }
            Event::Forward { .. } => (NOTE, "Waiting", follow::format_forward(event)),
            Event::Address { .. } => (DONE, "Address", follow::format_address(event)),
            Event::CycleBegan { changed, .. } if !changed.is_empty() => {
                (NOTE, "Changed", watch::format_changed(changed))
            }
            Event::CycleEnded { outcome: CycleOutcome::Ready, duration, stages } => {
                (DONE, "Ready", watch::format_times(*duration, stages))
            }
            Event::CycleEnded { outcome: CycleOutcome::Unchanged, duration, stages } => {
                (NOTE, "Unchanged", watch::format_times(*duration, stages))
            }
            Event::CycleEnded { outcome: CycleOutcome::Stopped, .. } => {
                (NOTE, "Stopped", "because of newer changes".to_owned())
            }
            // The error of another failed cycle was already printed.
            Event::CycleEnded { outcome: CycleOutcome::FailedAgain, .. } => {
                (FAILED, "Failed", "with the same error as before".to_owned())
            }
            Event::CommandEnded { command, failure: Some(failure), .. } => {
                (FAILED, "Failed", format!("`{command}` {failure}"))
            }
            Event::Watching { inputs, newer } => {
                (NOTE, "Watching", watch::format_watching(*inputs, *newer))
            }
            Event::Wrote { image, path } => {
                (DONE, "Wrote", format!("{image} to {}", path.display()))
            }
            Event::Finished { image, duration } => {
                (DONE, "Finished", format!("{image} in {}", format_seconds(*duration)))
            }
            _ => return None,
        };
        Some(Self { style, verb, text })
    }
}

/// Formats the size of a load.
fn format_sent(bytes: u64, reused: u64, duration: Duration) -> String {
    let sent = format!("sent {} in {}", HumanBytes(bytes), format_seconds(duration));
    match reused {
        0 => sent,
        bytes => format!("{sent}, {} already present", HumanBytes(bytes)),
    }
}

/// Formats the namespaces of applied objects as the end of a line.
fn format_namespaces(namespaces: &[String]) -> String {
    match namespaces {
        [] => String::new(),
        [one] => format!(", namespace {one}"),
        many => format!(", namespaces {}", many.join(", ")),
    }
}

fn format_seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}
