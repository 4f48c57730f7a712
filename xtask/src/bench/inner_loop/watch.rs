//! A running `cargo kdev up --watch`.

use crate::bench::inner_loop::Sample;
use crate::bench::inner_loop::pod::NewestPod;
use crate::bench::inner_loop::service::{Save, Service};
use crate::bench::inner_loop::starts::Starts;
use crate::bench::methods::{Bench, PREFIX};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use xshell::cmd;

const TIMEOUT: Duration = Duration::from_secs(120);
/// How long unchanged files are watched: more than one comparison of all inputs.
const QUIET: Duration = Duration::from_secs(5);

pub(super) fn namespace() -> String {
    format!("{PREFIX}-loop-kdev")
}

/// The watch, and the service that it deploys.
pub(super) struct Watch<'a> {
    bench: &'a Bench,
    service: Service,
    starts: Starts,
    pod: NewestPod,
    child: Child,
    events: Receiver<(Instant, Value)>,
}

/// What the events of a cycle have shown, in seconds since the save.
#[derive(Default)]
struct Cycle {
    cargo: Option<f64>,
    log: Option<f64>,
    stages: Value,
}

impl<'a> Watch<'a> {
    /// Starts the watch, and waits for the end of the first cycle.
    pub(super) fn start(bench: &'a Bench) -> Result<Self> {
        let service = Service::create(bench, &format!("{PREFIX}-loop"))?;
        let starts = Starts::new(&bench.sh, &bench.folder.join("loop-starts"))?;
        let namespace = namespace();
        bench.kubectl("default", &["create", "namespace", &namespace]).ignore_stdout().run()?;
        let (kdev, path) = (bench.kdev_program(), starts.path());
        let up = cmd!(bench.sh, "{kdev} kdev up --watch --namespace {namespace}");
        let up = up.args(["--message-format", "json"]).env("PATH", path);
        let mut command = Command::from(up.env("XDG_CACHE_HOME", bench.folder.join("cache")));
        command.current_dir(&service.folder).env_remove("CARGO").env_remove("CARGO_TARGET_DIR");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let (send, events) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_default();
                if send.send((Instant::now(), event)).is_err() {
                    return;
                }
            }
        });
        let pod = NewestPod::follow(bench, &namespace)?;
        let mut watch = Self { bench, service, starts, pod, child, events };
        let first = Save { start: Instant::now(), marker: String::new() };
        watch.wait_for_end(&first)?;
        Ok(watch)
    }

    pub(super) fn change_code(&mut self) -> Result<Sample> {
        self.starts.reset();
        let save = self.service.save_source()?;
        let answer = self.pod.wait_for(&save)?;
        let cycle = self.wait_for_end(&save)?;
        let mut steps = vec![
            ("until cargo", cycle.cargo.context("cargo was not started")?),
            // A line that is printed before the answer is not late.
            ("log", (cycle.log.context("no line of the log was printed")? - answer).max(0.0)),
        ];
        for stage in ["cargo", "image", "load", "start"] {
            steps.push((stage, cycle.stages[stage].as_f64().unwrap_or_default()));
        }
        Ok(Sample { answer, steps, starts: Some(self.starts.count()) })
    }

    pub(super) fn change_manifest(&mut self) -> Result<Sample> {
        self.starts.reset();
        let save = self.service.save_manifest()?;
        let answer = self.pod.wait_for(&save)?;
        let cycle = self.wait_for_end(&save)?;
        ensure!(cycle.cargo.is_none(), "a change of the manifest has started cargo");
        Ok(Sample { answer, steps: Vec::new(), starts: Some(self.starts.count()) })
    }

    /// Writes files with their own content, which must start nothing.
    pub(super) fn write_same_bytes(&mut self) -> Result<Sample> {
        // The old pods of the last cycle end, and with them their logs.
        thread::sleep(QUIET);
        self.starts.reset();
        self.service.save_unchanged()?;
        thread::sleep(QUIET);
        let starts = Some(self.starts.count());
        Ok(Sample { starts, ..Sample::default() })
    }

    /// Waits until the watch waits for changes again.
    fn wait_for_end(&mut self, save: &Save) -> Result<Cycle> {
        let (mut cycle, mut has_ended) = (Cycle::default(), false);
        loop {
            let received = self.events.recv_timeout(TIMEOUT);
            let (time, event) = received.context("the watch has printed nothing")?;
            let seconds = time.saturating_duration_since(save.start).as_secs_f64();
            let has_marker =
                || event["line"].as_str().is_some_and(|line| line.contains(&save.marker));
            match event["reason"].as_str() {
                Some("building") if event["tool"] == "cargo" => cycle.cargo = Some(seconds),
                Some("log") if has_marker() => cycle.log = cycle.log.or(Some(seconds)),
                Some("cycle-ended") => {
                    ensure!(event["outcome"] == "ready", "a cycle has failed: {event}");
                    cycle.stages = event["stages"].clone();
                    has_ended = true;
                }
                Some("watching") if has_ended => return Ok(cycle),
                Some("error") => bail!("`cargo kdev up --watch` failed: {event}"),
                _ => {}
            }
        }
    }

    /// Interrupts the watch.
    pub(super) fn end(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        cmd!(self.bench.sh, "kill -INT {pid}").quiet().run()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // After an error. It ends its own children.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let pid = self.child.id().to_string();
            let _ = cmd!(self.bench.sh, "kill -INT {pid}").quiet().run();
            let _ = self.child.wait();
        }
    }
}
