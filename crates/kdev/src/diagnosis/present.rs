//! The image is on the node, and still the container does not get it. Pure.

use serde_json::Value;

use super::absent::{familiar, node, waits};
use super::whereabouts::Whereabouts;
use super::{Cause, Confidence, Diagnosis, cure, node_health, pull};
use crate::container::Container;
use crate::facts::{Facts, list, text};
use crate::image::Reference;
use crate::stock::{CRI_NAMESPACE, Stored};
use crate::verification;

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let of_container = |container| {
        [
            pinned(facts, container),
            broken(facts, container),
            policy(facts, container),
            unseen(facts, container),
        ]
    };
    facts.containers().into_iter().flat_map(of_container).flatten().collect()
}

/// Digests are found only of what was pulled: an import keeps the name that the
/// archive gives.
fn pinned(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if !container.waits_for_image() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    let digest = seen.wanted.digest().filter(|_| seen.here.is_none())?;
    let (name, there) = (seen.name(), node(facts));
    let diagnosis = |confidence, words, image: &Stored, help| Diagnosis {
        cause: Cause::PinnedByDigest,
        confidence,
        words,
        evidence: vec![
            waits(container),
            format!("the node has `{}` with digest {}", image.name, image.digest),
        ],
        help,
    };
    if let Some(image) = seen.twin() {
        let other = familiar(&image.name);
        let words = format!(
            "`{name}` is pinned by a digest, under which only a pulled image is found; {there} has this very image as `{other}`"
        );
        let help = cure::set_image(facts, container, &other);
        return Some(diagnosis(Confidence::Certain, words, image, help));
    }
    // A registry that was asked has the better explanation.
    if pull::refusal(facts, container).is_some() {
        return None;
    }
    let of_name = format!("{}:", seen.wanted.name());
    let image = seen.alike.iter().find(|image| image.name.starts_with(&of_name))?;
    let other = familiar(&image.name);
    let words = format!(
        "`{name}` is pinned by a digest that {there} does not have; it has another build as `{other}`"
    );
    let set = |image: &str| cure::set_image(facts, container, image);
    let locals = seen.local_alike.iter().find(|local| local.id == digest);
    let help = match locals.and_then(|local| Reference::parse(&local.name).ok()) {
        Some(local) => {
            let (load, set) = (cure::load_command(facts, &local), set(&local.familiar()));
            match set.strip_prefix("run `") {
                Some(set) => format!("run `{load} && {set}"),
                None => format!("run `{load}`, and {set}"),
            }
        }
        None if container.policy() == "Never" && !seen.is_homely() => format!(
            "let the kubelet pull it: {}, or, if `{other}` will do, {}",
            cure::set_policy(facts, container, "IfNotPresent"),
            set(&other)
        ),
        None => format!(
            "if `{other}` will do, {}, or load the image with that digest, and name it by its tag",
            set(&other)
        ),
    };
    Some(diagnosis(Confidence::Likely, words, image, help))
}

/// What is there cannot be used.
fn broken(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let (reason, message) = container.waiting()?;
    let seen = Whereabouts::of(facts, container.reference()?);
    let image = seen.here?;
    let (cause, words) = if message.contains("unpack")
        && message.contains("no space left on device")
    {
        (Cause::NodePressure, "has no room to be unpacked: the disk is full")
    } else if image.complete == Some(false) {
        (Cause::ImageIncomplete, "lacks some of its layers")
    // What is complete is unpacked when it is needed, so that only a failure counts.
    } else if image.unpacked == Some(false) && message.contains("unpack") {
        let is_damaged = message.contains("wrong diff id");
        let why =
            if is_damaged { "a layer of it is damaged" } else { "a layer of it may be damaged" };
        (Cause::ImageNotUnpacked, &*format!("cannot be unpacked: {why}"))
    } else {
        return None;
    };
    let name = seen.name();
    let help = match seen.local {
        _ if cause == Cause::NodePressure => {
            node_health::relieve(facts, facts.node_name().unwrap_or_default())
        }
        Some(_) => cure::load(facts, &seen.wanted),
        None => format!("build `{name}` again, and {}", cure::load(facts, &seen.wanted)),
    };
    Some(Diagnosis {
        cause,
        confidence: Confidence::Certain,
        words: format!("`{name}` on node `{}` {words}", facts.node_name().unwrap_or_default()),
        evidence: vec![
            format!("container `{}` waits: {reason}: {message}", container.name()),
            format!(
                "`ctr -n {CRI_NAMESPACE} images check` there: complete: {}, unpacked: {}",
                yes(image.complete),
                yes(image.unpacked)
            ),
        ],
        help,
    })
}

fn yes(is: Option<bool>) -> &'static str {
    match is {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    }
}

/// The kubelet pulls, whatever is there, or there to be loaded.
fn policy(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.policy() != "Always" || !container.waits_for_image() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    let is_on_node = seen.here.is_some();
    let refusal = pull::refusal(facts, container);
    let is_only_here = seen.local.is_some() && refusal == Some(Cause::NotInRegistry);
    // What is nowhere near was meant to be pulled.
    let is_ours = is_on_node || is_only_here || (seen.is_near() && seen.is_homely());
    if !is_ours {
        return None;
    }
    // What the node has of a registry's may be an old copy.
    let may_be_old = is_on_node && !seen.is_homely() && refusal.is_some();
    let name = seen.name();
    let mut evidence = vec![waits(container)];
    if is_on_node {
        evidence.push(format!(
            "node `{}` has `{}` where the kubelet looks",
            facts.node_name().unwrap_or_default(),
            seen.wanted
        ));
    }
    if let Some(wanted) = policy_of_template(facts, container.name()).filter(|p| *p != "Always") {
        evidence.push(format!("its manifest says `{wanted}`, and the pod has `Always`"));
        return Some(Diagnosis {
            cause: Cause::AlwaysPullImages,
            confidence: Confidence::Certain,
            words: format!(
                "the API server makes each pod pull its images, so that `{name}` would have to be in a registry"
            ),
            evidence,
            help: "start the API server without `AlwaysPullImages` in `--enable-admission-plugins`, or let the webhook that does it leave this namespace alone".to_owned(),
        });
    }
    let reference = container.reference()?;
    let words = match reference.tag() {
        Some("latest") => format!(
            "the pull policy is `Always`, which is the default for `:latest` and for no tag: the kubelet asks a registry for `{name}`, whatever the node has"
        ),
        _ => format!(
            "the pull policy is `Always`: the kubelet asks a registry for `{name}`, whatever the node has"
        ),
    };
    let set = if facts.project_image.as_deref() == Some(&reference.name().to_string()) {
        format!("{}, which sets the policy, too", cure::load(facts, &reference))
    } else {
        cure::set_policy(facts, container, "Never")
    };
    let (confidence, help) = if may_be_old {
        (Confidence::Likely, format!("if what the node has is the build that you want, {set}"))
    } else {
        (Confidence::Certain, set)
    };
    Some(Diagnosis { cause: Cause::PolicyAlways, confidence, words, evidence, help })
}

/// The image is there, unhurt, and need not be pulled.
fn unseen(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if container.policy() == "Always" || !container.waits_for_image() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    seen.here.filter(|image| image.complete == Some(true))?;
    let (name, node) = (seen.name(), facts.node_name()?);
    let mut evidence = vec![
        waits(container),
        format!("node `{node}` has `{}` where the kubelet looks", seen.wanted),
    ];
    if let Some(policy) = verification::refuses(&facts.verification, &name) {
        evidence
            .push(format!("`imagePullCredentialsVerificationPolicy` of its kubelet is `{policy}`"));
        return Some(Diagnosis {
            cause: Cause::CredentialsVerified,
            confidence: Confidence::Certain,
            words: format!(
                "`{name}` is on node `{node}`, but its kubelet lets pods have only what it has pulled itself"
            ),
            evidence,
            help: format!(
                "set `imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`, its default, in the configuration of the kubelet on node `{node}`, and restart that"
            ),
        });
    }
    Some(Diagnosis {
        cause: Cause::ImageJustCame,
        confidence: Confidence::Likely,
        words: format!(
            "`{name}` is on node `{node}` now; the kubelet looks again by itself, the more rarely the longer it has waited"
        ),
        evidence,
        help: format!("wait for it: `{} get {} --watch`", facts.kubectl, facts.subject),
    })
}

/// The policy that whoever made the pod wanted.
fn policy_of_template<'a>(facts: &'a Facts, container: &str) -> Option<&'a str> {
    let Some(owner) = facts.owners.first() else {
        return facts.applied_policies.get(container).map(String::as_str);
    };
    if !is_of_template(facts, owner) {
        return None;
    }
    let spec = owner.pointer("/spec/template/spec")?;
    let containers = list(&spec["initContainers"]).chain(list(&spec["containers"]));
    let policies = containers.filter(|one| one["name"] == container);
    policies.map(|one| text(one, "/imagePullPolicy")).find(|policy| !policy.is_empty())
}

/// Whether the pod was made from what its owner's template says now, as far as that
/// is told.
fn is_of_template(facts: &Facts, owner: &Value) -> bool {
    match text(owner, "/kind") {
        "StatefulSet" => {
            let made = text(&facts.pod, "/metadata/labels/controller-revision-hash");
            made == text(owner, "/status/updateRevision")
        }
        // One without a keeper leaves its pods as they are when it is changed.
        "ReplicaSet" | "ReplicationController" => facts.owners.len() > 1,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Local, Shelf};
    use crate::stock::Stock;
    use serde_json::json;

    #[test]
    fn a_pin_is_given_up_only_where_the_content_stays_the_same() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let set = |image: &str| format!("run `kubectl set image deployment/web 'c={image}'`");
        let pull = "let the kubelet pull it: run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"imagePullPolicy\":\"IfNotPresent\",\"name\":\"c\"}]}}}}'`, or, if";
        let load = "run `cargo kdev load app:v2 --context c && kubectl set image deployment/web 'c=app:v2'`";
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
                format!("if `app:dev` will do, {}", set("app:dev")),
            ),
            ("r.example/app", "r.example/app", other, other, Confidence::Likely, pull.to_owned()),
        ];
        for (image, full, on_node, in_docker, confidence, help) in table {
            let image = format!("{image}:v1@{digest}");
            let container = json!({"name": "c", "image": image, "imagePullPolicy": "Never"});
            let state = json!({"waiting": {"reason": "ErrImageNeverPull", "message": ""}});
            let stored = Stored {
                namespace: CRI_NAMESPACE.into(),
                name: format!("{full}:dev"),
                digest: on_node.into(),
                ..Stored::default()
            };
            let stock = Stock { images: vec![stored], ..Stock::default() };
            let local =
                Local { name: format!("{name}:v2"), id: in_docker.into(), ..Local::default() };
            let facts = Facts {
                kubectl: "kubectl".into(),
                flags: "--context c".into(),
                pod: json!({"kind": "Pod", "metadata": {"name": "p"},
                    "spec": {"nodeName": "n", "containers": [container]},
                    "status": {"containerStatuses": [{"name": "c", "state": state}]}}),
                owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"}})],
                stocks: [("n".to_owned(), Shelf::Seen(stock))].into(),
                local: Some(vec![local]),
                ..Facts::default()
            };
            let found = diagnose(&facts).remove(0);
            assert_eq!((found.cause, found.confidence), (Cause::PinnedByDigest, confidence));
            assert!(found.help.starts_with(&help), "{}", found.help);
        }
    }

    #[test]
    fn a_full_disk_is_told_from_a_damaged_layer() {
        let start = "failed to create containerd container: error unpacking image: ";
        let table = [
            (
                "wrong diff id \"sha256:1\" calculated on extraction \"sha256:2\"",
                Cause::ImageNotUnpacked,
                "a layer of it is damaged",
            ),
            (
                "archive/tar: invalid tar header",
                Cause::ImageNotUnpacked,
                "a layer of it may be damaged",
            ),
            (
                "failed to extract layer sha256:1: write /a: no space left on device",
                Cause::NodePressure,
                "the disk is full",
            ),
        ];
        for (why, cause, words) in table {
            let waiting =
                json!({"reason": "CreateContainerError", "message": format!("{start}{why}")});
            let stored = Stored {
                namespace: CRI_NAMESPACE.into(),
                name: "docker.io/library/app:dev".into(),
                complete: Some(true),
                unpacked: Some(false),
                ..Stored::default()
            };
            let stock = Stock { images: vec![stored], ..Stock::default() };
            let facts = Facts {
                pod: json!({"kind": "Pod", "metadata": {"name": "p"},
                    "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "app:dev"}]},
                    "status": {"containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}}),
                stocks: [("n".to_owned(), Shelf::Seen(stock))].into(),
                ..Facts::default()
            };
            let found = diagnose(&facts).remove(0);
            assert_eq!(found.cause, cause, "{why}");
            assert!(found.words.ends_with(words), "{}", found.words);
        }
    }

    #[test]
    fn a_pod_from_before_its_owner_was_changed_tells_nothing_of_admission() {
        let owner = |kind: &str| {
            json!({"kind": kind, "metadata": {"name": "w"}, "status": {"updateRevision": "w-2"},
                "spec": {"template": {"spec": {"containers": [
                    {"name": "c", "imagePullPolicy": "Never"}]}}}})
        };
        let keeper = || owner("Deployment");
        let table = [
            (vec![owner("StatefulSet")], "w-2", Some("Never")),
            (vec![owner("StatefulSet")], "w-1", None),
            (vec![owner("ReplicaSet"), keeper()], "", Some("Never")),
            (vec![owner("ReplicaSet")], "", None),
            (vec![owner("DaemonSet")], "w-1", Some("Never")),
        ];
        for (owners, made, expected) in table {
            let labels = json!({"controller-revision-hash": made});
            let pod = json!({"metadata": {"name": "p", "labels": labels}});
            let facts = Facts { pod, owners, ..Facts::default() };
            assert_eq!(policy_of_template(&facts, "c"), expected, "{:?} {made}", facts.owners);
        }
    }

    #[test]
    fn the_project_that_builds_the_image_sets_its_policy() {
        let status = json!({"name": "c", "state": {"waiting": {"reason": "ErrImagePull"}}});
        let container = json!({"name": "c", "image": "app", "imagePullPolicy": "Always"});
        let mut facts = Facts {
            flags: "--context c".into(),
            kubectl: "kubectl".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "p"},
                "spec": {"nodeName": "n", "containers": [container]},
                "status": {"phase": "Pending", "containerStatuses": [status]}}),
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"}})],
            local: Some(vec![Local {
                name: "docker.io/library/app:latest".into(),
                ..Local::default()
            }]),
            ..Facts::default()
        };
        let help = |facts: &Facts| diagnose(facts).remove(0).help;
        assert!(help(&facts).starts_with("run `kubectl patch deployment/web "), "{}", help(&facts));
        facts.project_image = Some("docker.io/library/app".into());
        assert_eq!(help(&facts), "run `cargo kdev up --context c`, which sets the policy, too");
    }
}
