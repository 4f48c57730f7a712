//! Checks of the project, its configuration and its manifests.

use std::fs;

use kdev_core::image::reference::PLACEHOLDER_TAG;
use kdev_core::kube::node::Node;
use kdev_core::kube::placement::{self, PodSpec};
use kdev_core::text::{list, pluralize};
use kdev_manifest::objects::Object;

use crate::build::buildkit;
use crate::cluster::kubeconfig::ClusterTarget;
use crate::commands::doctor::report::{CheckGroup, CheckResult};
use crate::config::{BuilderChoice, Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::load::targets;
use crate::manifests::{self, Manifest, RenderTarget};
use crate::project::Project;

/// The result of the checks, and the facts that the other checks need.
pub(crate) struct ProjectCheck {
    pub(crate) results: Vec<CheckResult>,
    pub(crate) config: Config,
    /// Whether `config` has only the flags, because the configuration cannot be read.
    pub(crate) is_config_unknown: bool,
    pub(crate) project: Option<Project>,
    /// The first line of the Dockerfile that the legacy builder rejects: number and text.
    pub(crate) buildkit_line: Option<(usize, String)>,
    /// The objects in the manifests; `None` if the manifests cannot be read.
    pub(crate) objects: Option<Vec<Object>>,
}

impl ProjectCheck {
    pub(crate) fn run(
        cx: &Cx,
        project: Result<Option<Project>>,
        flags: &ConfigLayer,
        target: &ClusterTarget,
    ) -> Result<Self> {
        let mut check = Self {
            results: Vec::new(),
            config: Config::from_flags(flags.clone())?,
            is_config_unknown: false,
            project: None,
            buildkit_line: None,
            objects: None,
        };
        match project {
            Ok(None) => check.check_without_project(flags),
            Err(error) => check.fail("project", error),
            Ok(Some(project)) => check.check_project(cx, project, flags, target),
        }
        Ok(check)
    }

    /// Reads the configuration outside of a package, where `kdev.local.toml` is read, too.
    fn check_without_project(&mut self, flags: &ConfigLayer) {
        let cause = "no package found in this folder";
        self.results.push(CheckResult::skipped(CheckGroup::Project, "project", cause));
        match Config::resolve_without_build(&Project::placeholder(), flags.clone()) {
            Ok(config) => self.config = config,
            Err(error) => self.fail("configuration", error),
        }
    }

    fn check_project(
        &mut self,
        cx: &Cx,
        project: Project,
        flags: &ConfigLayer,
        target: &ClusterTarget,
    ) {
        self.ok("project", format!("package `{}` in {}", project.package, project.dir.display()));
        match Config::resolve_without_build(&project, flags.clone()) {
            Ok(config) => self.config = config,
            Err(error) => return self.fail("configuration", error),
        }
        match Config::resolve(&project, flags.clone()) {
            Ok(config) => {
                let text = fs::read_to_string(&config.dockerfile).unwrap_or_default();
                self.buildkit_line = buildkit::find_buildkit_feature(&text);
                if config.builder == BuilderChoice::Cargo {
                    let cause = "cargo builds the image";
                    self.results.push(CheckResult::skipped(
                        CheckGroup::Project,
                        "dockerfile",
                        cause,
                    ));
                } else {
                    self.ok("dockerfile", config.dockerfile.display().to_string());
                }
                self.config = config;
            }
            Err(error) => {
                self.results.push(CheckResult::failed(CheckGroup::Project, "dockerfile", error));
            }
        }
        self.project = Some(project);
        match read_objects(cx, &self.config, target) {
            Ok(objects) => {
                let image = &self.config.image;
                let users = objects.iter().filter(|object| object.uses(image.name()));
                let users: Vec<String> = users.map(Object::id).collect();
                let evidence = format!(
                    "{}; the image is used by {}",
                    pluralize(objects.len() as u64, "object"),
                    list(&users)
                );
                self.ok("manifests", evidence);
                self.objects = Some(objects);
            }
            Err(error) => {
                self.results.push(CheckResult::failed(CheckGroup::Project, "manifests", error));
            }
        }
    }

    fn ok(&mut self, check: &'static str, evidence: String) {
        self.results.push(CheckResult::ok(CheckGroup::Project, check, evidence));
    }

    /// Adds an error. Without a configuration it is unknown how the nodes are reached.
    fn fail(&mut self, check: &'static str, error: impl Into<Error>) {
        self.is_config_unknown = true;
        self.results.push(CheckResult::failed(CheckGroup::Project, check, error));
    }

    /// Returns why the pods cannot run on a node; `None` if they can.
    pub(crate) fn exclusion_cause(&self, node: &Node) -> Option<String> {
        match &self.objects {
            Some(objects) => targets::exclusion_cause(objects, &self.config, node),
            None => placement::may_run("Pod", &PodSpec::default(), node).err(),
        }
    }
}

/// Reads all objects, and checks that the manifests can be rendered.
fn read_objects(cx: &Cx, config: &Config, target: &ClusterTarget) -> Result<Vec<Object>> {
    let manifests = Manifest::read_all(cx, config, RenderTarget::Offline(target))?;
    let objects = manifests::collect_objects(&manifests, config)?;
    let update = manifests::image_update(config, PLACEHOLDER_TAG);
    manifests.iter().try_for_each(|manifest| manifest.render(&update).map(|_| ()))?;
    manifests::check_objects(&manifests, config, config.namespace.as_deref())?;
    Ok(objects)
}
