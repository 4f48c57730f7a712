//! etcd, the API server, the controllers and the scheduler, on the host.

use super::daemon::{self, Daemon};
use super::kubeconfig::kubectl;
use super::node::NODES;
use super::paths::{APISERVER, HOST, SERVICES, program, state};
use super::wait;
use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Shell, cmd};

/// Not etcd's own ports, which one of the host's may hold.
const ETCD: &str = "127.0.0.1:12379";
const ETCD_PEERS: &str = "127.0.0.1:12380";

pub(crate) fn start() -> Result<()> {
    let sh = Shell::new()?;
    etcd(&sh)?;
    apiserver(&sh)?;
    clients(&sh)
}

fn etcd(sh: &Shell) -> Result<()> {
    let data = state("etcd");
    let (clients, peers) = (format!("http://{ETCD}"), format!("http://{ETCD_PEERS}"));
    let etcd = cmd!(
        sh,
        "etcd --name lab --data-dir {data} --unsafe-no-fsync --log-level warn --logger zap
         --listen-client-urls {clients} --advertise-client-urls {clients}
         --listen-peer-urls {peers} --initial-advertise-peer-urls {peers}
         --initial-cluster lab={peers}"
    );
    Daemon::new("etcd", etcd).ensure()?;
    daemon::answers("etcd", 20, || wait::http_ok(ETCD, "/health"))
}

fn apiserver(sh: &Shell) -> Result<()> {
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
    daemon::answers("kube-apiserver", 60, || wait::connects(APISERVER) && ready(sh))
}

pub(crate) fn ready(sh: &Shell) -> bool {
    kubectl(sh, &["get", "--raw", "/readyz"]).read().is_ok_and(|answer| answer == "ok")
}

fn clients(sh: &Shell) -> Result<()> {
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

/// Until a pod that is created now would run.
pub(crate) fn settled(sh: &Shell) -> Result<()> {
    for node in &NODES {
        let is_it = |found: &Value| found["metadata"]["name"] == node.name && takes_pods(found);
        daemon::answers(&format!("kubelet-{}", node.name), 60, || nodes(sh).iter().any(is_it))?;
    }
    wait::until("the cluster", 60, || is_settled(sh))
        .with_context(|| format!("see the logs in `{}`", state("log").display()))
}

/// Both nodes take pods, and pods have an account to run as.
pub(crate) fn is_settled(sh: &Shell) -> bool {
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    kubectl(sh, &["get", "--raw", account]).read().is_ok()
        && nodes(sh).iter().filter(|node| takes_pods(node)).count() == NODES.len()
}

pub(crate) fn nodes(sh: &Shell) -> Vec<Value> {
    let answer = kubectl(sh, &["get", "nodes", "--output", "json"]).read().unwrap_or_default();
    let list: Value = serde_json::from_str(&answer).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Ready, and without the taint that lingers for a moment after it.
pub(crate) fn takes_pods(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
}

/// Whether its kubelet has reported since a time, which is written as the API server
/// writes times.
pub(crate) fn has_reported_since(node: &Value, time: &str) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    ready.any(|ready| ready["lastHeartbeatTime"].as_str().is_some_and(|at| at >= time))
}
