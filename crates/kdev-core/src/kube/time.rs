//! How long ago something was, by the API's way of writing time.

use jiff::Timestamp;
use serde_json::Value;

use crate::kube::object::text;

/// How many seconds before `now`, in seconds since 1970, an object was created.
pub fn age(object: &Value, now: i64) -> Option<u64> {
    let age = now - created(object)?;
    Some(u64::try_from(age).unwrap_or_default())
}

/// When an object was created, in seconds since 1970.
pub fn created(object: &Value) -> Option<i64> {
    seconds(text(object, "/metadata/creationTimestamp"))
}

/// From a time such as `2026-01-31T12:00:00Z` to seconds since 1970.
pub fn seconds(time: &str) -> Option<i64> {
    time.parse().ok().map(Timestamp::as_second)
}
