//! Pods that run an outdated build.

use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::{CONTENT_TAG_PREFIX, Reference};
use kdev_core::kube::container::Container;
use kdev_core::kube::time;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;
use crate::location::ImageLocations;

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

/// Returns the image in Docker that is probably a newer build of a container's image.
pub fn newer_local_image<'a>(facts: &'a Facts, container: Container) -> Option<&'a LocalImage> {
    let runs = container.image_id();
    // An ID with an `@` is from a registry, and does not identify the content.
    if !container.is_running() || runs.is_empty() || runs.contains('@') {
        return None;
    }
    let reference = container.reference()?;
    match reference.tag().filter(|tag| tag.starts_with(CONTENT_TAG_PREFIX)) {
        Some(tag) => newer_content_tag(facts, &reference, tag),
        None => rebuilt_image(facts, reference, runs),
    }
}

/// Returns Docker's latest build if it is not the one with this content tag. The latest
/// build is the image that also has the project's tag, which each build sets, or else
/// the one that was created last. The time alone does not suffice, because a build that
/// Docker has cached keeps its time.
fn newer_content_tag<'a>(
    facts: &'a Facts,
    reference: &Reference,
    tag: &str,
) -> Option<&'a LocalImage> {
    let images = || {
        let all = facts.local_images.iter().flatten();
        all.filter_map(|image| Some((image, Reference::parse(&image.name).ok()?)))
            .filter(|(_, name)| name.name() == reference.name())
    };
    let is_content =
        |name: &Reference| name.tag().is_some_and(|tag| tag.starts_with(CONTENT_TAG_PREFIX));
    let plain = || images().filter(|(_, name)| !is_content(name));
    let named = plain().find(|(_, name)| name.tag() == Some("latest"));
    let named = named.or_else(|| plain().next().filter(|_| plain().count() == 1));
    let mut contents = images().filter(|(_, name)| is_content(name));
    let newest = match named {
        // Docker lists the latest image first.
        None => contents.next()?.0,
        Some((named, _)) => {
            let same = contents.filter(|(image, _)| image.id == named.id).map(|(image, _)| image);
            let same: Vec<&LocalImage> = same.collect();
            let is_it = |image: &&LocalImage| image.name.ends_with(&format!(":{tag}"));
            if same.iter().any(is_it) {
                return None;
            }
            same.first().copied().unwrap_or(named)
        }
    };
    // A build for another platform is meant for another cluster.
    let is_newer = !newest.name.ends_with(&format!(":{tag}")) && matches_platform(facts, newest);
    is_newer.then_some(newest)
}

/// Returns Docker's image with the same name if its content differs. In Docker's
/// containerd image store, IDs do not identify the content and cannot be compared.
fn rebuilt_image<'a>(facts: &'a Facts, reference: Reference, runs: &str) -> Option<&'a LocalImage> {
    let local = ImageLocations::new(facts, reference).in_docker.filter(|local| local.id != runs)?;
    facts.local_ids_are_configs.then_some(local)
}

/// Returns whether the image is for the pod's platform, as far as Docker reports it.
fn matches_platform(facts: &Facts, local: &LocalImage) -> bool {
    local.platform.is_empty() || local.platform == facts.platform()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let newer = newer_local_image(facts, container)?;
    let reference = container.reference()?;
    let name = reference.name().familiar();
    let started = time::seconds(container.started_at());
    let is_newer = time::seconds(&newer.created_at)
        .zip(started)
        .is_some_and(|(created, started)| created > started);
    let is_of_project = facts.project_image.as_deref() == Some(&reference.name().to_string());
    let renew = fixes::deploy_newer_build_help(facts, container, &reference, &newer.name);
    let platform = facts.platform();
    let help = match (is_of_project, matches_platform(facts, newer), renew.strip_prefix("run `")) {
        (false, false, Some(renew)) => format!(
            "build the image for {platform} and deploy it: `docker build --platform {platform} --tag {} . && {renew}",
            reference.familiar()
        ),
        (false, true, Some(_)) if !is_newer => {
            format!("to deploy the build in Docker, {renew}")
        }
        _ => renew,
    };
    let (confidence, build) = if is_newer && matches_platform(facts, newer) {
        (Confidence::Certain, "an older build")
    } else {
        (Confidence::Likely, "a different build")
    };
    let mut evidence = vec![
        format!("container `{}` runs image {}", container.name(), container.image_id()),
        format!("Docker has `{}`, created {}", newer.name, newer.age),
    ];
    if !matches_platform(facts, newer) {
        evidence.push(format!("that image is for {}, but the node is {platform}", newer.platform));
    }
    Some(Diagnosis {
        cause: Cause::OutdatedBuild,
        confidence,
        message: format!("the pod runs {build} of `{name}` than Docker has"),
        evidence,
        help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BEFORE: &str = "2026-01-01T00:00:59Z";
    const AFTER: &str = "2026-01-01T00:01:01Z";

    fn facts(image: &str, local: LocalImage) -> Facts {
        let status = json!({"name": "c", "imageID": "sha256:old",
            "state": {"running": {"startedAt": "2026-01-01T00:01:00Z"}}});
        let info = json!({"operatingSystem": "linux", "architecture": "amd64"});
        Facts {
            kubectl: "kubectl".into(),
            flags: "--context c".into(),
            pod: json!({"kind": "Pod", "metadata": {"name": "p"},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "image": image}]},
                "status": {"containerStatuses": [status]}}),
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"}})],
            nodes: vec![json!({"metadata": {"name": "n"}, "status": {"nodeInfo": info}})],
            local_images: Some(vec![local]),
            local_ids_are_configs: true,
            ..Facts::default()
        }
    }

    #[test]
    fn build_after_start_is_certainly_newer() {
        let renew =
            "run `cargo kdev load app:dev --context c && kubectl rollout restart deployment/web`";
        let unsure = format!("to deploy the build in Docker, {renew}");
        let build = renew.replace(
            "run `",
            "build the image for linux/amd64 and deploy it: `docker build --platform linux/amd64 --tag app:dev . && ",
        );
        let (old, other) = ("an older build", "a different build");
        let table = [
            (AFTER, "linux/amd64", Confidence::Certain, old, renew),
            (AFTER, "", Confidence::Certain, old, renew),
            (AFTER, "linux/arm64", Confidence::Likely, other, &build),
            (BEFORE, "linux/amd64", Confidence::Likely, other, &unsure),
            ("", "", Confidence::Likely, other, &unsure),
            ("0001-01-01T00:00:00Z", "linux/arm64", Confidence::Likely, other, &build),
        ];
        for (created_at, platform, confidence, kind, help) in table {
            let local = LocalImage {
                name: "docker.io/library/app:dev".into(),
                id: "sha256:new".into(),
                created_at: created_at.into(),
                platform: platform.into(),
                ..LocalImage::default()
            };
            let found = diagnose(&facts("app:dev", local)).remove(0);
            let expected = format!("the pod runs {kind} of `app` than Docker has");
            assert_eq!(
                (found.confidence, found.message),
                (confidence, expected),
                "{created_at} {platform}"
            );
            assert_eq!(found.help, help, "{created_at} {platform}");
        }
    }

    #[test]
    fn build_for_other_platform_is_not_newer() {
        let table = [
            (AFTER, "linux/amd64", Some(Confidence::Certain)),
            (BEFORE, "linux/amd64", Some(Confidence::Likely)),
            (AFTER, "linux/arm64", None),
        ];
        for (created_at, platform, expected) in table {
            let local = LocalImage {
                name: "docker.io/library/app:kdev-2".into(),
                created_at: created_at.into(),
                platform: platform.into(),
                ..LocalImage::default()
            };
            let found = diagnose(&facts("app:kdev-1", local));
            assert_eq!(
                found.first().map(|one| one.confidence),
                expected,
                "{created_at} {platform}"
            );
        }
    }

    #[test]
    fn latest_build_has_project_tag() {
        let local = |name: &str, id: &str| LocalImage {
            name: format!("docker.io/library/app:{name}"),
            id: id.to_owned(),
            ..LocalImage::default()
        };
        let (one, two) = (local("kdev-1", "1"), local("kdev-2", "2"));
        let table = [
            (vec![two.clone(), one.clone()], Some("kdev-2")),
            // Rebuilt from Docker's cache.
            (vec![two.clone(), one.clone(), local("latest", "1")], None),
            (vec![two.clone(), one.clone(), local("latest", "2")], Some("kdev-2")),
            (vec![two.clone(), one.clone(), local("latest", "3")], Some("latest")),
            (vec![two.clone(), one.clone(), local("dev", "1")], None),
            (vec![two, one, local("v1", "1"), local("v2", "2")], Some("kdev-2")),
        ];
        for (images, expected) in table {
            let mut facts = facts("app:kdev-1", LocalImage::default());
            facts.local_images = Some(images);
            let found = newer_local_image(&facts, facts.containers()[0]);
            let name = found.map(|local| local.name.rsplit(':').next().unwrap());
            assert_eq!(name, expected, "{:?}", facts.local_images);
        }
    }
}
