//! The workload kinds of Kubernetes, and their properties.
//!
//! Supporting a further kind that behaves like these takes one row in `ROWS`.

/// A kind whose objects run pods, or hold a template of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the facts of a kind are independent")]
pub struct WorkloadKind {
    pub kind: &'static str,
    /// The API groups that serve it or have served it, the current one first. The core
    /// group is the empty string.
    pub groups: &'static [&'static str],
    /// Plural and group, as in `deployments.apps`.
    pub resource: &'static str,
    /// The other names that kubectl accepts, in lower case.
    pub aliases: &'static [&'static str],
    /// The paths of the pod specs in an object.
    pub pod_specs: &'static [&'static [&'static str]],
    /// Resources between an object and its pods.
    pub intermediate: &'static [&'static str],
    /// Whether an object runs pods, rather than only describing them.
    pub runs_pods: bool,
    /// Whether `up` waits for its pods.
    pub is_awaited: bool,
    /// Whether `kubectl rollout status`, `restart`, and `undo` support it.
    pub has_rollout: bool,
    /// Whether it holds nothing but its pods, so that it can be deleted and
    /// recreated without losing data.
    pub is_recreatable: bool,
    /// Whether `kubectl set image` supports it.
    pub has_set_image: bool,
}

/// A table of workload kinds.
#[derive(Clone, Copy, Debug)]
pub struct Kinds(&'static [WorkloadKind]);

/// The kinds of Kubernetes 1.34.
pub const BUILT_IN: Kinds = Kinds(&ROWS);

/// Finds a kind whose pods `up` waits for.
pub fn awaited(kind: &str) -> Option<&'static WorkloadKind> {
    BUILT_IN.find(kind).filter(|kind| kind.is_awaited)
}

const TEMPLATE: &[&[&str]] = &[&["spec", "template", "spec"]];

/// A controller in the group `apps`, from which the others differ.
const CONTROLLER: WorkloadKind = WorkloadKind {
    kind: "",
    groups: &["apps", "extensions"],
    resource: "",
    aliases: &[],
    pod_specs: TEMPLATE,
    intermediate: &[],
    runs_pods: true,
    is_awaited: true,
    has_rollout: false,
    is_recreatable: true,
    has_set_image: true,
};

const ROWS: [WorkloadKind; 9] = [
    WorkloadKind {
        kind: "Pod",
        groups: &[""],
        resource: "pods",
        aliases: &["pod", "po"],
        pod_specs: &[&["spec"]],
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "ReplicaSet",
        resource: "replicasets.apps",
        aliases: &["replicaset", "rs"],
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "Deployment",
        resource: "deployments.apps",
        aliases: &["deployment", "deploy"],
        intermediate: &["replicasets.apps"],
        has_rollout: true,
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "StatefulSet",
        groups: &["apps"],
        resource: "statefulsets.apps",
        aliases: &["statefulset", "sts"],
        has_rollout: true,
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "DaemonSet",
        resource: "daemonsets.apps",
        aliases: &["daemonset", "ds"],
        has_rollout: true,
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "ReplicationController",
        groups: &[""],
        resource: "replicationcontrollers",
        aliases: &["replicationcontroller", "rc"],
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "Job",
        groups: &["batch"],
        resource: "jobs.batch",
        aliases: &["job"],
        has_set_image: false,
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "CronJob",
        groups: &["batch"],
        resource: "cronjobs.batch",
        aliases: &["cronjob", "cj"],
        pod_specs: &[&["spec", "jobTemplate", "spec", "template", "spec"]],
        intermediate: &["jobs.batch"],
        is_awaited: false,
        is_recreatable: false,
        ..CONTROLLER
    },
    WorkloadKind {
        kind: "PodTemplate",
        groups: &[""],
        resource: "podtemplates",
        pod_specs: &[&["template", "spec"]],
        runs_pods: false,
        is_awaited: false,
        is_recreatable: false,
        has_set_image: false,
        ..CONTROLLER
    },
];

impl WorkloadKind {
    /// Returns the plural without the group.
    fn plural(&self) -> &'static str {
        self.resource.split('.').next().unwrap_or_default()
    }

    /// Returns what kubectl puts before the name of an object, as in
    /// `deployment.apps/hello`.
    pub fn id_prefix(&self) -> String {
        let kind = self.kind.to_lowercase();
        match self.groups.first() {
            Some(group) if !group.is_empty() => format!("{kind}.{group}/"),
            _ => format!("{kind}/"),
        }
    }

    /// Returns every resource that shows how far an object is: its own, and those
    /// between it and its pods.
    pub fn resources(&'static self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.resource).chain(self.intermediate.iter().copied())
    }

    fn is_in(&self, group: Option<&str>) -> bool {
        group.is_none_or(|group| self.groups.contains(&group))
    }
}

impl Kinds {
    pub fn iter(self) -> impl Iterator<Item = &'static WorkloadKind> {
        self.0.iter()
    }

    /// Finds a kind by its name in manifests, whatever its group.
    pub fn find(self, kind: &str) -> Option<&'static WorkloadKind> {
        self.iter().find(|one| one.kind == kind)
    }

    /// Finds a kind by its name and API group; without a group, by its name.
    pub fn in_group(self, kind: &str, group: Option<&str>) -> Option<&'static WorkloadKind> {
        self.iter().find(|one| one.kind == kind && one.is_in(group))
    }

    /// Finds a kind that runs pods by any name that kubectl accepts, in lower case
    /// and without a group.
    pub fn by_alias(self, name: &str) -> Option<&'static WorkloadKind> {
        let is_named = |one: &&WorkloadKind| one.plural() == name || one.aliases.contains(&name);
        self.iter().filter(|one| one.runs_pods).find(is_named)
    }

    /// Finds a kind by the start of an object's id, as in `deployment/hello` or
    /// `deployment.apps/hello`.
    pub fn of_id(self, id: &str) -> Option<&'static WorkloadKind> {
        let kind = id.split(['/', '.']).next().unwrap_or_default();
        self.iter().find(|one| one.kind.eq_ignore_ascii_case(kind))
    }

    /// Finds the kind whose name is almost the given one.
    pub fn nearest(self, kind: &str, group: Option<&str>) -> Option<&'static WorkloadKind> {
        const LEAST_SIMILARITY: f64 = 0.9;
        let kind = kind.to_lowercase();
        self.iter()
            .filter(|one| one.is_in(group))
            .map(|one| (strsim::jaro_winkler(&one.kind.to_lowercase(), &kind), one))
            .filter(|(similarity, _)| *similarity > LEAST_SIMILARITY)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, one)| one)
    }

    /// Returns the resources of all kinds that run pods, as `kubectl get` takes them.
    pub fn resources(self) -> String {
        let resources: Vec<_> =
            self.iter().filter(|one| one.runs_pods).map(|one| one.resource).collect();
        resources.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The built-in kinds and one custom kind, which shows that one row is enough
    /// (<https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/>).
    const EXTENDED: Kinds = Kinds(&{
        let mut rows = [CONTROLLER; 10];
        let mut row = 0;
        while row < ROWS.len() {
            rows[row] = ROWS[row];
            row += 1;
        }
        rows[row] = WorkloadKind {
            kind: "LeaderWorkerSet",
            groups: &["leaderworkerset.x-k8s.io"],
            resource: "leaderworkersets.leaderworkerset.x-k8s.io",
            aliases: &["leaderworkerset", "lws"],
            pod_specs: &[
                &["spec", "leaderWorkerTemplate", "leaderTemplate", "spec"],
                &["spec", "leaderWorkerTemplate", "workerTemplate", "spec"],
            ],
            intermediate: &["statefulsets.apps"],
            has_set_image: false,
            ..CONTROLLER
        };
        rows
    });

    #[test]
    fn further_kind_takes_one_row() {
        let kind = EXTENDED.find("LeaderWorkerSet").unwrap();
        let group = Some("leaderworkerset.x-k8s.io");
        assert_eq!(EXTENDED.in_group("LeaderWorkerSet", group), Some(kind));
        assert_eq!(EXTENDED.in_group("LeaderWorkerSet", Some("apps")), None);
        for name in ["lws", "leaderworkerset", "leaderworkersets"] {
            assert_eq!(EXTENDED.by_alias(name), Some(kind), "{name}");
        }
        assert_eq!(EXTENDED.nearest("LeaderWorkersSet", group), Some(kind));
        assert_eq!(EXTENDED.of_id("leaderworkerset.leaderworkerset.x-k8s.io/a"), Some(kind));
        assert_eq!(kind.id_prefix(), "leaderworkerset.leaderworkerset.x-k8s.io/");
        assert!(EXTENDED.resources().ends_with(kind.resource));
        let resources: Vec<_> = kind.resources().collect();
        assert_eq!(resources, [kind.resource, "statefulsets.apps"]);
    }

    #[test]
    fn names_are_unique_and_complete() {
        for one in BUILT_IN.iter() {
            let name = one.kind.to_lowercase();
            assert_eq!(BUILT_IN.of_id(&format!("{name}/x")), Some(one));
            assert_eq!(BUILT_IN.in_group(one.kind, one.groups.first().copied()), Some(one));
            assert_eq!(BUILT_IN.by_alias(&name).is_some(), one.runs_pods, "{name}");
            let aliases = one.aliases.iter().copied().chain([one.plural()]);
            for alias in aliases.filter(|_| one.runs_pods) {
                assert_eq!(BUILT_IN.by_alias(alias), Some(one), "{alias}");
            }
            let group = one.resource.split_once('.').map_or("", |(_, group)| group);
            assert_eq!(one.groups.first(), Some(&group), "{name}");
            assert!(!one.pod_specs.is_empty(), "{name}");
        }
    }
}
