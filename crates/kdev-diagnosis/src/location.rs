//! Where an image is, and which images have a similar name.

use kdev_core::image::local::LocalImage;
use kdev_core::image::node_images::{CRI_NAMESPACE, StoredImage};
use kdev_core::image::reference::{Reference, base, split_tag};
use kdev_core::kube::container::Container;

use crate::facts::{Facts, NodeObservation};

/// Where an image is on the nodes and in Docker.
pub(crate) struct ImageLocations<'a> {
    pub(crate) reference: Reference,
    /// The image on the pod's node, in the namespace that the kubelet uses.
    pub(crate) on_node: Option<&'a StoredImage>,
    /// The image on the pod's node, in another containerd namespace.
    pub(crate) in_other_namespace: Option<&'a StoredImage>,
    /// The images on the pod's node with a similar name; those with the same tag first.
    pub(crate) similar_names: Vec<&'a StoredImage>,
    /// The other nodes that have the image.
    pub(crate) other_nodes: Vec<&'a str>,
    /// The image in Docker.
    pub(crate) in_docker: Option<&'a LocalImage>,
    /// The images in Docker with a similar name; those with the same tag first.
    pub(crate) similar_in_docker: Vec<&'a LocalImage>,
    /// Why the images on the pod's node are unknown.
    pub(crate) node_error: Option<&'a str>,
}

impl<'a> ImageLocations<'a> {
    pub(crate) fn new(facts: &'a Facts, reference: Reference) -> Self {
        let full = reference.to_string();
        let is_same = |name: &str| name == full;
        let is_similar = |name: &str| name != full && base(name) == base(&full);
        let on_node =
            facts.images_on_pod_node().map(|found| found.images.as_slice()).unwrap_or_default();
        let is_cri = |image: &&StoredImage| image.namespace == CRI_NAMESPACE;
        let in_docker = facts.local_images.as_deref().unwrap_or_default();
        let node = facts.node_name().unwrap_or_default();
        let has_image = |name: &&String| {
            facts.images_on_node(name).is_some_and(|found| found.in_cri_namespace(&full).is_some())
        };
        let has_other_tag = |name: &str| split_tag(name).1 != reference.tag();
        let mut similar_names: Vec<&StoredImage> =
            on_node.iter().filter(is_cri).filter(|image| is_similar(&image.name)).collect();
        similar_names.sort_by_key(|image| has_other_tag(&image.name));
        let mut similar_in_docker: Vec<&LocalImage> =
            in_docker.iter().filter(|image| is_similar(&image.name)).collect();
        similar_in_docker.sort_by_key(|image| has_other_tag(&image.name));
        Self {
            on_node: on_node.iter().filter(is_cri).find(|image| is_same(&image.name)),
            in_other_namespace: on_node.iter().find(|image| !is_cri(image) && is_same(&image.name)),
            similar_names,
            other_nodes: facts
                .node_images
                .keys()
                .filter(|name| *name != node)
                .filter(has_image)
                .map(String::as_str)
                .collect(),
            in_docker: in_docker.iter().find(|image| is_same(&image.name)),
            similar_in_docker,
            node_error: match facts.node_images.get(node) {
                Some(NodeObservation::Unknown(error)) => Some(error),
                _ => None,
            },
            reference,
        }
    }

    /// Returns the image's name in its short form.
    pub(crate) fn name(&self) -> String {
        self.reference.familiar()
    }

    /// Whether the pod's node has reported its images, and this one is not among them.
    pub(crate) fn is_missing_on_node(&self, facts: &Facts) -> bool {
        self.on_node.is_none() && facts.images_on_pod_node().is_some()
    }

    /// Returns the image with the requested digest under another name on the pod's node.
    pub(crate) fn same_digest(&self) -> Option<&'a StoredImage> {
        let digest = self.reference.digest()?;
        self.similar_names.iter().copied().find(|one| one.digest == digest || one.config == digest)
    }

    /// Whether the image or one with a similar name is on a node or in Docker.
    pub(crate) fn is_found_anywhere(&self) -> bool {
        self.on_node.is_some()
            || self.in_docker.is_some()
            || !(self.similar_names.is_empty()
                && self.similar_in_docker.is_empty()
                && self.other_nodes.is_empty())
    }

    /// Whether the name has no registry besides the default one, so that the image was
    /// probably never meant to be pulled.
    pub(crate) fn has_no_registry(&self) -> bool {
        let name = self.reference.name();
        !name.familiar().contains('/') || name.to_string().starts_with("localhost/")
    }
}

/// Returns the nodes that have all images of the pod in the namespace that the kubelet
/// uses.
pub(crate) fn nodes_with_images(facts: &Facts) -> Vec<String> {
    let images: Vec<String> = facts
        .containers()
        .iter()
        .filter_map(|container| container.reference().map(|reference| reference.to_string()))
        .collect();
    let has_all = |node: &&String| {
        let found = facts.images_on_node(node);
        found.is_some_and(|found| images.iter().all(|name| found.in_cri_namespace(name).is_some()))
    };
    facts.node_images.keys().filter(has_all).cloned().collect()
}

/// Describes the pod's node.
pub(crate) fn describe_node(facts: &Facts) -> String {
    facts.node_name().map_or_else(|| "no node".to_owned(), |name| format!("node `{name}`"))
}

/// Describes why a container waits for its image.
pub(crate) fn waiting_evidence(container: Container) -> String {
    let (reason, _) = container.waiting().unwrap_or_default();
    let policy = container.policy();
    format!("container `{}` is waiting: {reason}; its pull policy is `{policy}`", container.name())
}

/// Returns the short form of an image name.
pub(crate) fn familiar_name(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}
