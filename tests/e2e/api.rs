//! Reads objects from the API server without `kubectl`: a process for each poll of each test
//! would use too much CPU.

use std::fs;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::lab::state;

/// Longer than any response of the API server takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The API groups of the kinds that the tests read.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "/api/v1",
        &[
            "configmap",
            "event",
            "namespace",
            "node",
            "persistentvolumeclaim",
            "pod",
            "resourcequota",
            "service",
            "serviceaccount",
        ],
    ),
    ("/apis/apps/v1", &["daemonset", "deployment", "statefulset"]),
    ("/apis/batch/v1", &["cronjob", "job"]),
    ("/apis/rbac.authorization.k8s.io/v1", &["rolebinding"]),
];

static AGENT: LazyLock<Agent> = LazyLock::new(new_agent);
static SERVER: LazyLock<String> = LazyLock::new(server_url);

/// Returns an object, such as `["pod", "web"]` or `["job/work"]`, or the list of all objects
/// of a kind, such as `["pods"]`.
#[track_caller]
pub(crate) fn get(namespace: &str, object: &[&str]) -> Value {
    find(namespace, object).unwrap_or_else(|| panic!("{object:?} not found in `{namespace}`"))
}

/// Returns an object or a list like `get`, or `None` if it does not exist.
#[track_caller]
pub(crate) fn find(namespace: &str, object: &[&str]) -> Option<Value> {
    get_raw(&path(namespace, object))
}

/// Returns the response of the API server for a path, or `None` if it does not exist.
#[track_caller]
pub(crate) fn get_raw(path: &str) -> Option<Value> {
    let mut answer = AGENT.get(format!("{}{path}", *SERVER)).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    match answer.status().as_u16() {
        200 => Some(serde_json::from_str(&text).unwrap()),
        404 => None,
        status => panic!("{path}: {status} {text}"),
    }
}

#[track_caller]
fn path(namespace: &str, object: &[&str]) -> String {
    let mut object = object.iter().flat_map(|part| part.split('/'));
    let kind = object.next().unwrap();
    let kind = kind.strip_suffix('s').unwrap_or(kind);
    let group = GROUPS.iter().find(|(_, kinds)| kinds.contains(&kind));
    let (group, _) = group.unwrap_or_else(|| panic!("`{kind}` is missing in `GROUPS`"));
    let name = object.next().map(|name| format!("/{name}")).unwrap_or_default();
    match kind {
        "namespace" | "node" => format!("{group}/{kind}s{name}"),
        _ => format!("{group}/namespaces/{namespace}/{kind}s{name}"),
    }
}

/// Returns an HTTP client with the credentials of the lab's administrator, which trusts only
/// the lab's CA.
fn new_agent() -> Agent {
    let pem = |name: &str| fs::read(state("pki").join(name)).unwrap();
    let certificate = |name: &str| Certificate::from_pem(&pem(name)).unwrap().to_owned();
    let key = PrivateKey::from_pem(&pem("admin.key")).unwrap().to_owned();
    let tls = TlsConfig::builder()
        .client_cert(Some(ClientCert::new_with_certs(&[certificate("admin.crt")], key)))
        .root_certs(RootCerts::new_with_certs(&[certificate("ca.crt")]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .proxy(None)
        .build()
        .into()
}

fn server_url() -> String {
    let config = fs::read_to_string(state("kubeconfig")).unwrap();
    let server = config.lines().find_map(|line| line.trim().strip_prefix("server: "));
    server.unwrap().to_owned()
}
