//! A container cannot be made from what its specification names. Pure.

use super::{Cause, Confidence, Diagnosis, cure};
use crate::cmd::quoted;
use crate::container::Container;
use crate::facts::{Facts, list, text};
use serde_json::{Value, json};

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts.containers().into_iter().filter_map(|container| of_container(facts, container)).collect()
}

fn of_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let (reason, message) = container.waiting()?;
    if reason != "CreateContainerConfigError" {
        return None;
    }
    let evidence = vec![format!("container `{}` waits: {reason}: {message}", container.name())];
    if let Some((kind, name)) = missing(message) {
        let key = key_of(container, kind, &name);
        return Some(absent(facts, kind, &name, key, evidence));
    }
    if let Some((key, kind, name)) = missing_key(message) {
        return Some(without_key(facts, kind, &name, &key, evidence));
    }
    as_root(facts, container, message, evidence)
}

/// `configmap "NAME" not found`, as kind and name.
pub(super) fn missing(message: &str) -> Option<(&'static str, String)> {
    for kind in ["configmap", "secret"] {
        let Some((_, rest)) = message.split_once(&format!("{kind} \"")) else { continue };
        let (name, rest) = rest.split_once('"')?;
        if rest.starts_with(" not found") {
            return Some((kind, name.to_owned()));
        }
    }
    None
}

/// `couldn't find key KEY in ConfigMap NAMESPACE/NAME`.
fn missing_key(message: &str) -> Option<(String, &'static str, String)> {
    let (key, rest) = message.strip_prefix("couldn't find key ")?.split_once(" in ")?;
    let (kind, name) = rest.split_once(' ')?;
    let kind = if kind == "Secret" { "secret" } else { "configmap" };
    let name = name.rsplit('/').next().unwrap_or(name);
    Some((key.to_owned(), kind, name.to_owned()))
}

/// As people write the kind.
fn proper(kind: &str) -> &'static str {
    if kind == "secret" { "Secret" } else { "ConfigMap" }
}

/// A key of it that the container asks for.
fn key_of<'a>(container: Container<'a>, kind: &str, name: &str) -> Option<&'a str> {
    let path = if kind == "secret" { "secretKeyRef" } else { "configMapKeyRef" };
    let asked = list(container.spec("/env")?).map(|variable| &variable["valueFrom"][path]);
    let keys = asked.filter(|one| one["name"] == name).map(|one| text(one, "/key"));
    keys.into_iter().find(|key| !key.is_empty())
}

/// What exists nowhere in the namespace.
pub(super) fn absent(
    facts: &Facts,
    kind: &str,
    name: &str,
    key: Option<&str>,
    evidence: Vec<String>,
) -> Diagnosis {
    let generic = if kind == "secret" { " generic" } else { "" };
    let key = key.unwrap_or("KEY");
    Diagnosis {
        cause: Cause::ConfigMissing,
        confidence: Confidence::Certain,
        words: format!("the {} `{name}` does not exist in the pod's namespace", proper(kind)),
        evidence,
        help: format!(
            "run `{} create {kind}{generic} {name} --from-literal={key}=VALUE`",
            facts.kubectl
        ),
    }
}

/// What exists, but not all of it.
pub(super) fn without_key(
    facts: &Facts,
    kind: &str,
    name: &str,
    key: &str,
    evidence: Vec<String>,
) -> Diagnosis {
    let data = if kind == "secret" { "stringData" } else { "data" };
    let patch = quoted(&json!({data: {key: "VALUE"}}).to_string());
    Diagnosis {
        cause: Cause::ConfigMissing,
        confidence: Confidence::Certain,
        words: format!("the {} `{name}` has no key `{key}`", proper(kind)),
        evidence,
        help: format!("run `{} patch {kind} {name} --patch {patch}`", facts.kubectl),
    }
}

/// The pod must not run as root, and nothing proves that it does not.
fn as_root(
    facts: &Facts,
    container: Container,
    message: &str,
    evidence: Vec<String>,
) -> Option<Diagnosis> {
    let name = container.name();
    let words = if message.contains("image will run as root") {
        format!("container `{name}` may not run as root, and its image does")
    } else if message.contains("has non-numeric user") {
        format!(
            "container `{name}` may not run as root, and its image names a user without a number, which may be root"
        )
    } else {
        return None;
    };
    let user: Value = json!({"name": name, "securityContext": {"runAsUser": 1000}});
    let user = json!({"spec": {"containers": [user]}});
    let help = match cure::patch(facts, &user) {
        Some(patch) => format!("run `{patch}`"),
        None => format!(
            "write `securityContext: {{runAsUser: 1000}}` for container `{name}` into the manifest of {}, or `USER 1000` into the Dockerfile",
            facts.keeper_id()
        ),
    };
    let (cause, confidence) = (Cause::RunsAsRoot, Confidence::Certain);
    Some(Diagnosis { cause, confidence, words, evidence, help })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_read_from_the_kubelets_words() {
        let found = |kind, name: &str| Some((kind, name.to_owned()));
        assert_eq!(missing("configmap \"app\" not found"), found("configmap", "app"));
        let mount = "MountVolume.SetUp failed for volume \"v\" : secret \"tls\" not found";
        assert_eq!(missing(mount), found("secret", "tls"));
        assert_eq!(missing("secret \"tls\" is being used"), None);
        let key = missing_key("couldn't find key a.b in Secret shop/tls");
        assert_eq!(key, Some(("a.b".into(), "secret", "tls".into())));
    }
}
