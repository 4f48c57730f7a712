//! Images that are not where the kubelet looks.

use kdev_core::image::local::LocalImage;
use kdev_core::image::node_images::{NodeImages, StoredImage};
use serde_json::json;

use super::*;
use crate::facts::NodeObservation;

/// Names of stored images.
type Names<'a> = &'a [&'a str];

fn pod(image: &str, policy: &str, on_node: Option<Names>, local: Option<Names>) -> Facts {
    let state = json!({"waiting": {"reason": "ErrImageNeverPull", "message": ""}});
    let container = json!({"name": "c", "image": image, "imagePullPolicy": policy});
    let stored = |name: &&str| StoredImage {
        namespace: CRI_NAMESPACE.into(),
        name: (*name).into(),
        ..StoredImage::default()
    };
    let stock = |names: Names| {
        let images = names.iter().map(stored).collect();
        ("n".to_owned(), NodeObservation::Known(NodeImages { images, ..NodeImages::default() }))
    };
    let locals = |names: Names| {
        names
            .iter()
            .map(|name| LocalImage { name: (*name).into(), ..LocalImage::default() })
            .collect()
    };
    Facts {
        kubectl: "kubectl".into(),
        flags: "--context c".into(),
        pod: json!({"kind": "Pod", "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "containers": [container]},
            "status": {"containerStatuses": [{"name": "c", "state": state}]}}),
        node_images: on_node.map(stock).into_iter().collect(),
        local_images: local.map(locals),
        ..Facts::default()
    }
}

#[test]
fn image_with_same_tag_is_preferred() {
    let (other, same_tag, elsewhere) =
        ("docker.io/library/app:2019", "localhost/app:dev", "r.example/app:dev");
    let on_node = |image| {
        (Cause::ImageUnderOtherName, format!("node `n` has no `app:dev`, but has `{image}`"))
    };
    let in_docker = |image| {
        let message =
            format!("`app:dev` is neither on node `n` nor in Docker, but Docker has `{image}`");
        (Cause::LocalImageUnderOtherName, message)
    };
    let table: [(Names, Names, _); 5] = [
        (&[other, same_tag], &[], on_node(same_tag)),
        (&[other], &[], on_node("app:2019")),
        (&[], &[other, same_tag], in_docker(same_tag)),
        (&[other], &[elsewhere], in_docker(elsewhere)),
        (&[same_tag], &[elsewhere], on_node(same_tag)),
    ];
    for (stored_names, local, expected) in table {
        let found = diagnose(&pod("app:dev", "Never", Some(stored_names), Some(local))).remove(0);
        assert_eq!((found.cause, found.message), expected, "{stored_names:?} {local:?}");
    }
}

#[test]
fn unknown_node_images_make_cause_only_likely() {
    let unknown = "unknown whether node `n` has the image";
    let missing = "containerd on node `n` has no `docker.io/library/app:dev` in namespace `k8s.io`";
    let table: [(Option<Names>, Names, Confidence, &str, &str); 3] = [
        (None, &[], Confidence::Likely, "`app:dev` is not on node `n`, and", unknown),
        (Some(&[]), &[], Confidence::Certain, "`app:dev` is not on node `n`, and", missing),
        (
            None,
            &["r.example/app:dev"],
            Confidence::Likely,
            "`app:dev` is not in Docker, but",
            unknown,
        ),
    ];
    for (on_node, local, confidence, message, evidence) in table {
        let found = diagnose(&pod("app:dev", "Never", on_node, Some(local))).remove(0);
        assert_eq!(found.confidence, confidence, "{on_node:?} {local:?}");
        assert!(found.message.starts_with(message), "{}", found.message);
        assert_eq!(found.evidence[1], evidence);
    }
}

#[test]
fn message_names_only_places_that_were_checked() {
    let denied = "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed";
    let public = "`docker.io` has no public image with that name";
    let table: [(Option<Names>, Option<Names>, String); 4] = [
        (
            Some(&[]),
            Some(&[]),
            format!("`app:dev` is neither on node `n` nor in Docker, and {public}"),
        ),
        (Some(&[]), None, format!("`app:dev` is not on node `n`, and {public}")),
        (None, Some(&[]), format!("`app:dev` is not in Docker, and {public}")),
        (None, None, "`docker.io` has no public image `app:dev`".to_owned()),
    ];
    for (on_node, local, message) in table {
        let mut facts = pod("app:dev", "IfNotPresent", on_node, local);
        let waiting = json!({"reason": "ErrImagePull", "message": denied});
        facts.pod["status"]["containerStatuses"][0]["state"]["waiting"] = waiting;
        let found = diagnose(&facts).remove(0);
        assert_eq!((found.cause, found.message), (Cause::ImageNotFound, message));
        let help = "build and load the image: `docker build --tag app:dev . && cargo kdev load app:dev --context c`";
        assert_eq!(found.help, help);
    }
}

#[test]
fn only_name_is_converted_to_lower_case() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = format!("App:V1@{digest}");
    let table = [
        ("App:V1", "app:V1".to_owned()),
        ("R.example:5000/Team/App:RC", "r.example:5000/team/app:RC".to_owned()),
        ("App", "app".to_owned()),
        (&pinned, format!("app:V1@{digest}")),
    ];
    for (image, expected) in table {
        assert_eq!(with_lowercase_name(image), expected);
    }
}

#[test]
fn podman_is_named_in_messages_and_commands() {
    let table: [(&str, &str, &str); 3] = [
        (
            "docker.io/library/app:dev",
            "`app:dev` is in Podman, but not on node `n`",
            "run `cargo kdev load app:dev --context c`",
        ),
        (
            "docker.io/library/other:dev",
            "`app:dev` is not on node `n`, and the pull policy `Never` prevents a pull",
            "build and load the image: `podman build --tag app:dev . && cargo kdev load app:dev --context c`",
        ),
        (
            "docker.io/library/app:new",
            "`app:dev` is neither on node `n` nor in Podman, but Podman has `app:new`",
            "run `podman tag app:new app:dev && cargo kdev load app:dev --context c`",
        ),
    ];
    for (local, message, help) in table {
        let mut facts = pod("app:dev", "Never", Some(&[]), Some(&[local]));
        facts.local_engine = kdev_core::image::local::Engine::Podman;
        let found = diagnose(&facts).remove(0);
        assert_eq!((found.message.as_str(), found.help.as_str()), (message, help));
        assert!(!found.evidence.concat().contains("Docker"), "{:?}", found.evidence);
        // No command gives an image of a builder another name.
        facts.local_engine = kdev_core::image::local::Engine::Buildx;
        assert!(!diagnose(&facts).remove(0).help.contains(" tag "));
    }
}
