//! The causes that are known, in the order in which they must be fixed.

use serde::Serialize;

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
