//! Deploys the selected packages at the same time.

use std::sync::Arc;

use crate::build::{BuildSeat, BuildsTogether};
use crate::cluster::listing::Listings;
use crate::commands::order::Order;
use crate::commands::several;
use crate::commands::up::turns::{Turn, Turns};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::node::probes::Probes;
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
    let run = Run {
        packages: projects.iter().map(|project| project.package.clone()).collect(),
        turns: Turns::new(projects, order),
        builds: BuildsTogether::new(cx, projects),
        probes: Arc::default(),
        listings: Listings::default(),
    };
    let service = |index: usize| Service {
        project: &projects[index],
        turn: run.turns.turn(index),
        run: &run,
        index,
    };
    several::for_each_in_parallel(cx, projects, |cx, index| {
        let service = service(index);
        let result = deploy(cx, &service);
        if projects.len() == 1 || !result.as_ref().is_err_and(&can_resolve) {
            return result;
        }
        service.turn.defer(cx)?;
        run.listings.clear();
        deploy(cx, &service)
    })
}
