//! The pull policy of containers that run the image.

use serde::Deserialize;

/// What a container of ours does if its node lacks the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PullPolicy {
    /// It fails: nobody else's image of the same name is ever run.
    #[default]
    Never,
    /// The kubelet asks the registry of the image's name.
    IfNotPresent,
}

impl PullPolicy {
    /// As the manifest spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "Never",
            Self::IfNotPresent => "IfNotPresent",
        }
    }
}
