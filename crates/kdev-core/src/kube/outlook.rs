//! Which problems of a rollout time may fix.
//!
//! A rollout waits for these until its timeout, and ends at once because of all others.

/// What waiting can do about a problem. The text is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Each retry has the same result.
    CannotRecover(&'static str),
    /// A retry may succeed.
    MayRecover(&'static str),
}

use Outlook::{CannotRecover, MayRecover};

/// The reason of a waiting container that has exited again and again.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";

const RETRIED: Outlook = MayRecover("the kubelet tries again");
const NO_SUCH_USER: Outlook = CannotRecover("the image does not define this user");
const NEVER_CREATED: Outlook = CannotRecover("the API server rejects each of its pods");

/// The problems of containers: the reason for which the container waits, a part of the
/// message, and the outlook. An empty text matches everything; the first row that matches
/// counts. A message without a reason is that of a container that has ended.
const CONTAINER_RULES: [(&str, &str, Outlook); 18] = [
    // The image is the same at each start.
    ("", "exec format error", CannotRecover("the program is not executable on this node")),
    ("", "executable file not found", CannotRecover("the image does not contain the program")),
    (
        "",
        "unable to start container process: exec",
        CannotRecover("the image does not contain such an executable program"),
    ),
    ("", "no command specified", CannotRecover("neither the image nor the manifest has a command")),
    ("", "unable to find user", NO_SUCH_USER),
    ("", "unable to find group", NO_SUCH_USER),
    ("", "no users found", NO_SUCH_USER),
    ("", "no groups found", NO_SUCH_USER),
    // The manifest is the same at each start.
    ("", "runAsNonRoot", CannotRecover("`runAsNonRoot` does not permit the user of the image")),
    ("", "non-root policy", CannotRecover("`runAsNonRoot` does not permit the user `runAsUser`")),
    ("InvalidImageName", "", CannotRecover("the name of the image is invalid")),
    // kdev has verified that its own image is on the node, and nothing else may load another.
    (
        "ErrImageNeverPull",
        "",
        CannotRecover("the image is not on the node, and `imagePullPolicy` forbids a pull"),
    ),
    // Someone else may still create these.
    (
        "CreateContainerConfigError",
        "couldn't find key",
        MayRecover("the missing key may still be added"),
    ),
    (
        "CreateContainerConfigError",
        "not found",
        MayRecover("the missing object may still be created"),
    ),
    // A cache of the kubelet, a volume, or a device may not be available yet.
    ("CreateContainerConfigError", "", RETRIED),
    ("CreateContainerError", "", RETRIED),
    ("RunContainerError", "", RETRIED),
    // A database may still be starting.
    (CRASH_LOOP, "", MayRecover("a dependency of the program may still be starting")),
];

/// The reasons why a controller cannot create pods: a part of the message, and the outlook.
const CREATION_RULES: [(&str, Outlook); 5] = [
    ("violates PodSecurity", NEVER_CREATED),
    ("security context constraint", NEVER_CREATED),
    (" is invalid:", NEVER_CREATED),
    ("exceeded quota", MayRecover("pods that end release their quota")),
    // A ServiceAccount or a webhook may not be available yet.
    ("", MayRecover("the controller tries again")),
];

/// Returns the outlook of a container's problem; `None` if it is no problem. `reason` is
/// empty for a container that has ended.
pub fn container_outlook(reason: &str, message: &str) -> Option<Outlook> {
    let matches = |(known, part, _): &&(&str, &str, Outlook)| {
        (known.is_empty() || *known == reason) && message.contains(part)
    };
    CONTAINER_RULES.iter().find(matches).map(|(_, _, outlook)| *outlook)
}

/// Returns the outlook of a controller that cannot create pods.
pub fn creation_outlook(message: &str) -> Outlook {
    let rule = CREATION_RULES.iter().find(|(part, _)| message.contains(part));
    rule.map_or(RETRIED, |(_, outlook)| *outlook)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of Kubernetes 1.34 with containerd 1.6 and 2.x.
    const CERTAIN: [(&str, &str); 11] = [
        ("", "exec /app: exec format error"),
        (
            "",
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/absent\": stat /absent: no such file or directory: unknown",
        ),
        (
            "RunContainerError",
            "failed to start containerd container \"c\": failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"absent\": executable file not found in $PATH",
        ),
        (
            "CreateContainerError",
            "failed to generate container \"c\" spec: failed to generate spec: no command specified",
        ),
        (
            "CreateContainerError",
            "failed to generate container \"c\" spec: failed to generate user string: mount callback failed on /tmp/c: no users found",
        ),
        (
            "RunContainerError",
            "unable to start container process: error during container init: unable to find user app: no matching entries in passwd file",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root (pod: \"p\", container: c)",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root (pod: \"p\", container: c)",
        ),
        (
            "CreateContainerConfigError",
            "container's runAsUser breaks non-root policy (pod: \"p\", container: c)",
        ),
        (
            "InvalidImageName",
            "Failed to apply default image tag \"A:b\": couldn't parse image name \"A:b\": invalid reference format: repository name must be lowercase",
        ),
        (
            "ErrImageNeverPull",
            "Container image \"redis:7\" is not present with pull policy of Never",
        ),
    ];
    const TEMPORARY: [(&str, &str); 9] = [
        ("CreateContainerConfigError", "configmap \"absent\" not found"),
        ("CreateContainerConfigError", "secret \"absent\" not found"),
        ("CreateContainerConfigError", "couldn't find key k in ConfigMap ns/c"),
        (
            "CreateContainerConfigError",
            "failed to sync configmap cache: timed out waiting for the condition",
        ),
        (
            "CreateContainerConfigError",
            "services have not yet been read at least once, cannot construct envvars",
        ),
        ("CreateContainerError", "context deadline exceeded"),
        (
            "CreateContainerError",
            "failed to reserve container name \"c\": name \"c\" is reserved for \"3f\"",
        ),
        (
            "RunContainerError",
            "failed to start containerd container: error during container init: error mounting \"/var/lib/a\" to rootfs at \"/a\": not a directory",
        ),
        ("CrashLoopBackOff", "back-off 40s restarting failed container=c pod=p_ns(u)"),
    ];

    #[test]
    fn outlook_depends_on_whether_time_can_change_cause() {
        for (reason, message) in CERTAIN {
            let outlook = container_outlook(reason, message);
            assert!(matches!(outlook, Some(CannotRecover(_))), "{reason}: {message}");
        }
        for (reason, message) in TEMPORARY {
            let outlook = container_outlook(reason, message);
            assert!(matches!(outlook, Some(MayRecover(_))), "{reason}: {message}");
        }
        let normal =
            [("", ""), ("ContainerCreating", ""), ("PodInitializing", ""), ("", "panicked")];
        // A registry may be unreachable for long, and a pull shows no other sign of progress.
        let pulls = [("ErrImagePull", "not found"), ("ImagePullBackOff", "")];
        for (reason, message) in normal.into_iter().chain(pulls) {
            assert_eq!(container_outlook(reason, message), None, "{reason}: {message}");
        }
    }

    /// Every row is the first match of one of the messages.
    #[test]
    fn each_rule_matches() {
        let all = CERTAIN.iter().chain(&TEMPORARY);
        let rules = CONTAINER_RULES.iter().filter(|(reason, part, _)| {
            let matching =
                |(r, m): &&(&str, &str)| (reason.is_empty() || r == reason) && m.contains(part);
            !all.clone().any(|message| matching(&message))
        });
        let unused: Vec<&str> = rules.map(|(_, part, _)| *part).collect();
        assert_eq!(unused, ["unable to find group", "no groups found"]);
    }

    #[test]
    fn rejected_pods_cannot_recover() {
        let security = "pods \"a-1\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false";
        let invalid = "Pod \"a-1\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit";
        for message in [security, invalid] {
            assert_eq!(creation_outlook(message), NEVER_CREATED, "{message}");
        }
        let quota = "pods \"a-1\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
        let account = "pods \"a-1\" is forbidden: error looking up service account n/absent: serviceaccount \"absent\" not found";
        let webhook = "Internal error occurred: failed calling webhook \"w\": connection refused";
        for message in [quota, account, webhook] {
            assert!(matches!(creation_outlook(message), MayRecover(_)), "{message}");
        }
    }
}
