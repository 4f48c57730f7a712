//! Containers that cannot be created as specified.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use kdev_core::shell::quote;
use serde_json::json;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let (reason, message) = container.waiting()?;
    let evidence =
        vec![format!("container `{}` is waiting: {reason}: {message}", container.name())];
    if let Some(why) = transient_reason(facts, reason, message) {
        return Some(Diagnosis {
            cause: Cause::InProgress,
            confidence: Confidence::Likely,
            message: format!("{why}; the kubelet will retry"),
            evidence,
            help: format!("wait for the retry: `{} get {} --watch`", facts.kubectl, facts.subject),
        });
    }
    if reason != "CreateContainerConfigError" {
        return None;
    }
    if let Some((kind, name)) = parse_missing_object(message) {
        return Some(object_not_found(facts, kind, &name, evidence));
    }
    if let Some((key, kind, name)) = parse_missing_key(message) {
        return Some(key_not_found(facts, kind, &name, &key, evidence));
    }
    if let Some(volume) = parse_sub_path_volume(message) {
        return Some(sub_path_failed(facts, container, volume, evidence));
    }
    run_as_non_root(facts, container, message, evidence)
}

/// Describes a failure that the kubelet recovers from without a change.
fn transient_reason(facts: &Facts, reason: &str, message: &str) -> Option<String> {
    let node = facts.node_name()?;
    match reason {
        "CreateContainerConfigError"
            if message.contains("failed to sync ") && message.contains(" cache: ") =>
        {
            Some(format!("node `{node}` has not received the pod's ConfigMaps and Secrets yet"))
        }
        "CreateContainerError" if message.contains("\" is reserved for \"") => {
            Some(format!("node `{node}` is slow and still creating this container"))
        }
        _ => None,
    }
}

/// Parses `failed to prepare subPath for volumeMount "VOLUME" of container "NAME"`.
fn parse_sub_path_volume(message: &str) -> Option<&str> {
    const STARTS: [&str; 2] = [
        "failed to prepare subPath for volumeMount \"",
        "failed to create subPath directory for volumeMount \"",
    ];
    let rest = STARTS.iter().find_map(|start| message.split_once(start))?.1;
    rest.split('"').next()
}

/// Diagnoses a `subPath` that cannot be mounted.
fn sub_path_failed(
    facts: &Facts,
    container: Container,
    volume: &str,
    evidence: Vec<String>,
) -> Diagnosis {
    let mounts = container.spec("/volumeMounts").into_iter().flat_map(list);
    let paths: Vec<&str> = mounts
        .filter(|mount| mount["name"] == volume)
        .flat_map(|mount| [text(mount, "/subPath"), text(mount, "/subPathExpr")])
        .filter(|path| !path.is_empty())
        .collect();
    let path = kdev_core::text::list(&paths);
    let source = list(&facts.pod["spec"]["volumes"]).find(|one| one["name"] == volume);
    let is_written_by_kubelet = source.is_some_and(|volume| {
        ["configMap", "secret", "projected", "downwardAPI"]
            .iter()
            .any(|kind| volume[kind].is_object())
    });
    let (kubectl, pod) = (&facts.kubectl, facts.pod_name());
    let help = match facts.controller() {
        // The kubelet has replaced the volume's files since it created the pod.
        Some(_) if is_written_by_kubelet => {
            format!("recreate the pod: `{kubectl} delete pod/{pod}`")
        }
        None if is_written_by_kubelet => {
            format!("run `{}", fixes::replace_pod_command(facts, None))
        }
        _ => {
            fixes::edit_manifest_help(facts, &format!("correct `subPath` of volume `{volume}` in"))
        }
    };
    Diagnosis {
        cause: Cause::MountFailed,
        confidence: Confidence::Certain,
        message: format!(
            "cannot mount {path} of volume `{volume}` into container `{}`: the path is not a file or directory in the volume, or cannot be created",
            container.name()
        ),
        evidence,
        help,
    }
}

/// Parses `configmap "NAME" not found` into kind and name.
pub(crate) fn parse_missing_object(message: &str) -> Option<(&'static str, String)> {
    for kind in ["configmap", "secret"] {
        let Some((_, rest)) = message.split_once(&format!("{kind} \"")) else { continue };
        let (name, rest) = rest.split_once('"')?;
        if rest.starts_with(" not found") {
            return Some((kind, name.to_owned()));
        }
    }
    None
}

/// Parses `couldn't find key KEY in ConfigMap NAMESPACE/NAME` into key, kind, and name.
fn parse_missing_key(message: &str) -> Option<(String, &'static str, String)> {
    let (key, rest) = message.strip_prefix("couldn't find key ")?.split_once(" in ")?;
    let (kind, name) = rest.split_once(' ')?;
    let kind = if kind == "Secret" { "secret" } else { "configmap" };
    let name = name.rsplit('/').next().unwrap_or(name);
    Some((key.to_owned(), kind, name.to_owned()))
}

/// Returns the kind as the API spells it.
fn display_kind(kind: &str) -> &'static str {
    if kind == "secret" { "Secret" } else { "ConfigMap" }
}

/// Returns the keys of the object that the pod's containers and volumes require.
fn referenced_keys<'a>(facts: &'a Facts, kind: &str, name: &str) -> Vec<&'a str> {
    let is_secret = kind == "secret";
    let reference = if is_secret { "secretKeyRef" } else { "configMapKeyRef" };
    let source = if is_secret { "/secret/secretName" } else { "/configMap/name" };
    let items = if is_secret { "/secret/items" } else { "/configMap/items" };
    let containers = facts.containers();
    let variables = containers.iter().filter_map(|one| one.spec("/env")).flat_map(list);
    let references = variables.map(|variable| &variable["valueFrom"][reference]);
    let of_variables = references.filter(|one| one["name"] == name && one["optional"] != true);
    let volumes = list(&facts.pod["spec"]["volumes"]);
    let volumes = volumes.filter(|volume| text(volume, source) == name);
    let of_volumes = volumes.filter_map(|volume| volume.pointer(items)).flat_map(list);
    let mut keys: Vec<&str> = of_variables.chain(of_volumes).map(|one| text(one, "/key")).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Diagnoses a `ConfigMap` or Secret that does not exist in the namespace.
pub(crate) fn object_not_found(
    facts: &Facts,
    kind: &str,
    name: &str,
    evidence: Vec<String>,
) -> Diagnosis {
    let generic = if kind == "secret" { " generic" } else { "" };
    let keys = referenced_keys(facts, kind, name);
    let (keys, placeholders) =
        if keys.is_empty() { (vec!["KEY"], "KEY and VALUE") } else { (keys, "VALUE") };
    let literals: Vec<String> =
        keys.iter().map(|key| format!(" --from-literal={key}=VALUE")).collect();
    let placeholders = if literals.len() == 1 { placeholders } else { "VALUE for each key" };
    Diagnosis {
        cause: Cause::ConfigNotFound,
        confidence: Confidence::Certain,
        message: format!("{} `{name}` not found in the pod's namespace", display_kind(kind)),
        evidence,
        help: format!(
            "apply the manifest that defines it, or run `{} create {kind}{generic} {name}{}` with your own {placeholders}",
            facts.kubectl,
            literals.concat()
        ),
    }
}

/// Diagnoses a `ConfigMap` or Secret that is missing a key.
pub(crate) fn key_not_found(
    facts: &Facts,
    kind: &str,
    name: &str,
    key: &str,
    evidence: Vec<String>,
) -> Diagnosis {
    let data = if kind == "secret" { "stringData" } else { "data" };
    let patch = quote(&json!({data: {key: "VALUE"}}).to_string());
    Diagnosis {
        cause: Cause::ConfigNotFound,
        confidence: Confidence::Certain,
        message: format!("{} `{name}` has no key `{key}`", display_kind(kind)),
        evidence,
        help: format!(
            "apply the manifest that defines it, or run `{} patch {kind} {name} --patch {patch}` with your own VALUE",
            facts.kubectl
        ),
    }
}

/// Diagnoses a container with `runAsNonRoot` whose user is root, or may be.
fn run_as_non_root(
    facts: &Facts,
    container: Container,
    message: &str,
    evidence: Vec<String>,
) -> Option<Diagnosis> {
    let name = container.name();
    let problem = if message.contains("image will run as root") {
        "its image does"
    } else if message.contains("has non-numeric user") {
        "its image sets a user name instead of a numeric ID, which may be root"
    } else if message.contains("runAsUser breaks non-root policy") {
        "its `runAsUser` is 0"
    } else {
        return None;
    };
    let user = json!({"securityContext": {"runAsUser": 1000}});
    let help = match fixes::patch_container_command(facts, container, &user) {
        Some(patch) => format!("run `{patch}`"),
        None => format!(
            "set `securityContext: {{runAsUser: 1000}}` for container `{name}` in the manifest of {}, or add `USER 1000` to the Dockerfile",
            facts.controller_id()
        ),
    };
    let (cause, confidence) = (Cause::RunAsNonRoot, Confidence::Certain);
    let message =
        format!("container `{name}` must not run as root (`runAsNonRoot`), but {problem}");
    Some(Diagnosis { cause, confidence, message, evidence, help })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_object_parsed_from_kubelet_message() {
        let found = |kind, name: &str| Some((kind, name.to_owned()));
        assert_eq!(parse_missing_object("configmap \"app\" not found"), found("configmap", "app"));
        let mount = "MountVolume.SetUp failed for volume \"v\" : secret \"tls\" not found";
        assert_eq!(parse_missing_object(mount), found("secret", "tls"));
        assert_eq!(parse_missing_object("secret \"tls\" is being used"), None);
        let key = parse_missing_key("couldn't find key a.b in Secret shop/tls");
        assert_eq!(key, Some(("a.b".into(), "secret", "tls".into())));
    }

    fn pod(reason: &str, message: &str) -> Facts {
        let env = json!([
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "api", "key": "user"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "api", "key": "more", "optional": true}}},
        ]);
        let mounts = json!([{"name": "v", "mountPath": "/a", "subPath": "a.toml"}]);
        let container = json!({"name": "c", "image": "app", "env": env, "volumeMounts": mounts});
        let state = json!({"waiting": {"reason": reason, "message": message}});
        Facts {
            subject: "pod/p".into(),
            kubectl: "kubectl".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "p"},
                "spec": {"nodeName": "n", "containers": [container],
                    "volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "a.toml"}]}}]},
                "status": {"containerStatuses": [{"name": "c", "state": state}]}}),
            ..Facts::default()
        }
    }

    #[test]
    fn waiting_reason_determines_cause_and_help() {
        let wait = "wait for the retry: `kubectl get pod/p --watch`";
        let config = "CreateContainerConfigError";
        let table = [
            (
                config,
                "container's runAsUser breaks non-root policy (pod: \"p_n(1)\", container: c)",
                Cause::RunAsNonRoot,
                "set `securityContext: {runAsUser: 1000}` for container `c`",
            ),
            (
                config,
                "failed to prepare subPath for volumeMount \"v\" of container \"c\"",
                Cause::MountFailed,
                "run `kubectl get pod/p --output json | kubectl replace --force --filename -`, which deletes and recreates the pod",
            ),
            (
                config,
                "failed to sync configmap cache: timed out waiting for the condition",
                Cause::InProgress,
                wait,
            ),
            (
                "CreateContainerError",
                "failed to reserve container name \"c_p_n_1_0\": name \"c_p_n_1_0\" is reserved for \"0a1b\"",
                Cause::InProgress,
                wait,
            ),
            (
                config,
                "secret \"api\" not found",
                Cause::ConfigNotFound,
                "apply the manifest that defines it, or run `kubectl create secret generic api --from-literal=token=VALUE --from-literal=user=VALUE` with your own VALUE for each key",
            ),
            (
                config,
                "configmap \"m\" not found",
                Cause::ConfigNotFound,
                "apply the manifest that defines it, or run `kubectl create configmap m --from-literal=a.toml=VALUE` with your own VALUE",
            ),
            (
                config,
                "configmap \"other\" not found",
                Cause::ConfigNotFound,
                "apply the manifest that defines it, or run `kubectl create configmap other --from-literal=KEY=VALUE` with your own KEY and VALUE",
            ),
            (
                config,
                "couldn't find key more in Secret shop/api",
                Cause::ConfigNotFound,
                "apply the manifest that defines it, or run `kubectl patch secret api --patch",
            ),
        ];
        for (reason, message, cause, help) in table {
            let found = diagnose(&pod(reason, message)).remove(0);
            assert_eq!(found.cause, cause, "{message}");
            assert!(found.help.starts_with(help), "{message}: {}", found.help);
        }
    }
}
