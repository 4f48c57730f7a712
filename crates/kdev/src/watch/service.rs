//! A package that is watched.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::cluster::kubeconfig::ClusterTarget;
use crate::config::Config;
use crate::cx::Cx;
use crate::inputs::snapshot::{Change, Snapshot};
use crate::inputs::{InputClass, Inputs, LastBuild};
use crate::project::Project;

/// A package with its inputs.
pub(crate) struct Service {
    pub(crate) project: Project,
    pub(crate) config: Config,
    pub(crate) inputs: Inputs,
    pub(crate) last_build: LastBuild,
    /// The inputs at the start of the last cycle.
    deployed: Snapshot,
    /// The inputs when they were last compared.
    seen: Snapshot,
    /// Whether a cycle is running.
    is_building: bool,
}

impl Service {
    /// Finds the inputs. If the package was watched before with other settings, changes since
    /// then are found.
    pub(crate) fn new(
        cx: &Cx,
        project: Project,
        config: Config,
        target: &ClusterTarget,
        earlier: Option<Self>,
    ) -> Self {
        let last_build = earlier.as_ref().map(|earlier| earlier.last_build).unwrap_or_default();
        let is_building = earlier.as_ref().is_some_and(|earlier| earlier.is_building);
        let inputs = Inputs::find(cx, &project, &config, target, last_build);
        let seen = Snapshot::take(&inputs, earlier.as_ref().map(|earlier| &earlier.seen));
        let deployed = earlier.map_or_else(|| seen.clone(), |earlier| earlier.deployed);
        Self { project, config, inputs, last_build, deployed, seen, is_building }
    }

    /// Returns whether the settings were changed after a time.
    pub(crate) fn has_newer_settings(&self, time: SystemTime) -> bool {
        self.seen.has_newer(InputClass::Config, time)
    }

    /// Returns whether an input may have changed since the last comparison.
    pub(crate) fn may_be_outdated(&self) -> bool {
        self.seen.may_be_outdated()
    }

    /// Finds and compares the inputs again. Returns those that have changed since the last
    /// comparison.
    pub(crate) fn compare(&mut self, cx: &Cx, target: &ClusterTarget) -> BTreeSet<PathBuf> {
        self.inputs = Inputs::find(cx, &self.project, &self.config, target, self.last_build);
        let seen = Snapshot::take(&self.inputs, Some(&self.seen));
        let changed = Snapshot::changes(&self.seen, &seen);
        self.seen = seen;
        if self.is_building {
            // The first build writes it.
            let lock = self.config.workspace_root.join("Cargo.lock");
            self.deployed.adopt_new(&lock, &self.seen);
        }
        changed.into_iter().map(|change| change.path).collect()
    }

    /// Returns the inputs that have changed since the start of the last cycle, without those that
    /// the build writes.
    pub(crate) fn changes(&self, is_left_out: impl Fn(&PathBuf) -> bool) -> Vec<Change> {
        let mut changes = Snapshot::changes(&self.deployed, &self.seen);
        changes.retain(|change| !is_left_out(&change.path));
        changes
    }

    /// Starts a cycle with the inputs as they were last compared.
    pub(crate) fn begin_cycle(&mut self) {
        self.deployed = self.seen.clone();
        self.is_building = true;
    }

    pub(crate) fn end_cycle(&mut self) {
        self.is_building = false;
    }

    pub(crate) fn folders(&self) -> &BTreeSet<PathBuf> {
        &self.inputs.folders
    }
}
