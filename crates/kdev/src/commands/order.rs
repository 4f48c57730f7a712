//! The order in which `up` deploys several packages.

use std::collections::BTreeMap;

use kdev_core::order;

use crate::config::{Config, ConfigLayer, Error as ConfigError};
use crate::error::Result;
use crate::project::Project;

/// The key `after` of each package.
pub(crate) struct Order {
    after: BTreeMap<String, Vec<String>>,
}

impl Order {
    /// Sorts the packages. Fails if one of them comes after a package that does not exist, or after
    /// itself.
    pub(crate) fn sort(
        mut projects: Vec<Project>,
        flags: &ConfigLayer,
    ) -> Result<(Vec<Project>, Self)> {
        let siblings = projects.first().map(Project::siblings).unwrap_or_default();
        let mut after = BTreeMap::new();
        for project in siblings.iter().chain(&projects) {
            // An invalid setting is an error of its package.
            if let Ok(config) = Config::resolve_without_build(project, flags.clone()) {
                after.insert(project.package.clone(), config.after);
            }
        }
        let known = || siblings.iter().chain(&projects).map(|one| one.package.as_str());
        for project in &projects {
            let mut own = after.get(&project.package).into_iter().flatten();
            if let Some(name) = own.find(|name| !known().any(|known| known == *name)) {
                let mut available: Vec<String> = known().map(str::to_owned).collect();
                available.sort();
                available.dedup();
                available.retain(|one| *one != project.package);
                let (name, package) = (name.clone(), project.package.clone());
                return Err(ConfigError::UnknownAfter { name, package, available }.into());
            }
        }
        let names: Vec<String> = projects.iter().map(|one| one.package.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let sorted = order::sort(&names, &after).map_err(|cycle| ConfigError::CyclicAfter {
            cycle: cycle.into_iter().map(str::to_owned).collect(),
        })?;
        projects.sort_by_key(|one| sorted.iter().position(|name| *name == one.package));
        Ok((projects, Self { after }))
    }

    /// Returns whether the settings of a package name another one.
    pub(crate) fn is_after(&self, project: &Project, other: &Project) -> bool {
        self.after.get(&project.package).is_some_and(|after| after.contains(&other.package))
    }
}
