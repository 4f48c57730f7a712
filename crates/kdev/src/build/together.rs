//! The builds of the packages of one run: one call of `cargo build` for all packages with the same
//! options, and then not more images at a time than the machine has cores.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use crate::build::cargo::{self, BUILD, Built, CargoRequest};
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::{Cx, Interrupt};
use crate::parallel::{Answers, Shared};
use crate::process::{self, Interrupted};
use crate::project::Project;

/// The builds of the packages of one run.
pub(crate) struct BuildsTogether<'a> {
    /// The context of the run: an error of one package does not stop the build of the others.
    cx: Cx<'a>,
    /// The names of the programs of each package.
    programs: Vec<&'a [String]>,
    /// The arguments of `cargo build` that depend on the toolchain.
    args: Answers<Vec<String>>,
    state: Shared<State>,
}

struct State {
    /// The packages that have not requested their build, and may still do so.
    expected: BTreeSet<usize>,
    requests: BTreeMap<usize, CargoRequest>,
    results: BTreeMap<usize, Built>,
    /// The results of builds that have started early.
    early: BTreeMap<usize, Built>,
    is_running: bool,
    /// How many more images may be built at the same time.
    free_slots: usize,
    /// Whether a program is being built whose file another package would replace.
    is_exclusive: bool,
}

/// The build of one package. The others do not wait for it when this is dropped.
pub(crate) struct BuildSeat<'a> {
    all: &'a BuildsTogether<'a>,
    index: usize,
    has_slot: Cell<bool>,
    is_exclusive: Cell<bool>,
    /// The call that has started early, and what stops it.
    early: RefCell<Option<(CargoRequest, Interrupt)>>,
    requested: RefCell<Option<CargoRequest>>,
}

impl<'a> BuildsTogether<'a> {
    pub(crate) fn new(cx: &Cx<'a>, projects: &'a [Project]) -> Self {
        let programs = projects.iter().map(|project| project.programs.as_slice());
        Self::of_programs(cx, programs.collect())
    }

    fn of_programs(cx: &Cx<'a>, programs: Vec<&'a [String]>) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            cx: cx.for_build(),
            args: Answers::default(),
            state: Shared::new(State {
                expected: (0..programs.len()).collect(),
                requests: BTreeMap::new(),
                results: BTreeMap::new(),
                early: BTreeMap::new(),
                is_running: false,
                free_slots: cores,
                is_exclusive: false,
            }),
            programs,
        }
    }

    /// Returns the build of one of the packages.
    pub(crate) fn seat(&'a self, index: usize) -> BuildSeat<'a> {
        BuildSeat {
            all: self,
            index,
            has_slot: Cell::new(false),
            is_exclusive: Cell::new(false),
            early: RefCell::default(),
            requested: RefCell::default(),
        }
    }

    /// Returns whether another package has a program with the same name. cargo writes both to the
    /// same file.
    fn has_same_program(&self, index: usize) -> bool {
        let others = self.programs.iter().enumerate().filter(|(other, _)| *other != index);
        let mut others = others.flat_map(|(_, programs)| programs.iter());
        others.any(|other| self.programs[index].contains(other))
    }

    /// Waits until `take` returns a result.
    fn wait<T>(&self, cx: &Cx, take: impl FnMut(&mut State) -> Option<T>) -> Result<T> {
        self.state.wait(|| Ok(cx.check_interrupt()?), take)
    }

    /// Runs cargo for all requests. Requests that can be joined are one call.
    fn run(
        &self,
        own: (usize, &Cx),
        requests: BTreeMap<usize, CargoRequest>,
    ) -> BTreeMap<usize, Built> {
        let is_only_one = self.programs.len() == 1;
        let mut results = BTreeMap::new();
        let mut groups: Vec<Vec<(usize, CargoRequest)>> = Vec::new();
        for (index, request) in requests {
            let group = groups.iter_mut().find(|group| group[0].1.can_join(&request));
            match group {
                Some(group) => group.push((index, request)),
                None => groups.push(vec![(index, request)]),
            }
        }
        let run_alone = |index: usize, request: &CargoRequest| {
            if is_only_one && index == own.0 {
                return request.run(own.1);
            }
            request.run(&self.cx.for_service(&request.package))
        };
        for group in groups {
            let joined = if let [_] = group.as_slice() {
                None
            } else {
                let requests: Vec<&CargoRequest> = group.iter().map(|(_, one)| one).collect();
                let programs: Vec<&[String]> =
                    group.iter().map(|(index, _)| self.programs[*index]).collect();
                cargo::run_joined(&self.cx, &requests, &programs)
            };
            let mut joined = joined.unwrap_or_default().into_iter();
            for (index, request) in &group {
                let result = joined.next().flatten();
                results.insert(*index, result.unwrap_or_else(|| run_alone(*index, request)));
            }
        }
        results
    }

    /// Runs the call of a package together with those of the others.
    fn build_joined(&self, index: usize, cx: &Cx, request: CargoRequest) -> Built {
        self.state.change(|state| {
            state.expected.remove(&index);
            state.requests.insert(index, request);
        });
        loop {
            let next = self.wait(cx, |state| {
                if let Some(result) = state.results.remove(&index) {
                    return Some(Err(result));
                }
                if state.is_running {
                    return None;
                }
                if !state.requests.contains_key(&index) {
                    // The thread that ran cargo has panicked.
                    return Some(Err(interrupted()));
                }
                state.expected.is_empty().then(|| {
                    state.is_running = true;
                    Ok(std::mem::take(&mut state.requests))
                })
            });
            let next = next.inspect_err(|_| {
                self.state.lock().requests.remove(&index);
            });
            match next? {
                Err(result) => return result,
                Ok(requests) => {
                    let _running = RunningEnd(self);
                    let results = self.run((index, cx), requests);
                    self.state.lock().results.extend(results);
                }
            }
        }
    }
}

impl<'a> BuildSeat<'a> {
    /// Begins the call of an earlier run before it is known whether this run needs the same one.
    /// Returns what a thread must run until the seat is dropped, which stops it.
    pub(crate) fn begin_early<'b>(
        &self,
        cx: &Cx<'b>,
        request: CargoRequest,
    ) -> Option<impl FnOnce() + Send + use<'a, 'b>> {
        if cx.is_dry_run() || self.all.has_same_program(self.index) || !self.is_expected() {
            return None;
        }
        let cx = cx.for_build();
        let stop = cx.interrupt().child();
        let cx = cx.with_interrupt(stop.clone());
        self.early.replace(Some((request.clone(), stop)));
        let (all, index) = (self.all, self.index);
        Some(move || {
            // A panic must not let the others wait.
            let mut end = EarlyEnd { all, index, result: interrupted() };
            end.result = all.build_joined(index, &cx, request);
        })
    }

    /// Returns the arguments of `cargo build` that `choose` returns, for all packages with the same
    /// settings and the same `key`.
    pub(super) fn shared_args(
        &self,
        config: &Config,
        key: &str,
        choose: impl FnOnce() -> Result<Vec<String>>,
    ) -> Result<Vec<String>> {
        let Config { cargo_build, container, .. } = config;
        let dir = cargo::settings_dir(config).display();
        let key = format!("{dir} {key} {cargo_build:?} {:?}", container.base);
        self.all.args.get_or_query(key, choose)
    }

    /// Returns the call that [`Self::build`] has made.
    pub(crate) fn requested(&self) -> Option<CargoRequest> {
        self.requested.borrow().clone()
    }

    /// Runs `cargo build` or a similar subcommand with these arguments, together with the other
    /// packages, and waits until the image may be built. Returns the files that cargo has written,
    /// if it reports them.
    pub(super) fn build(
        &self,
        cx: &Cx,
        config: &Config,
        subcommand: &'static str,
        args: Vec<String>,
    ) -> Built {
        let request = CargoRequest::new(config, subcommand, args)?;
        self.requested.replace(Some(request.clone()));
        let artifacts = if let Some(early) = self.early.take() {
            self.end_early(cx, early, &request)?
        } else if self.all.has_same_program(self.index) {
            self.wait_for_others(cx)?;
            self.all.wait(cx, |state| {
                let is_free = !state.is_exclusive;
                state.is_exclusive = true;
                is_free.then_some(())
            })?;
            self.is_exclusive.set(true);
            request.run(cx)?
        } else if self.is_expected() {
            self.all.build_joined(self.index, cx, request)?
        } else {
            // This is a second attempt.
            request.run(cx)?
        };
        self.take_slot(cx)?;
        Ok(artifacts)
    }

    /// Does the same if `cargo build` is configured. Otherwise waits until the output of cargo for
    /// the others is complete, and the image may be built.
    pub(super) fn build_if_configured(&self, cx: &Cx, config: &Config) -> Built {
        if let Some(args) = &config.cargo_build {
            return self.build(cx, config, BUILD, args.clone());
        }
        self.wait_for_others(cx)?;
        self.take_slot(cx)?;
        Ok(None)
    }

    /// Waits for the call that has started early. Runs this one if it is another one.
    fn end_early(
        &self,
        cx: &Cx,
        (early, stop): (CargoRequest, Interrupt),
        request: &CargoRequest,
    ) -> Built {
        let _stopped = stop.raise_at_end();
        let is_same = early == *request;
        if !is_same {
            stop.raise();
        }
        let result = self.all.wait(cx, |state| state.early.remove(&self.index))?;
        if is_same { result } else { request.run(cx) }
    }

    fn is_expected(&self) -> bool {
        self.all.state.lock().expected.contains(&self.index)
    }

    /// Waits until cargo has built the others.
    fn wait_for_others(&self, cx: &Cx) -> Result<()> {
        self.leave();
        self.all.wait(cx, |state| {
            let is_done =
                state.expected.is_empty() && state.requests.is_empty() && !state.is_running;
            is_done.then_some(())
        })
    }

    fn take_slot(&self, cx: &Cx) -> Result<()> {
        self.all.wait(cx, |state| {
            state.free_slots = state.free_slots.checked_sub(1)?;
            Some(())
        })?;
        self.has_slot.set(true);
        Ok(())
    }

    /// The others do not wait for this package any more.
    fn leave(&self) {
        self.all.state.change(|state| state.expected.remove(&self.index));
    }
}

impl Drop for BuildSeat<'_> {
    fn drop(&mut self) {
        if let Some((_, stop)) = self.early.take() {
            stop.raise();
        }
        self.all.state.change(|state| {
            state.free_slots += usize::from(self.has_slot.get());
            state.is_exclusive &= !self.is_exclusive.get();
            state.expected.remove(&self.index);
        });
    }
}

/// Passes on the result of a call that has started early.
struct EarlyEnd<'a> {
    all: &'a BuildsTogether<'a>,
    index: usize,
    result: Built,
}

impl Drop for EarlyEnd<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, interrupted());
        self.all.state.change(|state| state.early.insert(self.index, result));
    }
}

fn interrupted() -> Built {
    Err(process::Error::Interrupted(Interrupted).into())
}

/// Marks the end of the run of cargo, also in a panic.
struct RunningEnd<'a>(&'a BuildsTogether<'a>);

impl Drop for RunningEnd<'_> {
    fn drop(&mut self) {
        self.0.state.change(|state| state.is_running = false);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn early_call_counts_only_if_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (cargo, log) = (folder.path().join("cargo"), folder.path().join("log"));
        // The last argument is the time that it takes.
        let script = "#!/bin/sh\nfor time; do :; done\necho begin $time >>log\nsleep $time && echo end $time >>log\n";
        fs::write(&cargo, script).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        let request = |time: &str| CargoRequest::of_program(&cargo, &["--", time]);
        for (early, needed, expected) in [
            ("0", "0", "begin 0\nend 0\n"),
            // The first one is stopped.
            ("60", "0", "begin 60\nbegin 0\nend 0\n"),
        ] {
            let _ = fs::remove_file(&log);
            let events = |_| ();
            let cx = Cx::new(&events);
            let builds = BuildsTogether::of_programs(&cx, vec![&[]]);
            thread::scope(|scope| {
                let seat = builds.seat(0);
                scope.spawn(seat.begin_early(&cx, request(early)).unwrap());
                while !fs::exists(&log).unwrap() {
                    thread::sleep(Duration::from_millis(5));
                }
                let early = seat.early.take().unwrap();
                seat.end_early(&cx, early, &request(needed)).unwrap();
            });
            assert_eq!(fs::read_to_string(&log).unwrap(), expected);
        }
    }
}
