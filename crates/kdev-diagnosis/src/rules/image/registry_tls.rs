//! There is no TLS between a node and the registry, or it is not trusted.

use crate::facts::Facts;
use crate::location::node;

/// What Go's TLS says of a certificate that bears other names.
const NAME_MISMATCH: [&str; 4] = [
    "x509: certificate is valid for ",
    "x509: certificate is not valid for any names",
    "doesn't contain any IP SANs",
    "relies on legacy Common Name field",
];

/// What is wrong, and what helps; `instead` does without the registry.
pub(crate) fn explain(
    facts: &Facts,
    registry: &str,
    said: &str,
    instead: &str,
) -> (String, String) {
    let there = node(facts);
    let tell = |lines: &str| {
        format!(
            "write {lines} into `/etc/containerd/certs.d/{registry}/hosts.toml` on {there}, where `config_path` of its containerd must name `/etc/containerd/certs.d`, or, if docker here trusts the registry, do without it: {instead}"
        )
    };
    if said.contains("HTTP response") {
        return (
            format!("the registry `{registry}` speaks HTTP, and containerd on the node HTTPS"),
            tell(&format!("`server = \"http://{registry}\"` and `[host.\"http://{registry}\"]`")),
        );
    }
    if said.contains("has expired or is not yet valid") {
        let now = said.split_once("current time ").and_then(|(_, rest)| rest.split(' ').next());
        let clock = match now {
            Some(now) => format!("set the clock of {there} right, if it is not {now}"),
            None => format!("set the clock of {there} right"),
        };
        return (
            format!(
                "the certificate of `{registry}` has expired, or the clock of {there} is wrong"
            ),
            format!("renew the certificate of `{registry}`, or {clock}"),
        );
    }
    if NAME_MISMATCH.iter().any(|pattern| said.contains(pattern)) {
        return (
            format!("the certificate of `{registry}` is not for that name"),
            format!(
                "give the registry a certificate that names `{registry}`, or, if docker here trusts it, do without it: {instead}"
            ),
        );
    }
    if said.contains("x509:") {
        let lines = format!(
            "`[host.\"https://{registry}\"]` and below it `ca = \"/PATH/ca.crt\"`, the certificate of who has signed it,"
        );
        return (
            format!("containerd on the node does not trust the certificate of `{registry}`"),
            tell(&lines),
        );
    }
    (
        format!("containerd on the node and the registry `{registry}` agree on no TLS"),
        format!("do without the registry: {instead}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_between_node_and_registry_is_told() {
        let facts = Facts { pod: json!({"spec": {"nodeName": "n"}}), ..Facts::default() };
        let table = [
            (
                "http: server gave HTTP response to HTTPS client",
                "the registry `r:5` speaks HTTP",
                "write `server = \"http://r:5\"` and `[host.\"http://r:5\"]` into `/etc/containerd/certs.d/r:5/hosts.toml` on node `n`, where",
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "containerd on the node does not trust the certificate of `r:5`",
                "write `[host.\"https://r:5\"]` and below it `ca = \"/PATH/ca.crt\"`",
            ),
            (
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-02-01T10:00:00Z is after 2026-01-31T00:00:00Z",
                "the certificate of `r:5` has expired, or the clock of node `n` is wrong",
                "renew the certificate of `r:5`, or set the clock of node `n` right, if it is not 2026-02-01T10:00:00Z",
            ),
            (
                "x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs",
                "the certificate of `r:5` is not for that name",
                "give the registry a certificate that names `r:5`, or",
            ),
            (
                "remote error: tls: handshake failure",
                "containerd on the node and the registry `r:5` agree on no TLS",
                "do without the registry: `docker pull`",
            ),
        ];
        for (said, words, help) in table {
            let found = explain(&facts, "r:5", said, "`docker pull`");
            assert!(found.0.starts_with(words), "{said}: {}", found.0);
            assert!(found.1.starts_with(help), "{said}: {}", found.1);
        }
    }
}
