//! The help for requests that fail, from the texts of `kubectl`, client-go and the API server.

use kdev_core::shell::quote;

use crate::process::{Failure, Outcome};

/// Limits each request of `kubectl` to the API server. The verb follows it.
pub(super) const REQUEST_TIMEOUT_FLAG: &str = "--request-timeout=15s";

const WEBHOOKS: &str = "validatingwebhookconfigurations,mutatingwebhookconfigurations";

/// Messages of a connection that was not established in time.
const TIMEOUTS: [&str; 6] = [
    "i/o timeout",
    "TLS handshake timeout",
    "context deadline exceeded",
    "Client.Timeout exceeded",
    "no route to host",
    "network is unreachable",
];

/// Returns the fix for an API server that cannot be reached.
pub(super) fn unreachable_help(kubectl: &str, failure: &Failure) -> String {
    let has = |text: &str| failure.stderr.contains(text);
    let has_any = |texts: &[&str]| texts.iter().any(|text| has(text));
    let view = format!("`{kubectl} config view --minify` shows it");
    if has("proxyconnect") {
        return "correct `HTTPS_PROXY`, or add the host of the API server to `NO_PROXY`".to_owned();
    }
    if has("certificate signed by unknown authority") {
        return format!(
            "copy the kubeconfig from the cluster again, because its CA did not issue the API server's certificate; {view}"
        );
    }
    if has("certificate has expired or is not yet valid") {
        return expired_server_help(has(" is before "));
    }
    if has_any(&["certificate is valid for", "not valid for any names", "any IP SANs"]) {
        return format!(
            "set `server`, or `tls-server-name`, of the cluster in the kubeconfig to a name in the certificate; {view}"
        );
    }
    if has_any(&["does not look like a TLS handshake", "gave HTTP response to HTTPS client"]) {
        return format!(
            "correct the port in `server` of the kubeconfig, because it does not serve HTTPS; {view}"
        );
    }
    if has_any(&["no such host", "server misbehaving", "failure in name resolution"]) {
        return format!(
            "connect to the cluster's network, for example a VPN, or correct `server` in the kubeconfig; {view}"
        );
    }
    if has("refused") {
        return format!(
            "start the cluster, or correct `server` in the kubeconfig (behind a proxy, also `NO_PROXY`); {view}"
        );
    }
    if has_any(&TIMEOUTS) || matches!(failure.outcome, Outcome::TimedOut(_)) {
        return format!(
            "check VPN, firewall, and `HTTPS_PROXY`; `{kubectl} get --raw /livez --v=6` shows the request"
        );
    }
    format!("run `{kubectl} get nodes` to check the connection")
}

fn expired_server_help(is_early: bool) -> String {
    if is_early {
        "correct the clock of this machine, or of the machine that issued the certificate; `timedatectl` shows whether it is synchronized".to_owned()
    } else {
        "renew the certificate of the API server, with kubeadm by `sudo kubeadm certs renew apiserver` on each control plane node, unless `date` shows a wrong time".to_owned()
    }
}

/// Returns the fix for a request that the API server rejected. `cluster` is `kubectl` without
/// a namespace.
pub(super) fn rejected_help(kubectl: &str, cluster: &str, failure: &Failure) -> String {
    let Failure { command, stderr, .. } = failure;
    let has = |text: &str| stderr.contains(text);
    let quoted_after =
        |text: &str| stderr.split(text).nth(1).and_then(|rest| rest.split('"').next());
    match quoted_after("namespaces \"") {
        Some(name) if has("not found") => {
            return format!("run `{cluster} create namespace {}`", quote(name));
        }
        _ => {}
    }
    let webhook = quoted_after("webhook \"").map(|name| format!(" `{name}`")).unwrap_or_default();
    if has("failed calling webhook") {
        return format!("make webhook{webhook} reachable; see `{cluster} get {WEBHOOKS}`");
    }
    if has("denied the request") {
        return format!("satisfy the rule of webhook{webhook}; see `{cluster} get {WEBHOOKS}`");
    }
    if has("violates PodSecurity") {
        return "set a `securityContext` that the namespace's Pod Security level allows".to_owned();
    }
    if has("no matches for kind") {
        return format!(
            "install the CRD of the kind, or correct `apiVersion`; see `{cluster} api-resources`"
        );
    }
    if has("exceeded quota") {
        return format!("run `{kubectl} describe quota` to see the limits");
    }
    if has("is forbidden: User ") && has("cannot ") {
        return permission_help(cluster, stderr).unwrap_or_else(|| list_permissions(kubectl));
    }
    if has("is invalid: ") || has("unknown field") || has("failed to create typed patch") {
        return "correct the field in the manifest".to_owned();
    }
    if has("currently unable to handle the request") {
        return format!(
            "run `{cluster} get apiservices` to find the aggregated API that is not available, or wait until the API server has started"
        );
    }
    if has("too many requests") {
        return "run the command again later; the API server limits the rate of requests"
            .to_owned();
    }
    repeat_help(kubectl, command)
}

/// Returns the command that shows the missing permission, from a message such as
/// `pods "web" is forbidden: User "dev" cannot get resource "pods/log" in API group "" in the
/// namespace "default"`.
fn permission_help(cluster: &str, stderr: &str) -> Option<String> {
    let line = stderr.lines().find(|line| line.contains(" is forbidden: User \""))?;
    let (object, rest) = line.split_once(" is forbidden: User \"")?;
    let (user, rest) = rest.split_once("\" cannot ")?;
    let (verb, rest) = rest.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once("\" in API group \"")?;
    let (group, rest) = rest.split_once('"')?;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let kind = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let name = object.strip_suffix('"').and_then(|object| object.rsplit_once('"'));
    let name = name.map(|(_, name)| name).filter(|name| !name.is_empty());
    let target = name.map_or_else(|| kind.clone(), |name| format!("{kind}/{name}"));
    let subresource = match subresource {
        "" => String::new(),
        part => format!(" {}", quote(&format!("--subresource={part}"))),
    };
    let scope = match rest.split_once(" in the namespace \"") {
        Some((_, rest)) => format!(" --namespace {}", quote(rest.split('"').next()?)),
        None if name.is_none() => " --all-namespaces".to_owned(),
        None => String::new(),
    };
    Some(format!(
        "ask an administrator to allow user `{user}` to {verb} `{target}`; run `{cluster} auth can-i {} {}{subresource}{scope}` to check this",
        quote(verb),
        quote(&target)
    ))
}

fn list_permissions(kubectl: &str) -> String {
    format!("run `{kubectl} auth can-i --list` to see your permissions")
}

/// Returns the help to repeat a request for its whole error, without changing the cluster.
fn repeat_help(kubectl: &str, command: &str) -> String {
    let verb = verb(command);
    let reads_stdin = [" --filename -", "--filename=-"].iter().any(|flag| command.contains(flag));
    match verb {
        "create" if reads_stdin => list_permissions(kubectl),
        "diff" => {
            format!("run `{kubectl} diff --server-side -f FILE` to reproduce the error")
        }
        _ if reads_stdin => format!(
            "run `{kubectl} {verb} --server-side --dry-run=server -f FILE` to reproduce the error"
        ),
        "delete" | "label" | "annotate" | "patch" => {
            format!("run `{command} --dry-run=server` to reproduce the error")
        }
        // It cannot be repeated without another restart.
        "rollout" => format!("run `{kubectl} get events` to find the cause"),
        _ => format!("run `{command}` to reproduce the error"),
    }
}

/// Returns the verb of a `kubectl` command line.
fn verb(command: &str) -> &str {
    let rest = command.split_once(&quote(REQUEST_TIMEOUT_FLAG)).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
#[path = "help_tests.rs"]
mod tests;
