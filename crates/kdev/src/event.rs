//! Progress events. The program prints them as lines and progress bars, or as JSON.

use std::path::PathBuf;
use std::time::Duration;

use kdev_core::image::local::Engine;
use serde::{Deserialize, Serialize, Serializer};

/// The version of the JSON output; incremented when the meaning of a field changes.
pub const JSON_VERSION: u32 = 1;

/// An event, and the package that it belongs to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// The package, if a command acts on several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

/// A progress event. In JSON the field `reason` has its name in kebab-case, as in cargo's
/// JSON messages.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// `cargo build` or `docker build` starts.
    Building {
        /// The package or image that is built.
        target: String,
        /// The tool that builds: `cargo`, `docker` or `podman`.
        tool: &'static str,
        /// The command, quoted for a shell.
        command: String,
    },
    /// A build printed a line.
    ToolOutput {
        /// The tool that printed it; `then` for the command that a watch runs after each cycle.
        tool: &'static str,
        /// The line without control characters.
        line: String,
    },
    /// The image was built and tagged with its content.
    Built {
        /// The reference under which it is loaded.
        image: String,
        /// The digest of the image configuration, which identifies the image.
        config_digest: String,
        /// How long the build took; in JSON in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A node is skipped because it cannot run the pods of the project.
    NodeSkipped {
        /// The name of the node in the cluster.
        node: String,
        /// Why the node is skipped.
        cause: String,
    },
    /// The transfer of an image to a node starts.
    Loading {
        /// The name of the node in the cluster.
        node: String,
        /// The approximate number of bytes to send, before compression.
        bytes: u64,
        /// The approximate number of bytes of the image that the node already has.
        reused: u64,
    },
    /// A part of the image was sent.
    Progress {
        /// The name of the node in the cluster.
        node: String,
        /// The number of bytes sent since the start of the load, before compression.
        bytes: u64,
    },
    /// The image was loaded, and its presence on the node was verified.
    Loaded {
        /// The name of the node in the cluster.
        node: String,
        /// The number of bytes sent, after compression.
        bytes: u64,
        /// The approximate number of bytes of the image that the node already had.
        reused: u64,
        /// The time from the query for existing layers to the verification; in JSON in
        /// seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// The node already has the image; nothing was sent.
    AlreadyPresent {
        /// The name of the node in the cluster.
        node: String,
        /// How long the verification took; in JSON in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// Builds of the image were removed.
    Pruned {
        /// The name of the node in the cluster; `None` for this machine.
        node: Option<String>,
        /// The program that had the images on this machine.
        engine: Option<Engine>,
        /// The references of the builds; empty if none had to be removed.
        images: Vec<String>,
        /// The approximate number of bytes that only these builds have used, as they are
        /// stored; `None` if it is unknown.
        bytes: Option<u64>,
    },
    /// A load failed; the error at the end of the run has the cause.
    LoadFailed {
        /// The name of the node in the cluster.
        node: String,
    },
    /// The manifests were applied.
    Applied {
        /// The objects, as `kubectl` prints them.
        objects: Vec<String>,
        /// The kube context.
        context: String,
        /// The namespaces of the objects.
        namespaces: Vec<String>,
    },
    /// Objects were deleted.
    Deleted {
        /// The objects, as `kubectl` prints them.
        objects: Vec<String>,
        /// The kube context.
        context: String,
    },
    /// A ConfigMap or Secret was changed, and running containers that read it may not notice it.
    ConfigChanged {
        /// Kind and name, such as `configmap/hello`.
        config: String,
        /// Its namespace.
        namespace: String,
        /// The workloads of the containers, such as `deployment/hello`.
        workloads: Vec<String>,
        /// Whether the kubelet updates the values, which are files. Otherwise, the containers
        /// keep the old values until they are restarted.
        files: bool,
        /// The same as a sentence without a final period, with advice.
        text: String,
    },
    /// Workloads were restarted because they read a changed ConfigMap or Secret.
    Restarted {
        /// The workloads, as `kubectl` prints them.
        workloads: Vec<String>,
        /// The kube context.
        context: String,
    },
    /// The objects in the cluster match the manifests; nothing was applied.
    Unchanged {
        /// The kube context.
        context: String,
    },
    /// The new pods of a workload are not ready yet.
    Waiting {
        /// Kind and name, such as `deployment/hello`.
        workload: String,
        /// The number of new pods that are ready.
        ready: u64,
        /// The desired number of pods.
        desired: u64,
        /// The new pods.
        pods: Vec<PodState>,
    },
    /// A workload has a problem that time may fix, so the wait continues.
    Problem {
        /// Kind and name, such as `deployment/hello`.
        workload: String,
        /// The pod; `None` if no pod can be created.
        pod: Option<String>,
        /// The pod's node.
        node: Option<String>,
        /// The problem.
        message: String,
        /// Why time may fix it.
        outlook: String,
        /// The last log lines of a container that has crashed.
        log: Option<String>,
        /// The time that is left until the timeout; in JSON in seconds.
        #[serde(rename = "remaining_seconds", serialize_with = "as_seconds")]
        remaining: Duration,
    },
    /// All new pods of a workload are ready, but no readiness probe checks some of their
    /// containers, so these must keep running for a while.
    Settling {
        /// Kind and name, such as `deployment/hello`.
        workload: String,
        /// The number of pods.
        pods: u64,
        /// The containers without a readiness probe.
        containers: Vec<String>,
        /// How long they must run; in JSON in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// All new pods of a workload are ready.
    Ready {
        /// Kind and name, such as `deployment/hello`.
        workload: String,
        /// The number of pods.
        pods: u64,
        /// The time since the start of the wait; in JSON in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// Where a workload can be reached.
    Address {
        /// The address of its Service in the cluster, such as `hello.dev.svc:80`; `None` without a
        /// Service.
        address: Option<String>,
        /// Kind and name, such as `deployment/hello`.
        workload: String,
        /// The port of its pods.
        port: u16,
        /// The command that forwards the port to this machine.
        command: String,
    },
    /// A rollout failed, and the workload was rolled back to the previous revision.
    RolledBack {
        /// The workload, as `kubectl` prints it.
        workload: String,
    },
    /// A service failed. The others continue, and the error at the end of the run has the
    /// cause.
    Failed {
        /// The message of the error.
        message: String,
    },
    /// Lines of a log may be missing, because the kubelet no longer has them.
    LogGap {
        /// The namespace of the pod.
        namespace: String,
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// The time of the last line before the gap; `None` if no line was read before.
        from: Option<String>,
        /// The time of the first line after the gap; `None` if no line was read after.
        to: Option<String>,
    },
    /// Connections to a port of this machine are forwarded to a pod.
    Forward {
        /// The addresses on this machine, such as `127.0.0.1:8080`.
        addresses: Vec<String>,
        /// Kind and name, such as `deployment/hello`.
        workload: String,
        /// The port as it was requested: a number, or the name of a port.
        port: String,
        /// The pod; `None` if connections wait because no pod is ready.
        pod: Option<String>,
    },
    /// A watch starts a cycle.
    CycleBegan {
        /// The inputs that have changed; empty for the first cycle, or if an earlier one is
        /// repeated.
        changed: Vec<String>,
        /// What the changes require: `cargo`, `docker`, `manifest`, or `config`.
        classes: Vec<&'static str>,
    },
    /// A cycle of a watch has ended.
    CycleEnded {
        /// The result.
        outcome: CycleOutcome,
        /// How long the cycle took; in JSON in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
        /// How long its stages took; in JSON in seconds, by `cargo`, `image`, `load`, and `start`.
        #[serde(serialize_with = "as_seconds_by_name")]
        stages: Vec<(&'static str, Duration)>,
    },
    /// The command that a watch runs after each cycle has ended by itself.
    CommandEnded {
        /// The command.
        command: String,
        /// How it failed, such as `exited with code 1`; `None` if it succeeded.
        failure: Option<String>,
        /// How long it ran; in JSON in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A watch waits for changes, or has noticed one during a cycle.
    Watching {
        /// The number of files whose changes start a cycle.
        inputs: usize,
        /// How often inputs have changed since the start of the cycle; 0 between two cycles.
        newer: u32,
    },
    /// A note that does not stop the command.
    Note {
        /// A sentence without a final period.
        text: String,
    },
    /// A dry run skips this command.
    WouldRun {
        /// The command, quoted for a shell.
        command: String,
    },
    /// An image was written to a file, a directory, or Docker.
    Wrote {
        /// The reference of the image.
        image: String,
        /// The archive, the directory, or `docker`.
        path: PathBuf,
    },
    /// The command succeeded.
    Finished {
        /// The reference of the image.
        image: String,
        /// How long the command took; in JSON in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
}

/// The result of a cycle of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CycleOutcome {
    /// The new pods are ready.
    Ready,
    /// The build has created the deployed image again, so nothing else was done.
    Unchanged,
    /// The cycle failed, and the reason has been printed.
    Failed,
    /// The cycle failed with the same error as the cycle before.
    FailedAgain,
    /// The cycle was stopped because an input has changed since its start.
    Stopped,
}

/// The node and state of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PodState {
    /// The name of the pod.
    pub pod: String,
    /// The name of its node; `None` before it is scheduled.
    pub node: Option<String>,
    /// The status that `kubectl get pods` prints, or `Ready`.
    pub state: String,
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

fn as_seconds_by_name<S: Serializer>(
    times: &[(&'static str, Duration)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let seconds = |time: &Duration| (time.as_secs_f64() * 1000.0).round() / 1000.0;
    serializer.collect_map(times.iter().map(|(name, time)| (name, seconds(time))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_fields_are_stable() {
        let event = Event::Loaded {
            node: "n".into(),
            bytes: 3,
            reused: 4,
            duration: Duration::from_millis(1500),
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"reason":"loaded","node":"n","bytes":3,"reused":4,"seconds":1.5}"#);
    }
}
