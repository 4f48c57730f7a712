//! The image of each package that the nodes have since an earlier cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kdev_core::image::built::BuiltImage;
use kdev_core::kube::node::Node;
use kdev_core::watch::need::{self, Achieved, InputClass, Need};

use crate::load::Loaded;

/// An image that was loaded.
#[derive(Debug)]
pub(crate) struct KeptImage {
    pub(crate) image: BuiltImage,
    pub(crate) loaded: Loaded,
    /// The nodes, as they were during the load.
    nodes: Vec<Node>,
}

impl KeptImage {
    pub(crate) fn new(image: BuiltImage, loaded: Loaded, nodes: &[&Node]) -> Self {
        let nodes = nodes.iter().map(|node| (*node).clone()).collect();
        Self { image, loaded, nodes }
    }

    /// Returns whether all these nodes have the image: those to which it was loaded, if none of
    /// them was replaced, or has booted in the meantime.
    pub(crate) fn is_on(&self, nodes: &[&Node]) -> bool {
        let is_same = |node: &Node, before: &Node| {
            let (info, known) = (&node.info, &before.info);
            node.name == before.name
                && (&info.machine_id, &info.boot_id) == (&known.machine_id, &known.boot_id)
        };
        let has_image = |node: &&Node| {
            self.loaded.is_on(&node.name) && self.nodes.iter().any(|before| is_same(node, before))
        };
        !nodes.is_empty() && nodes.iter().all(has_image)
    }

    /// Returns whether the build has created this image again.
    pub(crate) fn is_same(&self, image: &BuiltImage) -> bool {
        self.image.config_digest == image.config_digest && self.image.reference == image.reference
    }
}

/// What a run need not repeat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reuse {
    pub(crate) need: Need,
    /// The image of the last cycle, unless every step is necessary.
    pub(crate) kept: Option<Arc<KeptImage>>,
}

impl Reuse {
    /// Returns the image for which only the manifests are necessary.
    pub(crate) fn for_manifests(&self) -> Option<&Arc<KeptImage>> {
        self.kept.as_ref().filter(|_| self.need == Need::Manifests)
    }

    /// Returns the image that is deployed.
    pub(crate) fn deployed(&self) -> Option<&Arc<KeptImage>> {
        self.kept.as_ref().filter(|_| self.need == Need::Image)
    }
}

/// The images of the packages.
#[derive(Debug, Default)]
pub(crate) struct KeptImages(Mutex<BTreeMap<String, State>>);

#[derive(Debug, Default)]
struct State {
    kept: Option<Arc<KeptImage>>,
    achieved: Achieved,
    next: Reuse,
}

impl KeptImages {
    /// Forgets all images, because settings have changed.
    pub(crate) fn clear(&self) {
        self.states().clear();
    }

    /// Plans the next cycle of a package after changes of these classes. From now on, an image
    /// without a change of a source is forgotten, also if the cycle never begins.
    pub(crate) fn plan(&self, package: &str, changed: &BTreeSet<InputClass>) {
        let mut states = self.states();
        let state = states.entry(package.to_owned()).or_default();
        let need = need::need(changed, state.achieved);
        let kept = state.kept.take().filter(|_| need != Need::All);
        (state.kept, state.achieved) = match need {
            Need::Manifests => (kept.clone(), Achieved::Loaded),
            Need::All | Need::Image => (None, Achieved::Nothing),
        };
        state.next = Reuse { need, kept };
    }

    /// Returns what the run of a package need not repeat, once.
    pub(crate) fn take(&self, package: &str) -> Reuse {
        let mut states = self.states();
        states.get_mut(package).map(|state| std::mem::take(&mut state.next)).unwrap_or_default()
    }

    /// Records what the run of a package has achieved.
    pub(crate) fn record(&self, package: &str, kept: &Arc<KeptImage>, achieved: Achieved) {
        let state = State { kept: Some(kept.clone()), achieved, next: Reuse::default() };
        self.states().insert(package.to_owned(), state);
    }

    /// Forgets the image of a package.
    pub(crate) fn forget(&self, package: &str) {
        self.states().remove(package);
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kdev_core::image::reference::Reference;

    use super::*;

    fn node(name: &str, boot_id: &str) -> Node {
        let mut node = Node::named(name);
        boot_id.clone_into(&mut node.info.boot_id);
        node
    }

    fn kept(nodes: &[&Node], loaded: &[&str]) -> Arc<KeptImage> {
        let image = BuiltImage {
            reference: Reference::parse("app:kdev-1").unwrap(),
            config_digest: "sha256:1".to_owned(),
            platform: String::new(),
            size: 0,
            id: String::new(),
            layers: Vec::new(),
        };
        Arc::new(KeptImage::new(image, Loaded::on_nodes(loaded), nodes))
    }

    #[test]
    fn image_is_only_on_loaded_nodes_that_still_run() {
        let (one, two, booted) = (node("one", "a"), node("two", "b"), node("two", "c"));
        let kept = kept(&[&one, &two], &["one", "two"]);
        let skipped = self::kept(&[&one, &two], &["one"]);
        let table: [(&KeptImage, &[&Node], bool); 7] = [
            (&kept, &[&one], true),
            (&kept, &[&one, &two], true),
            (&kept, &[], false),
            (&kept, &[&one, &booted], false),
            (&kept, &[&node("three", "a")], false),
            (&skipped, &[&one], true),
            (&skipped, &[&one, &two], false),
        ];
        for (row, (kept, nodes, expected)) in table.into_iter().enumerate() {
            assert_eq!(kept.is_on(nodes), expected, "row {row}");
        }
    }

    #[test]
    fn image_is_forgotten_when_source_changes() {
        let (source, manifest) = ([InputClass::Cargo].into(), [InputClass::Manifest].into());
        let images = KeptImages::default();
        let kept = kept(&[], &[]);
        let need = |changed: &BTreeSet<InputClass>| {
            images.plan("app", changed);
            images.take("app").need
        };
        assert_eq!(need(&manifest), Need::All);
        images.record("app", &kept, Achieved::Ready);
        // A change of a manifest does not concern the image, also if the cycle does not begin.
        assert_eq!([need(&manifest), need(&manifest)], [Need::Manifests, Need::Manifests]);
        // But the pods of this manifest may not be ready.
        assert_eq!(need(&source), Need::All);
        images.record("app", &kept, Achieved::Ready);
        // A cycle that does not begin leaves the change for the next one.
        images.plan("app", &source);
        assert_eq!(need(&manifest), Need::All);
        images.record("app", &kept, Achieved::Ready);
        images.plan("app", &source);
        assert!(images.take("app").deployed().is_some());
        // A second run in the same cycle repeats everything.
        assert!(images.take("app").deployed().is_none());
    }
}
