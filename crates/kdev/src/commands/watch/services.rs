//! The selected packages and their inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::commands::up::UpRequest;
use crate::config::Config;
use crate::cx::Cx;
use crate::error::Result;
use crate::project::Project;
use crate::watch::changes::Changes;
use crate::watch::lock::WatchLock;
use crate::watch::service::Service;

/// The selected packages.
#[derive(Default)]
pub(super) struct Services {
    locks: BTreeMap<String, WatchLock>,
    root: PathBuf,
}

impl Services {
    /// Reads the settings of the packages.
    pub(super) fn read(&mut self, cx: &Cx, request: &UpRequest) -> Result<Vec<Service>> {
        let settings = self.read_settings(cx, request)?;
        let target = &request.target;
        let service = |(project, config)| Service::new(cx, project, config, target, None);
        Ok(settings.into_iter().map(service).collect())
    }

    /// Reads the settings of the packages again. Changes of their inputs since the last comparison
    /// are found. Returns the packages that were not watched before.
    pub(super) fn read_again(
        &mut self,
        cx: &Cx,
        request: &UpRequest,
        changes: &mut Changes,
    ) -> Result<Vec<String>> {
        let settings = self.read_settings(cx, request)?;
        let mut earlier: BTreeMap<String, Service> =
            changes.services.drain(..).map(|one| (one.project.package.clone(), one)).collect();
        let (mut services, mut new) = (Vec::new(), Vec::new());
        for (project, config) in settings {
            let earlier = earlier.remove(&project.package);
            if earlier.is_none() {
                new.push(project.package.clone());
            }
            services.push(Service::new(cx, project, config, &request.target, earlier));
        }
        changes.replace_services(cx, services);
        Ok(new)
    }

    fn read_settings(&mut self, cx: &Cx, request: &UpRequest) -> Result<Vec<(Project, Config)>> {
        let projects = Project::read_all(cx, &request.selection)?;
        let mut found = Vec::new();
        for project in projects {
            let config = Config::resolve(&project, request.flags.clone())?;
            if !self.locks.contains_key(&project.package) {
                let lock = WatchLock::acquire(&config.target_dir, &project.package)?;
                self.locks.insert(project.package.clone(), lock);
            }
            self.root.clone_from(&config.workspace_root);
            found.push((project, config));
        }
        Ok(found)
    }

    /// Returns the path as it is shown: relative to the workspace, if it is in it.
    pub(super) fn display(&self, path: &Path) -> String {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        path.strip_prefix(&root).unwrap_or(path).display().to_string()
    }
}
