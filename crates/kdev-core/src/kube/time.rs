//! Times and ages in the API's format.

use jiff::Timestamp;
use serde_json::Value;

use crate::kube::object::text;

/// Returns the age of an object in seconds at `now`, which is in seconds since 1970.
pub fn age(object: &Value, now: i64) -> Option<u64> {
    let age = now - created(object)?;
    Some(u64::try_from(age).unwrap_or_default())
}

/// Returns the creation time of an object in seconds since 1970.
pub fn created(object: &Value) -> Option<i64> {
    seconds(text(object, "/metadata/creationTimestamp"))
}

/// Converts a time such as `2026-01-31T12:00:00Z` to seconds since 1970.
pub fn seconds(time: &str) -> Option<i64> {
    time.parse().ok().map(Timestamp::as_second)
}
