//! It runs, but not the newest build.

use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::Reference;
use kdev_core::kube::container::Container;
use kdev_core::kube::time;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::Facts;
use crate::fixes;
use crate::location::Whereabouts;

/// The tags that `cargo kdev up` gives, one for each content.
const CONTENT_TAG_PREFIX: &str = "kdev-";

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts
        .containers()
        .into_iter()
        .filter_map(|container| diagnose_container(facts, container))
        .collect()
}

/// The image of docker's that a container might run instead of what it runs.
pub fn newer_local_image<'a>(facts: &'a Facts, container: Container) -> Option<&'a LocalImage> {
    let runs = container.image_id();
    // An ID with an `@` is a registry's, and tells nothing of the content.
    if !container.is_running() || runs.is_empty() || runs.contains('@') {
        return None;
    }
    let wanted = container.reference()?;
    match wanted.tag().filter(|tag| tag.starts_with(CONTENT_TAG_PREFIX)) {
        Some(tag) => newer_content_tag(facts, &wanted, tag),
        None => rebuilt_image(facts, wanted, runs),
    }
}

/// The tag tells the content, and docker's newest build is another one: the one that
/// bears the image's own tag, too, as each build gives it, or else the last that was
/// made. Which comes last is not told by its making where docker had it already.
fn newer_content_tag<'a>(
    facts: &'a Facts,
    wanted: &Reference,
    tag: &str,
) -> Option<&'a LocalImage> {
    let images = || {
        let all = facts.local_images.iter().flatten();
        all.filter_map(|image| Some((image, Reference::parse(&image.name).ok()?)))
            .filter(|(_, name)| name.name() == wanted.name())
    };
    let is_content =
        |name: &Reference| name.tag().is_some_and(|tag| tag.starts_with(CONTENT_TAG_PREFIX));
    let plain = || images().filter(|(_, name)| !is_content(name));
    let named = plain().find(|(_, name)| name.tag() == Some("latest"));
    let named = named.or_else(|| plain().next().filter(|_| plain().count() == 1));
    let mut contents = images().filter(|(_, name)| is_content(name));
    let newest = match named {
        // docker lists the newest first.
        None => contents.next()?.0,
        Some((named, _)) => {
            let twin = contents.filter(|(image, _)| image.id == named.id).map(|(image, _)| image);
            let twins: Vec<&LocalImage> = twin.collect();
            let is_it = |image: &&LocalImage| image.name.ends_with(&format!(":{tag}"));
            if twins.iter().any(is_it) {
                return None;
            }
            twins.first().copied().unwrap_or(named)
        }
    };
    // What is for another platform was built for another cluster.
    let is_rival = !newest.name.ends_with(&format!(":{tag}")) && matches_platform(facts, newest);
    is_rival.then_some(newest)
}

/// The same name stands for something else in docker now. In docker's containerd
/// store an ID says nothing of the content, so that nothing is certain there.
fn rebuilt_image<'a>(facts: &'a Facts, wanted: Reference, runs: &str) -> Option<&'a LocalImage> {
    let local = Whereabouts::of(facts, wanted).local.filter(|local| local.id != runs)?;
    facts.local_ids_are_configs.then_some(local)
}

/// Whether a node of the pod's platform can run it, as far as docker tells.
fn matches_platform(facts: &Facts, local: &LocalImage) -> bool {
    local.platform.is_empty() || local.platform == facts.platform()
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let rival = newer_local_image(facts, container)?;
    let wanted = container.reference()?;
    let name = wanted.name().familiar();
    let started = time::seconds(container.started_at());
    let is_newer =
        time::seconds(&rival.created_at).zip(started).is_some_and(|(made, started)| made > started);
    let is_of_project = facts.project_image.as_deref() == Some(&wanted.name().to_string());
    let renew = fixes::renew(facts, container, &wanted, &rival.name);
    let platform = facts.platform();
    let help = match (is_of_project, matches_platform(facts, rival), renew.strip_prefix("run `")) {
        (false, false, Some(renew)) => format!(
            "build it for {platform}, and run it: `docker build --platform {platform} --tag {} . && {renew}",
            wanted.familiar()
        ),
        (false, true, Some(_)) if !is_newer => {
            format!("if docker's is the one that you want, {renew}")
        }
        _ => renew,
    };
    let (confidence, words) = if is_newer && matches_platform(facts, rival) {
        (Confidence::Certain, "an older build")
    } else {
        (Confidence::Likely, "another build")
    };
    let mut evidence = vec![
        format!("container `{}` runs {}", container.name(), container.image_id()),
        format!("docker here has `{}`, made {}", rival.name, rival.age),
    ];
    if !matches_platform(facts, rival) {
        evidence.push(format!("that is for {}, and the node is {platform}", rival.platform));
    }
    Some(Diagnosis {
        cause: Cause::OutdatedBuild,
        confidence,
        message: format!("it runs, but {words} of `{name}` than docker here has"),
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
    fn only_what_was_made_after_the_start_is_newer_for_certain() {
        let renew =
            "run `cargo kdev load app:dev --context c && kubectl rollout restart deployment/web`";
        let unsure = format!("if docker's is the one that you want, {renew}");
        let build = renew.replace(
            "run `",
            "build it for linux/amd64, and run it: `docker build --platform linux/amd64 --tag app:dev . && ",
        );
        let (old, other) = ("an older build", "another build");
        let table = [
            (AFTER, "linux/amd64", Confidence::Certain, old, renew),
            (AFTER, "", Confidence::Certain, old, renew),
            (AFTER, "linux/arm64", Confidence::Likely, other, &build),
            (BEFORE, "linux/amd64", Confidence::Likely, other, &unsure),
            ("", "", Confidence::Likely, other, &unsure),
            ("0001-01-01T00:00:00Z", "linux/arm64", Confidence::Likely, other, &build),
        ];
        for (made, platform, confidence, words, help) in table {
            let local = LocalImage {
                name: "docker.io/library/app:dev".into(),
                id: "sha256:new".into(),
                created_at: made.into(),
                platform: platform.into(),
                ..LocalImage::default()
            };
            let found = diagnose(&facts("app:dev", local)).remove(0);
            let expected = format!("it runs, but {words} of `app` than docker here has");
            assert_eq!(
                (found.confidence, found.message),
                (confidence, expected),
                "{made} {platform}"
            );
            assert_eq!(found.help, help, "{made} {platform}");
        }
    }

    #[test]
    fn a_build_for_another_platform_is_no_newer_content() {
        let table = [
            (AFTER, "linux/amd64", Some(Confidence::Certain)),
            (BEFORE, "linux/amd64", Some(Confidence::Likely)),
            (AFTER, "linux/arm64", None),
        ];
        for (made, platform, expected) in table {
            let local = LocalImage {
                name: "docker.io/library/app:kdev-2".into(),
                created_at: made.into(),
                platform: platform.into(),
                ..LocalImage::default()
            };
            let found = diagnose(&facts("app:kdev-1", local));
            assert_eq!(found.first().map(|one| one.confidence), expected, "{made} {platform}");
        }
    }

    #[test]
    fn the_newest_build_is_what_bears_the_images_own_tag() {
        let local = |name: &str, id: &str| LocalImage {
            name: format!("docker.io/library/app:{name}"),
            id: id.to_owned(),
            ..LocalImage::default()
        };
        let (one, two) = (local("kdev-1", "1"), local("kdev-2", "2"));
        let table = [
            (vec![two.clone(), one.clone()], Some("kdev-2")),
            // Built once more, from docker's cache.
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
