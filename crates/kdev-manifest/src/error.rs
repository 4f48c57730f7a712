//! The error of this crate.

/// A text that cannot be read or edited, with the position and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    pub reason: String,
}
