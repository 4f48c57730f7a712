//! The cause of an error that is only a text, not an error of another library.

/// A text that describes the cause of an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Details(pub String);
