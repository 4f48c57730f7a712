//! The known causes, in the order in which they must be fixed.

use serde::Serialize;

/// Why a pod does not run as it should; kebab-case in JSON. The variants are in the
/// order in which the causes must be fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    // The pod does not exist, or has no node.
    /// A `ResourceQuota` or `LimitRange` rejects the pod.
    Quota,
    /// The Pod Security level of the namespace rejects the pod.
    PodSecurity,
    /// An admission webhook rejects the pod, or cannot be called.
    Webhook,
    /// The service account of the pod does not exist.
    ServiceAccountNotFound,
    /// The API server rejects the pod for another reason.
    PodRejected,
    /// The workload is paused, suspended, scaled to zero or not due yet.
    Inactive,
    /// The Job has failed, and its pods no longer exist.
    JobFailed,
    /// No node has enough free resources for the pod's requests.
    InsufficientResources,
    /// Nodes are cordoned or have taints that the pod does not tolerate.
    UntoleratedTaints,
    /// No node matches the pod's node selector or node affinity.
    NodeSelector,
    /// No node satisfies the pod's pod affinity, anti-affinity or topology spread.
    PodAffinity,
    /// The host port of the pod is already in use on the nodes.
    HostPortInUse,
    /// Another pod uses the pod's `PersistentVolumeClaim`, which permits only one pod.
    ClaimInUse,
    /// The volume of the pod is bound to nodes on which the pod cannot run.
    VolumeNodeConflict,
    /// The node of the pod does not exist.
    NodeNotFound,
    /// No scheduler has processed the pod, or a scheduling gate holds it.
    NotScheduled,

    // The node is unhealthy.
    /// The kubelet of the node is not ready or has stopped reporting.
    NodeNotReady,
    /// The node is under disk, memory or PID pressure, and evicts or rejects pods.
    NodePressure,

    // The pod is being deleted.
    /// The pod is being deleted.
    Terminating,

    // The pod cannot be prepared.
    /// A `PersistentVolumeClaim` is pending or does not exist.
    ClaimPending,
    /// A volume cannot be mounted.
    MountFailed,
    /// The pause image is missing from the node.
    SandboxImage,
    /// The network of the pod's sandbox cannot be set up.
    SandboxNetwork,
    /// The pod's sandbox cannot be created for another reason.
    Sandbox,

    // The image is missing or cannot be used.
    /// The image name is invalid.
    InvalidImageName,
    /// The kubelet's image garbage collection removed the image from the node.
    ImageGarbageCollected,
    /// The image is in Docker, but not on the node.
    ImageNotLoaded,
    /// The image is on other nodes, but not on the pod's node.
    ImageOnOtherNode,
    /// The image is on the node, but in another containerd namespace.
    ImageInOtherNamespace,
    /// The image is on the node under another name.
    ImageUnderOtherName,
    /// The image is in Docker under another name.
    LocalImageUnderOtherName,
    /// The image is neither on a node nor in Docker, and cannot be pulled.
    ImageNotFound,
    /// The image is on the node, but parts of it are missing.
    ImageIncomplete,
    /// The image is on the node, but is not unpacked.
    ImageNotUnpacked,
    /// The pod names the image by a digest that a loaded image does not have.
    PinnedByDigest,
    /// The kubelet requires pull credentials for an image that it did not pull itself.
    ImageCredentialsUnverified,
    /// The registry rejects the pull credentials, or requires some.
    PullDenied,
    /// The host name of the registry cannot be resolved.
    RegistryNotResolved,
    /// The registry does not respond.
    RegistryUnreachable,
    /// The certificate of the registry is not trusted, or the registry does not use TLS.
    RegistryUntrusted,
    /// The registry has limited the rate of pulls.
    RateLimited,
    /// The registry does not have the image, or not this tag.
    TagNotFound,
    /// The registry has the image, but not for the node's platform.
    NoMatchingPlatform,
    /// The admission plugin `AlwaysPullImages` forces the kubelet to pull.
    AlwaysPullImages,
    /// The pull policy makes the kubelet pull, although the image is on the node.
    PullPolicyAlways,
    /// The image has just arrived on the node.
    ImageJustArrived,

    // The container cannot start.
    /// A `ConfigMap`, a Secret or a key in one of them does not exist.
    ConfigNotFound,
    /// The image is for another CPU architecture.
    WrongArchitecture,
    /// The entrypoint does not exist in the container.
    EntrypointNotFound,
    /// The entrypoint or its interpreter is not executable.
    EntrypointNotExecutable,
    /// The entrypoint is a script without a shebang.
    NoInterpreter,
    /// A shared library, the dynamic loader or an interpreter is missing from the image.
    LibraryNotFound,
    /// The user of the image is missing from the image's `/etc/passwd`.
    UserNotFound,
    /// `runAsNonRoot` is set, but the image runs as root or as a user without a number.
    RunAsNonRoot,
    /// The container runtime cannot start the container for another reason.
    StartFailed,

    // The container does not keep running or is not ready.
    /// The container exceeds its memory limit.
    OutOfMemory,
    /// The pod or the Job has exceeded its deadline.
    DeadlineExceeded,
    /// The container writes to a read-only file system.
    ReadOnlyFileSystem,
    /// The container does not have a permission that it needs.
    PermissionDenied,
    /// A liveness or startup probe fails, so the kubelet restarts the container.
    LivenessProbe,
    /// The container exits with an error.
    CrashLoop,
    /// The container exits without an error, but must keep running.
    ExitsWithoutError,
    /// A readiness probe fails.
    ReadinessProbe,
    /// A readiness gate is not satisfied.
    ReadinessGate,

    // The pod runs.
    /// The pod runs an outdated build of the image.
    OutdatedBuild,
    /// The pod is still starting.
    InProgress,
    /// No rule matches.
    Unknown,
}
