//! The builds of a project's image on a node, and which of them can be removed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::reference::{CONTENT_TAG_PREFIX, Name, Reference, TAG_DIGITS, is_content_tag};

/// The label with which containerd's CRI, since 1.7, protects an image from the kubelet's
/// garbage collection, and its value.
const PIN: &str = "io.cri-containerd.pinned=pinned";
/// The label with the time of the last load, in seconds since 1970.
const LOADED: &str = "kdev.loaded";

/// How many builds of an image are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// This number of the newest ones.
    Newest(usize),
    /// All of them.
    All,
}

/// Which builds must stay.
#[derive(Clone, Debug)]
pub struct KeepRule {
    /// How many of the newest ones.
    pub keep: Keep,
    /// The tag of the current build, which counts as the newest.
    pub current: Option<String>,
    /// The tags that workloads name.
    pub named: BTreeSet<String>,
}

/// The builds of an image on one node, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeBuilds {
    /// The builds.
    pub builds: Vec<NodeBuild>,
}

/// A build on a node: one name with a content tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeBuild {
    /// Its name with the content tag.
    pub name: String,
    /// The content tag.
    pub tag: String,
    /// The names of the CRI for it; empty if the image has another name that stays.
    cri_names: Vec<String>,
    /// When it was loaded, in seconds since 1970; `None` before the first load that records it.
    pub loaded: Option<i64>,
    /// Whether it is protected from garbage collection.
    pub pinned: bool,
    /// The IDs of the containers that use it, under any of its names.
    pub containers: Vec<String>,
    /// Digest and size of each of its files; empty if its manifest is not on the node.
    files: BTreeMap<String, u64>,
}

/// What to remove from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The builds, by their names with the content tag.
    pub builds: Vec<String>,
    /// The builds that only stay because containers use them.
    pub used: Vec<String>,
    /// All names to remove.
    pub names: Vec<String>,
    /// The names that stay, but are no longer protected from garbage collection.
    pub unpinned: Vec<String>,
}

/// Returns a pattern that matches the names of all builds of an image in filters of `ctr`.
pub fn pattern(name: &Name) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:_-".contains(c);
    let plain = name.to_string().replace(|c| !is_plain(c), ".");
    format!("^{plain}:{CONTENT_TAG_PREFIX}[0-9a-f]{{{TAG_DIGITS}}}$")
}

/// Returns the pattern for the builds of an image; `None` if the reference is no build.
pub fn name_pattern(reference: &Reference) -> Option<String> {
    let is_build = reference.tag().is_some_and(is_content_tag);
    is_build.then(|| pattern(reference.name()))
}

/// Returns the builds that the rule does not keep. The newest build comes first.
pub fn obsolete<'a>(tags: impl Iterator<Item = &'a str>, rule: &KeepRule) -> Vec<&'a str> {
    let Keep::Newest(keep) = rule.keep else { return Vec::new() };
    let is_current = |tag: &&str| rule.current.as_deref() == Some(*tag);
    let others = tags.filter(|tag| is_content_tag(tag) && !is_current(tag));
    let others = others.skip(keep.saturating_sub(usize::from(rule.current.is_some())));
    others.filter(|tag| !rule.named.contains(*tag)).collect()
}

/// A name in containerd.
struct Record<'a> {
    name: &'a str,
    target: &'a str,
    labels: &'a str,
}

impl<'a> Record<'a> {
    /// Parses `NAME DIGEST LABELS`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (name, target) = (words.next()?, words.next()?);
        Some(Self { name, target, labels: words.next().unwrap_or_default() })
    }

    fn label(&self, key: &str) -> Option<&'a str> {
        self.labels.split(',').find_map(|label| label.strip_prefix(key)?.strip_prefix('='))
    }

    /// Returns whether the name is one that the CRI adds: the digest of a configuration.
    fn is_cri_name(&self) -> bool {
        self.name.starts_with("sha256:")
    }
}

impl NodeBuilds {
    /// Parses the lines `image NAME DIGEST LABELS`, `container ID IMAGE` and `manifest DIGEST
    /// JSON` that the node script prints, for the builds of one image.
    pub fn read(image: &Name, lines: &[(&str, &str)]) -> Self {
        let values = |key| lines.iter().filter(move |line| line.0 == key).map(|line| line.1);
        let records: Vec<Record> = values("image").filter_map(Record::parse).collect();
        let containers: Vec<(&str, &str)> =
            values("container").filter_map(|line| line.split_once(' ')).collect();
        let manifests: BTreeMap<&str, &str> =
            values("manifest").filter_map(|line| line.split_once(' ')).collect();
        let mut builds: Vec<NodeBuild> = records
            .iter()
            .filter_map(|record| {
                let tag = build_tag(image, record.name)?;
                let same = || records.iter().filter(|other| other.target == record.target);
                let has_other_name =
                    same().any(|other| other.name != record.name && !other.is_cri_name());
                let cri_names = same().filter(|other| other.is_cri_name() && !has_other_name);
                let is_used =
                    |name: &str| name == record.name || same().any(|other| other.name == name);
                let users = containers.iter().filter(|(_, image)| is_used(image));
                Some(NodeBuild {
                    name: record.name.to_owned(),
                    tag,
                    cri_names: cri_names.map(|other| other.name.to_owned()).collect(),
                    loaded: record.label(LOADED).and_then(|time| time.parse().ok()),
                    pinned: record.labels.split(',').any(|label| label == PIN),
                    containers: users.map(|(id, _)| (*id).to_owned()).collect(),
                    files: manifests.get(record.target).map(|json| files(json)).unwrap_or_default(),
                })
            })
            .collect();
        builds.sort_by(|a, b| b.loaded.cmp(&a.loaded).then_with(|| a.tag.cmp(&b.tag)));
        Self { builds }
    }

    /// Selects the builds that the rule does not keep and that no container uses.
    pub fn removal(&self, rule: &KeepRule) -> Removal {
        let obsolete = obsolete(self.builds.iter().map(|build| build.tag.as_str()), rule);
        let is_obsolete = |build: &&NodeBuild| obsolete.contains(&build.tag.as_str());
        let is_removed = |build: &&NodeBuild| is_obsolete(build) && build.containers.is_empty();
        let used = self.builds.iter().filter(is_obsolete).filter(|build| !is_removed(build));
        let removed = || self.builds.iter().filter(is_removed);
        let current = rule.current.as_deref().or(self.builds.first().map(|b| b.tag.as_str()));
        let keeps_pin = |build: &&NodeBuild| !build.pinned || current == Some(build.tag.as_str());
        let kept = self.builds.iter().filter(|build| !is_removed(build));
        Removal {
            builds: removed().map(|build| build.name.clone()).collect(),
            used: used.map(|build| build.name.clone()).collect(),
            names: removed()
                .flat_map(|build| [&build.name].into_iter().chain(&build.cri_names))
                .cloned()
                .collect(),
            unpinned: kept
                .filter(|build| !keeps_pin(build))
                .map(|build| build.name.clone())
                .collect(),
        }
    }

    /// Returns the bytes of the files that only these builds use among all builds of the image;
    /// `None` if the manifest of one of them is not on the node.
    pub fn freed_bytes(&self, names: &BTreeSet<&str>) -> Option<u64> {
        let is_removed = |build: &&NodeBuild| names.contains(build.name.as_str());
        let removed: Vec<&NodeBuild> = self.builds.iter().filter(is_removed).collect();
        if removed.iter().any(|build| build.files.is_empty()) {
            return None;
        }
        let kept = self.builds.iter().filter(|build| !is_removed(build));
        let kept: BTreeSet<&String> = kept.flat_map(|build| build.files.keys()).collect();
        let freed: BTreeMap<&String, &u64> = removed.iter().flat_map(|b| &b.files).collect();
        Some(freed.iter().filter(|(file, _)| !kept.contains(*file)).map(|(_, size)| *size).sum())
    }
}

impl NodeBuild {
    /// Returns the bytes of its files as they are stored; `None` if its manifest is not on the
    /// node.
    pub fn size(&self) -> Option<u64> {
        (!self.files.is_empty()).then(|| self.files.values().sum())
    }

    /// Returns how many of these bytes other builds also use.
    pub fn shared(&self, all: &NodeBuilds) -> Option<u64> {
        let others = || all.builds.iter().filter(|other| other.name != self.name);
        let is_shared = |file: &&String| others().any(|other| other.files.contains_key(*file));
        self.size()?;
        Some(self.files.iter().filter(|(file, _)| is_shared(file)).map(|(_, size)| size).sum())
    }
}

/// Returns the content tag of a build of the image; `None` for any other name.
pub fn build_tag(image: &Name, name: &str) -> Option<String> {
    let reference = Reference::parse(name).ok()?;
    let tag = reference.tag().filter(|tag| is_content_tag(tag))?;
    (reference.name() == image && reference.digest().is_none()).then(|| tag.to_owned())
}

/// Returns the digest and size of each file that a manifest lists.
fn files(manifest: &str) -> BTreeMap<String, u64> {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let file =
        |entry: &Value| Some((entry["digest"].as_str()?.to_owned(), entry["size"].as_u64()?));
    layers.chain([&manifest["config"]]).filter_map(file).collect()
}

#[cfg(test)]
#[path = "builds_tests.rs"]
mod tests;
