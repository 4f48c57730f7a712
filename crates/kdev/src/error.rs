//! All that may fail: data and words, each with an exit code.
//!
//! `Display` says what failed; `source` leads on to the cause. The words fit
//! after `error: ` and `caused by: `; `help.rs` has what helps.

use std::path::PathBuf;
use std::time::Duration;

use crate::cmd::Failure;
use crate::exit_code::ExitCode;
use crate::fault::NodeError;
use crate::image::ReferenceError;
use crate::refusal::{Conflict, Immutable};
use crate::wanted::Change;
use crate::why::Explained;
use crate::words::{ids, list, nodes_failed, pod_words, text_of};
use crate::workload::Cure;

/// The result of a stage.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted,
    /// The current folder has gone or may not be read.
    #[error("cannot use the current folder: {reason}")]
    CurrentDir {
        /// The operating system's words.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {what} `{}`", path.display())]
    File {
        /// A verb: read, write.
        what: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: std::io::Error,
    },

    /// `cargo metadata` failed.
    #[error("cannot read the cargo project")]
    Metadata(#[source] Failure),
    /// No package, or several, could be meant.
    #[error("cannot tell which package is meant: {reason}")]
    WhichPackage {
        /// What was found.
        reason: String,
    },
    /// A key that kdev does not know.
    #[error("unknown key `{key}` in {place}")]
    UnknownKey {
        /// The key, with the tables around it.
        key: String,
        /// The file and table.
        place: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that cannot be used.
    #[error("invalid value for `{key}` in {place}")]
    BadValue {
        /// The key, with the tables around it.
        key: String,
        /// The file and table, the variable or the flag.
        place: String,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// The image's name breaks the grammar of references.
    #[error("cannot use the image's name")]
    ImageName(#[source] ReferenceError),
    /// What shall be loaded has no name that a node could know it by.
    #[error("cannot load `{image}`")]
    LoadName {
        /// As it was given.
        image: String,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// An archive that holds no image to load, or more than one.
    #[error("cannot load the archive `{archive}`")]
    Archive {
        /// Its path, or `-`.
        archive: String,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// docker has no such image.
    #[error("docker has no image `{image}`")]
    NoImage {
        /// Its name or ID.
        image: String,
    },
    /// docker has no build of this project.
    #[error("docker has no image `{image}`, and so no build of this project")]
    NotBuilt {
        /// The image's name.
        image: String,
        /// The command that builds it.
        by: String,
    },
    /// There is no Dockerfile.
    #[error("no Dockerfile at `{}`", path.display())]
    NoDockerfile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No file matches the configured manifests.
    #[error("no Kubernetes manifest matches {}", list(patterns))]
    NoManifest {
        /// What was looked for.
        patterns: Vec<String>,
        /// The command that writes a first one, where there is none to be corrected.
        by: Option<String>,
    },
    /// The manifests name other images only.
    #[error("no container in {} runs the image `{image}`", list(files))]
    ImageUnused {
        /// The image of this project.
        image: String,
        /// The manifests that were read.
        files: Vec<String>,
        /// The images that they name.
        found: Vec<String>,
        /// The one that looks most like it: file, line and image.
        nearest: Option<(PathBuf, usize, String)>,
    },
    /// A manifest that cannot be edited with certainty.
    #[error("cannot edit {}, line {line}, column {column}", text_of(path, made_by.as_deref()))]
    Manifest {
        /// Which file or folder.
        path: PathBuf,
        /// The command that has made the text of a folder.
        made_by: Option<String>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        #[source]
        reason: Reason,
    },

    /// A record of facts that is none.
    #[error("cannot read the facts in `{}`", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },

    /// A program is not on PATH.
    #[error("`{tool}` is not installed, or not on PATH")]
    ToolMissing {
        /// Which program.
        tool: &'static str,
        /// How to get it.
        cure: &'static str,
    },
    /// A program is too old.
    #[error("`{tool}` {found} is too old: kdev needs {needed} or newer")]
    ToolOld {
        /// Which program.
        tool: &'static str,
        /// The version that was found.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
        /// How to get a newer one.
        cure: &'static str,
    },
    /// The docker daemon does not answer.
    #[error("the docker daemon does not answer")]
    DockerDown {
        /// docker's own words.
        #[source]
        source: Failure,
        /// Which one was asked, where that is not this machine's own.
        asked: Option<DockerHost>,
    },
    /// A program ran, and failed.
    #[error("cannot {what}")]
    Tool {
        /// A verb phrase.
        what: String,
        /// Its own words.
        #[source]
        source: Failure,
        /// Which stage it belongs to.
        code: ExitCode,
    },
    /// kubectl or helm could make no manifests of this folder.
    #[error("cannot make manifests of `{}`", .0.display())]
    Generator(PathBuf, #[source] Failure),
    /// A program's answer is not what it documents.
    #[error("cannot understand what `{tool}` answered")]
    Answer {
        /// Which program.
        tool: &'static str,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },

    /// `cargo build` or `docker build` failed; its words were shown.
    #[error("cannot build `{what}`")]
    Build {
        /// The image or the package.
        what: String,
        /// How it ended.
        #[source]
        source: Failure,
        /// Where cargo puts what the Dockerfile looks for in `target/`.
        elsewhere: Option<PathBuf>,
    },

    /// No context was named, and none is current.
    #[error("no kube context is selected")]
    NoContext {
        /// Kubeconfigs that were named, and do not exist.
        missing: Vec<PathBuf>,
    },
    /// The context does not exist.
    #[error("no kube context is named `{context}`")]
    UnknownContext {
        /// The name.
        context: String,
        /// Those that exist.
        known: Vec<String>,
        /// Kubeconfigs that were named, and do not exist.
        missing: Vec<PathBuf>,
    },
    /// The context may not be changed.
    #[error("kdev does not change the cluster of context `{context}` (server {server}) unasked")]
    ContextNotAllowed {
        /// The name.
        context: String,
        /// The API server's address.
        server: String,
    },
    /// The cluster does not answer.
    #[error("the cluster of context `{context}` does not answer")]
    ClusterUnreachable {
        /// The context.
        context: String,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// kubectl's words.
        #[source]
        source: Failure,
    },
    /// The API refused what kubectl asked.
    #[error("the cluster of context `{context}` refused to {what}")]
    Refused {
        /// The context.
        context: String,
        /// A verb phrase.
        what: String,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// kubectl's words.
        #[source]
        source: Failure,
    },
    /// Other managers own fields that the manifests set.
    #[error("fields of the manifests are owned by others in context `{context}`")]
    Conflicts {
        /// The context.
        context: String,
        /// Each field with its owner.
        conflicts: Vec<Conflict>,
        /// The same in words.
        #[source]
        reason: Reason,
    },
    /// Fields that the API lets nobody change.
    #[error("the cluster of context `{context}` cannot change {}", ids(immutables))]
    Immutable {
        /// The context.
        context: String,
        /// Each object with the field.
        immutables: Vec<Immutable>,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// The same in words.
        #[source]
        reason: Reason,
    },
    /// No node may run the pods.
    #[error("no node of context `{context}` may run the pods")]
    NoNode {
        /// The context.
        context: String,
        /// kubectl with the context that was used.
        kubectl: String,
        /// Each node with what keeps the pods away.
        reasons: Vec<(String, String)>,
        /// The same in words.
        #[source]
        reason: Reason,
    },
    /// A node that was asked for does not exist.
    #[error("the cluster has no node `{node}`")]
    UnknownNode {
        /// The name.
        node: String,
        /// Those that exist.
        known: Vec<String>,
    },

    /// The namespace does not exist.
    #[error("context `{context}` has no namespace `{namespace}`")]
    NoNamespace {
        /// The context.
        context: String,
        /// The name.
        namespace: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// Nothing that makes pods has this name.
    #[error("no pod or workload `{asked}` is in namespace `{namespace}`")]
    UnknownWorkload {
        /// As it was asked for.
        asked: String,
        /// Where it was looked for.
        namespace: String,
        /// Those that exist.
        known: Vec<String>,
    },

    /// The image cannot run on a node.
    #[error(
        "image `{image}` is built for {image_platform}, but node `{node}` runs {node_platform}"
    )]
    WrongPlatform {
        /// The image.
        image: String,
        /// Its operating system and architecture.
        image_platform: String,
        /// The node.
        node: String,
        /// Its operating system and architecture.
        node_platform: String,
    },
    /// Some nodes failed.
    #[error("{}", nodes_failed(.0))]
    Nodes(Vec<NodeError>),

    /// The new pods cannot become ready.
    #[error("{workload} cannot become ready: {}", pod_words(pod.as_deref(), node.as_deref()))]
    RolloutFailed {
        /// Kind and name.
        workload: String,
        /// The pod that shows it.
        pod: Option<String>,
        /// Where it is.
        node: Option<String>,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// What Kubernetes says of it, and the end of the log of what crashed.
        #[source]
        reason: Reason,
    },
    /// The workload waits for somebody to do something.
    #[error("{workload} does not replace its pods")]
    RolloutHeld {
        /// Kind and name.
        workload: String,
        /// What would make it go on.
        cure: Cure,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// What holds it.
        #[source]
        reason: Reason,
    },
    /// Another build of the image was applied meanwhile.
    #[error("{workload} runs another build: `{theirs}` has taken the place of `{ours}`")]
    Superseded {
        /// Kind and name.
        workload: String,
        /// The image that was applied here.
        ours: String,
        /// The image that it has now.
        theirs: String,
    },
    /// The pods are not what was applied, and so cannot run.
    #[error("admission has changed {} of {workload}", pod.as_ref().map_or_else(|| "the template".to_owned(), |pod| format!("pod `{pod}`")))]
    Altered {
        /// Kind and name.
        workload: String,
        /// The pod, or the workload itself.
        pod: Option<String>,
        /// Which fields.
        changes: Vec<Change>,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// Which fields, and who is likely to have changed them.
        #[source]
        reason: Reason,
    },
    /// A kubelet lets no pod have an image that it has not pulled itself.
    #[error(
        "{workload} cannot become ready: the kubelet of node `{node}` verifies the credentials that each image was pulled with"
    )]
    Unverified {
        /// Kind and name.
        workload: String,
        /// Where the pod is.
        node: String,
        /// The policy, and what the kubelet says.
        #[source]
        reason: Reason,
    },
    /// The new pods did not become ready in time.
    #[error("{workload} was not ready within {} s: {ready} of {wanted} new pods are", limit.as_secs())]
    RolloutTimedOut {
        /// Kind and name.
        workload: String,
        /// Ready new pods.
        ready: u64,
        /// Wanted pods.
        wanted: u64,
        /// The limit that was set.
        limit: Duration,
        /// kubectl with the context and namespace that were used.
        kubectl: String,
        /// What Kubernetes says of the others.
        #[source]
        reason: Reason,
    },
    /// One of these, of which the root cause was found.
    #[error(transparent)]
    Explained(Box<Explained>),
}

/// A docker daemon that somebody has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerHost {
    /// docker's context.
    pub context: String,
    /// As a URL.
    pub address: String,
}

/// A cause that is no error of another library: just words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub String);

impl Error {
    /// Wraps a child's failure, unless it was an interrupt.
    pub(crate) fn from_failure(failure: Failure, wrap: impl FnOnce(Failure) -> Self) -> Self {
        if failure.is_interrupt() { Self::Interrupted } else { wrap(failure) }
    }

    /// The workload whose pods do not become ready, as `deployment/hello`.
    pub(crate) fn stuck_workload(&self) -> Option<&str> {
        match self {
            Self::RolloutFailed { workload, .. } | Self::RolloutTimedOut { workload, .. } => {
                Some(workload)
            }
            _ => None,
        }
    }
}
