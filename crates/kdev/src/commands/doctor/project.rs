//! What `up` would do, as far as project, configuration and manifests tell.

use std::fs;

use kdev_core::kube::node::Node;
use kdev_core::kube::placement::{self, PodSpec};
use kdev_core::text::list;
use kdev_manifest::objects::Object;

use crate::build::buildkit;
use crate::cluster::kubeconfig::ClusterTarget;
use crate::commands::doctor::report::{CheckResult, CheckGroup};
use crate::commands::up;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::manifests::{self, Manifest};
use crate::project::{Project, PackageSelection};

/// What shall be done in the cluster, as far as the project tells.
pub(crate) struct ProjectCheck {
    pub(crate) results: Vec<CheckResult>,
    pub(crate) config: Config,
    /// Whether the configuration is a guess, since the real one cannot be read.
    pub(crate) is_config_unknown: bool,
    pub(crate) project: Option<Project>,
    /// The first line of the Dockerfile that the old builder refuses.
    pub(crate) needs_buildkit: Option<(usize, String)>,
    /// What the manifests declare; `None` where there are none to read.
    pub(crate) objects: Option<Vec<Object>>,
}

impl ProjectCheck {
    pub(crate) fn run(
        cx: &Cx,
        selection: &PackageSelection,
        flags: &ConfigLayer,
        target: &ClusterTarget,
    ) -> Result<Self> {
        let mut plan = Self {
            results: Vec::new(),
            config: Config::from_flags(flags.clone())?,
            is_config_unknown: false,
            project: None,
            needs_buildkit: None,
            objects: None,
        };
        match Project::read_if_present(cx, selection) {
            Ok(None) => plan.check_without_project(flags),
            Err(error) => plan.fail("project", error),
            Ok(Some(project)) => plan.check_project(cx, project, flags, target),
        }
        Ok(plan)
    }

    /// Even without a package there may be a personal file.
    fn check_without_project(&mut self, flags: &ConfigLayer) {
        let words = "no package is in this folder";
        self.results.push(CheckResult::skipped(CheckGroup::Project, "project", words));
        match Config::resolve_without_build(&Project::placeholder(), flags.clone()) {
            Ok(config) => self.config = config,
            Err(error) => self.fail("configuration", error),
        }
    }

    fn check_project(&mut self, cx: &Cx, project: Project, flags: &ConfigLayer, target: &ClusterTarget) {
        self.ok("project", format!("package `{}` in {}", project.package, project.dir.display()));
        match Config::resolve_without_build(&project, flags.clone()) {
            Ok(config) => self.config = config,
            Err(error) => return self.fail("configuration", error),
        }
        match Config::resolve(&project, flags.clone()) {
            Ok(config) => {
                let text = fs::read_to_string(&config.dockerfile).unwrap_or_default();
                self.needs_buildkit = buildkit::find_buildkit_feature(&text);
                self.ok("dockerfile", config.dockerfile.display().to_string());
            }
            Err(error) => self.results.push(CheckResult::failed(CheckGroup::Project, "dockerfile", error)),
        }
        self.project = Some(project);
        match read_objects(cx, &self.config, target) {
            Ok(objects) => {
                let image = &self.config.image;
                let ours = objects.iter().filter(|object| object.uses(image.name()));
                let ours: Vec<String> = ours.map(Object::id).collect();
                let words = format!("{}; the image is run by {}", count_objects(&objects), list(&ours));
                self.ok("manifests", words);
                self.objects = Some(objects);
            }
            Err(error) => self.results.push(CheckResult::failed(CheckGroup::Project, "manifests", error)),
        }
    }

    fn ok(&mut self, check: &'static str, words: String) {
        self.results.push(CheckResult::ok(CheckGroup::Project, check, words));
    }

    /// Without a configuration the nodes cannot be reached as it says.
    fn fail(&mut self, check: &'static str, error: impl Into<Error>) {
        self.is_config_unknown = true;
        self.results.push(CheckResult::failed(CheckGroup::Project, check, error));
    }

    /// What keeps the pods off a node.
    pub(crate) fn exclusion_cause(&self, node: &Node) -> Option<String> {
        match &self.objects {
            Some(objects) => up::exclusion_cause(objects, &self.config, node),
            None => placement::may_run("Pod", &PodSpec::default(), node).err(),
        }
    }
}

fn count_objects(objects: &[Object]) -> String {
    if objects.len() == 1 { "1 object".to_owned() } else { format!("{} objects", objects.len()) }
}

/// All objects, once it is sure that they can be rendered.
fn read_objects(cx: &Cx, config: &Config, target: &ClusterTarget) -> Result<Vec<Object>> {
    let manifests = Manifest::read_all(cx, config, target)?;
    let objects = manifests::collect_objects(&manifests, config)?;
    let want = manifests::image_update(config, "kdev-000000000000");
    manifests.iter().try_for_each(|manifest| manifest.render(&want).map(|_| ()))?;
    Ok(objects)
}
