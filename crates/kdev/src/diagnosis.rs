//! What is wrong, why, and what helps: a judgement of facts. Pure.
//!
//! Each rule looks at the facts for one family of causes. What must be cured
//! first comes first; where no rule knows, that is said, with the facts.

use serde::Serialize;

use crate::facts::Facts;

/// A cause, as far as the facts tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Which one, for scripts.
    pub cause: Cause,
    /// How sure that is.
    pub confidence: Confidence,
    /// The cause in words.
    pub words: String,
    /// What it was seen by, a line each.
    pub evidence: Vec<String>,
    /// One action that helps, to copy where that is possible.
    pub help: String,
}

/// How sure a diagnosis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The facts leave no other cause.
    Certain,
    /// The facts speak for it.
    Likely,
    /// Nothing speaks against it.
    Possible,
}

/// The causes that are known. In JSON they are written in kebab-case. Their
/// order is the one in which they must be cured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// None that is known.
    Unknown,
}

/// Everything that is wrong by these facts; nothing if all is well.
pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let _ = facts;
    Vec::new()
}
