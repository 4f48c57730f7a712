//! The lines and the status line of a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kdev::{CycleOutcome, Event, Message, pluralize};

use crate::ui::progress::is_dumb;
use crate::ui::timings::Timings;

/// The keys, at the end of the status line.
const KEYS: &str = "r p l t w q";
/// The keys, with their meaning.
pub(super) const KEYS_NOTE: &str = "keys: `r` deploys again, `p` pauses, `l` hides logs, `t` shows times, `w` explains problems, `q` ends the watch";

/// Formats the files whose changes start a cycle.
pub(super) fn format_changed(changed: &[String]) -> String {
    match changed {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// Formats how long a cycle and its stages took.
pub(super) fn format_times(duration: Duration, stages: &[(&'static str, Duration)]) -> String {
    let stages: Vec<String> =
        stages.iter().map(|(name, time)| format!("{name} {:.1}", time.as_secs_f64())).collect();
    let separator = if stages.is_empty() { "" } else { ": " };
    format!("in {:.1}s{separator}{}", duration.as_secs_f64(), stages.join(", "))
}

/// Formats what a watch waits for.
pub(super) fn format_watching(inputs: usize, newer: u32) -> String {
    let inputs = pluralize(inputs as u64, "input");
    match newer {
        0 => inputs,
        newer => format!("{inputs}; {}", format_newer(newer)),
    }
}

fn format_newer(newer: u32) -> String {
    pluralize(u64::from(newer), "newer change")
}

/// What the events of a watch have shown.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Default)]
pub(crate) struct WatchState {
    /// The deployed image of each package; the package is empty if there is only one.
    images: BTreeMap<String, String>,
    /// The ready pods of each workload of each package.
    pods: BTreeMap<(String, String), u64>,
    /// Those of the last cycle.
    earlier_pods: BTreeMap<(String, String), u64>,
    /// The packages whose image is being built: builds print to the terminal themselves.
    building: BTreeSet<String>,
    outcome: Option<CycleOutcome>,
    inputs: usize,
    newer: u32,
    is_running: bool,
    /// Ports are forwarded, so the address is reached from this machine.
    pub(crate) has_forward: bool,
    pub(crate) is_paused: bool,
    pub(crate) hides_logs: bool,
    pub(crate) timings: Timings,
}

impl WatchState {
    pub(crate) fn record(&mut self, message: &Message) {
        self.record_event(message.package.as_deref().unwrap_or_default(), &message.event);
    }

    fn record_event(&mut self, package: &str, event: &Event) {
        let package = || package.to_owned();
        match event {
            Event::CycleBegan { .. } => {
                (self.is_running, self.newer) = (true, 0);
                self.earlier_pods = std::mem::take(&mut self.pods);
            }
            Event::Building { .. } => {
                self.building.insert(package());
            }
            Event::Built { image, .. } => {
                self.building.remove(&package());
                self.images.insert(package(), image.clone());
            }
            Event::Ready { workload, pods, .. } => {
                self.pods.insert((package(), workload.clone()), *pods);
            }
            Event::CycleEnded { outcome, duration, stages } => {
                self.is_running = false;
                self.building.clear();
                let deployed = self.pods.keys().map(|(package, _)| package.clone());
                let deployed: BTreeSet<String> = deployed.collect();
                let mut earlier = std::mem::take(&mut self.earlier_pods);
                earlier.retain(|(package, _), _| !deployed.contains(package));
                if *outcome == CycleOutcome::Unchanged {
                    self.pods = earlier;
                } else {
                    self.outcome = Some(*outcome);
                    // Of several packages, only those with a change are deployed.
                    if earlier.keys().any(|(package, _)| !package.is_empty()) {
                        self.pods.extend(earlier);
                    }
                }
                if *outcome == CycleOutcome::Ready {
                    self.timings.add(*duration, stages);
                }
            }
            Event::Forward { .. } => self.has_forward = true,
            Event::Watching { inputs, newer } => {
                (self.inputs, self.newer) = (*inputs, *newer);
            }
            _ => {}
        }
    }

    /// Returns whether the status line can be shown.
    pub(crate) fn has_status(&self) -> bool {
        self.building.is_empty() && (self.inputs > 0 || !self.images.is_empty())
    }

    /// Returns the verb of the status line.
    pub(crate) fn verb(&self) -> &'static str {
        match () {
            () if self.is_running => "Deploying",
            () if self.is_paused => "Paused",
            () => "Watching",
        }
    }

    /// Returns the text of the status line, which leaves out what does not fit into `width` columns.
    pub(crate) fn text(&self, width: usize) -> String {
        let (image, name) = match self.images.values().collect::<Vec<_>>()[..] {
            [] => (String::new(), String::new()),
            [image] => {
                let name = image.rsplit_once(':').map_or(image.as_str(), |(name, _)| name);
                (image.clone(), name.to_owned())
            }
            [_, ref rest @ ..] => {
                let packages = pluralize(rest.len() as u64 + 1, "package");
                (packages.clone(), packages)
            }
        };
        let state = if self.is_running { String::new() } else { self.state() };
        let inputs = if self.is_running { 0 } else { self.inputs };
        let inputs = if inputs == 0 { String::new() } else { pluralize(inputs as u64, "input") };
        let newer = if self.newer == 0 { String::new() } else { format_newer(self.newer) };
        let join = |parts: &[&String]| {
            let parts: Vec<&str> =
                parts.iter().map(|part| part.as_str()).filter(|part| !part.is_empty()).collect();
            parts.join(", ")
        };
        let whole = join(&[&image, &state, &inputs, &newer]);
        let short = join(&[&image, &state, &newer]);
        let forms = [
            format!("{whole} | {KEYS}"),
            format!("{short} | {KEYS}"),
            short,
            join(&[&name, &state, &newer]),
            join(&[&name, &newer]),
        ];
        let fits = |form: &&String| form.chars().count() <= width;
        forms.iter().find(fits).cloned().unwrap_or(newer)
    }

    /// Returns the state of the pods after a cycle.
    fn state(&self) -> String {
        match self.outcome {
            Some(CycleOutcome::Ready) if self.pods.is_empty() => "ready".to_owned(),
            Some(CycleOutcome::Ready) => pluralize(self.pods.values().sum(), "pod"),
            Some(CycleOutcome::Stopped) | None => String::new(),
            Some(_) => "failed".to_owned(),
        }
    }
}

/// Returns what notifies the terminal of the end of a cycle: its bell, after an OSC 9, which some
/// terminals show as a notification, and others ignore.
pub(super) fn format_notification(event: &Event) -> Option<String> {
    let Event::CycleEnded { outcome, duration, .. } = event else { return None };
    let text = match outcome {
        CycleOutcome::Ready => format!("ready in {:.1}s", duration.as_secs_f64()),
        // Not of each attempt while a node or the cluster is unreachable.
        CycleOutcome::Failed => "failed".to_owned(),
        _ => return None,
    };
    let osc = if is_dumb() { String::new() } else { format!("\x1b]9;cargo kdev: {text}\x1b\\") };
    Some(osc + "\x07")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_each_stage_that_ran() {
        let ms = Duration::from_millis;
        assert_eq!(format_times(ms(240), &[]), "in 0.2s");
        let stages = [("cargo", ms(700)), ("start", ms(1130))];
        assert_eq!(format_times(ms(2400), &stages), "in 2.4s: cargo 0.7, start 1.1");
    }

    #[test]
    fn watching_counts_inputs_and_newer_changes() {
        assert_eq!(format_watching(1, 0), "1 input");
        assert_eq!(format_watching(214, 1), "214 inputs; 1 newer change");
    }

    fn state(image: &str) -> WatchState {
        let images = [(String::new(), image.to_owned())].into();
        let pods = [((String::new(), "deployment/hello".to_owned()), 2)].into();
        let outcome = Some(CycleOutcome::Ready);
        WatchState { images, pods, outcome, inputs: 214, ..WatchState::default() }
    }

    #[test]
    fn status_leaves_out_what_does_not_fit() {
        let mut watch = state("hello:kdev-e8c955db66c3");
        let table = [
            (66, "hello:kdev-e8c955db66c3, 2 pods, 214 inputs | r p l t w q"),
            (54, "hello:kdev-e8c955db66c3, 2 pods | r p l t w q"),
            (40, "hello:kdev-e8c955db66c3, 2 pods"),
            (24, "hello, 2 pods"),
            (8, "hello"),
            (3, ""),
        ];
        for (width, expected) in table {
            assert_eq!(watch.text(width), expected, "{width}");
        }
        watch.newer = 1;
        let table = [
            (74, "hello:kdev-e8c955db66c3, 2 pods, 214 inputs, 1 newer change | r p l t w q"),
            (64, "hello:kdev-e8c955db66c3, 2 pods, 1 newer change | r p l t w q"),
            (24, "hello, 1 newer change"),
            (16, "1 newer change"),
        ];
        for (width, expected) in table {
            assert_eq!(watch.text(width), expected, "{width}");
        }
    }

    #[test]
    fn status_keeps_pods_of_other_packages() {
        let mut watch = WatchState::default();
        let mut deploy = |packages: &[&str]| {
            watch.record_event("", &Event::CycleBegan { changed: vec![], classes: vec![] });
            for package in packages {
                let (workload, duration) = (format!("deployment/{package}"), Duration::ZERO);
                watch.record_event(package, &Event::Ready { workload, pods: 2, duration });
            }
            let (duration, stages) = (Duration::ZERO, vec![]);
            let outcome = CycleOutcome::Ready;
            watch.record_event("", &Event::CycleEnded { outcome, duration, stages });
            watch.state()
        };
        assert_eq!(deploy(&["api", "web"]), "4 pods");
        assert_eq!(deploy(&["web"]), "4 pods");
    }

    #[test]
    fn status_has_state_of_cycle() {
        let mut watch = state("hello:kdev-e8c955db66c3");
        watch.outcome = Some(CycleOutcome::FailedAgain);
        assert_eq!(watch.text(46), "hello:kdev-e8c955db66c3, failed | r p l t w q");
        watch.outcome = Some(CycleOutcome::Stopped);
        assert_eq!(watch.text(40), "hello:kdev-e8c955db66c3 | r p l t w q");
        watch.images.insert("worker".to_owned(), "worker:kdev-0123456789ab".to_owned());
        assert_eq!(watch.text(40), "2 packages, 214 inputs | r p l t w q");
        watch.is_running = true;
        assert_eq!(
            (watch.verb(), watch.text(40)),
            ("Deploying", "2 packages | r p l t w q".into())
        );
        (watch.is_running, watch.is_paused) = (false, true);
        assert_eq!(watch.verb(), "Paused");
    }
}
