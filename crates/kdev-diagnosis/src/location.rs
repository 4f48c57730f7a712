//! Where an image is, and where one is that is called alike.

use kdev_core::image::local::LocalImage;
use kdev_core::image::node_images::{CRI_NAMESPACE, StoredImage};
use kdev_core::image::reference::{Reference, base, split_tag};
use kdev_core::kube::container::Container;

use crate::facts::{Facts, NodeObservation};

/// Where the image that a container wants was seen.
pub(crate) struct Whereabouts<'a> {
    pub(crate) wanted: Reference,
    /// Under its name, where the kubelet of the pod's node looks.
    pub(crate) here: Option<&'a StoredImage>,
    /// Under its name, in another of that containerd's namespaces.
    pub(crate) misplaced: Option<&'a StoredImage>,
    /// On the pod's node, under names that are alike; those with its tag come first.
    pub(crate) alike: Vec<&'a StoredImage>,
    /// Under its name on these other nodes.
    pub(crate) others: Vec<&'a str>,
    /// In docker here, under its name.
    pub(crate) local: Option<&'a LocalImage>,
    /// In docker here, under names that are alike; those with its tag come first.
    pub(crate) local_alike: Vec<&'a LocalImage>,
    /// Why the pod's node could not be asked.
    pub(crate) unseen: Option<&'a str>,
}

impl<'a> Whereabouts<'a> {
    pub(crate) fn of(facts: &'a Facts, wanted: Reference) -> Self {
        let full = wanted.to_string();
        let is_it = |name: &str| name == full;
        let is_alike = |name: &str| name != full && base(name) == base(&full);
        let on_node = facts.stock().map(|stock| stock.images.as_slice()).unwrap_or_default();
        let of_cri = |image: &&StoredImage| image.namespace == CRI_NAMESPACE;
        let locals = facts.local_images.as_deref().unwrap_or_default();
        let node = facts.node_name().unwrap_or_default();
        let has = |name: &&String| {
            facts.stock_of(name).is_some_and(|stock| stock.in_cri_namespace(&full).is_some())
        };
        let unlike_tag = |name: &str| split_tag(name).1 != wanted.tag();
        let mut alike: Vec<&StoredImage> =
            on_node.iter().filter(of_cri).filter(|image| is_alike(&image.name)).collect();
        alike.sort_by_key(|image| unlike_tag(&image.name));
        let mut local_alike: Vec<&LocalImage> =
            locals.iter().filter(|image| is_alike(&image.name)).collect();
        local_alike.sort_by_key(|image| unlike_tag(&image.name));
        Self {
            here: on_node.iter().filter(of_cri).find(|image| is_it(&image.name)),
            misplaced: on_node.iter().find(|image| !of_cri(image) && is_it(&image.name)),
            alike,
            others: facts
                .node_images
                .keys()
                .filter(|name| *name != node)
                .filter(has)
                .map(String::as_str)
                .collect(),
            local: locals.iter().find(|image| is_it(&image.name)),
            local_alike,
            unseen: match facts.node_images.get(node) {
                Some(NodeObservation::Unknown(why)) => Some(why),
                _ => None,
            },
            wanted,
        }
    }

    /// The image as people write it.
    pub(crate) fn name(&self) -> String {
        self.wanted.familiar()
    }

    /// Whether the pod's node has told that it has no such image.
    pub(crate) fn is_missed(&self, facts: &Facts) -> bool {
        self.here.is_none() && facts.stock().is_some()
    }

    /// The very image whose digest is wanted, under another name on the pod's node.
    pub(crate) fn twin(&self) -> Option<&'a StoredImage> {
        let digest = self.wanted.digest()?;
        self.alike.iter().copied().find(|one| one.digest == digest || one.config == digest)
    }

    /// Whether anything that may be meant is on a node or in docker here.
    pub(crate) fn is_near(&self) -> bool {
        self.here.is_some()
            || self.local.is_some()
            || !(self.alike.is_empty() && self.local_alike.is_empty() && self.others.is_empty())
    }

    /// Whether the name tells that it was never meant to be pulled: no registry
    /// stands in it but the one that is put there by default.
    pub(crate) fn is_homely(&self) -> bool {
        let name = self.wanted.name();
        !name.familiar().contains('/') || name.to_string().starts_with("localhost/")
    }
}

/// The nodes, of those that have told, that have each of the pod's images where a
/// kubelet looks.
pub(crate) fn nodes_with_images(facts: &Facts) -> Vec<String> {
    let wanted: Vec<String> = facts
        .containers()
        .iter()
        .filter_map(|container| container.reference().map(|reference| reference.to_string()))
        .collect();
    let has_all = |node: &&String| {
        let stock = facts.stock_of(node);
        stock.is_some_and(|stock| wanted.iter().all(|name| stock.in_cri_namespace(name).is_some()))
    };
    facts.node_images.keys().filter(has_all).cloned().collect()
}

/// The pod's node, in words.
pub(crate) fn node(facts: &Facts) -> String {
    facts.node_name().map_or_else(|| "no node".to_owned(), |name| format!("node `{name}`"))
}

/// How a container waits for its image.
pub(crate) fn waits(container: Container) -> String {
    let (reason, _) = container.waiting().unwrap_or_default();
    let policy = container.policy();
    format!("container `{}` waits: {reason}; its pull policy is `{policy}`", container.name())
}

/// A name as people write it.
pub(crate) fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}
