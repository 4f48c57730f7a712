//! What is wrong, why, and what helps: a judgement of facts. Pure.
//!
//! Each rule in `diagnosis/` looks at the facts for one family of causes. What
//! must be cured first comes first; where no rule knows, that is said, with the
//! facts.

mod absent;
mod answer;
mod bounds;
mod certificate;
mod claim;
mod container_config;
mod crash;
mod creation;
mod credentials;
mod cure;
mod delivery;
mod entrance;
mod hindrance;
mod leaving;
mod node_health;
mod passing;
mod placed;
mod present;
mod probe;
mod program;
mod pull;
mod relief;
mod room;
mod sandbox;
mod scheduler;
mod scheduling;
mod stale;
mod start;
mod starting;
mod volume;
mod whereabouts;

use serde::Serialize;

pub(crate) use self::stale::rival;
use crate::facts::{Facts, list, text};

/// A cause, as far as the facts tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Which one, for scripts.
    pub cause: Cause,
    /// How sure that is.
    pub confidence: Confidence,
    /// The cause in words.
    pub words: String,
    /// What it was seen by, a line each.
    pub evidence: Vec<String>,
    /// One action that helps, to copy where that is possible.
    pub help: String,
}

impl Diagnosis {
    /// Whether it is of interest to whoever has not asked about the workload.
    pub(crate) fn is_fault(&self) -> bool {
        self.cause != Cause::NotWanted
    }

    /// Whether it tells more than that something is wrong.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.cause, Cause::Unknown | Cause::Starting)
    }
}

/// How sure a diagnosis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confidence {
    /// The facts leave no other cause.
    Certain,
    /// The facts speak for it.
    Likely,
    /// Nothing speaks against it.
    Possible,
}

/// The causes that are known; in JSON they are written in kebab-case. They stand
/// in the order in which they must be cured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    // There is no pod, or it has no node.
    /// A `ResourceQuota` or `LimitRange` forbids the pod.
    Quota,
    /// The namespace's Pod Security level forbids the pod.
    PodSecurity,
    /// An admission webhook refuses the pod, or does not answer.
    Webhook,
    /// The pod's service account does not exist.
    ServiceAccountMissing,
    /// The API server refuses the pod for another reason.
    PodRefused,
    /// The workload is paused, suspended or scaled to zero.
    NotWanted,
    /// The Job has failed, and its pods are gone.
    JobFailed,
    /// No node has the resources that the pod requests.
    ResourcesShort,
    /// Nodes have taints that the pod does not tolerate, or are cordoned.
    NodesTainted,
    /// No node has the labels that the pod asks for.
    NodeSelector,
    /// The pod's affinity to other pods, or spread, leaves no node.
    PodAffinity,
    /// A port of the node that the pod asks for is taken.
    PortTaken,
    /// The pod's volume is on no node that takes the pod.
    VolumeElsewhere,
    /// The pod's node does not exist.
    NodeMissing,
    /// Nothing schedules the pod.
    Unscheduled,

    // Its node is ill.
    /// The node's kubelet does not report.
    NodeSilent,
    /// The node is short of disk, memory or processes, and evicts or refuses pods.
    NodePressure,

    // It is to go.
    /// The pod is being deleted.
    Leaving,

    // It cannot be prepared.
    /// A claim waits for a volume, or does not exist.
    ClaimPending,
    /// A volume cannot be mounted.
    VolumeUnmountable,
    /// The image of the pod's sandbox is not on the node.
    SandboxImage,
    /// The pod's network cannot be set up.
    SandboxNetwork,
    /// The pod's sandbox cannot be made for another reason.
    Sandbox,

    // Its image is not there.
    /// The image's name breaks the grammar.
    InvalidImageName,
    /// The image was there, and the kubelet has collected it.
    ImageCollected,
    /// The image is in docker here, but not on the node.
    ImageNotLoaded,
    /// The image is on other nodes, but not on the pod's.
    ImageOnOtherNode,
    /// The image is on the node, but not where the kubelet looks.
    ImageInOtherNamespace,
    /// The image is on the node, under another name.
    ImageUnderOtherName,
    /// docker here has the image, under another name.
    ImageHasOtherName,
    /// The image is neither on a node nor in docker here, and cannot or may not be
    /// pulled.
    ImageNowhere,
    /// The image is on the node, but parts of it are missing.
    ImageIncomplete,
    /// The image is on the node, but the runtime cannot use it yet.
    ImageNotUnpacked,
    /// The pod asks for a digest, which an image that was not pulled does not have.
    PinnedByDigest,
    /// The kubelet does not let the pod use an image that it has not pulled itself.
    CredentialsVerified,
    /// The registry wants other credentials, or any.
    PullDenied,
    /// The registry's name has no address.
    RegistryUnknown,
    /// The registry does not answer.
    RegistryUnreachable,
    /// The registry's certificate is not trusted, or it speaks no TLS.
    RegistryUntrusted,
    /// The registry has had too many requests.
    RateLimited,
    /// The registry has no such image or tag.
    NotInRegistry,
    /// The registry has the image, but not for the node's platform.
    NotForPlatform,
    /// An admission plugin makes the kubelet pull each image.
    AlwaysPullImages,
    /// The kubelet is told to pull, though the image is there.
    PolicyAlways,
    /// The image came onto the node a moment ago.
    ImageJustCame,

    // It cannot start.
    /// A `ConfigMap` or `Secret`, or a key in it, does not exist.
    ConfigMissing,
    /// The image is for another architecture.
    WrongArchitecture,
    /// The program is not in the image.
    ProgramMissing,
    /// The program, or what interprets it, may not be executed.
    ProgramNotExecutable,
    /// The program is a script that does not say what runs it.
    NoInterpreter,
    /// A shared library, the loader or an interpreter is not in the image.
    LibraryMissing,
    /// The image's user is not in its list of users.
    UserMissing,
    /// The pod must not run as root, and the image does, or names no number.
    RunsAsRoot,
    /// The runtime cannot start it for another reason.
    NotStarted,

    // It does not go on.
    /// It uses more memory than it may.
    OutOfMemory,
    /// It has run longer than it may.
    DeadlineExceeded,
    /// It writes to a file system that is read-only.
    ReadOnlyFileSystem,
    /// It may not do what it tries.
    PermissionDenied,
    /// A liveness or startup probe fails, and so it is restarted.
    ProbeRestarts,
    /// Its program ends again and again.
    Crashes,
    /// Its program ends without an error, where one is expected that goes on.
    Ends,
    /// A readiness probe fails.
    NotReady,
    /// A readiness gate is closed.
    GateClosed,

    // It runs.
    /// It runs an older build than the newest.
    OldBuild,
    /// It is on its way.
    Starting,
    /// None that is known.
    Unknown,
}

/// One family of causes.
type Rule = fn(&Facts) -> Vec<Diagnosis>;

const RULES: [Rule; 13] = [
    creation::diagnose,
    scheduling::diagnose,
    node_health::diagnose,
    sandbox::diagnose,
    volume::diagnose,
    absent::diagnose,
    present::diagnose,
    pull::diagnose,
    container_config::diagnose,
    start::diagnose,
    crash::diagnose,
    probe::diagnose,
    stale::diagnose,
];

/// Everything that is wrong by these facts; nothing if all is well.
pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let mut found: Vec<Diagnosis> = RULES.iter().flat_map(|rule| rule(facts)).collect();
    if facts.was_turned_away() {
        // What befell its containers then has no meaning any more.
        found.retain(|diagnosis| diagnosis.cause <= Cause::NodePressure);
    }
    if let Some(leaving) = leaving::diagnose(facts) {
        // Only a node that does not answer keeps it from going.
        found.retain(|diagnosis| diagnosis.cause == Cause::NodeSilent);
        found.push(leaving);
    }
    found.sort_by_key(|diagnosis| diagnosis.cause);
    // Containers may share a cause, and its cure.
    let mut told: Vec<(Cause, String)> = Vec::new();
    found.retain(|one| {
        let is_new = !told.iter().any(|(cause, help)| *cause == one.cause && *help == one.help);
        told.push((one.cause, one.help.clone()));
        is_new
    });
    for diagnosis in &mut found {
        cure::keep(facts, &mut diagnosis.help);
    }
    if found.is_empty() && (facts.is_in_trouble() || facts.lacks_pods()) {
        found.push(starting::diagnose(facts).unwrap_or_else(|| unknown(facts)));
    }
    found
}

/// The facts, where no rule knows what they mean.
fn unknown(facts: &Facts) -> Diagnosis {
    let mut evidence: Vec<String> = of_pod(facts);
    evidence.extend(facts.containers().iter().filter_map(|container| {
        let (reason, message) = container.waiting()?;
        Some(format!("container `{}` waits: {}", container.name(), told(reason, message)))
    }));
    if let (false, Some(maker)) = (facts.is_pod(), facts.owners.first()) {
        evidence.extend(list(&maker["status"]["conditions"]).map(|one| {
            let word = |path| text(one, path);
            format!("{} is {}: {}", word("/type"), word("/status"), word("/message"))
        }));
    }
    let warnings = facts.events.iter().rev().filter(|event| event.warning).take(3);
    evidence.extend(warnings.map(|event| format!("{}: {}", event.reason, event.message)));
    evidence.extend(facts.logs.iter().map(|(name, log)| format!("log of `{name}`:\n{log}")));
    Diagnosis {
        cause: Cause::Unknown,
        confidence: Confidence::Possible,
        words: "none that kdev knows of".to_owned(),
        evidence,
        help: format!("see `{} describe {}`", facts.kubectl, facts.subject),
    }
}

/// What the pod says of itself: why it has ended, and why it has no node.
fn of_pod(facts: &Facts) -> Vec<String> {
    let reason = text(&facts.pod, "/status/reason");
    let ended = told(reason, text(&facts.pod, "/status/message"));
    let scheduled = facts.condition("PodScheduled").filter(|one| one["status"] == "False");
    let placed = scheduled.map(|one| {
        format!("PodScheduled is False: {}", told(text(one, "/reason"), text(one, "/message")))
    });
    Some(ended).filter(|ended| !ended.is_empty()).into_iter().chain(placed).collect()
}

/// A reason with its message, where there is one.
fn told(reason: &str, message: &str) -> String {
    let separator = if reason.is_empty() || message.is_empty() { "" } else { ": " };
    format!("{reason}{separator}{message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_no_rule_knows_is_shown() {
        let table = [
            (
                json!({"phase": "Failed", "reason": "Terminated",
                    "message": "Pod was terminated in response to imminent node shutdown."}),
                "Terminated: Pod was terminated in response to imminent node shutdown.",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
                    "status": "False", "reason": "SchedulerError", "message": "no such plugin"}]}),
                "PodScheduled is False: SchedulerError: no such plugin",
            ),
            (json!({"phase": "Failed", "reason": "Odd"}), "Odd"),
        ];
        for (status, expected) in table {
            let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "status": status});
            let found = diagnose(&Facts { pod, ..Facts::default() });
            assert_eq!(
                (found[0].cause, found[0].evidence.as_slice()),
                (Cause::Unknown, &[expected.to_owned()][..])
            );
        }
    }
}
