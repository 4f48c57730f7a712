//! Many cycles of one `up --watch`: it must not grow, nor leave anything behind.

use super::cycles::{self, KEPT_BUILDS};
use super::growth::{Growth, Limit};
use super::leftovers::Leftovers;
use super::project::{self, Placement, Project};
use super::report::Section;
use super::watch_state::{self, WatchState};
use crate::term;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

const NAME: &str = "kdev-soak-watch";
/// Cycles before the first one that counts: caches are filled.
const WARM_UP: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long the processor time without a change is measured.
const IDLE: Duration = Duration::from_secs(30);
/// The largest part of a core without a change.
const MAX_IDLE: f64 = 0.003;
/// In MiB.
const MEMORY: Limit = Limit { factor: 1.0, amount: 4.0 };
/// The logs of old pods end at different times.
const NUMBER: Limit = Limit { factor: 1.0, amount: 1.0 };
const CONSTANT: Limit = Limit { factor: 1.0, amount: 0.0 };

/// A running watch, which is interrupted when dropped.
struct Watch<'a> {
    sh: &'a Shell,
    child: Child,
    events: Receiver<Value>,
}

/// A value of the watch, its name, its unit, and its limit.
type Measure = (&'static str, &'static str, Limit, fn(&WatchState) -> f64);

const MEASURES: [Measure; 6] = [
    ("memory", "MiB", MEMORY, |state| state.memory),
    ("descriptors", "open", NUMBER, |state| state.descriptors),
    ("threads", "running", NUMBER, |state| state.threads),
    ("directories of inotify", "watched", CONSTANT, |state| state.watches),
    ("child processes", "running", NUMBER, |state| state.children),
    ("SSH connections", "open", CONSTANT, |state| state.connections),
];

pub(super) fn run(sh: &Shell, rounds: usize, section: &mut Section) -> Result<()> {
    project::run_case(sh, NAME, Placement::OnePerNode, section, |sh, project, section| {
        measure(sh, project, rounds, section)
    })
}

fn measure(sh: &Shell, project: &Project, rounds: usize, section: &mut Section) -> Result<()> {
    project.write_page("round 0")?;
    let before = Leftovers::find(sh, project)?;
    let watch = Watch::start(sh, project)?;
    let (mut states, mut seconds) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let page = format!("round {round}");
        let start = Instant::now();
        project.rename_page(&page)?;
        watch.wait_for_cycle().with_context(|| page.clone())?;
        seconds.push(start.elapsed().as_secs_f64());
        project.wait_for_page(&page)?;
        let state = WatchState::read(watch.child.id())?;
        let values = MEASURES.map(|(name, _, _, get)| format!("{name} {:.0}", get(&state)));
        term::status("Measured", format!("{page}: {}", values.join(", ")));
        states.push(state);
    }
    section
        .add_fact("work", format!("{rounds} cycles of one `up --watch`: change a page, fetch it"));
    section.add_fact("time of a cycle", cycles::format_spread(&seconds, "s"));
    let counted = states.get(WARM_UP..).filter(|rest| !rest.is_empty()).unwrap_or(&states);
    for (name, unit, limit, get) in MEASURES {
        let values: Vec<f64> = counted.iter().map(get).collect();
        let growth = Growth::from_values(&values, unit);
        section.add_check(format!("{name}: no growth"), growth, growth.is_within(limit));
    }
    let idle = watch.idle_share()?;
    let text = format!("{:.2} % of a core", idle * 100.0);
    section.add_check("waiting needs at most 0.3 % of a core", text, idle <= MAX_IDLE);
    drop(watch);
    let builds = cycles::count_builds(sh, NAME)?;
    let text: Vec<String> =
        builds.iter().map(|(place, count)| format!("{count} {place}")).collect();
    let is_tidy = builds.iter().all(|(_, count)| *count <= KEPT_BUILDS);
    section.add_check("each node and Docker keep the newest builds", text.join(", "), is_tidy);
    let left = before.wait_for_new(sh, project)?;
    let result = if left.is_empty() { "nothing".to_owned() } else { left.join("\n") };
    section.add_check("nothing is left behind", result, left.is_empty());
    Ok(())
}

impl<'a> Watch<'a> {
    /// Starts the watch, and waits for its first cycle.
    fn start(sh: &'a Shell, project: &Project) -> Result<Self> {
        let args = ["up", "--watch", "--namespace", NAME, "--message-format", "json"];
        let mut child = project.command(&args).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let (send, events) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if send.send(event).is_err() {
                    return;
                }
            }
        });
        let watch = Self { sh, child, events };
        watch.wait_for_cycle()?;
        Ok(watch)
    }

    /// Waits until a cycle has ended with ready pods, and the watch waits for changes.
    fn wait_for_cycle(&self) -> Result<()> {
        let mut is_ready = false;
        loop {
            let event = self.events.recv_timeout(TIMEOUT).context("the watch prints nothing")?;
            match event["reason"].as_str() {
                Some("cycle-ended") => is_ready = event["outcome"] == "ready",
                Some("watching") if is_ready => return Ok(()),
                Some("error") => bail!("a cycle failed: {event}"),
                _ => {}
            }
        }
    }

    /// Returns the part of a core that the watch needs while nothing changes.
    fn idle_share(&self) -> Result<f64> {
        // The logs of the last pods end.
        thread::sleep(Duration::from_secs(10));
        let pid = self.child.id();
        let before = watch_state::cpu_seconds(pid)?;
        thread::sleep(IDLE);
        Ok((watch_state::cpu_seconds(pid)? - before) / IDLE.as_secs_f64())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = cmd!(self.sh, "kill -INT {pid}").quiet().run();
        let _ = self.child.wait();
    }
}
