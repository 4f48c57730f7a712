//! Deploys the selected packages at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::build::{BuildSeat, BuildsTogether};
use crate::cluster::listing::Listings;
use crate::commands::order::Order;
use crate::commands::up::turns::{Turn, Turns};
use crate::cx::{BuildOutput, Cx};
use crate::error::{Error, Result, ServiceError};
use crate::event::{Event, Message};
use crate::node::probes::Probes;
use crate::parallel::join_thread;
use crate::project::Project;

/// A package of a run, with what it shares with the others.
pub(super) struct Service<'a> {
    pub(super) project: &'a Project,
    pub(super) turn: Turn<'a>,
    run: &'a Run<'a>,
    index: usize,
}

/// What the packages of a run share.
struct Run<'a> {
    packages: Vec<String>,
    turns: Turns,
    builds: BuildsTogether<'a>,
    probes: Arc<Probes>,
    listings: Listings,
}

impl Service<'_> {
    /// The packages of the run.
    pub(super) fn packages(&self) -> &[String] {
        &self.run.packages
    }

    /// What the nodes have reported to the packages of the run.
    pub(super) fn probes(&self) -> &Arc<Probes> {
        &self.run.probes
    }

    pub(super) fn listings(&self) -> &Listings {
        &self.run.listings
    }

    /// The build of the package.
    pub(super) fn build_seat(&self) -> BuildSeat<'_> {
        self.run.builds.seat(self.index)
    }
}

/// Deploys each package with `deploy`. If there are several, events have the package, and a failure
/// does not stop the others; only an interrupt does. A package with an error that the others
/// `can_resolve` is deployed again after them.
pub(super) fn run(
    cx: &Cx,
    projects: &[Project],
    order: &Order,
    deploy: impl Fn(&Cx, &Service) -> Result<()> + Sync,
    can_resolve: impl Fn(&Error) -> bool + Sync,
) -> Result<()> {
    let answers = Mutex::new(BTreeMap::new());
    let ask_once = |question: &str| {
        let ask = || cx.confirm(question).unwrap_or_default();
        *lock(&answers).entry(question.to_owned()).or_insert_with(ask)
    };
    let cx = if cx.can_confirm() { cx.with_confirmation_of(&ask_once) } else { cx.clone() };
    let run = Run {
        packages: projects.iter().map(|project| project.package.clone()).collect(),
        turns: Turns::new(projects, order),
        builds: BuildsTogether::new(&cx, projects),
        probes: Arc::default(),
        listings: Listings::default(),
    };
    let service = |index: usize| Service {
        project: &projects[index],
        turn: run.turns.turn(index),
        run: &run,
        index,
    };
    if projects.len() == 1 {
        return deploy(&cx, &service(0));
    }
    // A dry run prints the commands of one package after another.
    let printed: Vec<Mutex<Vec<Message>>> = projects.iter().map(|_| Mutex::default()).collect();
    let deploy_one = |index: usize| {
        let package = &projects[index].package;
        let keep = |message| lock(&printed[index]).push(message);
        let cx = if cx.is_dry_run() { cx.with_events(&keep) } else { cx.clone() };
        let cx = cx.for_service(package).with_build_output(BuildOutput::Events);
        let service = service(index);
        let mut result = deploy(&cx, &service);
        if result.as_ref().is_err_and(&can_resolve) {
            result = service.turn.defer(&cx).and_then(|()| {
                run.listings.clear();
                deploy(&cx, &service)
            });
        }
        if let Err(error) = &result
            && !error.is_interrupt()
        {
            cx.emit(Event::Failed { message: error.to_string() });
        }
        result
    };
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let deploy_one = &deploy_one;
        let threads: Vec<_> =
            (0..projects.len()).map(|index| scope.spawn(move || deploy_one(index))).collect();
        threads.into_iter().map(join_thread).collect()
    });
    printed.iter().flat_map(|one| std::mem::take(&mut *lock(one))).for_each(|it| cx.forward(it));
    let mut failures = Vec::new();
    for (project, result) in projects.iter().zip(results) {
        match result {
            Err(error) if error.is_interrupt() => return Err(error),
            Err(error) => failures.push(ServiceError { package: project.package.clone(), error }),
            Ok(()) => {}
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Services(failures)) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
