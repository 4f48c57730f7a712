//! How long ago something was, by the API's way of writing time.

use jiff::Timestamp;
use serde_json::Value;

use crate::facts::text;

/// How many seconds ago an object was created, by this machine's clock.
pub(crate) fn age(object: &Value) -> Option<u64> {
    let age = Timestamp::now().as_second() - created(object)?;
    Some(u64::try_from(age).unwrap_or_default())
}

/// When an object was created, in seconds since 1970.
pub(crate) fn created(object: &Value) -> Option<i64> {
    seconds(text(object, "/metadata/creationTimestamp"))
}

/// From a time such as `2026-01-31T12:00:00Z` to seconds since 1970.
pub(crate) fn seconds(time: &str) -> Option<i64> {
    time.parse().ok().map(Timestamp::as_second)
}

/// From docker's way, such as `2026-01-31 13:00:00 +0100 CET`, to the API's.
pub(crate) fn of_docker(time: &str) -> Option<String> {
    let zone = time.match_indices(' ').nth(2).map_or(time.len(), |(at, _)| at);
    let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", &time[..zone]).ok()?;
    Some(time.to_timestamp().ok()?.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn dockers_times_are_read() {
        let table = [
            ("2026-01-31 13:00:00 +0100 CET", Some("2026-01-31T12:00:00Z")),
            ("2026-01-31 12:00:00 +0000 UTC", Some("2026-01-31T12:00:00Z")),
            ("0001-01-01 00:00:00 +0000 UTC", Some("0001-01-01T00:00:00Z")),
            ("N/A", None),
            ("", None),
        ];
        for (time, expected) in table {
            assert_eq!(super::of_docker(time).as_deref(), expected, "{time}");
        }
    }
}
