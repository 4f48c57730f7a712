//! Selects the cluster: resolves its context, checks that kdev is allowed to modify it, and
//! lists its nodes.
//!
//! Context, kubeconfig, and namespace are resolved once and passed to every call, so that
//! `kubectl config use-context` in another terminal does not affect the run.
//!
//! - `credentials.rs`: the credentials of a user, and how to renew them
//! - `helm.rs`: how `helm` selects the same cluster
//! - `help.rs`: the help for requests that fail
//! - `kubeconfig.rs`: contexts and servers
//! - `kubectl.rs`: `kubectl` without a context
//! - `kubelet_config.rs`: the configuration of a kubelet
//! - `listing.rs`: lists the nodes and namespaces
//! - `local.rs`: whether the cluster runs on this machine
//! - `namespaces.rs`: the namespaces, and which of them are being deleted
//! - `pods.rs`: watches the pods of a namespace
//! - `requests.rs`: requests that several threads make at the same time
//! - `snapshot.rs`: the objects of a namespace at one moment, and logs

mod credentials;
mod error;
mod helm;
mod help;
pub(crate) mod kubeconfig;
pub(crate) mod kubectl;
pub(crate) mod kubelet_config;
pub(crate) mod listing;
mod local;
pub(crate) mod namespaces;
pub(crate) mod pods;
mod requests;
pub(crate) mod snapshot;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use kdev_core::kube::node::{Node, NodeList};
use kdev_core::shell::quote;
use serde::de::DeserializeOwned;
use xshell::{Cmd, Shell};

use crate::cluster::credentials::Credentials;
use crate::cluster::help::REQUEST_TIMEOUT_FLAG;
use crate::cluster::kubeconfig::{ClusterTarget, Kubeconfig};
use crate::cluster::namespaces::Namespaces;
use crate::cluster::requests::SharedRequests;
use crate::config::Config;
use crate::cx::Cx;
use crate::process::{Command, Failure, Outcome};
use crate::tools;

pub use credentials::RejectedCredentials;
pub use error::Error;
pub(crate) use error::{Result, no_node_help};
pub(crate) use kubectl::KUBECTL_TIMEOUT;

/// The flag for requests without an end, after the one that limits all requests.
pub(crate) const NO_REQUEST_TIMEOUT: &str = "--request-timeout=0";

/// A context and a namespace, and how `kubectl` connects to them.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    kubectl: PathBuf,
    kubeconfig: Option<PathBuf>,
    /// The context's name.
    pub(crate) context: String,
    /// The namespace of objects that do not set one.
    pub(crate) namespace: String,
    /// The user of the context.
    credentials: Credentials,
    /// The nodes and namespaces, if they are already listed.
    listed: Option<Listed>,
    /// The requests that the packages of a run share.
    requests: Arc<SharedRequests>,
}

/// The nodes, and the namespaces if the user may list them.
type Listed = (Vec<Node>, Option<Namespaces>);

impl Cluster {
    /// Resolves the context and checks that kdev is allowed to modify the cluster.
    pub(crate) fn select(
        cx: &Cx,
        kubeconfig: Kubeconfig,
        target: &ClusterTarget,
        config: &Config,
    ) -> Result<Self> {
        let (mut cluster, server) = Self::resolve(kubeconfig, target, config.namespace.clone())?;
        cluster.check_permission(cx, target, config, &server)?;
        Ok(cluster)
    }

    /// Resolves the context, and lists the nodes and namespaces with `list` if kdev is allowed to
    /// modify the cluster, or may be without a prompt. [`Self::check_permission`] must follow. Also
    /// returns the URL of the API server.
    pub(crate) fn resolve_and_list(
        kubeconfig: Kubeconfig,
        target: &ClusterTarget,
        config: &Config,
        list: impl FnOnce(&Self) -> Result<Listed>,
    ) -> Result<(Self, String)> {
        let (mut cluster, server) = Self::resolve(kubeconfig, target, config.namespace.clone())?;
        let is_permitted = permission_reason(&cluster.context, target, config).is_some();
        if is_permitted || local::is_local_server(&server) {
            cluster.set_listed(list(&cluster))?;
        }
        Ok((cluster, server))
    }

    /// Checks that kdev is allowed to modify the cluster, or asks.
    pub(crate) fn check_permission(
        &mut self,
        cx: &Cx,
        target: &ClusterTarget,
        config: &Config,
        server: &str,
    ) -> Result<()> {
        if permission_reason(&self.context, target, config).is_none()
            && !self.is_local(cx, server)?
        {
            confirm_context(cx, &self.context, server)?;
        }
        Ok(())
    }

    /// Returns whether a local distribution on this machine created the cluster.
    pub(crate) fn is_local(&mut self, cx: &Cx, server: &str) -> Result<bool> {
        if local::is_local_server(server) {
            self.list(cx)?;
        }
        Ok(self.listed.as_ref().is_some_and(|(nodes, _)| local::is_local_distribution(nodes)))
    }

    /// Lists the nodes and namespaces, which changes nothing, but can be forbidden.
    fn list(&mut self, cx: &Cx) -> Result<()> {
        self.set_listed(self.nodes_and_namespaces(cx))
    }

    fn set_listed(&mut self, listed: Result<Listed>) -> Result<()> {
        self.listed = match listed {
            Err(Error::Rejected { .. }) => None,
            listed => Some(listed?),
        };
        Ok(())
    }

    /// Resolves the context for commands that change nothing, so no permission is needed.
    pub(crate) fn connect_read_only(
        kubeconfig: Kubeconfig,
        target: &ClusterTarget,
        namespace: Option<String>,
    ) -> Result<Self> {
        Self::resolve(kubeconfig, target, namespace).map(|(cluster, _)| cluster)
    }

    /// Resolves the context, and returns the cluster and the URL of its API server.
    pub(crate) fn resolve(
        kubeconfig: Kubeconfig,
        target: &ClusterTarget,
        namespace: Option<String>,
    ) -> Result<(Self, String)> {
        let Kubeconfig { kubectl, path, view } = kubeconfig;
        let known: Vec<String> = view.contexts().into_iter().map(|c| c.name).collect();
        let missing = || if known.is_empty() { target.missing_files() } else { Vec::new() };
        let named = target.explicit_context().or(view.current_context());
        let context = named.ok_or_else(|| Error::NoCurrentContext { missing: missing() })?;
        let Some(entry) = view.contexts().into_iter().find(|c| c.name == context) else {
            return Err(Error::ContextNotFound { context, missing: missing(), known });
        };
        let server = view.server(&entry.context.cluster);
        let credentials = view.credentials(&entry.context.user);
        let namespace = namespace
            .or(entry.context.namespace.filter(|n| !n.is_empty()))
            .unwrap_or_else(|| "default".to_owned());
        let (kubeconfig, listed, requests) = (path, None, Arc::default());
        let cluster =
            Self { kubectl, kubeconfig, context, namespace, credentials, listed, requests };
        Ok((cluster, server))
    }

    /// Shares requests with the other packages of a run.
    pub(crate) fn share_requests(&mut self, requests: &Arc<SharedRequests>) {
        self.requests = requests.clone();
    }

    /// Returns the same cluster with another namespace, if one is given.
    pub(crate) fn with_namespace(&self, namespace: Option<&str>) -> Self {
        let namespace = namespace.unwrap_or(&self.namespace).to_owned();
        Self { namespace, ..self.clone() }
    }

    /// Lists all nodes as they are now.
    pub(crate) fn refresh_nodes(&self, cx: &Cx) -> Result<Vec<Node>> {
        Self { listed: None, ..self.clone() }.nodes(cx)
    }

    /// Lists all nodes.
    pub(crate) fn nodes(&self, cx: &Cx) -> Result<Vec<Node>> {
        if let Some((nodes, _)) = &self.listed {
            return Ok(nodes.clone());
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "nodes", "--output=json"]);
        let list: NodeList = self.get_json(cx, cmd, "list nodes")?;
        Ok(list.into())
    }

    /// Returns `kubectl` with context, namespace, and kubeconfig; the caller adds the verb.
    pub(crate) fn cmd<'a>(&self, sh: &'a Shell, namespace: Option<&str>) -> Cmd<'a> {
        let (context, namespace) = (&self.context, namespace.unwrap_or(&self.namespace));
        kubectl::kubectl_command(sh, &self.kubectl, self.kubeconfig.as_ref()).args([
            "--context",
            context,
            "--namespace",
            namespace,
            REQUEST_TIMEOUT_FLAG,
        ])
    }

    /// Returns `kubectl` for this cluster as a command line for the user.
    pub(crate) fn display_command(&self, namespace: Option<&str>) -> String {
        let namespace = quote(namespace.unwrap_or(&self.namespace));
        let flag = |path: &PathBuf| format!(" --kubeconfig {}", quote(&path.to_string_lossy()));
        let config = self.kubeconfig.as_ref().map(flag).unwrap_or_default();
        format!("kubectl{config} --context {} --namespace {namespace}", quote(&self.context))
    }

    /// Returns `kubectl` for objects without a namespace as a command line for the user.
    pub(crate) fn display_cluster_command(&self) -> String {
        error::without_namespace(&self.display_command(None)).to_owned()
    }

    /// Returns the flags with which `cargo kdev` selects the same cluster and namespace.
    pub(crate) fn display_flags(&self) -> String {
        self.display_command(None).trim_start_matches("kubectl").trim().to_owned()
    }

    /// Runs `kubectl` and parses its JSON output.
    pub(crate) fn get_json<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        cmd: Cmd,
        action: &str,
    ) -> Result<T> {
        let output = Command::new(cmd)
            .timeout(KUBECTL_TIMEOUT)
            .read(cx)
            .map_err(|f| self.request_error(f, action))?;
        kubectl::parse_json(&output.stdout)
    }

    /// Runs `kubectl` and parses its JSON output, or returns that of a run that another thread has
    /// begun after this call.
    pub(crate) fn get_shared_json<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        cmd: Cmd,
        action: &str,
    ) -> Result<T> {
        let key = cmd.to_string();
        let answer = self.requests.get(cx, &key, || self.get_json(cx, cmd, action))?;
        T::deserialize(&*answer).map_err(|error| tools::Error::unexpected("kubectl", error).into())
    }

    /// Returns the error for a failed `kubectl`: the kubeconfig cannot be used, or the API
    /// server is unreachable, or it rejected the credentials or the request.
    pub(crate) fn request_error(&self, failure: Failure, action: &str) -> Error {
        let (context, kubectl, source) =
            (self.context.clone(), self.display_command(None), failure);
        if credentials::are_unusable(&source.stderr) {
            let help = self.credentials.unusable_help(&kubectl, &source.stderr);
            Error::UnusableContext { context, help, source }
        } else if is_unreachable(&source) {
            Error::Unreachable { context, kubectl, source }
        } else if credentials::are_rejected(&source.stderr) {
            let description = self.credentials.describe(Timestamp::now());
            let help = self.credentials.renewal_help(&context);
            let source = RejectedCredentials { description, source };
            Error::Unauthorized { context, help, source }
        } else {
            Error::Rejected { context, action: action.to_owned(), kubectl, source }
        }
    }
}

/// Returns why kdev can modify the context without a prompt, if the user has allowed it.
pub(crate) fn permission_reason(
    context: &str,
    target: &ClusterTarget,
    config: &Config,
) -> Option<&'static str> {
    if target.explicit_context().is_some() {
        Some("it was named")
    } else if config.contexts.iter().any(|known| known == context) {
        Some("the configuration lists it")
    } else {
        None
    }
}

fn confirm_context(cx: &Cx, context: &str, server: &str) -> Result<()> {
    let question = format!("Modify the cluster of context `{context}` ({server})?");
    let is_confirmed = cx.confirm(&question);
    cx.check_interrupt()?;
    match is_confirmed {
        Some(true) => Ok(()),
        _ => {
            Err(Error::ContextNotAllowed { context: context.to_owned(), server: server.to_owned() })
        }
    }
}

/// Returns whether the API server was never reached, based on the messages of client-go.
/// An error from the server itself can contain the same text.
fn is_unreachable(failure: &Failure) -> bool {
    const MESSAGES: [&str; 14] = [
        "Unable to connect to the server",
        "proxyconnect",
        "tls: failed to verify certificate",
        "tls: first record does not look like a TLS handshake",
        "server gave HTTP response to HTTPS client",
        "Client.Timeout exceeded",
        "was refused - did you specify the right host or port",
        "connection refused",
        "no such host",
        "i/o timeout",
        "TLS handshake timeout",
        "context deadline exceeded",
        "no route to host",
        "network is unreachable",
    ];
    let is_from_server = failure.stderr.contains("Error from server");
    let is_unreached = MESSAGES.iter().any(|message| failure.stderr.contains(message));
    (is_unreached && !is_from_server) || matches!(failure.outcome, Outcome::TimedOut(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_error_in_server_response_is_reachable() {
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
}
