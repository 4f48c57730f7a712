//! The facts for the selected packages, which can have different namespaces and builders.

use std::collections::BTreeMap;

use kdev_core::image::reference::{Name, Reference};
use kdev_diagnosis::facts::Facts;

use crate::cluster::Cluster;
use crate::commands::several;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::facts;
use crate::project::{PackageSelection, Project};

/// A package, or the settings outside of a project.
pub(super) struct Package {
    config: Config,
    /// The flags that select it; `None` outside of a project.
    flags: Option<String>,
}

/// Returns the selected packages; never empty. A project that cannot be read is ignored unless it
/// was selected explicitly.
pub(super) fn read(
    cx: &Cx,
    selection: &PackageSelection,
    flags: &ConfigLayer,
) -> Result<Vec<Package>> {
    match read_project(cx, selection, flags) {
        Err(error) if !selection.is_unset() || error.is_interrupt() => Err(error),
        Err(error) => {
            let config = Config::from_flags(flags.clone())?;
            let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
            let text = format!("ignoring the project: {error}{help}");
            cx.emit(Event::Note { text });
            Ok(vec![Package { config, flags: None }])
        }
        packages => packages,
    }
}

fn read_project(
    cx: &Cx,
    selection: &PackageSelection,
    flags: &ConfigLayer,
) -> Result<Vec<Package>> {
    let projects = Project::read_all_if_unambiguous(cx, selection)?;
    if projects.is_empty() {
        let config = Config::resolve_without_build(&Project::placeholder(), flags.clone())?;
        return Ok(vec![Package { config, flags: None }]);
    }
    several::collect(cx, &projects, |_, project| {
        let config = Config::resolve_without_build(project, flags.clone())?;
        let flags = match projects.len() {
            1 => selection.to_flags(),
            _ => selection.of_package(&project.package).to_flags(),
        };
        Ok(Package { config, flags: Some(flags) })
    })
}

/// Collects the facts once for each namespace, and again for packages whose builds or nodes are
/// found differently. Returns the namespaces, too. A query must be found in one of them. If there
/// are several, one that cannot be read is left out, with a note.
pub(super) fn collect(
    cx: &Cx,
    packages: &[Package],
    query: Option<&str>,
    connect: impl Fn(Option<String>) -> Result<Cluster>,
) -> Result<(Vec<Facts>, Vec<Cluster>)> {
    let mut clusters: Vec<(Cluster, Vec<&Package>)> = Vec::new();
    for package in packages {
        let cluster = connect(package.config.namespace.clone())?;
        match clusters.iter_mut().find(|(known, _)| known.namespace == cluster.namespace) {
            Some((_, packages)) => packages.push(package),
            None => clusters.push((cluster, vec![package])),
        }
    }
    let (mut found, mut missing, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_found = false;
    for (cluster, packages) in &clusters {
        match collect_in(cx, cluster, packages, query) {
            Ok(facts) => {
                is_found = true;
                found.extend(facts);
            }
            Err(facts::Error::WorkloadNotFound { query, namespace, known }) => {
                missing.push((query, namespace, known));
            }
            Err(error) => failed.push((&cluster.namespace, Error::from(error))),
        }
    }
    if let Some(interrupt) = failed.iter().position(|(_, error)| error.is_interrupt()) {
        return Err(failed.swap_remove(interrupt).1);
    }
    if !is_found {
        let mut errors = failed.into_iter().map(|(_, error)| error).chain(not_found(missing));
        return errors.next().map_or(Ok((found, Vec::new())), Err);
    }
    for (namespace, error) in &failed {
        let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
        let text = format!("namespace `{namespace}` was left out: {error}{help}");
        cx.emit(Event::Note { text });
    }
    Ok((found, clusters.into_iter().map(|(cluster, _)| cluster).collect()))
}

/// Joins the errors of the namespaces.
fn not_found(missing: Vec<(String, String, Vec<String>)>) -> Option<Error> {
    let query = missing.first()?.0.clone();
    let namespaces: Vec<String> = missing.iter().map(|one| one.1.clone()).collect();
    let mut known: Vec<String> = missing.into_iter().flat_map(|one| one.2).collect();
    known.sort();
    known.dedup();
    let namespace = namespaces.join("`, `");
    Some(facts::Error::WorkloadNotFound { query, namespace, known }.into())
}

fn collect_in(
    cx: &Cx,
    cluster: &Cluster,
    packages: &[&Package],
    query: Option<&str>,
) -> facts::Result<Vec<Facts>> {
    let mut groups: Vec<Vec<&Package>> = Vec::new();
    for package in packages {
        match groups.iter_mut().find(|group| has_same_sources(group[0], package)) {
            Some(group) => group.push(package),
            None => groups.push(vec![package]),
        }
    }
    // The subjects have an order. Each has the facts of the first group that has its image.
    let mut subjects: Vec<String> = Vec::new();
    let mut found: BTreeMap<String, (bool, Facts)> = BTreeMap::new();
    for group in groups {
        for mut facts in facts::collect(cx, cluster, &group[0].config, query)? {
            let has_image = add_project(&mut facts, &group);
            match found.get(&facts.subject) {
                None => subjects.push(facts.subject.clone()),
                Some((false, _)) if has_image => {}
                Some(_) => continue,
            }
            found.insert(facts.subject.clone(), (has_image, facts));
        }
    }
    Ok(subjects.iter().filter_map(|subject| Some(found.remove(subject)?.1)).collect())
}

/// Returns whether builds and nodes are found in the same way for both packages.
fn has_same_sources(one: &Package, other: &Package) -> bool {
    let sources = |package: &Package| {
        let Config { builder, nodes, ssh_config, .. } = package.config.clone();
        (builder, nodes, ssh_config)
    };
    sources(one) == sources(other)
}

/// Adds the image to the facts of the package that they are about, else of the first one. Returns
/// whether a container has the image of one of the packages.
fn add_project(facts: &mut Facts, packages: &[&Package]) -> bool {
    let own = packages.iter().find(|package| uses(facts, package.config.image.name()));
    let package = own.or(packages.first());
    if let Some((package, flags)) = package.and_then(|one| Some((one, one.flags.as_ref()?))) {
        set_project(facts, &package.config, flags.clone());
    }
    own.is_some()
}

/// Sets the image of a package, and the flags that select it.
pub(super) fn set_project(facts: &mut Facts, config: &Config, flags: String) {
    facts.project_image = Some(config.image.name().to_string());
    facts.project_flags = flags;
}

fn uses(facts: &Facts, image: &Name) -> bool {
    let is_image = |text: &str| Reference::parse(text).is_ok_and(|one| one.name() == image);
    facts.containers().iter().any(|container| is_image(container.image()))
}
