//! Failures of TLS between a node and a registry.

use crate::facts::Facts;
use crate::location::describe_node;

/// Errors of Go's TLS for a certificate that is not for the registry's name.
const NAME_MISMATCH: [&str; 4] = [
    "x509: certificate is valid for ",
    "x509: certificate is not valid for any names",
    "doesn't contain any IP SANs",
    "relies on legacy Common Name field",
];

/// Explains a TLS error, and returns the message and the help. `instead` is a command
/// that gets the image to the node without the registry.
pub(crate) fn explain(
    facts: &Facts,
    registry: &str,
    error: &str,
    instead: &str,
) -> (String, String) {
    let (node, engine) = (describe_node(facts), facts.local_engine.puller());
    let hosts_toml_help = |lines: &str| {
        format!(
            "add {lines} to `/etc/containerd/certs.d/{registry}/hosts.toml` on {node} (containerd's `config_path` must be `/etc/containerd/certs.d`), or, if {engine} trusts the registry, pull with {engine} and load the image: {instead}"
        )
    };
    if error.contains("HTTP response") {
        return (
            format!("registry `{registry}` uses HTTP, but containerd on the node uses HTTPS"),
            hosts_toml_help(&format!(
                "`server = \"http://{registry}\"` and `[host.\"http://{registry}\"]`"
            )),
        );
    }
    if error.contains("has expired or is not yet valid") {
        let now = error.split_once("current time ").and_then(|(_, rest)| rest.split(' ').next());
        let clock = match now {
            Some(now) => format!("correct the clock of {node} if it is not {now}"),
            None => format!("correct the clock of {node}"),
        };
        return (
            format!(
                "the certificate of registry `{registry}` has expired, or the clock of {node} is wrong"
            ),
            format!("renew the certificate of `{registry}`, or {clock}"),
        );
    }
    if NAME_MISMATCH.iter().any(|pattern| error.contains(pattern)) {
        return (
            format!("the certificate of registry `{registry}` is not valid for that name"),
            format!(
                "issue a certificate for `{registry}`, or, if {engine} trusts the registry, pull with {engine} and load the image: {instead}"
            ),
        );
    }
    if error.contains("x509:") {
        let lines = format!(
            "`[host.\"https://{registry}\"]` and, below it, `ca = \"/PATH/ca.crt\"` (the CA's certificate)"
        );
        return (
            format!(
                "containerd on the node does not trust the certificate of registry `{registry}`"
            ),
            hosts_toml_help(&lines),
        );
    }
    (
        format!(
            "the TLS handshake between containerd on the node and registry `{registry}` failed"
        ),
        format!("pull with {engine} and load the image: {instead}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tls_error_determines_message_and_help() {
        let facts = Facts { pod: json!({"spec": {"nodeName": "n"}}), ..Facts::default() };
        let table = [
            (
                "http: server gave HTTP response to HTTPS client",
                "registry `r:5` uses HTTP",
                "add `server = \"http://r:5\"` and `[host.\"http://r:5\"]` to `/etc/containerd/certs.d/r:5/hosts.toml` on node `n` (",
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "containerd on the node does not trust the certificate of registry `r:5`",
                "add `[host.\"https://r:5\"]` and, below it, `ca = \"/PATH/ca.crt\"`",
            ),
            (
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-02-01T10:00:00Z is after 2026-01-31T00:00:00Z",
                "the certificate of registry `r:5` has expired, or the clock of node `n` is wrong",
                "renew the certificate of `r:5`, or correct the clock of node `n` if it is not 2026-02-01T10:00:00Z",
            ),
            (
                "x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs",
                "the certificate of registry `r:5` is not valid for that name",
                "issue a certificate for `r:5`, or",
            ),
            (
                "remote error: tls: handshake failure",
                "the TLS handshake between containerd on the node and registry `r:5` failed",
                "pull with Docker and load the image: `docker pull`",
            ),
        ];
        for (error, message, help) in table {
            let found = explain(&facts, "r:5", error, "`docker pull`");
            assert!(found.0.starts_with(message), "{error}: {}", found.0);
            assert!(found.1.starts_with(help), "{error}: {}", found.1);
        }
    }
}
