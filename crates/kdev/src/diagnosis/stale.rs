//! It runs, but not the newest build. Pure.

use super::whereabouts::Whereabouts;
use super::{Cause, Confidence, Diagnosis, cure};
use crate::container::Container;
use crate::facts::Facts;

/// The tags that `cargo kdev up` gives, one for each content.
const CONTENT_TAG: &str = "kdev-";

pub(super) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    facts.containers().into_iter().filter_map(|container| of_container(facts, container)).collect()
}

fn of_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    if !container.is_running() {
        return None;
    }
    let seen = Whereabouts::of(facts, container.reference()?);
    let runs = container.image_id();
    // An ID with an `@` is a registry's, and tells nothing of the content.
    if runs.is_empty() || runs.contains('@') {
        return None;
    }
    newer_content(facts, container, &seen).or_else(|| rebuilt(facts, container, &seen))
}

/// The tag tells the content, and docker has a newer one.
fn newer_content(facts: &Facts, container: Container, seen: &Whereabouts) -> Option<Diagnosis> {
    let tag = seen.wanted.tag().filter(|tag| tag.starts_with(CONTENT_TAG))?;
    let prefix = format!("{}:{CONTENT_TAG}", seen.wanted.name());
    let images = facts.local.as_deref().unwrap_or_default();
    // docker lists the newest first.
    let newest = images.iter().find(|image| image.name.starts_with(&prefix))?;
    if newest.name.ends_with(&format!(":{tag}")) {
        return None;
    }
    Some(old(facts, container, seen, &newest.name, &newest.age))
}

/// The same name stands for something else in docker now. In docker's containerd
/// store an ID says nothing of the content, so that nothing is certain there.
fn rebuilt(facts: &Facts, container: Container, seen: &Whereabouts) -> Option<Diagnosis> {
    let runs = container.image_id();
    let local = seen.local.filter(|local| local.id != runs && !is_content_tag(seen))?;
    let is_of_config = facts.local_ids_are_configs;
    is_of_config.then(|| old(facts, container, seen, &local.name, &local.age))
}

fn is_content_tag(seen: &Whereabouts) -> bool {
    seen.wanted.tag().is_some_and(|tag| tag.starts_with(CONTENT_TAG))
}

fn old(
    facts: &Facts,
    container: Container,
    seen: &Whereabouts,
    newest: &str,
    age: &str,
) -> Diagnosis {
    Diagnosis {
        cause: Cause::OldBuild,
        confidence: Confidence::Certain,
        words: format!(
            "it runs, but an older build of `{}` than docker here has",
            seen.wanted.name().familiar()
        ),
        evidence: vec![
            format!("container `{}` runs {}", container.name(), container.image_id()),
            format!("docker here has `{newest}`, made {age}"),
        ],
        help: cure::renew(facts, container, &seen.wanted, newest),
    }
}
