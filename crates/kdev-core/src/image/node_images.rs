//! What a node's containerd has of images that are called like the wanted ones,
//! in all of its namespaces.

use serde::{Deserialize, Serialize};

/// The namespace that the CRI, and so the kubelet, looks into.
pub const CRI_NAMESPACE: &str = "k8s.io";

/// The images of a node whose names end like the wanted ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeImages {
    /// How `ctr` is called there, as a person types it here; the namespace and
    /// the verb follow.
    pub ctr: String,
    pub images: Vec<StoredImage>,
}

/// A name in a containerd's store, and what it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoredImage {
    /// containerd's namespace, not Kubernetes'.
    pub namespace: String,
    pub name: String,
    /// Of the manifest or index.
    pub digest: String,
    /// As `linux/amd64`, more than one for an index.
    pub platforms: Vec<String>,
    /// Of the configuration, which the CRI calls the image's ID; empty where the
    /// CRI has not seen the image.
    pub config: String,
    /// Whether all its blobs are there; not known outside the CRI's namespace.
    pub complete: Option<bool>,
    /// Whether its layers are unpacked for the CRI's snapshotter; not known
    /// outside the CRI's namespace.
    pub unpacked: Option<bool>,
}

impl NodeImages {
    /// Reads the lines `found NAMESPACE NAME DIGEST PLATFORMS` and `checked NAME
    /// STATUS UNPACKED` of the script on the node.
    pub fn read<'a>(lines: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let words = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
        let mut images = Vec::new();
        let mut configs = Vec::new();
        for (key, value) in lines.clone() {
            match (key, words(value).as_slice()) {
                ("found", [CRI_NAMESPACE, name, digest, _]) if name.starts_with("sha256:") => {
                    configs.push(((*digest).to_owned(), (*name).to_owned()));
                }
                ("found", [namespace, name, digest, platforms]) => images.push(StoredImage {
                    namespace: (*namespace).to_owned(),
                    name: (*name).to_owned(),
                    digest: (*digest).to_owned(),
                    platforms: platforms.split(',').map(str::to_owned).collect(),
                    ..StoredImage::default()
                }),
                _ => {}
            }
        }
        for (key, value) in lines {
            if let ("checked", [name, status, unpacked]) = (key, words(value).as_slice()) {
                for image in images.iter_mut().filter(|image| image.is_for(name)) {
                    image.complete = Some(*status == "complete");
                    image.unpacked = Some(*unpacked == "true");
                }
            }
        }
        for (digest, config) in configs {
            for image in images.iter_mut().filter(|image| image.digest == digest) {
                image.config.clone_from(&config);
            }
        }
        Self { ctr: String::new(), images }
    }

    /// What the CRI finds under a name.
    pub fn in_cri_namespace(&self, name: &str) -> Option<&StoredImage> {
        self.images.iter().find(|image| image.is_for(name))
    }
}

impl StoredImage {
    fn is_for(&self, name: &str) -> bool {
        self.namespace == CRI_NAMESPACE && self.name == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_put_together_from_its_names() {
        let lines = [
            ("found", "k8s.io docker.io/library/app:1 sha256:m linux/amd64"),
            ("found", "k8s.io sha256:c sha256:m linux/amd64"),
            ("found", "default docker.io/library/app:2 sha256:n linux/amd64,linux/arm64"),
            ("checked", "docker.io/library/app:1 complete true"),
            ("noise", ""),
        ];
        let stock = NodeImages::read(lines.into_iter());
        let app = stock.in_cri_namespace("docker.io/library/app:1").unwrap();
        assert_eq!((app.config.as_str(), app.complete), ("sha256:c", Some(true)));
        assert_eq!(stock.images.len(), 2);
        assert_eq!(stock.images[1].platforms, ["linux/amd64", "linux/arm64"]);
        assert_eq!(
            (stock.images[1].unpacked, stock.in_cri_namespace("docker.io/library/app:2")),
            (None, None)
        );
    }
}
