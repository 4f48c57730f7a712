//! The builds of the packages of one run: one call of `cargo build` for all packages with the same
//! options, and then not more images at a time than the machine has cores.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use crate::build::cargo::{self, Built, CargoRequest};
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::parallel::Shared;
use crate::process::{self, Interrupted};
use crate::project::Project;

/// The builds of the packages of one run.
pub(crate) struct BuildsTogether<'a> {
    /// The context of the run: an error of one package does not stop the build of the others.
    cx: Cx<'a>,
    /// The names of the programs of each package.
    programs: Vec<&'a [String]>,
    state: Shared<State>,
}

struct State {
    /// The packages that have not requested their build, and may still do so.
    expected: BTreeSet<usize>,
    requests: BTreeMap<usize, CargoRequest>,
    results: BTreeMap<usize, Built>,
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
}

impl<'a> BuildsTogether<'a> {
    pub(crate) fn new(cx: &Cx<'a>, projects: &'a [Project]) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            cx: cx.for_build(),
            programs: projects.iter().map(|project| project.programs.as_slice()).collect(),
            state: Shared::new(State {
                expected: (0..projects.len()).collect(),
                requests: BTreeMap::new(),
                results: BTreeMap::new(),
                is_running: false,
                free_slots: cores,
                is_exclusive: false,
            }),
        }
    }

    /// Returns the build of one of the packages.
    pub(crate) fn seat(&'a self, index: usize) -> BuildSeat<'a> {
        BuildSeat { all: self, index, has_slot: Cell::new(false), is_exclusive: Cell::new(false) }
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
}

impl BuildSeat<'_> {
    /// Runs `cargo build` with these arguments, together with the other packages, and waits until
    /// the image may be built. Returns the files that cargo has written, if it reports them.
    pub(super) fn build(&self, cx: &Cx, config: &Config, args: Vec<String>) -> Built {
        let request = CargoRequest::new(config, args)?;
        let artifacts = if self.all.has_same_program(self.index) {
            self.wait_for_others(cx)?;
            self.all.wait(cx, |state| {
                let is_free = !state.is_exclusive;
                state.is_exclusive = true;
                is_free.then_some(())
            })?;
            self.is_exclusive.set(true);
            request.run(cx)?
        } else if self.is_expected() {
            self.build_joined(cx, request)?
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
            return self.build(cx, config, args.clone());
        }
        self.wait_for_others(cx)?;
        self.take_slot(cx)?;
        Ok(None)
    }

    fn is_expected(&self) -> bool {
        self.all.state.lock().expected.contains(&self.index)
    }

    fn build_joined(&self, cx: &Cx, request: CargoRequest) -> Built {
        self.all.state.change(|state| {
            state.expected.remove(&self.index);
            state.requests.insert(self.index, request);
        });
        loop {
            let next = self.all.wait(cx, |state| {
                if let Some(result) = state.results.remove(&self.index) {
                    return Some(Err(result));
                }
                if state.is_running {
                    return None;
                }
                if !state.requests.contains_key(&self.index) {
                    // The thread that ran cargo has panicked.
                    return Some(Err(Err(process::Error::Interrupted(Interrupted).into())));
                }
                state.expected.is_empty().then(|| {
                    state.is_running = true;
                    Ok(std::mem::take(&mut state.requests))
                })
            });
            let next = next.inspect_err(|_| {
                self.all.state.lock().requests.remove(&self.index);
            });
            match next? {
                Err(result) => return result,
                Ok(requests) => {
                    let _running = RunningEnd(self.all);
                    let results = self.all.run((self.index, cx), requests);
                    self.all.state.lock().results.extend(results);
                }
            }
        }
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
        self.all.state.change(|state| {
            state.free_slots += usize::from(self.has_slot.get());
            state.is_exclusive &= !self.is_exclusive.get();
            state.expected.remove(&self.index);
        });
    }
}

/// Marks the end of the run of cargo, also in a panic.
struct RunningEnd<'a>(&'a BuildsTogether<'a>);

impl Drop for RunningEnd<'_> {
    fn drop(&mut self) {
        self.0.state.change(|state| state.is_running = false);
    }
}
