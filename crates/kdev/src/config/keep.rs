//! The value of the key `keep`.

use std::fmt;
use std::str::FromStr;

use kdev_core::image::builds::Keep;
use serde::Deserialize;

use crate::details::Details;

/// The value that keeps all builds.
const ALL: &str = "all";
/// How many builds are kept by default.
const DEFAULT: usize = 3;

/// How many builds of the image are kept on each node, and in Docker or Podman.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "KeepValue")]
pub struct KeepBuilds(Keep);

/// The value as it is written in a file.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or `all`")]
enum KeepValue {
    Count(i64),
    Word(String),
}

impl KeepBuilds {
    pub(crate) fn rule(self) -> Keep {
        self.0
    }
}

impl Default for KeepBuilds {
    fn default() -> Self {
        Self(Keep::Newest(DEFAULT))
    }
}

impl fmt::Display for KeepBuilds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Keep::Newest(count) => write!(f, "{count}"),
            Keep::All => f.write_str(ALL),
        }
    }
}

impl FromStr for KeepBuilds {
    type Err = Details;

    fn from_str(text: &str) -> Result<Self, Details> {
        match text.parse::<usize>() {
            _ if text == ALL => Ok(Self(Keep::All)),
            Ok(count) if count > 0 => Ok(Self(Keep::Newest(count))),
            // With 0, a pod that restarts would have no image.
            _ => Err(Details(format!("expected a number from 1 on, or `{ALL}`, found `{text}`"))),
        }
    }
}

impl TryFrom<KeepValue> for KeepBuilds {
    type Error = Details;

    fn try_from(value: KeepValue) -> Result<Self, Details> {
        match value {
            KeepValue::Count(count) => count.to_string().parse(),
            KeepValue::Word(text) => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_is_a_positive_number_or_all() {
        let table = [
            ("1", Some(Keep::Newest(1))),
            ("30", Some(Keep::Newest(30))),
            ("all", Some(Keep::All)),
            ("0", None),
            ("-1", None),
            ("All", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<KeepBuilds>().ok().map(KeepBuilds::rule), expected, "{text}");
        }
    }

    #[test]
    fn value_in_file_is_a_number_or_a_word() {
        let read = |value: serde_json::Value| serde_json::from_value::<KeepBuilds>(value);
        assert_eq!(read(2.into()).unwrap().rule(), Keep::Newest(2));
        assert_eq!(read("all".into()).unwrap().rule(), Keep::All);
        let error = read(0.into()).unwrap_err().to_string();
        assert_eq!(error, "expected a number from 1 on, or `all`, found `0`");
        assert_eq!(read(true.into()).unwrap_err().to_string(), "expected a number or `all`");
    }
}
