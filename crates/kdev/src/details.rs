//! What an error was caused by, where that is no error of another library.

/// Words that say what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Details(pub String);
