//! Images that are on the node, but not used.

use kdev_core::image::local::LocalImage;
use kdev_core::image::node_images::NodeImages;
use serde_json::json;

use super::*;
use crate::facts::NodeObservation;

#[test]
fn digest_is_replaced_only_if_content_stays_same() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let set = |image: &str| format!("run `kubectl set image deployment/web 'c={image}'`");
    let pull = "let the kubelet pull it: run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"imagePullPolicy\":\"IfNotPresent\",\"name\":\"c\"}]}}}}'`; to use";
    let load =
        "run `cargo kdev load app:v2 --context c && kubectl set image deployment/web 'c=app:v2'`";
    let (other, name) = ("sha256:1", "docker.io/library/app");
    let table = [
        ("app", name, digest.as_str(), other, Confidence::Certain, set("app:dev")),
        ("app", name, other, digest.as_str(), Confidence::Likely, load.to_owned()),
        (
            "app",
            name,
            other,
            other,
            Confidence::Likely,
            format!("to use `app:dev` instead, {}", set("app:dev")),
        ),
        ("r.example/app", "r.example/app", other, other, Confidence::Likely, pull.to_owned()),
    ];
    for (image, full, on_node, in_docker, confidence, help) in table {
        let image = format!("{image}:v1@{digest}");
        let container = json!({"name": "c", "image": image, "imagePullPolicy": "Never"});
        let state = json!({"waiting": {"reason": "ErrImageNeverPull", "message": ""}});
        let stored = StoredImage {
            namespace: CRI_NAMESPACE.into(),
            name: format!("{full}:dev"),
            digest: on_node.into(),
            ..StoredImage::default()
        };
        let images = NodeImages { images: vec![stored], ..NodeImages::default() };
        let local = LocalImage {
            name: format!("{name}:v2"),
            id: in_docker.into(),
            ..LocalImage::default()
        };
        let facts = Facts {
            kubectl: "kubectl".into(),
            flags: "--context c".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "p"},
                "spec": {"nodeName": "n", "containers": [container]},
                "status": {"containerStatuses": [{"name": "c", "state": state}]}}),
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"}})],
            node_images: [("n".to_owned(), NodeObservation::Known(images))].into(),
            local_images: Some(vec![local]),
            ..Facts::default()
        };
        let found = diagnose(&facts).remove(0);
        assert_eq!((found.cause, found.confidence), (Cause::PinnedByDigest, confidence));
        assert!(found.help.starts_with(&help), "{}", found.help);
    }
}

#[test]
fn full_disk_is_distinguished_from_damaged_layer() {
    let start = "failed to create containerd container: error unpacking image: ";
    let table = [
        (
            "wrong diff id \"sha256:1\" calculated on extraction \"sha256:2\"",
            Cause::ImageNotUnpacked,
            "a layer is damaged",
        ),
        ("archive/tar: invalid tar header", Cause::ImageNotUnpacked, "a layer may be damaged"),
        (
            "failed to extract layer sha256:1: write /a: no space left on device",
            Cause::NodePressure,
            "the disk is full",
        ),
    ];
    for (error, cause, message) in table {
        let waiting =
            json!({"reason": "CreateContainerError", "message": format!("{start}{error}")});
        let stored = StoredImage {
            namespace: CRI_NAMESPACE.into(),
            name: "docker.io/library/app:dev".into(),
            complete: Some(true),
            unpacked: Some(false),
            ..StoredImage::default()
        };
        let images = NodeImages { images: vec![stored], ..NodeImages::default() };
        let facts = Facts {
            pod: json!({"kind": "Pod", "metadata": {"name": "p"},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "app:dev"}]},
                "status": {"containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}}),
            node_images: [("n".to_owned(), NodeObservation::Known(images))].into(),
            ..Facts::default()
        };
        let found = diagnose(&facts).remove(0);
        assert_eq!(found.cause, cause, "{error}");
        assert!(found.message.ends_with(message), "{}", found.message);
    }
}

#[test]
fn policy_of_changed_template_is_not_compared() {
    let owner = |kind: &str| {
        json!({"kind": kind, "metadata": {"name": "w"}, "status": {"updateRevision": "w-2"},
            "spec": {"template": {"spec": {"containers": [
                {"name": "c", "imagePullPolicy": "Never"}]}}}})
    };
    let controller = || owner("Deployment");
    let table = [
        (vec![owner("StatefulSet")], "w-2", Some("Never")),
        (vec![owner("StatefulSet")], "w-1", None),
        (vec![owner("ReplicaSet"), controller()], "", Some("Never")),
        (vec![owner("ReplicaSet")], "", None),
        (vec![owner("DaemonSet")], "w-1", Some("Never")),
    ];
    for (owners, revision, expected) in table {
        let labels = json!({"controller-revision-hash": revision});
        let pod = json!({"metadata": {"name": "p", "labels": labels}});
        let facts = Facts { pod, owners, ..Facts::default() };
        assert_eq!(template_policy(&facts, "c"), expected, "{:?} {revision}", facts.owners);
    }
}

#[test]
fn help_for_project_image_sets_pull_policy() {
    let status = json!({"name": "c", "state": {"waiting": {"reason": "ErrImagePull"}}});
    let container = json!({"name": "c", "image": "app", "imagePullPolicy": "Always"});
    let mut facts = Facts {
        flags: "--context c".into(),
        kubectl: "kubectl".into(),
        pod: json!({"kind": "Pod", "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "containers": [container]},
            "status": {"phase": "Pending", "containerStatuses": [status]}}),
        owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"}})],
        local_images: Some(vec![LocalImage {
            name: "docker.io/library/app:latest".into(),
            ..LocalImage::default()
        }]),
        ..Facts::default()
    };
    let help = |facts: &Facts| diagnose(facts).remove(0).help;
    assert!(help(&facts).starts_with("run `kubectl patch deployment/web "), "{}", help(&facts));
    facts.project_image = Some("docker.io/library/app".into());
    assert_eq!(help(&facts), "run `cargo kdev up --context c`, which also sets the pull policy");
}
