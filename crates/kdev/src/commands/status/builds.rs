//! The builds of the project's image in Docker, and which of them a container runs.

use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::{CONTENT_TAG_PREFIX, Reference, content_tag};
use serde::{Deserialize, Serialize};

/// Which build a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BuildStatus {
    /// The latest build.
    Latest,
    /// The latest build, but the container has not started yet.
    NotStarted,
    /// Unknown, because Docker has no build or does not respond.
    Unknown,
    /// Another build of the project than the latest.
    Outdated,
    /// An image that is not a build of the project.
    NotThisProject,
    /// The image is missing from the node.
    Missing,
}

/// The builds of the image in Docker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Builds {
    /// The tag and ID of each build.
    all: Vec<(String, String)>,
    /// The ID of the latest build.
    latest: Option<String>,
    ids_are_config_digests: bool,
}

impl Builds {
    /// Selects the builds of `image`. The latest build has the tag of `image`, which every build
    /// sets; if no build has it, it is the most recent one in Docker.
    pub(crate) fn from_images(
        image: &Reference,
        images: Vec<LocalImage>,
        are_configs: bool,
    ) -> Self {
        let named = |local: LocalImage| {
            let reference = Reference::parse(&local.name).ok()?;
            let has_name = reference.name() == image.name();
            has_name.then(|| Some((reference.tag()?.to_owned(), local.id)))?
        };
        let all: Vec<_> = images.into_iter().filter_map(named).collect();
        let tagged = all.iter().find(|(tag, _)| Some(tag.as_str()) == image.tag());
        let latest = tagged.or(all.first()).map(|(_, id)| id.clone());
        Self { all, latest, ids_are_config_digests: are_configs }
    }

    /// Returns the content tag of the latest build; if the content is unknown, any of its tags.
    pub(crate) fn latest_tag(&self) -> Option<String> {
        let latest = self.latest.as_ref()?;
        if self.ids_are_config_digests {
            return Some(content_tag(latest));
        }
        let tags = || self.all.iter().filter(|(_, id)| id == latest).map(|(tag, _)| tag);
        let tag = tags().find(|tag| tag.starts_with(CONTENT_TAG_PREFIX)).or_else(|| tags().next());
        tag.cloned()
    }

    /// Returns whether a content tag belongs to the latest build; `None` if its content is
    /// unknown.
    fn is_latest(&self, content: &str) -> Option<bool> {
        let latest = self.latest.as_deref()?;
        if self.ids_are_config_digests {
            return Some(content_tag(latest) == content);
        }
        let tags = || self.all.iter().filter(|(tag, _)| tag.starts_with(CONTENT_TAG_PREFIX));
        if tags().any(|(tag, id)| tag == content && id != latest) {
            return Some(false);
        }
        // A build without kdev has no content tag.
        let known = tags().find(|(_, id)| id == latest);
        known.map(|(tag, _)| tag == content)
    }

    fn has(&self, content: &str) -> bool {
        self.all.iter().any(|(tag, id)| {
            tag == content || (self.ids_are_config_digests && content_tag(id) == content)
        })
    }
}

/// Classifies the image of a container by its reference in the pod and its ID in the runtime.
pub(crate) fn classify(
    image: &Reference,
    named: &str,
    id: &str,
    builds: Option<&Builds>,
) -> BuildStatus {
    let named = Reference::parse(named).ok();
    let own = named.filter(|named| named.name() == image.name() && named.digest().is_none());
    let tag =
        own.as_ref().and_then(|own| own.tag()).filter(|tag| tag.starts_with(CONTENT_TAG_PREFIX));
    // An ID with a registry digest does not identify the content; use the tag instead.
    let config = id.rsplit('/').next().filter(|id| id.starts_with("sha256:") && !id.contains('@'));
    let Some(content) = config.map(content_tag).or(tag.map(str::to_owned)) else {
        return BuildStatus::NotThisProject;
    };
    let is_build = tag == Some(&content) || builds.is_some_and(|builds| builds.has(&content));
    match builds.and_then(|builds| builds.is_latest(&content)) {
        Some(true) => BuildStatus::Latest,
        Some(false) if is_build => BuildStatus::Outdated,
        None if is_build || builds.is_none_or(|builds| builds.latest.is_none()) => {
            BuildStatus::Unknown
        }
        _ => BuildStatus::NotThisProject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "sha256:aaaaaaaaaaaa0000";
    const OLD: &str = "sha256:bbbbbbbbbbbb0000";

    fn builds(rows: &[(&str, &str)], are_configs: bool) -> Builds {
        let local = |(name, id): &(&str, &str)| LocalImage {
            name: (*name).into(),
            id: (*id).into(),
            ..LocalImage::default()
        };
        let image = Reference::parse("app").unwrap();
        Builds::from_images(&image, rows.iter().map(local).collect(), are_configs)
    }

    fn status(named: &str, id: &str, builds: Option<&Builds>) -> BuildStatus {
        classify(&Reference::parse("app").unwrap(), named, id, builds)
    }

    #[test]
    fn build_status_follows_content() {
        let known = builds(
            &[
                ("other:latest", "sha256:1"),
                ("app:kdev-bbbbbbbbbbbb", OLD),
                ("app:latest", NEW),
                ("app:kdev-aaaaaaaaaaaa", NEW),
            ],
            true,
        );
        let foreign = "sha256:cccccccccccc0000";
        let table = [
            ("app:kdev-aaaaaaaaaaaa", NEW, BuildStatus::Latest),
            ("app:kdev-bbbbbbbbbbbb", OLD, BuildStatus::Outdated),
            // A content tag that Docker does not have, for example from another machine.
            ("app:kdev-cccccccccccc", foreign, BuildStatus::Outdated),
            ("app:latest", NEW, BuildStatus::Latest),
            ("app:latest", OLD, BuildStatus::Outdated),
            ("app:latest", foreign, BuildStatus::NotThisProject),
            // The tag does not match the content.
            ("app:kdev-aaaaaaaaaaaa", foreign, BuildStatus::NotThisProject),
            ("app:kdev-aaaaaaaaaaaa", OLD, BuildStatus::Outdated),
            ("redis:7", foreign, BuildStatus::NotThisProject),
            ("mirror.io/app:1", NEW, BuildStatus::Latest),
            ("app:kdev-aaaaaaaaaaaa", "docker.io/library/app@sha256:dd", BuildStatus::Latest),
            ("app:1", "docker.io/library/app@sha256:dd", BuildStatus::NotThisProject),
        ];
        for (named, id, expected) in table {
            assert_eq!(status(named, id, Some(&known)), expected, "{named} {id}");
        }
    }

    #[test]
    fn missing_local_build_is_unknown() {
        for builds in [None, Some(&builds(&[("other:1", NEW)], true))] {
            assert_eq!(status("app:kdev-aaaaaaaaaaaa", NEW, builds), BuildStatus::Unknown);
            assert_eq!(status("redis:7", "redis@sha256:dd", builds), BuildStatus::NotThisProject);
        }
    }

    #[test]
    fn content_tags_identify_builds_in_containerd_store() {
        let manifests = [
            ("app:latest", "sha256:m1"),
            ("app:kdev-aaaaaaaaaaaa", "sha256:m1"),
            ("app:kdev-bbbbbbbbbbbb", "sha256:m0"),
        ];
        let known = builds(&manifests, false);
        assert_eq!(known.latest_tag().as_deref(), Some("kdev-aaaaaaaaaaaa"));
        assert_eq!(status("app:kdev-aaaaaaaaaaaa", NEW, Some(&known)), BuildStatus::Latest);
        assert_eq!(status("app:kdev-bbbbbbbbbbbb", OLD, Some(&known)), BuildStatus::Outdated);
        // Built without kdev: a build is outdated only if Docker has it.
        let unnamed = builds(&[&[("app:latest", "sha256:m2")], &manifests[1..]].concat(), false);
        assert_eq!(unnamed.latest_tag().as_deref(), Some("latest"));
        assert_eq!(status("app:kdev-aaaaaaaaaaaa", NEW, Some(&unnamed)), BuildStatus::Outdated);
        assert_eq!(
            status("app:kdev-cccccccccccc", "sha256:cccccccccccc", Some(&unnamed)),
            BuildStatus::Unknown
        );
    }
}
