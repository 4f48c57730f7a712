//! Registries that require credentials, or other ones.

use kdev_core::kube::object::{list, text};
use kdev_core::text::list as in_words;

use crate::diagnosis::Confidence;
use crate::facts::Facts;
use crate::fixes;

/// Errors of registries that do not reveal whether an image exists.
const AMBIGUOUS_DENIALS: [&str; 3] =
    ["does not exist or may require", "insufficient_scope", "failed to fetch anonymous token"];
/// Start of the kubelet's message about pull secrets that do not exist.
const SECRETS_NOT_FOUND: &str = "Unable to retrieve some image pull secrets (";

/// Returns whether the error leaves open whether the image exists.
pub(crate) fn is_ambiguous(error: &str) -> bool {
    AMBIGUOUS_DENIALS.iter().any(|denial| error.contains(denial))
}

/// Returns the pod's pull secrets, and those of them that do not exist.
fn pull_secrets(facts: &Facts) -> (Vec<&str>, Vec<&str>) {
    let named: Vec<&str> =
        list(&facts.pod["spec"]["imagePullSecrets"]).map(|secret| text(secret, "/name")).collect();
    let event = facts.last_event(&["FailedToRetrieveImagePullSecret"]);
    let reported =
        event.and_then(|event| event.message.split_once(SECRETS_NOT_FOUND)?.1.split(')').next());
    let reported: Vec<&str> = reported.unwrap_or_default().split(", ").collect();
    let missing = named.iter().copied().filter(|name| reported.contains(name)).collect();
    (named, missing)
}

fn list_secrets(names: &[&str]) -> String {
    let kind = if names.len() == 1 { "imagePullSecret" } else { "imagePullSecrets" };
    format!("{kind} {}", in_words(names))
}

/// Explains why the registry denies the pull.
pub(crate) fn explain_denial(
    facts: &Facts,
    registry: &str,
    name: &str,
    error: &str,
) -> (Confidence, String) {
    let (named, missing) = pull_secrets(facts);
    let same = "the response is the same for both";
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "does" } else { "do" };
        let is_all = missing.len() == named.len();
        let confidence = if is_all { Confidence::Certain } else { Confidence::Likely };
        return (confidence, format!("the pod's {} {verb} not exist", list_secrets(&missing)));
    }
    match (named.as_slice(), is_ambiguous(error)) {
        ([], true) => (
            Confidence::Likely,
            format!("registry `{registry}` has no `{name}`, or requires credentials: {same}"),
        ),
        ([], false) => (
            Confidence::Certain,
            format!(
                "registry `{registry}` requires credentials, but the pod has no imagePullSecret"
            ),
        ),
        (named, true) => (
            Confidence::Likely,
            format!(
                "registry `{registry}` has no `{name}`, or rejects the credentials of the pod's {}: {same}",
                list_secrets(named)
            ),
        ),
        (named, false) => (
            Confidence::Certain,
            format!(
                "registry `{registry}` rejects the credentials of the pod's {}",
                list_secrets(named)
            ),
        ),
    }
}

/// Returns help to add credentials, which keeps existing ones that may be valid.
pub(crate) fn credentials_help(facts: &Facts, registry: &str) -> String {
    let (named, missing) = pull_secrets(facts);
    let kubectl = &facts.kubectl;
    let create = |secret: &str| {
        format!(
            "{kubectl} create secret docker-registry {secret} --docker-server={registry} --docker-username=USER --docker-password=PASSWORD"
        )
    };
    if let Some(first) = missing.first() {
        return format!("run `{}`", create(first));
    }
    if let [only] = named.as_slice() {
        return format!(
            "run `{} --dry-run=client --output=yaml | {kubectl} apply --filename -`, which replaces the contents of `{only}`",
            create(only)
        );
    }
    let new = if named.contains(&"registry") { "registry-2" } else { "registry" };
    match fixes::add_pull_secret_command(facts, new) {
        Some(patch) => format!("run `{} && {patch}`", create(new)),
        None => format!(
            "run `{}`, and add it to `imagePullSecrets` of {}",
            create(new),
            facts.controller_id()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ApiEvent;
    use serde_json::json;

    const HUB: &str = "failed to resolve reference \"docker.io/me/app:1\": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed";
    const GHCR: &str = "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token?scope=repository%3Ame%2Fapp%3Apull&service=ghcr.io: 403 Forbidden";
    const PLAIN: &str =
        "pulling from host r failed with status code [manifests 1]: 401 Unauthorized";

    fn pod(secrets: &[&str], missing: &str) -> Facts {
        let named: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
        let message =
            format!("{SECRETS_NOT_FOUND}{missing}); attempting to pull the image may not succeed.");
        let event = ApiEvent {
            regarding: "Pod/p".into(),
            reason: "FailedToRetrieveImagePullSecret".into(),
            message,
            ..ApiEvent::default()
        };
        Facts {
            kubectl: "kubectl".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"imagePullSecrets": named}}),
            events: if missing.is_empty() { Vec::new() } else { vec![event] },
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"}})],
            ..Facts::default()
        }
    }

    #[test]
    fn denied_image_may_not_exist() {
        let (certain, likely) = (Confidence::Certain, Confidence::Likely);
        let table: [(&[&str], &str, &str, Confidence, &str); 8] = [
            (
                &[],
                "",
                HUB,
                likely,
                "registry `r` has no `a`, or requires credentials: the response is the same for both",
            ),
            (
                &[],
                "",
                GHCR,
                likely,
                "registry `r` has no `a`, or requires credentials: the response is the same for both",
            ),
            (
                &[],
                "",
                PLAIN,
                certain,
                "registry `r` requires credentials, but the pod has no imagePullSecret",
            ),
            (
                &["mine"],
                "",
                HUB,
                likely,
                "registry `r` has no `a`, or rejects the credentials of the pod's imagePullSecret `mine`: the response is the same for both",
            ),
            (
                &["mine", "ours"],
                "",
                PLAIN,
                certain,
                "registry `r` rejects the credentials of the pod's imagePullSecrets `mine` and `ours`",
            ),
            (&["mine"], "mine", PLAIN, certain, "the pod's imagePullSecret `mine` does not exist"),
            (
                &["mine", "absent"],
                "absent",
                PLAIN,
                likely,
                "the pod's imagePullSecret `absent` does not exist",
            ),
            (
                &["a", "b"],
                "a, b",
                HUB,
                certain,
                "the pod's imagePullSecrets `a` and `b` do not exist",
            ),
        ];
        for (secrets, missing, error, confidence, message) in table {
            let found = explain_denial(&pod(secrets, missing), "r", "a", error);
            assert_eq!(found, (confidence, message.to_owned()), "{secrets:?} {error}");
        }
    }

    #[test]
    fn valid_credentials_are_not_overwritten() {
        let create = |name: &str| {
            format!(
                "run `kubectl create secret docker-registry {name} --docker-server=r --docker-username=USER --docker-password=PASSWORD"
            )
        };
        let add = |name: &str| {
            format!(
                " && kubectl patch deployment/web --patch '{{\"spec\":{{\"template\":{{\"spec\":{{\"imagePullSecrets\":[{{\"name\":\"{name}\"}}]}}}}}}}}'`"
            )
        };
        let replace = " --dry-run=client --output=yaml | kubectl apply --filename -`, which replaces the contents of `mine`";
        let table: [(&[&str], &str, String); 5] = [
            (&[], "", create("registry") + &add("registry")),
            (&["mine"], "", create("mine") + replace),
            (&["mine", "absent"], "absent", create("absent") + "`"),
            (&["mine", "ours"], "", create("registry") + &add("registry")),
            (&["mine", "registry"], "", create("registry-2") + &add("registry-2")),
        ];
        for (secrets, missing, expected) in table {
            assert_eq!(
                credentials_help(&pod(secrets, missing), "r"),
                expected,
                "{secrets:?} {missing}"
            );
        }
    }
}
