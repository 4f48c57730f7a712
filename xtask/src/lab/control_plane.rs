//! etcd, the API server, the controller manager and the scheduler, on the host.

use super::daemon::{self, Daemon};
use super::kubeconfig::kubectl;
use super::node::NODES;
use super::paths::{APISERVER, HOST, SERVICES, program, state};
use super::{pid_file, wait};
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::TcpListener;
use xshell::{Shell, cmd};

/// Not etcd's default ports, which an etcd of the host may use.
const ETCD: &str = "127.0.0.1:12379";
const ETCD_PEERS: &str = "127.0.0.1:12380";

pub(crate) fn start() -> Result<()> {
    let sh = Shell::new()?;
    start_etcd(&sh)?;
    start_apiserver(&sh)?;
    start_clients(&sh)
}

fn start_etcd(sh: &Shell) -> Result<()> {
    let data = state("etcd");
    let (clients, peers) = (format!("http://{ETCD}"), format!("http://{ETCD_PEERS}"));
    let etcd = cmd!(
        sh,
        "etcd --name lab --data-dir {data} --unsafe-no-fsync --log-level warn --logger zap
         --listen-client-urls {clients} --advertise-client-urls {clients}
         --listen-peer-urls {peers} --initial-advertise-peer-urls {peers}
         --initial-cluster lab={peers}"
    );
    if !pid_file::is_running("etcd") {
        // Threads of an etcd that was killed can still hold its ports.
        let is_free = |address| TcpListener::bind(address).is_ok();
        wait::wait_until("the ports of etcd", 10, || is_free(ETCD) && is_free(ETCD_PEERS))?;
    }
    Daemon::new("etcd", etcd).ensure()?;
    daemon::wait_until_ready("etcd", 20, || wait::is_http_ok(ETCD, "/health"))
}

fn start_apiserver(sh: &Shell) -> Result<()> {
    let (binary, pki) = (program("kubernetes"), state("pki"));
    let etcd = format!("http://{ETCD}");
    let apiserver = cmd!(
        sh,
        "{binary} kube-apiserver --etcd-servers {etcd}
         --bind-address {HOST} --advertise-address {HOST} --secure-port 6443
         --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction
         --client-ca-file {pki}/ca.crt
         --tls-cert-file {pki}/apiserver.crt --tls-private-key-file {pki}/apiserver.key
         --kubelet-client-certificate {pki}/admin.crt --kubelet-client-key {pki}/admin.key
         --kubelet-certificate-authority {pki}/ca.crt
         --kubelet-preferred-address-types InternalIP
         --service-cluster-ip-range {SERVICES}
         --service-account-issuer https://kubernetes.default.svc
         --service-account-key-file {pki}/service-account.pub
         --service-account-signing-key-file {pki}/service-account.key
         --allow-privileged=true"
    );
    Daemon::new("kube-apiserver", apiserver).ensure()?;
    daemon::wait_until_ready("kube-apiserver", 60, || wait::can_connect(APISERVER) && is_ready(sh))
}

fn is_ready(sh: &Shell) -> bool {
    kubectl(sh, &["get", "--raw", "/readyz"]).read().is_ok_and(|output| output == "ok")
}

fn start_clients(sh: &Shell) -> Result<()> {
    let (binary, pki) = (program("kubernetes"), state("pki"));
    let controllers = cmd!(
        sh,
        "{binary} kube-controller-manager --bind-address 127.0.0.1 --leader-elect=false
         --kubeconfig {pki}/kube-controller-manager.kubeconfig
         --use-service-account-credentials=true --root-ca-file {pki}/ca.crt
         --service-account-private-key-file {pki}/service-account.key
         --kube-api-qps 200 --kube-api-burst 400"
    );
    Daemon::new("kube-controller-manager", controllers).ensure()?;
    let scheduler = cmd!(
        sh,
        "{binary} kube-scheduler --bind-address 127.0.0.1 --leader-elect=false
         --kubeconfig {pki}/kube-scheduler.kubeconfig"
    );
    Daemon::new("kube-scheduler", scheduler).ensure()
}

/// Waits until a new pod would run.
pub(crate) fn wait_until_ready(sh: &Shell) -> Result<()> {
    for node in &NODES {
        let is_ready =
            |found: &Value| found["metadata"]["name"] == node.name && is_ready_for_pods(found);
        let kubelet = format!("kubelet-{}", node.name);
        daemon::wait_until_ready(&kubelet, 60, || nodes(sh).iter().any(is_ready))?;
    }
    wait::wait_until("the cluster", 60, || can_run_pods(sh))
        .with_context(|| format!("see the logs in `{}`", state("log").display()))
}

/// Returns whether all nodes accept pods and the default service account exists.
pub(crate) fn can_run_pods(sh: &Shell) -> bool {
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    kubectl(sh, &["get", "--raw", account]).read().is_ok()
        && nodes(sh).iter().filter(|node| is_ready_for_pods(node)).count() == NODES.len()
}

pub(crate) fn nodes(sh: &Shell) -> Vec<Value> {
    let output = kubectl(sh, &["get", "nodes", "--output", "json"]).read().unwrap_or_default();
    let list: Value = serde_json::from_str(&output).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Returns whether a node is ready and has no taint: the taint of a node that was not ready
/// is removed a moment later.
pub(crate) fn is_ready_for_pods(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
}

/// Returns whether the kubelet has reported since `time`, in the format of the API server.
pub(crate) fn has_reported_since(node: &Value, time: &str) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    ready.any(|ready| ready["lastHeartbeatTime"].as_str().is_some_and(|at| at >= time))
}
