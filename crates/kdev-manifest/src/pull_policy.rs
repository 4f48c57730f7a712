//! The pull policy of containers that use the project's image.

use serde::Deserialize;

/// What happens if the node does not have the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PullPolicy {
    /// The container fails to start, and no foreign image of the same name is run.
    #[default]
    Never,
    /// The kubelet pulls the image from the registry of its name.
    IfNotPresent,
}

impl PullPolicy {
    /// Parses a value that kdev writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Never, Self::IfNotPresent].into_iter().find(|policy| policy.as_str() == text)
    }

    /// Returns the value for the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "Never",
            Self::IfNotPresent => "IfNotPresent",
        }
    }
}
