//! The cluster, through kubectl: which context, may it be changed, which
//! nodes it has.
//!
//! Context, kubeconfig and namespace are resolved once and stand on every
//! call, so that a `kubectl config use-context` in another window changes
//! nothing here.

mod error;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use xshell::{Cmd, Shell, cmd};

use crate::config::Config;
use crate::cx::Cx;
use crate::kubeconfig::{Kubeconfig, Target};
use crate::local;
use crate::process::{Failure, Outcome, Task, quoted};
use crate::tools;

pub use error::Error;
pub(crate) use error::{Result, no_node_help};

/// How long one request to the API may take.
const REQUEST: &str = "--request-timeout=15s";
/// How long one kubectl may take, retries and all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that may be changed.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    kubectl: PathBuf,
    kubeconfig: Option<PathBuf>,
    /// The context's name.
    pub(crate) context: String,
    /// The namespace of everything that is not told otherwise.
    pub(crate) namespace: String,
    /// Its nodes, where they were listed already.
    listed: Option<Vec<Node>>,
}

/// A node as the cluster lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    pub(crate) address: Option<String>,
    /// What whoever made it calls it, as a URL: `kind://docker/CLUSTER/NODE`.
    pub(crate) provider: String,
    pub(crate) taints: Vec<Taint>,
    pub(crate) info: NodeInfo,
}

impl Node {
    /// The container of docker's that it might be, by what the cluster says of
    /// it: kind names docker and the container; k3d and minikube name the
    /// container as the node, and minikube has nodes that are none.
    pub(crate) fn container(&self) -> Option<&str> {
        if let Some(kind) = self.provider.strip_prefix("kind://docker/") {
            return kind.split('/').nth(1);
        }
        let k3d = self.provider.strip_prefix("k3s://").is_some_and(|name| name.starts_with("k3d-"));
        let minikube = self.labels.contains_key("minikube.k8s.io/name");
        (k3d || minikube).then_some(self.name.as_str())
    }

    /// Whether it is the one node of Docker Desktop's kubeadm, in its own virtual
    /// machine; those of its kind are containers.
    pub(crate) fn is_docker_desktop(&self) -> bool {
        self.name == "docker-desktop" && self.provider.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: std::collections::BTreeMap::new(),
            address: None,
            provider: String::new(),
            taints: Vec::new(),
            info: NodeInfo::default(),
        }
    }
}

/// `status.nodeInfo` of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeInfo {
    #[serde(rename = "machineID")]
    pub(crate) machine_id: String,
    #[serde(rename = "bootID")]
    pub(crate) boot_id: String,
    pub(crate) operating_system: String,
    pub(crate) architecture: String,
    pub(crate) container_runtime_version: String,
    pub(crate) kubelet_version: String,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Taint {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
    pub(crate) effect: String,
}

/// As kubectl takes it.
impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equals = if self.value.is_empty() { "" } else { "=" };
        write!(f, "{}{equals}{}:{}", self.key, self.value, self.effect)
    }
}

impl NodeInfo {
    /// As an image's platform is written.
    pub(crate) fn platform(&self) -> String {
        format!("{}/{}", self.operating_system, self.architecture)
    }
}

impl Cluster {
    /// Finds the context and makes sure that it may be changed.
    pub(crate) fn select(
        cx: &Cx,
        kubeconfig: Kubeconfig,
        target: &Target,
        config: &Config,
    ) -> Result<Self> {
        let (mut cluster, server) = Self::find(kubeconfig, target, config.namespace.clone())?;
        if consent(&cluster.context, target, config).is_none() && !cluster.is_local(cx, &server)? {
            ask(cx, &cluster.context, &server)?;
        }
        Ok(cluster)
    }

    /// Whether a product on this machine has made it.
    pub(crate) fn is_local(&mut self, cx: &Cx, server: &str) -> Result<bool> {
        if local::listens_here(server) {
            // To list nodes is only to look, and may be refused all the same.
            self.listed = match self.nodes(cx) {
                Err(Error::Rejected { .. }) => None,
                nodes => Some(nodes?),
            };
        }
        Ok(self.listed.as_deref().is_some_and(local::is_of_product))
    }

    /// Finds the context; for those who only look, so nobody is asked.
    pub(crate) fn look_at(
        kubeconfig: Kubeconfig,
        target: &Target,
        namespace: Option<String>,
    ) -> Result<Self> {
        Self::find(kubeconfig, target, namespace).map(|(cluster, _)| cluster)
    }

    /// With its API server's address.
    pub(crate) fn find(
        kubeconfig: Kubeconfig,
        target: &Target,
        namespace: Option<String>,
    ) -> Result<(Self, String)> {
        let Kubeconfig { kubectl, path, view } = kubeconfig;
        let known: Vec<String> = view.contexts().into_iter().map(|c| c.name).collect();
        let missing = || if known.is_empty() { target.missing() } else { Vec::new() };
        let named = target.named().or(view.current());
        let context = named.ok_or_else(|| Error::NoCurrentContext { missing: missing() })?;
        let Some(entry) = view.contexts().into_iter().find(|c| c.name == context) else {
            return Err(Error::ContextNotFound { context, missing: missing(), known });
        };
        let server = view.server(&entry.context.cluster);
        let namespace = namespace
            .or(entry.context.namespace.filter(|n| !n.is_empty()))
            .unwrap_or_else(|| "default".to_owned());
        Ok((Self { kubectl, kubeconfig: path, context, namespace, listed: None }, server))
    }

    /// The same one, with another namespace where one is given.
    pub(crate) fn in_namespace(&self, namespace: Option<&str>) -> Self {
        let namespace = namespace.unwrap_or(&self.namespace).to_owned();
        Self { namespace, ..self.clone() }
    }

    /// All nodes, as the API lists them.
    pub(crate) fn nodes(&self, cx: &Cx) -> Result<Vec<Node>> {
        if let Some(nodes) = &self.listed {
            return Ok(nodes.clone());
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "nodes", "--output=json"]);
        let list: NodeList = self.json(cx, cmd, "list its nodes")?;
        Ok(list.items.into_iter().map(Node::from).collect())
    }

    /// An error where the namespace does not exist; whoever may not list namespaces
    /// is not told.
    pub(crate) fn require_namespace(&self, cx: &Cx) -> Result<()> {
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "namespaces", "--output=name"]);
        let output = match Task::new(cmd).limit(PATIENCE).read(cx) {
            Ok(output) => output,
            Err(failure) => match self.failed(failure, "list its namespaces") {
                Error::Rejected { .. } => return Ok(()),
                error => return Err(error),
            },
        };
        let text = output.text();
        let names = text.lines().filter_map(|line| line.strip_prefix("namespace/"));
        let known: Vec<String> = names.map(str::to_owned).collect();
        if known.contains(&self.namespace) {
            return Ok(());
        }
        let (context, namespace) = (self.context.clone(), self.namespace.clone());
        Err(Error::NamespaceNotFound { context, namespace, known })
    }

    /// kubectl with context, namespace and kubeconfig; the verb follows.
    pub(crate) fn cmd<'a>(&self, sh: &'a Shell, namespace: Option<&str>) -> Cmd<'a> {
        let (context, namespace) = (&self.context, namespace.unwrap_or(&self.namespace));
        bare(sh, &self.kubectl, self.kubeconfig.as_ref()).args([
            "--context",
            context,
            "--namespace",
            namespace,
            REQUEST,
        ])
    }

    /// kubectl for this cluster as a person would type it.
    pub(crate) fn by_hand(&self, namespace: Option<&str>) -> String {
        let namespace = quoted(namespace.unwrap_or(&self.namespace));
        let flag = |path: &PathBuf| format!(" --kubeconfig {}", quoted(&path.to_string_lossy()));
        let config = self.kubeconfig.as_ref().map(flag).unwrap_or_default();
        format!("kubectl{config} --context {} --namespace {namespace}", quoted(&self.context))
    }

    /// The flags by which `cargo kdev` finds the same cluster and namespace.
    pub(crate) fn flags_by_hand(&self) -> String {
        self.by_hand(None).trim_start_matches("kubectl").trim().to_owned()
    }

    /// Runs a kubectl that answers in JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, cx: &Cx, cmd: Cmd, what: &str) -> Result<T> {
        let output = Task::new(cmd).limit(PATIENCE).read(cx).map_err(|f| self.failed(f, what))?;
        answer(&output.stdout)
    }

    /// The error for a kubectl that failed: unreachable, or refused.
    pub(crate) fn failed(&self, failure: Failure, action: &str) -> Error {
        let (context, kubectl, source) = (self.context.clone(), self.by_hand(None), failure);
        if is_unreachable(&source) {
            Error::Unreachable { context, kubectl, source }
        } else {
            Error::Rejected { context, action: action.to_owned(), kubectl, source }
        }
    }
}

pub(crate) fn bare<'a>(sh: &'a Shell, kubectl: &Path, kubeconfig: Option<&PathBuf>) -> Cmd<'a> {
    let cmd = cmd!(sh, "{kubectl}");
    match kubeconfig {
        Some(path) => cmd.arg("--kubeconfig").arg(path),
        None => cmd,
    }
}

/// kubectl's JSON.
pub(crate) fn answer<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| tools::Error::unexpected("kubectl", error).into())
}

/// Why a context may be changed unasked, as far as the user has said so.
pub(crate) fn consent(context: &str, target: &Target, config: &Config) -> Option<&'static str> {
    if target.named().is_some() {
        Some("it was named")
    } else if config.contexts.iter().any(|known| known == context) {
        Some("the configuration lists it")
    } else {
        None
    }
}

fn ask(cx: &Cx, context: &str, server: &str) -> Result<()> {
    let question = format!("Change the cluster of context `{context}` (server {server})?");
    let answer = cx.ask(&question);
    cx.check_interrupt()?;
    match answer {
        Some(true) => Ok(()),
        _ => {
            Err(Error::ContextNotAllowed { context: context.to_owned(), server: server.to_owned() })
        }
    }
}

/// Whether the API server was never reached, by what client-go prints then. An
/// error that the server itself has sent may hold the same words.
fn is_unreachable(failure: &Failure) -> bool {
    const SIGNS: [&str; 9] = [
        "Unable to connect to the server",
        "was refused - did you specify the right host or port",
        "connection refused",
        "no such host",
        "i/o timeout",
        "TLS handshake timeout",
        "context deadline exceeded",
        "no route to host",
        "network is unreachable",
    ];
    let answered = failure.stderr.contains("Error from server");
    let unreached = SIGNS.iter().any(|sign| failure.stderr.contains(sign));
    (unreached && !answered) || matches!(failure.outcome, Outcome::TimedOut(_))
}

/// A node as the API has it; `None` where it has no name.
pub(crate) fn node(item: &serde_json::Value) -> Option<Node> {
    NodeItem::deserialize(item).ok().map(Node::from)
}

#[derive(Deserialize)]
struct NodeList {
    items: Vec<NodeItem>,
}

#[derive(Deserialize)]
struct NodeItem {
    metadata: NodeMetadata,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct NodeMetadata {
    name: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
    #[serde(rename = "providerID")]
    provider_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    addresses: Vec<Address>,
    node_info: NodeInfo,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl From<NodeItem> for Node {
    fn from(item: NodeItem) -> Self {
        let of_kind = |kind: &str| {
            let found = item.status.addresses.iter().find(|a| a.kind == kind);
            found.map(|a| a.address.clone())
        };
        Self {
            address: of_kind("InternalIP")
                .or_else(|| of_kind("ExternalIP"))
                .or_else(|| of_kind("Hostname")),
            name: item.metadata.name,
            labels: item.metadata.labels,
            provider: item.spec.provider_id,
            taints: item.spec.taints,
            info: item.status.node_info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_no_silence() {
        let failure = |stderr: &str| Failure {
            command: "kubectl".into(),
            outcome: Outcome::Code(1),
            stderr: stderr.into(),
        };
        assert!(is_unreachable(&failure("dial tcp 10.0.0.9:6443: connect: connection refused")));
        assert!(!is_unreachable(&failure(
            "Error from server (InternalError): failed calling webhook: connection refused"
        )));
    }

    #[test]
    fn a_node_is_read_as_the_api_writes_it() {
        let json = r#"{"items":[{"metadata":{"name":"n","labels":{"a":"b"}},
            "spec":{"providerID":"kind://docker/a/a-worker","taints":[{"key":"k","effect":"NoSchedule"}]},
            "status":{"addresses":[{"type":"Hostname","address":"h"},{"type":"InternalIP","address":"10.0.0.1"}],
            "nodeInfo":{"machineID":"m","bootID":"b","operatingSystem":"linux","architecture":"arm64",
            "containerRuntimeVersion":"containerd://1.6.20"}}}]}"#;
        let list: NodeList = serde_json::from_str(json).unwrap();
        let node = Node::from(list.items.into_iter().next().unwrap());
        assert_eq!(node.address.as_deref(), Some("10.0.0.1"));
        assert_eq!(node.info.platform(), "linux/arm64");
        assert_eq!((node.info.machine_id.as_str(), node.info.boot_id.as_str()), ("m", "b"));
        assert_eq!((node.taints.len(), node.container()), (1, Some("a-worker")));
    }
}
