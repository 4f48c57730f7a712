//! The file format of recorded facts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts::Facts;

/// The version of the format. A record of another version is rejected.
pub const VERSION: u64 = 1;

/// Why a text is not a record of facts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON, or its fields are not those of this version.
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
    /// It was not written by `why --record`, or before records had a version.
    #[error("the record has no `version`")]
    NoVersion,
    /// It was written by another version of kdev.
    #[error("the record has version {0}, but this version of kdev reads only version {VERSION}")]
    OtherVersion(u64),
}

#[derive(Serialize)]
struct Record<'a> {
    version: u64,
    facts: &'a [Facts],
}

/// Returns the record of facts as JSON.
pub fn to_json(facts: &[Facts]) -> String {
    let mut text =
        serde_json::to_string_pretty(&Record { version: VERSION, facts }).unwrap_or_default();
    text.push('\n');
    text
}

/// Reads the facts from a record.
pub fn parse(text: &str) -> Result<Vec<Facts>, Error> {
    #[derive(Deserialize)]
    struct Body {
        facts: Vec<Facts>,
    }
    // The version is read first: the fields of another version may differ.
    let record: Value = serde_json::from_str(text)?;
    match record["version"].as_u64() {
        Some(VERSION) => Ok(serde_json::from_str::<Body>(text)?.facts),
        Some(version) => Err(Error::OtherVersion(version)),
        None => Err(Error::NoVersion),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_round_trip_preserves_facts() {
        let facts = Facts { subject: "pod/web".to_owned(), ..Facts::default() };
        let text = to_json(&[facts]);
        assert!(text.starts_with("{\n  \"version\": 1,\n  \"facts\": ["), "{text}");
        assert_eq!(to_json(&parse(&text).unwrap()), text);
    }

    #[test]
    fn record_of_other_version_or_form_is_rejected() {
        let table = [
            ("{}", "the record has no `version`"),
            ("[]", "the record has no `version`"),
            (
                r#"{"version": 2, "facts": [{"other": 1}]}"#,
                "the record has version 2, but this version of kdev reads only version 1",
            ),
            (r#"{"version": 1}"#, "missing field `facts` at line 1 column 14"),
            (r#"{"version": 1, "facts": [{"other": 1}]}"#, "unknown field `other`"),
        ];
        for (text, expected) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
