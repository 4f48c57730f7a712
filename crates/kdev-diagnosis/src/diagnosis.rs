//! A cause, with what it was seen by and what helps.

use serde::Serialize;

use crate::cause::Cause;

/// A cause, as far as the facts tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Which one, for scripts.
    pub cause: Cause,
    /// How sure that is.
    pub confidence: Confidence,
    /// The cause in words.
    pub message: String,
    /// What it was seen by, a line each.
    pub evidence: Vec<String>,
    /// One action that helps, to copy where that is possible.
    pub help: String,
}

impl Diagnosis {
    /// Whether it is of interest to whoever has not asked about the workload.
    pub fn is_fault(&self) -> bool {
        self.cause != Cause::Inactive
    }

    /// Whether it tells more than that something is wrong.
    pub fn is_known(&self) -> bool {
        !matches!(self.cause, Cause::Unknown | Cause::InProgress)
    }
}

/// How sure a diagnosis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confidence {
    /// The facts leave no other cause.
    Certain,
    /// The facts speak for it.
    Likely,
    /// Nothing speaks against it.
    Possible,
}
