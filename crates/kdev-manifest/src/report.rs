//! A place in a manifest that names an image, or holds our image's name, and
//! what becomes of it, in words.

use std::fmt;

use serde::Serialize;

use crate::pull_policy::PullPolicy;
use crate::yaml::Node;

/// A field of the API's that names an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageField {
    /// Line of the image, from 1.
    pub line: usize,
    /// Column of the image, from 1.
    pub column: usize,
    /// Kind and name of the object, as `deployment/app`.
    pub object: String,
    /// The field, as `spec.containers.image`.
    pub field: String,
    /// The name of the container or of the volume, where there is one.
    pub name: Option<String>,
    /// The image, as it was written.
    pub image: String,
    /// What becomes of it.
    pub fate: FieldOutcome,
}

/// What becomes of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FieldOutcome {
    /// It names our image, and will name the build.
    Ours {
        /// The build.
        image: String,
        /// Its pull policy; `None` where the API has none.
        policy: Option<PullPolicyOutcome>,
    },
    /// It names our image by digest, and so not the build.
    Pinned,
    /// It names another image.
    Other,
}

/// What becomes of a pull policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullPolicyOutcome {
    /// As it was written, if it was.
    pub was: Option<String>,
    /// As it will be.
    #[serde(serialize_with = "as_written")]
    pub becomes: PullPolicy,
}

/// Our image's name where no field names an image, or none that kdev edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mention {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Kind and name of the object, as `deployment/app`.
    pub object: String,
    /// The field, as `spec.containers.env.value`.
    pub field: String,
    /// The text that holds the name.
    pub text: String,
    /// Why it stays.
    pub why: &'static str,
}

impl PullPolicyOutcome {
    pub fn of(node: Option<&Node>, becomes: PullPolicy) -> Self {
        let was = node.and_then(Node::text).filter(|text| !text.is_empty());
        Self { was: was.map(str::to_owned), becomes }
    }
}

impl fmt::Display for ImageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, field, image, .. } = self;
        match &self.name {
            Some(name) => write!(f, "{object}, `{name}` ({field}): `{image}` ")?,
            None => write!(f, "{object}, {field}: `{image}` ")?,
        }
        match &self.fate {
            FieldOutcome::Ours { image, policy } if *image == self.image => {
                write!(f, "stays, {}", Policy(policy.as_ref()))
            }
            FieldOutcome::Ours { image, policy } => {
                write!(f, "becomes `{image}`, {}", Policy(policy.as_ref()))
            }
            FieldOutcome::Pinned => write!(f, "stays: {PINNED}"),
            FieldOutcome::Other => write!(f, "stays: it is another image"),
        }
    }
}

/// Why a digest is left alone.
pub const PINNED: &str = "it is pinned by digest, and a loaded image has none of a registry; name it by tag to run the build";

struct Policy<'a>(Option<&'a PullPolicyOutcome>);

impl fmt::Display for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(PullPolicyOutcome { was, becomes }) = self.0 else {
            return write!(f, "its pull policy is left to the kind");
        };
        let policy = becomes.as_str();
        match was {
            Some(was) if was == policy => write!(f, "pull policy `{policy}` stays: ")?,
            Some(was) => write!(f, "pull policy `{was}` becomes `{policy}`: ")?,
            None => write!(f, "pull policy `{policy}` is added: ")?,
        }
        f.write_str(match becomes {
            PullPolicy::Never => {
                "the nodes are loaded, and no registry shall be asked for this name"
            }
            PullPolicy::IfNotPresent => {
                "as the settings ask; a node without it asks the registry of its name"
            }
        })
    }
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, field, text, why, .. } = self;
        write!(f, "{object}, {field}: `{text}` stays: {why}")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn as_written<S: serde::Serializer>(policy: &PullPolicy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(policy.as_str())
}
