//! The builds of builders that keep their results. No program can be asked for these images, so
//! the cache directory has a file for each tag: `records/images/BUILDER/IMAGE/TAG.json`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kdev_core::image::builds::Keep;
use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::{CONTENT_TAG_PREFIX, Reference};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::docker::{InspectedImage, RootFs};
use crate::process::json_file::{self, file_name};

/// How many content tags an image may have beside the builds that the settings keep: those of
/// builds that were never deployed, or that containers use.
const MAX_OTHER_TAGS: usize = 100;

/// A build, under one of its tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptBuild {
    /// The full reference.
    pub(crate) name: String,
    /// The digest of the configuration.
    pub(crate) config_digest: String,
    /// `os/architecture`.
    pub(crate) platform: String,
    /// The value of `--platform` that kdev has passed.
    pub(crate) passed_platform: Option<String>,
    /// The sum of the sizes of the layers.
    pub(crate) size: u64,
    /// The diffIDs of the layers, the base first.
    pub(crate) layers: Vec<String>,
    /// When it was first built, in seconds since 1970.
    pub(crate) built_at: i64,
}

/// The builds of one builder.
#[derive(Clone, Debug)]
pub(crate) struct KeptBuilds {
    dir: PathBuf,
    max_content_tags: usize,
}

impl KeptBuilds {
    pub(crate) fn new(cache_dir: &Path, builder: &str) -> Self {
        let dir = cache_dir.join("records/images").join(file_name(builder));
        Self { dir, max_content_tags: MAX_OTHER_TAGS }
    }

    /// Keeps the builds of the setting, too.
    pub(super) fn keep(&mut self, keep: Keep) {
        self.max_content_tags = match keep {
            Keep::Newest(count) => count.saturating_add(MAX_OTHER_TAGS),
            Keep::All => usize::MAX,
        };
    }

    /// Returns the build with this tag.
    pub(crate) fn get(&self, reference: &Reference) -> Option<KeptBuild> {
        let build: KeptBuild = json_file::read(&self.path(reference))?;
        (build.name == reference.to_string()).then_some(build)
    }

    /// Returns the build with this digest of its configuration.
    pub(crate) fn with_digest(&self, config_digest: &str) -> Option<KeptBuild> {
        self.all().into_iter().find(|build| build.config_digest == config_digest)
    }

    /// Returns all builds, the newest first.
    pub(crate) fn all(&self) -> Vec<KeptBuild> {
        let images = list(&self.dir);
        let files = images.iter().flat_map(|image| list(image));
        let mut builds: Vec<KeptBuild> = files.filter_map(|file| json_file::read(&file)).collect();
        builds.sort_by_key(|build| Reverse(build.built_at));
        builds
    }

    /// Sets the build with this tag. An unchanged build keeps its time.
    pub(crate) fn put(&self, reference: &Reference, build: &KeptBuild) -> io::Result<()> {
        let earlier = self.with_digest(&build.config_digest);
        let built_at = earlier.map_or(build.built_at, |one| one.built_at.min(build.built_at));
        let build = KeptBuild { name: reference.to_string(), built_at, ..build.clone() };
        json_file::write(&self.path(reference), &build)?;
        let others = self.max_content_tags - usize::from(is_content(reference));
        self.remove_content_tags(reference, others);
        Ok(())
    }

    /// Lists all builds, the newest first.
    pub(crate) fn images(&self) -> Vec<LocalImage> {
        let now = jiff::Timestamp::now().as_second();
        self.all().into_iter().map(|build| build.into_local_image(now)).collect()
    }

    /// Returns the platforms of all builds, by the digest of their configuration.
    pub(crate) fn platforms(&self) -> BTreeMap<String, String> {
        self.all().into_iter().map(|build| (build.config_digest, build.platform)).collect()
    }

    /// Returns the tags of an image, the newest build first.
    pub(crate) fn tags(&self, image: &Reference) -> Vec<String> {
        let names = self.all().into_iter().filter_map(|build| Reference::parse(&build.name).ok());
        let names = names.filter(|name| name.name() == image.name());
        names.filter_map(|name| name.tag().map(str::to_owned)).collect()
    }

    /// Removes builds by their tags. Returns the removed ones.
    pub(crate) fn remove_tags(&self, image: &Reference, tags: &[&str]) -> Vec<String> {
        let names =
            tags.iter().filter_map(|tag| Reference::parse(&format!("{}:{tag}", image.name())).ok());
        names.filter(|name| self.remove(name)).map(|name| name.familiar()).collect()
    }

    /// Removes the build with this tag. Returns whether it was there.
    fn remove(&self, reference: &Reference) -> bool {
        fs::remove_file(self.path(reference)).is_ok()
    }

    /// Removes all content tags of an image except for `current` and this number of others.
    fn remove_content_tags(&self, current: &Reference, kept: usize) {
        let files = self.path(current).parent().map(list).unwrap_or_default();
        let read = |file: PathBuf| {
            let build: KeptBuild = json_file::read(&file)?;
            let name = Reference::parse(&build.name).ok()?;
            (is_content(&name) && name != *current).then_some((build.built_at, file))
        };
        let mut others: Vec<(i64, PathBuf)> = files.into_iter().filter_map(read).collect();
        others.sort_by_key(|(built_at, _)| Reverse(*built_at));
        for (_, file) in others.into_iter().skip(kept) {
            let _ = fs::remove_file(file);
        }
    }

    fn path(&self, reference: &Reference) -> PathBuf {
        let image = file_name(&reference.name().to_string());
        let tag = file_name(reference.tag().unwrap_or("latest"));
        self.dir.join(image).join(format!("{tag}.json"))
    }
}

/// Returns whether a tag is that of a build, and not one of the user.
fn is_content(reference: &Reference) -> bool {
    reference.tag().is_some_and(|tag| tag.starts_with(CONTENT_TAG_PREFIX))
}

impl From<KeptBuild> for InspectedImage {
    fn from(build: KeptBuild) -> Self {
        let (os, architecture) = build.platform.split_once('/').unwrap_or_default();
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            id: build.config_digest,
            size: build.size,
            config: Value::Null,
            root_fs: RootFs { layers: build.layers },
        }
    }
}

impl KeptBuild {
    fn into_local_image(self, now: i64) -> LocalImage {
        let time = jiff::Timestamp::from_second(self.built_at).ok();
        LocalImage {
            name: self.name,
            id: self.config_digest,
            age: age(now - self.built_at),
            created_at: time.map(|time| time.to_string()).unwrap_or_default(),
            platform: self.platform,
        }
    }
}

/// Describes an age, as Docker does.
fn age(seconds: i64) -> String {
    let (count, unit) = match seconds.max(0) {
        seconds @ 0..60 => (seconds, "second"),
        seconds @ 60..3600 => (seconds / 60, "minute"),
        seconds @ 3600..86400 => (seconds / 3600, "hour"),
        seconds => (seconds / 86400, "day"),
    };
    match count {
        0 => "less than a second ago".to_owned(),
        1 => format!("1 {unit} ago"),
        count => format!("{count} {unit}s ago"),
    }
}

/// Returns the paths in a directory, except for temporary files.
fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let is_visible = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    entries.filter(is_visible).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(digest: &str, built_at: i64) -> KeptBuild {
        KeptBuild {
            name: String::new(),
            config_digest: digest.to_owned(),
            platform: "linux/amd64".to_owned(),
            passed_platform: None,
            size: 5,
            layers: Vec::new(),
            built_at,
        }
    }

    fn parse(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    #[test]
    fn builds_are_found_by_tag_and_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        let builds = KeptBuilds::new(dir.path(), "far");
        let app = parse("org/app");
        builds.put(&app, &build("sha256:1", 100)).unwrap();
        builds.put(&parse("org/app:kdev-1"), &build("sha256:1", 100)).unwrap();
        builds.put(&app, &build("sha256:2", 200)).unwrap();
        assert_eq!(builds.get(&app).unwrap().config_digest, "sha256:2");
        assert_eq!(builds.with_digest("sha256:1").unwrap().name, "docker.io/org/app:kdev-1");
        assert_eq!(builds.get(&parse("app")), None);
        // An unchanged build, such as after a change was taken back.
        builds.put(&app, &build("sha256:1", 300)).unwrap();
        assert_eq!(builds.get(&app).unwrap().built_at, 100);
        // Another builder does not have these results.
        assert_eq!(KeptBuilds::new(dir.path(), "other").all(), []);
        let image = builds.get(&app).unwrap().into_local_image(160);
        assert_eq!(
            (image.age.as_str(), image.created_at.as_str()),
            ("1 minute ago", "1970-01-01T00:01:40Z")
        );
    }

    #[test]
    fn number_of_content_tags_is_limited() {
        let dir = tempfile::tempdir().unwrap();
        let mut builds = KeptBuilds::new(dir.path(), "far");
        builds.keep(Keep::Newest(3));
        let max = MAX_OTHER_TAGS + 3;
        let tag = |number: i64| parse(&format!("app:kdev-{number}"));
        let count = i64::try_from(max).unwrap() + 5;
        for number in 0..count {
            builds.put(&tag(number), &build(&number.to_string(), number)).unwrap();
            builds.put(&parse("app:dev"), &build(&number.to_string(), number)).unwrap();
        }
        let names = || {
            let all = builds.all().into_iter().map(|build| build.name);
            let mut names: Vec<String> =
                all.map(|name| name.rsplit(':').next().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names().len(), max + 1);
        assert!(builds.remove(&tag(12)));
        assert!(!builds.remove(&tag(12)));
        assert_eq!(names().len(), max);
    }

    #[test]
    fn all_builds_of_setting_are_kept() {
        for keep in [Keep::Newest(MAX_OTHER_TAGS), Keep::All] {
            let dir = tempfile::tempdir().unwrap();
            let mut builds = KeptBuilds::new(dir.path(), "far");
            builds.keep(keep);
            for number in 0..MAX_OTHER_TAGS + 10 {
                let name = parse(&format!("app:kdev-{number}"));
                builds.put(&name, &build(&number.to_string(), 0)).unwrap();
            }
            assert_eq!(builds.all().len(), MAX_OTHER_TAGS + 10);
        }
    }

    #[test]
    fn age_is_like_that_of_docker() {
        let table = [
            (-5, "less than a second ago"),
            (0, "less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (200_000, "2 days ago"),
        ];
        for (seconds, expected) in table {
            assert_eq!(age(seconds), expected);
        }
    }
}
