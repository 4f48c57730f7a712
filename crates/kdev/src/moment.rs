//! How long ago something was, by the API's way of writing time.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::facts::text;

/// How many seconds ago an object was created, by this machine's clock.
pub(crate) fn age(object: &Value) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(now.saturating_sub(seconds(text(object, "/metadata/creationTimestamp"))?))
}

/// From a time such as `2026-01-31T12:00:00Z` to seconds since 1970.
fn seconds(time: &str) -> Option<u64> {
    let parts: Vec<u64> = time
        .trim_end_matches('Z')
        .split(['-', 'T', ':', '.'])
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day, hours, minutes, seconds, ..] = parts[..] else { return None };
    // Years that begin in March end in their leap day.
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    // Counted from the first of March of the year 0.
    let days = days.checked_sub(719_469)?;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_api_are_read() {
        let table = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:01Z", Some(951_782_401)),
            ("2026-11-25T02:52:02Z", Some(1_795_575_122)),
            ("2026-11-25T02:52:02.123456Z", Some(1_795_575_122)),
            ("", None),
            ("yesterday", None),
        ];
        for (time, expected) in table {
            assert_eq!(seconds(time), expected, "{time}");
        }
    }
}
