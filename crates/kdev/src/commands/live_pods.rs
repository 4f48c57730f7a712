//! The pods of a project as they are now, for `logs` and `forward`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kdev_core::image::reference::{Name, Reference};
use kdev_core::kube::ancestry::{Ancestry, PodQuery};
use kdev_core::kube::kinds::{self, WorkloadKind};
use kdev_core::kube::object::{format_id, id, text};
use kdev_core::shell;
use kdev_manifest::expected::{self, ExpectedWorkload};
use serde_json::Value;

use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::pods::is_permanent;
use crate::cluster::snapshot::Snapshot;
use crate::cluster::{self, Cluster};
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::facts;
use crate::manifests::{Manifest, RenderTarget};
use crate::parallel::run_both;
use crate::project::{PackageSelection, Project};

/// A project, its workloads, and its cluster.
pub(crate) struct LiveProject {
    pub(crate) cluster: Cluster,
    /// The settings of each selected package.
    pub(crate) configs: Vec<Config>,
    /// The workloads that run an image of the project.
    pub(crate) expected: Vec<ExpectedWorkload>,
    /// The namespaces of these workloads.
    pub(crate) namespaces: Vec<String>,
    /// The flags that select the project and the cluster.
    pub(crate) flags: String,
}

impl LiveProject {
    /// Reads the packages, their manifests, and the context. Read-only, so no context needs
    /// permission.
    pub(crate) fn read(
        cx: &Cx,
        selection: &PackageSelection,
        target: &ClusterTarget,
        flags: &ConfigLayer,
    ) -> Result<Self> {
        let (read, kubeconfig) = run_both(
            || read_packages(cx, selection, target, flags),
            || Kubeconfig::read(cx, target),
        );
        let (configs, expected) = read?;
        let namespace = common_namespace(&configs);
        let cluster = Cluster::connect_read_only(kubeconfig?, target, namespace)?;
        let namespaces: BTreeSet<&str> = expected
            .iter()
            .map(|workload| workload.namespace.as_deref().unwrap_or(&cluster.namespace))
            .collect();
        let mut namespaces: Vec<String> = namespaces.into_iter().map(str::to_owned).collect();
        if namespaces.is_empty() {
            namespaces.push(cluster.namespace.clone());
        }
        let flags = repeatable_flags(selection, target, flags);
        Ok(Self { cluster, configs, expected, namespaces, flags })
    }

    /// Returns the workloads that run the image of one of the packages.
    pub(crate) fn workloads_of(&self, package: &Config) -> impl Iterator<Item = &ExpectedWorkload> {
        let is_image = |text: &str| {
            Reference::parse(text).is_ok_and(|image| image.name() == package.image.name())
        };
        self.expected
            .iter()
            .filter(move |workload| workload.containers.iter().any(|one| is_image(&one.image)))
    }

    /// Fetches the workloads of the project, those of the queries' kinds, and all pods.
    pub(crate) fn fetch(&self, cx: &Cx, queries: &[PodQuery]) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        for namespace in &self.namespaces {
            let workloads = self.expected.iter().filter_map(|one| kinds::BUILT_IN.find(&one.kind));
            let more = queries.iter().filter_map(|query| query.kind);
            let kinds = workloads.chain(more).filter(|kind| kind.runs_pods);
            let mut resources: BTreeSet<&str> = kinds.flat_map(WorkloadKind::resources).collect();
            resources.insert("pods");
            let snapshot =
                Snapshot::fetch_resources(cx, &self.cluster, Some(namespace), &resources)?;
            items.extend_from_slice(snapshot.items());
        }
        Ok(items)
    }

    /// Finds the pod or workload of a query.
    pub(crate) fn find<'a>(
        &self,
        cx: &Cx,
        text: &str,
        query: Option<&PodQuery>,
        items: &'a [Value],
    ) -> Result<&'a Value> {
        if let Some(found) = query.and_then(|query| query.find(items)) {
            return Ok(found);
        }
        self.require_namespaces(cx)?;
        let is_known = |item: &&Value| item["kind"] != "ReplicaSet";
        Err(facts::Error::WorkloadNotFound {
            query: text.to_owned(),
            namespace: self.namespaces.join("`, `"),
            known: items.iter().filter(is_known).map(id).collect(),
        }
        .into())
    }

    /// Returns an error if a namespace or all workloads of the project do not exist.
    pub(crate) fn require_applied(&self, cx: &Cx, items: &[Value]) -> Result<()> {
        let exists = |workload: &ExpectedWorkload| self.live(workload, items).is_some();
        if self.expected.is_empty() || self.expected.iter().any(exists) {
            return Ok(());
        }
        self.require_namespaces(cx)?;
        let workloads = self.expected.iter().map(|one| format_id(&one.kind, &one.name));
        Err(cluster::Error::NotApplied {
            context: self.cluster.context.clone(),
            namespace: self.namespaces.join("`, `"),
            workloads: workloads.collect(),
            command: format!("cargo kdev up{}", self.flags),
        }
        .into())
    }

    fn require_namespaces(&self, cx: &Cx) -> Result<()> {
        for namespace in &self.namespaces {
            self.cluster.with_namespace(Some(namespace)).require_namespace(cx)?;
        }
        Ok(())
    }

    /// Returns the live object of a workload.
    pub(crate) fn live<'a>(
        &self,
        workload: &ExpectedWorkload,
        items: &'a [Value],
    ) -> Option<&'a Value> {
        let namespace = workload.namespace.as_deref().unwrap_or(&self.cluster.namespace);
        items.iter().find(|item| {
            item["kind"] == *workload.kind
                && item["metadata"]["name"] == *workload.name
                && item["metadata"]["namespace"].as_str().is_none_or(|other| other == namespace)
        })
    }

    /// Returns whether an image is one of the project.
    pub(crate) fn is_own_image(&self, image: &str) -> bool {
        let is_own = |name: &Name| self.configs.iter().any(|config| config.image.name() == name);
        Reference::parse(image).is_ok_and(|reference| is_own(reference.name()))
    }
}

/// Returns the namespace of the settings, if it is the same in all packages.
fn common_namespace(configs: &[Config]) -> Option<String> {
    let (first, others) = configs.split_first()?;
    let is_same = |other: &Config| other.namespace == first.namespace;
    first.namespace.clone().filter(|_| others.iter().all(is_same))
}

/// Reads the selected packages and their workloads. Of several, one that cannot be read is
/// ignored, with a note.
fn read_packages(
    cx: &Cx,
    selection: &PackageSelection,
    target: &ClusterTarget,
    flags: &ConfigLayer,
) -> Result<(Vec<Config>, Vec<ExpectedWorkload>)> {
    let projects = Project::read_all(cx, selection)?;
    let (mut configs, mut workloads) = (Vec::new(), Vec::new());
    let mut first_error = None;
    for project in &projects {
        match read_package(cx, project, target, flags) {
            Ok((config, own)) => {
                configs.push(config);
                workloads.extend(own);
            }
            Err(error) if projects.len() == 1 || error.is_interrupt() => return Err(error),
            Err(error) => {
                let text = format!("ignoring the package: {error}");
                cx.for_service(&project.package).emit(Event::Note { text });
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if configs.is_empty() => Err(error),
        _ => Ok((configs, workloads)),
    }
}

fn read_package(
    cx: &Cx,
    project: &Project,
    target: &ClusterTarget,
    flags: &ConfigLayer,
) -> Result<(Config, Vec<ExpectedWorkload>)> {
    let config = Config::resolve_without_build(project, flags.clone())?;
    let manifests = Manifest::read_all(cx, &config, RenderTarget::Offline(target))?;
    let texts: Vec<String> = manifests.into_iter().map(|manifest| manifest.text).collect();
    let mut workloads = expected::all(&texts, config.image.name());
    for workload in &mut workloads {
        // Packages can have different namespaces.
        workload.namespace = workload.namespace.take().or_else(|| config.namespace.clone());
    }
    Ok((config, workloads))
}

/// Returns the flags that select the project and the cluster.
pub(crate) fn repeatable_flags(
    selection: &PackageSelection,
    target: &ClusterTarget,
    flags: &ConfigLayer,
) -> String {
    let kubeconfig = target.kubeconfig.as_ref().map(|path| path.display().to_string());
    let flags = shell::flags([
        ("--kubeconfig", kubeconfig),
        ("--context", target.explicit_context()),
        ("--namespace", flags.namespace.clone()),
    ]);
    flags + &selection.to_flags()
}

/// The pause before a request is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Selects the pods of one object, also of owners that are created later.
pub(crate) struct PodFilter {
    cluster: Cluster,
    /// Such as `deployment/hello`.
    pub(crate) id: String,
    pub(crate) namespace: String,
    ancestry: Mutex<Ancestry>,
}

impl PodFilter {
    /// `items` has the objects between the workload and its pods, as far as they exist.
    pub(crate) fn new(cluster: &Cluster, object: &Value, items: &[Value]) -> Self {
        let namespace = text(object, "/metadata/namespace");
        let mut ancestry = Ancestry::default();
        ancestry.extend(items);
        Self {
            cluster: cluster.with_namespace((!namespace.is_empty()).then_some(namespace)),
            id: id(object),
            namespace: namespace.to_owned(),
            ancestry: Mutex::new(ancestry),
        }
    }

    /// Returns whether the pod belongs to the object.
    pub(crate) fn matches(&self, cx: &Cx, pod: &Value) -> cluster::Result<bool> {
        if text(pod, "/metadata/namespace") != self.namespace {
            return Ok(false);
        }
        let mut ancestry = self.ancestry.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in ancestry.missing(pod) {
            let resources = BTreeSet::from([resource]);
            ancestry.extend(self.fetch(cx, &resources)?.items());
        }
        Ok(ancestry.belongs(pod, &self.id))
    }

    /// Fetches the owners of a pod, and tries it again as long as the API server is unreachable.
    fn fetch(&self, cx: &Cx, resources: &BTreeSet<&str>) -> cluster::Result<Snapshot> {
        loop {
            match Snapshot::fetch_resources(cx, &self.cluster, None, resources) {
                Err(error) if !is_permanent(&error) && !cx.interrupt().is_raised() => {
                    thread::sleep(RETRY_PAUSE);
                }
                result => return result,
            }
        }
    }
}
