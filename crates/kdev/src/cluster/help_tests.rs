//! Tests of the help for failed requests.
//!
//! kubectl 1.32 printed the texts, except for those about `pods/log`, a service account, and the
//! deletion of a namespace, which have the same format.

use super::*;

const CLUSTER: &str = "kubectl --context c";
const KUBECTL: &str = "kubectl --context c --namespace n";

fn failure(request: &str, stderr: &str) -> Failure {
    let command = format!("{KUBECTL} '{REQUEST_TIMEOUT_FLAG}' {request}");
    Failure { command, outcome: Outcome::Code(1), stderr: stderr.to_owned() }
}

#[test]
fn each_connection_error_has_help() {
    let view = "`kubectl --context c --namespace n config view --minify` shows it";
    let table = [
        (
            "Unable to connect to the server: proxyconnect tcp: dial tcp: lookup proxy.invalid on 10.255.255.53:53: no such host",
            "correct `HTTPS_PROXY`, or add",
            "",
        ),
        (
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "copy the kubeconfig from the cluster again",
            view,
        ),
        (
            "error: unable to recognize \"cm.yaml\": Get \"https://127.0.0.1:9443/api?timeout=15s\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-28T01:48:06Z is after 2021-01-01T00:00:00Z",
            "renew the certificate of the API server",
            "",
        ),
        (
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-28T01:48:06Z is before 2040-01-01T00:00:00Z",
            "correct the clock of this machine",
            "",
        ),
        (
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate is not valid for any names, but wanted to match localhost",
            "set `server`, or `tls-server-name`",
            view,
        ),
        (
            "Unable to connect to the server: tls: first record does not look like a TLS handshake",
            "correct the port in `server`",
            view,
        ),
        (
            "Unable to connect to the server: dial tcp: lookup nohost.invalid on 10.255.255.53:53: no such host",
            "connect to the cluster's network",
            view,
        ),
        (
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
            "start the cluster, or correct `server` in the kubeconfig (behind a proxy, also `NO_PROXY`)",
            view,
        ),
        (
            "Unable to connect to the server: net/http: TLS handshake timeout",
            "check VPN, firewall, and `HTTPS_PROXY`",
            "`kubectl --context c --namespace n get --raw /livez --v=6` shows the request",
        ),
        (
            "Unable to connect to the server: Unsupported method ('CONNECT')",
            "run `kubectl --context c --namespace n get nodes` to check the connection",
            "",
        ),
    ];
    for (stderr, start, end) in table {
        let help = unreachable_help(KUBECTL, &failure("get nodes", stderr));
        assert!(help.starts_with(start) && help.ends_with(end), "{stderr}\n{help}");
    }
}

#[test]
fn missing_permission_is_named_with_check() {
    let table = [
        (
            "Error from server (Forbidden): nodes is forbidden: User \"dev\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
            "`dev` to list `nodes`; run `kubectl --context c auth can-i list nodes --all-namespaces`",
        ),
        (
            "Error from server (Forbidden): deployments.apps is forbidden: User \"dev\" cannot list resource \"deployments\" in API group \"apps\" in the namespace \"default\"\nError from server (Forbidden): pods is forbidden: User \"dev\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
            "`dev` to list `deployments.apps`; run `kubectl --context c auth can-i list deployments.apps --namespace default`",
        ),
        (
            "Error from server (Forbidden): configmaps \"x\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch resource \"configmaps\" in API group \"\" in the namespace \"other\"",
            "`system:serviceaccount:a:b` to patch `configmaps/x`; run `kubectl --context c auth can-i patch configmaps/x --namespace other`",
        ),
        (
            "Error from server (Forbidden): pods \"web\" is forbidden: User \"dev\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"default\"",
            "`dev` to get `pods/web`; run `kubectl --context c auth can-i get pods/web '--subresource=log' --namespace default`",
        ),
        (
            "Error from server (Forbidden): namespaces \"x\" is forbidden: User \"dev\" cannot delete resource \"namespaces\" in API group \"\" at the cluster scope",
            "`dev` to delete `namespaces/x`; run `kubectl --context c auth can-i delete namespaces/x`",
        ),
    ];
    for (stderr, expected) in table {
        let help = rejected_help(KUBECTL, CLUSTER, &failure("get nodes", stderr));
        let expected = format!("ask an administrator to allow user {expected} to check this");
        assert_eq!(help, expected);
    }
}

#[test]
fn each_verb_has_command_that_repeats_it_without_change() {
    let stderr = "Error from server (Timeout): the server was unable to return a response in the time allotted, but may still be processing the request";
    let table = [
        ("get nodes '--output=json'", "KUBECTL 'TIMEOUT' get nodes '--output=json'"),
        ("logs web --container web", "KUBECTL 'TIMEOUT' logs web --container web"),
        ("api-resources --no-headers", "KUBECTL 'TIMEOUT' api-resources --no-headers"),
        ("version '--output=json'", "KUBECTL 'TIMEOUT' version '--output=json'"),
        (
            "apply --server-side --filename -",
            "KUBECTL apply --server-side --dry-run=server -f FILE",
        ),
        ("diff --server-side --filename -", "KUBECTL diff --server-side -f FILE"),
        ("create --validate=false '--filename=-'", "KUBECTL auth can-i --list"),
        ("delete job/a", "KUBECTL 'TIMEOUT' delete job/a --dry-run=server"),
        ("label job/a a=b", "KUBECTL 'TIMEOUT' label job/a a=b --dry-run=server"),
        ("patch job/a -p x", "KUBECTL 'TIMEOUT' patch job/a -p x --dry-run=server"),
        ("rollout undo deployment/a", "KUBECTL get events"),
    ];
    for (request, expected) in table {
        let help = rejected_help(KUBECTL, CLUSTER, &failure(request, stderr));
        let expected =
            expected.replace("KUBECTL", KUBECTL).replace("TIMEOUT", REQUEST_TIMEOUT_FLAG);
        assert!(help.starts_with(&format!("run `{expected}` to ")), "{request}: {help}");
    }
}

#[test]
fn unavailable_api_server_has_help() {
    let table = [
        (
            "error: unable to recognize \"cm.yaml\": the server is currently unable to handle the request",
            "run `kubectl --context c get apiservices` to find",
        ),
        (
            "Error from server (TooManyRequests): the server has received too many requests and has asked us to try again later",
            "run the command again later",
        ),
    ];
    for (stderr, start) in table {
        let help = rejected_help(KUBECTL, CLUSTER, &failure("get nodes", stderr));
        assert!(help.starts_with(start), "{help}");
    }
}
