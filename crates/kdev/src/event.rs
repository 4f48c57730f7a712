//! All that may be shown while kdev works. The program draws bars and lines
//! from these, and writes the very same as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// The version of the JSON form; it grows when a field changes its meaning.
pub const JSON_VERSION: u32 = 1;

/// Something that happened. In JSON the field `reason` names it, in
/// kebab-case, as in cargo's own messages.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A build begins: `cargo build`, or `docker build`.
    Building {
        /// The package or the image.
        target: String,
        /// The command, for those who want to repeat it by hand.
        command: String,
    },
    /// One line that a build printed.
    ToolOutput {
        /// Which tool printed it.
        tool: &'static str,
        /// The line, control characters removed.
        line: String,
    },
    /// The image is there, and known by its content.
    Built {
        /// The reference under which it will be loaded.
        image: String,
        /// Digest of the image's configuration, its identity.
        config_digest: String,
        /// The build's duration, in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A node is left out, since no pod of this project may run there.
    NodeSkipped {
        /// The node's name in the cluster.
        node: String,
        /// Which rule keeps the pods away.
        cause: String,
    },
    /// An image begins to travel to a node.
    Loading {
        /// The node's name in the cluster.
        node: String,
        /// About how many bytes will pass, before compression.
        bytes: u64,
        /// About how many bytes of the image are there already.
        reused: u64,
    },
    /// So many bytes have passed.
    Progress {
        /// The node's name in the cluster.
        node: String,
        /// Bytes since the load began, before compression.
        bytes: u64,
    },
    /// The node's runtime, asked afterwards, has the image.
    Loaded {
        /// The node's name in the cluster.
        node: String,
        /// Bytes that were sent, as compressed.
        bytes: u64,
        /// About how many bytes of the image were there already.
        reused: u64,
        /// From the question what is there to the proof, in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// The node has this very image already; nothing was sent.
    AlreadyPresent {
        /// The node's name in the cluster.
        node: String,
        /// The time that the proof took, in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A load failed; the error at the end says why.
    LoadFailed {
        /// The node's name in the cluster.
        node: String,
    },
    /// The manifests were applied.
    Applied {
        /// Which objects, as kubectl names them.
        objects: Vec<String>,
        /// The context that was changed.
        context: String,
        /// The namespaces that they are in.
        namespaces: Vec<String>,
    },
    /// Objects were deleted.
    Deleted {
        /// Which objects, as kubectl names them.
        objects: Vec<String>,
        /// The context that was changed.
        context: String,
    },
    /// The cluster has all objects as the manifests want them; nothing was
    /// applied.
    Unchanged {
        /// The context that was looked at.
        context: String,
    },
    /// Pods are awaited.
    Waiting {
        /// Kind and name, as `deployment/hello`.
        workload: String,
        /// How many new pods are ready.
        ready: u64,
        /// How many there shall be.
        desired: u64,
        /// The new pods that there are.
        pods: Vec<PodState>,
    },
    /// All new pods of a workload are ready.
    Ready {
        /// Kind and name, as `deployment/hello`.
        workload: String,
        /// How many pods.
        pods: u64,
        /// Since the wait began, in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A rollout has failed, and its workload has the revision before again.
    RolledBack {
        /// As kubectl names it.
        workload: String,
    },
    /// Something worth knowing that stops nothing.
    Note {
        /// A sentence without its dot.
        text: String,
    },
    /// A dry run would run this command here.
    WouldRun {
        /// The command, quoted as a shell would take it.
        command: String,
    },
    /// All is done.
    Finished {
        /// The reference that runs.
        image: String,
        /// All together, in seconds.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        duration: Duration,
    },
}

/// Where a pod is, and how it is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PodState {
    /// The pod's name.
    pub pod: String,
    /// The node's name, once it has one.
    pub node: Option<String>,
    /// One word, as kubectl has it, or `Ready`.
    pub state: String,
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_is_stable() {
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
