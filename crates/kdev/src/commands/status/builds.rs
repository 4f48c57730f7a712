//! The builds of a project's image that docker here has, and what a running
//! container's image is among them. Pure.

use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::{Reference, content_tag};
use serde::{Deserialize, Serialize};

/// The beginning of the tag that stands for one content.
const CONTENT_TAG_PREFIX: &str = "kdev-";

/// Whether it is the newest build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BuildStatus {
    /// It runs the newest build.
    Latest,
    /// It has not started yet.
    NotStarted,
    /// Nobody knows: docker here has no build, or does not answer.
    Unknown,
    /// A build of this project, but not the newest.
    Outdated,
    /// Something else than a build of this project.
    NotThisProject,
    /// The image is not on the node.
    Missing,
}

/// What docker has under the image's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Builds {
    /// Tag and ID of each.
    all: Vec<(String, String)>,
    /// The ID of the newest.
    latest: Option<String>,
    ids_are_config_digests: bool,
}

impl Builds {
    /// The newest build is what bears the image's own tag, as each build gives it;
    /// else what docker made last.
    pub(crate) fn from_images(image: &Reference, images: Vec<LocalImage>, are_configs: bool) -> Self {
        let named = |local: LocalImage| {
            let reference = Reference::parse(&local.name).ok()?;
            let is_it = reference.name() == image.name();
            is_it.then(|| Some((reference.tag()?.to_owned(), local.id)))?
        };
        let all: Vec<_> = images.into_iter().filter_map(named).collect();
        let tagged = all.iter().find(|(tag, _)| Some(tag.as_str()) == image.tag());
        let newest = tagged.or(all.first()).map(|(_, id)| id.clone());
        Self { all, latest: newest, ids_are_config_digests: are_configs }
    }

    /// The tag of the newest build's content; another one of its tags where the
    /// content is not known.
    pub(crate) fn latest_tag(&self) -> Option<String> {
        let newest = self.latest.as_ref()?;
        if self.ids_are_config_digests {
            return Some(content_tag(newest));
        }
        let tags = || self.all.iter().filter(|(_, id)| id == newest).map(|(tag, _)| tag);
        let tag = tags().find(|tag| tag.starts_with(CONTENT_TAG_PREFIX)).or_else(|| tags().next());
        tag.cloned()
    }

    /// Whether this content tag is the newest build's; `None` where its content
    /// is not known.
    fn is_latest(&self, content: &str) -> Option<bool> {
        let newest = self.latest.as_deref()?;
        if self.ids_are_config_digests {
            return Some(content_tag(newest) == content);
        }
        let tags = || self.all.iter().filter(|(tag, _)| tag.starts_with(CONTENT_TAG_PREFIX));
        if tags().any(|(tag, id)| tag == content && id != newest) {
            return Some(false);
        }
        // It may have been built without kdev, which has so given no name to it.
        let known = tags().find(|(_, id)| id == newest);
        known.map(|(tag, _)| tag == content)
    }

    fn has(&self, content: &str) -> bool {
        self.all
            .iter()
            .any(|(tag, id)| tag == content || (self.ids_are_config_digests && content_tag(id) == content))
    }
}

/// What a container runs, by the image that its pod names, and by the ID that
/// the runtime gives it.
pub(crate) fn classify(
    image: &Reference,
    named: &str,
    id: &str,
    builds: Option<&Builds>,
) -> BuildStatus {
    let named = Reference::parse(named).ok();
    let ours = named.filter(|named| named.name() == image.name() && named.digest().is_none());
    let tag = ours.as_ref().and_then(|ours| ours.tag()).filter(|tag| tag.starts_with(CONTENT_TAG_PREFIX));
    // An ID of a registry tells nothing of the content; then the tag must.
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

    fn is(named: &str, id: &str, builds: Option<&Builds>) -> BuildStatus {
        classify(&Reference::parse("app").unwrap(), named, id, builds)
    }

    #[test]
    fn the_content_tells_whether_it_is_the_newest_build() {
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
            // One whose tag docker has lost, or that another machine has built.
            ("app:kdev-cccccccccccc", foreign, BuildStatus::Outdated),
            ("app:latest", NEW, BuildStatus::Latest),
            ("app:latest", OLD, BuildStatus::Outdated),
            ("app:latest", foreign, BuildStatus::NotThisProject),
            // The tag says one thing, the content another.
            ("app:kdev-aaaaaaaaaaaa", foreign, BuildStatus::NotThisProject),
            ("app:kdev-aaaaaaaaaaaa", OLD, BuildStatus::Outdated),
            ("redis:7", foreign, BuildStatus::NotThisProject),
            ("mirror.io/app:1", NEW, BuildStatus::Latest),
            ("app:kdev-aaaaaaaaaaaa", "docker.io/library/app@sha256:dd", BuildStatus::Latest),
            ("app:1", "docker.io/library/app@sha256:dd", BuildStatus::NotThisProject),
        ];
        for (named, id, expected) in table {
            assert_eq!(is(named, id, Some(&known)), expected, "{named} {id}");
        }
    }

    #[test]
    fn without_a_local_build_nobody_knows() {
        for builds in [None, Some(&builds(&[("other:1", NEW)], true))] {
            assert_eq!(is("app:kdev-aaaaaaaaaaaa", NEW, builds), BuildStatus::Unknown);
            assert_eq!(is("redis:7", "redis@sha256:dd", builds), BuildStatus::NotThisProject);
        }
    }

    #[test]
    fn where_an_id_is_no_configuration_the_content_tags_tell() {
        let manifests = [
            ("app:latest", "sha256:m1"),
            ("app:kdev-aaaaaaaaaaaa", "sha256:m1"),
            ("app:kdev-bbbbbbbbbbbb", "sha256:m0"),
        ];
        let known = builds(&manifests, false);
        assert_eq!(known.latest_tag().as_deref(), Some("kdev-aaaaaaaaaaaa"));
        assert_eq!(is("app:kdev-aaaaaaaaaaaa", NEW, Some(&known)), BuildStatus::Latest);
        assert_eq!(is("app:kdev-bbbbbbbbbbbb", OLD, Some(&known)), BuildStatus::Outdated);
        // Built without kdev: what runs is known to be older only if docker has it.
        let unnamed = builds(&[&[("app:latest", "sha256:m2")], &manifests[1..]].concat(), false);
        assert_eq!(unnamed.latest_tag().as_deref(), Some("latest"));
        assert_eq!(is("app:kdev-aaaaaaaaaaaa", NEW, Some(&unnamed)), BuildStatus::Outdated);
        assert_eq!(
            is("app:kdev-cccccccccccc", "sha256:cccccccccccc", Some(&unnamed)),
            BuildStatus::Unknown
        );
    }
}
