//! A cause with its evidence and a fix.

use serde::Serialize;

use crate::cause::Cause;

/// A cause with its evidence and a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The cause as an identifier for scripts.
    pub cause: Cause,
    /// How certain the cause is.
    pub confidence: Confidence,
    /// The cause as a sentence.
    pub message: String,
    /// The facts that support the cause.
    pub evidence: Vec<String>,
    /// How to fix it, with a command to copy where possible.
    pub help: String,
}

impl Diagnosis {
    /// Whether this is a problem, and not the intended state of the workload.
    pub fn is_problem(&self) -> bool {
        self.cause != Cause::Inactive
    }

    /// Whether a rule has found a specific cause.
    pub fn is_known(&self) -> bool {
        !matches!(self.cause, Cause::Unknown | Cause::InProgress)
    }
}

/// How certain a diagnosis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confidence {
    /// The facts allow no other cause.
    Certain,
    /// The facts support the cause, but others are possible.
    Likely,
    /// The facts do not contradict the cause.
    Possible,
}
