//! Image fields and mentions of the project's image in a manifest, with a description of
//! the edit.

use std::fmt;

use serde::Serialize;

use crate::pull_policy::PullPolicy;
use crate::yaml::Node;

/// A field of the API that holds an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageField {
    /// Line of the image, from 1.
    pub line: usize,
    /// Column of the image, from 1.
    pub column: usize,
    /// Kind and name of the object, such as `deployment/app`.
    pub object: String,
    /// The field, such as `spec.containers.image`.
    pub field: String,
    /// The name of the container or volume, if it has one.
    pub name: Option<String>,
    /// The image as written.
    pub image: String,
    /// The edit.
    pub outcome: FieldOutcome,
}

/// The edit of an image field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FieldOutcome {
    /// The field names the project's image and is set to the build.
    Updated {
        /// The new image.
        image: String,
        /// The edit of its pull policy; `None` if the API has none.
        policy: Option<PullPolicyOutcome>,
    },
    /// The field names the project's image by digest and stays.
    HasDigest,
    /// The field names another image and stays.
    OtherImage,
}

/// The edit of a pull policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullPolicyOutcome {
    /// The value as written, if any.
    pub old: Option<String>,
    /// The new value.
    #[serde(serialize_with = "as_written")]
    pub new: PullPolicy,
}

/// The project's image in a value that is not an image field that kdev edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mention {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Kind and name of the object, such as `deployment/app`.
    pub object: String,
    /// The field, such as `spec.containers.env.value`.
    pub field: String,
    /// The text that contains the name.
    pub text: String,
    /// The reason why it is not edited.
    pub cause: &'static str,
}

impl PullPolicyOutcome {
    pub fn new(node: Option<&Node>, new: PullPolicy) -> Self {
        let old = node.and_then(Node::text).filter(|text| !text.is_empty());
        Self { old: old.map(str::to_owned), new }
    }
}

impl fmt::Display for ImageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, field, image, .. } = self;
        match &self.name {
            Some(name) => write!(f, "{object}, `{name}` ({field}): `{image}` ")?,
            None => write!(f, "{object}, {field}: `{image}` ")?,
        }
        match &self.outcome {
            FieldOutcome::Updated { image, policy } if *image == self.image => {
                write!(f, "is unchanged, {}", Policy(policy.as_ref()))
            }
            FieldOutcome::Updated { image, policy } => {
                write!(f, "changes to `{image}`, {}", Policy(policy.as_ref()))
            }
            FieldOutcome::HasDigest => write!(f, "is unchanged: {HAS_DIGEST}"),
            FieldOutcome::OtherImage => write!(f, "is unchanged: it is another image"),
        }
    }
}

/// The reason why an image with a digest is not edited.
pub const HAS_DIGEST: &str =
    "it has a registry's digest, which a loaded image does not have; use a tag to run the build";

struct Policy<'a>(Option<&'a PullPolicyOutcome>);

impl fmt::Display for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(PullPolicyOutcome { old, new }) = self.0 else {
            return write!(f, "the kind has no pull policy field");
        };
        let policy = new.as_str();
        match old {
            Some(old) if old == policy => write!(f, "pull policy `{policy}` is unchanged: ")?,
            Some(old) => write!(f, "pull policy `{old}` changes to `{policy}`: ")?,
            None => write!(f, "pull policy `{policy}` is added: ")?,
        }
        f.write_str(match new {
            PullPolicy::Never => {
                "the image is loaded onto the nodes and must not be pulled from a registry"
            }
            PullPolicy::IfNotPresent => {
                "as configured; a node without the image pulls it from the registry"
            }
        })
    }
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, field, text, cause: why, .. } = self;
        write!(f, "{object}, {field}: `{text}` is unchanged: {why}")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn as_written<S: serde::Serializer>(policy: &PullPolicy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(policy.as_str())
}
