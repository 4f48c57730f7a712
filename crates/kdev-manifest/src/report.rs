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
    pub fate: FieldOutcome,
}

/// The edit of an image field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FieldOutcome {
    /// The field names the project's image and is set to the build.
    Ours {
        /// The new image.
        image: String,
        /// The edit of its pull policy; `None` if the API has none.
        policy: Option<PullPolicyOutcome>,
    },
    /// The field names the project's image by digest and stays.
    Pinned,
    /// The field names another image and stays.
    Other,
}

/// The edit of a pull policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullPolicyOutcome {
    /// The value as written, if any.
    pub was: Option<String>,
    /// The new value.
    #[serde(serialize_with = "as_written")]
    pub becomes: PullPolicy,
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
    pub why: &'static str,
}

impl PullPolicyOutcome {
    pub fn new(node: Option<&Node>, becomes: PullPolicy) -> Self {
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
                write!(f, "is unchanged, {}", Policy(policy.as_ref()))
            }
            FieldOutcome::Ours { image, policy } => {
                write!(f, "changes to `{image}`, {}", Policy(policy.as_ref()))
            }
            FieldOutcome::Pinned => write!(f, "is unchanged: {PINNED}"),
            FieldOutcome::Other => write!(f, "is unchanged: it is another image"),
        }
    }
}

/// The reason why an image with a digest is not edited.
pub const PINNED: &str =
    "it has a registry's digest, which a loaded image does not have; use a tag to run the build";

struct Policy<'a>(Option<&'a PullPolicyOutcome>);

impl fmt::Display for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(PullPolicyOutcome { was, becomes }) = self.0 else {
            return write!(f, "the kind has no pull policy field");
        };
        let policy = becomes.as_str();
        match was {
            Some(was) if was == policy => write!(f, "pull policy `{policy}` is unchanged: ")?,
            Some(was) => write!(f, "pull policy `{was}` changes to `{policy}`: ")?,
            None => write!(f, "pull policy `{policy}` is added: ")?,
        }
        f.write_str(match becomes {
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
        let Self { object, field, text, why, .. } = self;
        write!(f, "{object}, {field}: `{text}` is unchanged: {why}")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn as_written<S: serde::Serializer>(policy: &PullPolicy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(policy.as_str())
}
