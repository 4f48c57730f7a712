//! Images in a node's containerd whose names resemble the requested ones, in all containerd
//! namespaces.

use serde::{Deserialize, Serialize};

/// The containerd namespace that the CRI plugin, and so the kubelet, uses.
pub const CRI_NAMESPACE: &str = "k8s.io";

/// Images on a node with the same last name component as the requested ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeImages {
    /// The `ctr` command on the node, as a user would type it on this machine, without
    /// namespace and subcommand.
    pub ctr: String,
    pub images: Vec<StoredImage>,
}

/// An image name in containerd and the image it refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoredImage {
    /// The containerd namespace, which is unrelated to Kubernetes namespaces.
    pub namespace: String,
    pub name: String,
    /// Digest of the manifest or index.
    pub digest: String,
    /// Platforms, such as `linux/amd64`; an index can have several.
    pub platforms: Vec<String>,
    /// Digest of the configuration, which the CRI uses as the image ID; empty if the CRI
    /// does not know the image.
    pub config: String,
    /// Whether all blobs are present; unknown outside the CRI's namespace.
    pub complete: Option<bool>,
    /// Whether the layers are unpacked for the CRI's snapshotter; unknown outside the CRI's
    /// namespace.
    pub unpacked: Option<bool>,
}

impl NodeImages {
    /// Parses the lines `found NAMESPACE NAME DIGEST PLATFORMS` and `checked NAME STATUS
    /// UNPACKED` that the node script prints.
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

    /// Returns the image that the CRI finds by this name.
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
    fn image_is_merged_from_its_names() {
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
