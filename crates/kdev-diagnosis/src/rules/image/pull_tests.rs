//! Errors of registries and kubelets for failed pulls.

use kdev_core::image::local::LocalImage;
use kdev_core::image::node_images::{CRI_NAMESPACE, NodeImages, StoredImage};

use super::*;
use crate::facts::NodeObservation;

const HUB: &str = "failed to resolve reference \"R\": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed";
const REFUSED: &str =
    "failed to do request: Head \"https://R\": dial tcp 127.0.0.1:443: connect: connection refused";
const DENIED: &str = "failed to resolve reference \"R\": pulling from host r.example failed with status code [manifests dev]: 401 Unauthorized";
const ABSENT: &str = "failed to resolve reference \"R\": R: not found";

/// Returns a Deployment's pod on node `n` whose pull failed with this error.
fn pod(image: &str, policy: &str, error: &str, os: &str) -> Facts {
    let waiting = json!({"reason": "ErrImagePull", "message": error});
    let status = json!({"name": "c", "state": {"waiting": waiting}});
    let info = json!({"operatingSystem": os, "architecture": "amd64"});
    let container = json!({"name": "c", "image": image, "imagePullPolicy": policy});
    Facts {
        subject: "pod/p".into(),
        kubectl: "kubectl".into(),
        flags: "--context c".into(),
        pod: json!({"kind": "Pod", "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "containers": [container]},
            "status": {"phase": "Pending", "containerStatuses": [status]}}),
        owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [container]}}}})],
        nodes: vec![json!({"metadata": {"name": "n"}, "status": {"nodeInfo": info}})],
        local_images: Some(Vec::new()),
        node_images: [("n".to_owned(), NodeObservation::Known(NodeImages::default()))].into(),
        ..Facts::default()
    }
}

fn stored(name: &str) -> NodeObservation {
    let image = StoredImage {
        namespace: CRI_NAMESPACE.into(),
        name: name.into(),
        complete: Some(true),
        ..StoredImage::default()
    };
    NodeObservation::Known(NodeImages { images: vec![image], ..NodeImages::default() })
}

fn causes(facts: &Facts) -> Vec<(Cause, Confidence)> {
    crate::diagnose(facts).iter().map(|one| (one.cause, one.confidence)).collect()
}

#[test]
fn nonexistent_image_is_distinguished_from_denied_pull() {
    let (certain, likely) = (Confidence::Certain, Confidence::Likely);
    let table = [
        ("nowhere:dev", HUB, Cause::ImageNotFound, likely),
        ("localhost/nowhere:dev", REFUSED, Cause::ImageNotFound, likely),
        ("me/nowhere:dev", HUB, Cause::PullDenied, likely),
        ("nowhere:dev", REFUSED, Cause::RegistryUnreachable, certain),
        ("nowhere:dev", ABSENT, Cause::TagNotFound, certain),
        ("r.example/app:dev", DENIED, Cause::PullDenied, certain),
    ];
    for (image, error, cause, confidence) in table {
        let found = causes(&pod(image, "IfNotPresent", error, "linux"));
        assert_eq!(found, [(cause, confidence)], "{image} {error}");
    }
}

#[test]
fn pull_error_determines_message_and_help() {
    let load = "cargo kdev load r.example/app:dev --context c";
    let never = "kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"imagePullPolicy\":\"Never\",\"name\":\"c\"}]}}}}'";
    let instead =
        format!("pull with Docker and load the image: `docker pull r.example/app:dev && {load}`");
    let proxy = format!(
        "correct `HTTPS_PROXY` or `NO_PROXY` in the environment of containerd on node `n` and restart it, or {instead}"
    );
    let proxied = |error: &str| format!("proxyconnect tcp: {error}");
    let through = |proxy: &str| {
        format!(
            "containerd on node `n` cannot reach registry `r.example` through its proxy `{proxy}`"
        )
    };
    let has_no = "`r.example/app:dev` not found in registry `r.example`".to_owned();
    let build = format!("docker build --tag r.example/app:dev . && {load}");
    let linux = "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"kubernetes.io/os\":\"linux\"}}}}}'`";
    let not_for = |platform: &str| {
        format!(
            "registry `r.example` has `r.example/app:dev`, but not for the node's platform {platform}"
        )
    };
    let platform = "no match for platform in manifest sha256:0: not found".to_owned();
    let full =
        "failed to extract layer sha256:1: write /usr/lib/x: no space left on device: unknown";
    let full = (full.to_owned(), "the disk of node `n` is too full for `r.example/app:dev`");
    let throttled = "the kubelet on node `n` has reached its limit for image pulls, and will retry";
    let unavailable = "registry `r.example` returns `503 Service Unavailable`";
    let response = "unexpected status from HEAD request to https://r.example/v2/app/manifests/dev: 503 Service Unavailable";
    let correct = "or correct the image name in the manifest of deployment/web";
    let pulled = "IfNotPresent";
    let table: [(&str, &str, String, String, String); 10] = [
        (pulled, "linux", proxied("dial tcp 10.0.0.1:3128: connect: connection refused"), through("10.0.0.1:3128"), proxy.clone()),
        (pulled, "linux", proxied("dial tcp: lookup proxy.corp on 10.0.0.53:53: no such host"), through("proxy.corp"), proxy.clone()),
        (pulled, "linux", response.into(), unavailable.into(), instead.clone()),
        ("Always", "linux", response.into(), unavailable.into(), format!("pull with Docker and load the image: `docker pull r.example/app:dev && {load} && {never}`")),
        (pulled, "linux", ABSENT.into(), has_no.clone(), format!("build and load the image: `{build}`, {correct}")),
        ("Always", "linux", ABSENT.into(), has_no, format!("build and load the image: `{build} && {never}`, {correct}")),
        (pulled, "linux", platform.clone(), not_for("linux/amd64"), "build the image for linux/amd64 and load it".into()),
        (pulled, "windows", platform, not_for("windows/amd64"), linux.into()),
        (pulled, "linux", full.0, full.1.into(), "free disk space on node `n`: `ssh -t n 'sudo du -xh -d2 /var | sort -h | tail'` shows the largest directories; do not prune images, because that also deletes loaded images that no pod uses".into()),
        (pulled, "linux", "pull QPS exceeded".into(), throttled.into(), "wait for the retry: `kubectl get pod/p --watch`".into()),
    ];
    for (policy, os, error, message, help) in table {
        let found = crate::diagnose(&pod("r.example/app:dev", policy, &error, os));
        let found: Vec<_> = found.iter().map(|one| (&one.message, &one.help)).collect();
        assert_eq!(found, [(&message, &help)], "{policy} {error}");
    }
}

#[test]
fn outdated_copy_does_not_hide_registry_error() {
    let (certain, likely) = (Confidence::Certain, Confidence::Likely);
    let (denied, always) = (Cause::PullDenied, Cause::PullPolicyAlways);
    let table = [
        ("r.example/app:dev", "Always", DENIED, vec![(denied, certain), (always, likely)]),
        ("r.example/app:dev", "IfNotPresent", DENIED, vec![(Cause::ImageJustArrived, likely)]),
        ("app:dev", "Always", HUB, vec![(always, certain)]),
    ];
    for (image, policy, error, expected) in table {
        let mut facts = pod(image, policy, error, "linux");
        let full = facts.containers()[0].reference().unwrap().to_string();
        facts.node_images = [("n".to_owned(), stored(&full))].into();
        assert_eq!(causes(&facts), expected, "{image} {policy}");
    }
}

#[test]
fn local_image_is_loaded_instead_of_pulled() {
    let (certain, likely) = (Confidence::Certain, Confidence::Likely);
    let table = [
        ("Always", DENIED, vec![(Cause::PullDenied, certain)]),
        (
            "Always",
            ABSENT,
            vec![(Cause::ImageNotLoaded, likely), (Cause::PullPolicyAlways, certain)],
        ),
        ("IfNotPresent", ABSENT, vec![(Cause::ImageNotLoaded, likely)]),
    ];
    for (policy, error, expected) in table {
        let mut facts = pod("r.example/app:dev", policy, error, "linux");
        let local = LocalImage { name: "r.example/app:dev".into(), ..LocalImage::default() };
        facts.local_images = Some(vec![local]);
        assert_eq!(causes(&facts), expected, "{policy} {error}");
        let help = &crate::diagnose(&facts)[0].help;
        assert!(help.starts_with("run `cargo kdev load r.example/app:dev"), "{help}");
        assert_eq!(help.contains("Never"), policy == "Always" && error == DENIED, "{help}");
    }
}

#[test]
fn digest_missing_on_node_shows_registry_error() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let table = [
        ("sha256:1", DENIED, vec![Cause::PullDenied]),
        ("sha256:1", "", vec![Cause::PinnedByDigest]),
        (digest.as_str(), DENIED, vec![Cause::PinnedByDigest]),
    ];
    for (on_node, error, expected) in table {
        let image = format!("r.example/app:dev@{digest}");
        let mut facts = pod(&image, "IfNotPresent", error, "linux");
        let NodeObservation::Known(mut images) = stored("r.example/app:dev") else {
            unreachable!()
        };
        images.images[0].digest = on_node.into();
        facts.node_images = [("n".to_owned(), NodeObservation::Known(images))].into();
        let found: Vec<Cause> = causes(&facts).into_iter().map(|(cause, _)| cause).collect();
        assert_eq!(found, expected, "{on_node} {error}");
    }
    // The CRI stores it without its tag.
    let mut facts = pod(&format!("r.example/app:dev@{digest}"), "IfNotPresent", "", "linux");
    facts.node_images = [("n".to_owned(), stored(&format!("r.example/app@{digest}")))].into();
    assert_eq!(causes(&facts), [(Cause::ImageJustArrived, Confidence::Likely)]);
}

#[test]
fn back_off_message_contains_last_pull_error() {
    let mut facts = pod("r.example/app:dev", "IfNotPresent", "", "linux");
    let back_off = format!("Back-off pulling image \"r.example/app:dev\": ErrImagePull: {DENIED}");
    for (message, expected) in
        [(back_off.as_str(), true), ("Back-off pulling image \"r.example/app:dev\"", false)]
    {
        let waiting = json!({"reason": "ImagePullBackOff", "message": message});
        facts.pod["status"]["containerStatuses"][0]["state"]["waiting"] = waiting;
        assert_eq!(super::pull_error(&facts, facts.containers()[0]).is_some(), expected);
    }
}
