//! What registries and kubelets say of pulls that fail.

use kdev_core::image::local::LocalImage;
use kdev_core::image::node_images::{CRI_NAMESPACE, NodeImages, StoredImage};

use super::*;
use crate::facts::NodeObservation;

const HUB: &str = "failed to resolve reference \"R\": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed";
const REFUSED: &str =
    "failed to do request: Head \"https://R\": dial tcp 127.0.0.1:443: connect: connection refused";
const DENIED: &str = "failed to resolve reference \"R\": pulling from host r.example failed with status code [manifests dev]: 401 Unauthorized";
const ABSENT: &str = "failed to resolve reference \"R\": R: not found";

/// A Deployment's pod on node `n`, whose kubelet has failed to pull for this reason.
fn pod(image: &str, policy: &str, why: &str, os: &str) -> Facts {
    let waiting = json!({"reason": "ErrImagePull", "message": why});
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
fn what_nobody_has_is_told_from_what_a_registry_keeps_back() {
    let (certain, likely) = (Confidence::Certain, Confidence::Likely);
    let table = [
        ("nowhere:dev", HUB, Cause::ImageNotFound, likely),
        ("localhost/nowhere:dev", REFUSED, Cause::ImageNotFound, likely),
        ("me/nowhere:dev", HUB, Cause::PullDenied, likely),
        ("nowhere:dev", REFUSED, Cause::RegistryUnreachable, certain),
        ("nowhere:dev", ABSENT, Cause::TagNotFound, certain),
        ("r.example/app:dev", DENIED, Cause::PullDenied, certain),
    ];
    for (image, why, cause, confidence) in table {
        let found = causes(&pod(image, "IfNotPresent", why, "linux"));
        assert_eq!(found, [(cause, confidence)], "{image} {why}");
    }
}

#[test]
fn each_failure_has_its_cure() {
    let load = "cargo kdev load r.example/app:dev --context c";
    let never = "kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"imagePullPolicy\":\"Never\",\"name\":\"c\"}]}}}}'";
    let instead = format!("do without the registry: `docker pull r.example/app:dev && {load}`");
    let proxy = format!(
        "correct `HTTPS_PROXY` or `NO_PROXY` in the environment of containerd on node `n` and restart that, or {instead}"
    );
    let proxied = |why: &str| format!("proxyconnect tcp: {why}");
    let through = |proxy: &str| {
        format!(
            "containerd on node `n` asks for `r.example` through the proxy `{proxy}`, which does not let it through"
        )
    };
    let has_no = "the registry `r.example` has no `r.example/app:dev`".to_owned();
    let build = format!("docker build --tag r.example/app:dev . && {load}");
    let linux = "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"kubernetes.io/os\":\"linux\"}}}}}'`";
    let not_for = |platform: &str| {
        format!("`r.example` has `r.example/app:dev`, but not for {platform}, which the node is")
    };
    let platform = "no match for platform in manifest sha256:0: not found".to_owned();
    let full =
        "failed to extract layer sha256:1: write /usr/lib/x: no space left on device: unknown";
    let full = (full.to_owned(), "the disk of node `n` has no room for `r.example/app:dev`");
    let throttled = "nothing is wrong yet: the kubelet of node `n` has many images to pull, and will try this one again";
    let trouble = "the registry `r.example` is in trouble: it answers `503 Service Unavailable`";
    let answers = "unexpected status from HEAD request to https://r.example/v2/app/manifests/dev: 503 Service Unavailable";
    let correct = "or correct its name in the manifest of deployment/web";
    let pulled = "IfNotPresent";
    let table: [(&str, &str, String, String, String); 10] = [
        (pulled, "linux", proxied("dial tcp 10.0.0.1:3128: connect: connection refused"), through("10.0.0.1:3128"), proxy.clone()),
        (pulled, "linux", proxied("dial tcp: lookup proxy.corp on 10.0.0.53:53: no such host"), through("proxy.corp"), proxy.clone()),
        (pulled, "linux", answers.into(), trouble.into(), instead.clone()),
        ("Always", "linux", answers.into(), trouble.into(), format!("do without the registry: `docker pull r.example/app:dev && {load} && {never}`")),
        (pulled, "linux", ABSENT.into(), has_no.clone(), format!("build it and load it: `{build}`, {correct}")),
        ("Always", "linux", ABSENT.into(), has_no, format!("build it and load it: `{build} && {never}`, {correct}")),
        (pulled, "linux", platform.clone(), not_for("linux/amd64"), "build it for linux/amd64 and load it".into()),
        (pulled, "windows", platform, not_for("windows/amd64"), linux.into()),
        (pulled, "linux", full.0, full.1.into(), "make room on the disk of node `n`: `ssh -t n 'sudo du -xh -d2 /var | sort -h | tail'` shows what fills it; to prune images would also delete loaded ones that no pod uses".into()),
        (pulled, "linux", "pull QPS exceeded".into(), throttled.into(), "wait: `kubectl get pod/p --watch`".into()),
    ];
    for (policy, os, why, words, help) in table {
        let found = crate::diagnose(&pod("r.example/app:dev", policy, &why, os));
        let found: Vec<_> = found.iter().map(|one| (&one.message, &one.help)).collect();
        assert_eq!(found, [(&words, &help)], "{policy} {why}");
    }
}

#[test]
fn an_old_copy_does_not_hide_what_the_registry_says() {
    let (certain, likely) = (Confidence::Certain, Confidence::Likely);
    let (denied, always) = (Cause::PullDenied, Cause::PullPolicyAlways);
    let table = [
        ("r.example/app:dev", "Always", DENIED, vec![(denied, certain), (always, likely)]),
        ("r.example/app:dev", "IfNotPresent", DENIED, vec![(Cause::ImageJustArrived, likely)]),
        ("app:dev", "Always", HUB, vec![(always, certain)]),
    ];
    for (image, policy, why, expected) in table {
        let mut facts = pod(image, policy, why, "linux");
        let full = facts.containers()[0].reference().unwrap().to_string();
        facts.node_images = [("n".to_owned(), stored(&full))].into();
        assert_eq!(causes(&facts), expected, "{image} {policy}");
    }
}

#[test]
fn what_docker_has_is_loaded_and_no_longer_pulled() {
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
    for (policy, why, expected) in table {
        let mut facts = pod("r.example/app:dev", policy, why, "linux");
        let local = LocalImage { name: "r.example/app:dev".into(), ..LocalImage::default() };
        facts.local_images = Some(vec![local]);
        assert_eq!(causes(&facts), expected, "{policy} {why}");
        let help = &crate::diagnose(&facts)[0].help;
        assert!(help.starts_with("run `cargo kdev load r.example/app:dev"), "{help}");
        assert_eq!(help.contains("Never"), policy == "Always" && why == DENIED, "{help}");
    }
}

#[test]
fn a_pin_that_only_a_registry_can_fill_is_told_by_the_registry() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let table = [
        ("sha256:1", DENIED, vec![Cause::PullDenied]),
        ("sha256:1", "", vec![Cause::PinnedByDigest]),
        (digest.as_str(), DENIED, vec![Cause::PinnedByDigest]),
    ];
    for (on_node, why, expected) in table {
        let image = format!("r.example/app:dev@{digest}");
        let mut facts = pod(&image, "IfNotPresent", why, "linux");
        let NodeObservation::Known(mut stock) = stored("r.example/app:dev") else { unreachable!() };
        stock.images[0].digest = on_node.into();
        facts.node_images = [("n".to_owned(), NodeObservation::Known(stock))].into();
        let found: Vec<Cause> = causes(&facts).into_iter().map(|(cause, _)| cause).collect();
        assert_eq!(found, expected, "{on_node} {why}");
    }
    // The CRI keeps it without its tag.
    let mut facts = pod(&format!("r.example/app:dev@{digest}"), "IfNotPresent", "", "linux");
    facts.node_images = [("n".to_owned(), stored(&format!("r.example/app@{digest}")))].into();
    assert_eq!(causes(&facts), [(Cause::ImageJustArrived, Confidence::Likely)]);
}

#[test]
fn a_back_off_tells_of_the_pull_before_it() {
    let mut facts = pod("r.example/app:dev", "IfNotPresent", "", "linux");
    let said = format!("Back-off pulling image \"r.example/app:dev\": ErrImagePull: {DENIED}");
    for (message, expected) in
        [(said.as_str(), true), ("Back-off pulling image \"r.example/app:dev\"", false)]
    {
        let waiting = json!({"reason": "ImagePullBackOff", "message": message});
        facts.pod["status"]["containerStatuses"][0]["state"]["waiting"] = waiting;
        assert_eq!(super::pull_error(&facts, facts.containers()[0]).is_some(), expected);
    }
}
