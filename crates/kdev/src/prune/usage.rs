//! What `docker system df` reports about images.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cx::Cx;
use crate::docker::{Docker, ImageStore};
use crate::process::Command;
use crate::tools::TOOL_TIMEOUT;

/// The usage of images, by ID; empty if it is unknown.
pub(crate) type UsageById = BTreeMap<String, ImageUsage>;

/// How much of an image other images also use, and how many containers use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageUsage {
    pub(crate) shared: Option<u64>,
    pub(crate) containers: Option<u64>,
}

/// An image in the output of `docker system df --verbose`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    shared_size: String,
    #[serde(default)]
    containers: String,
}

/// Returns the usage of all images. Only Docker reports it.
pub(crate) fn image_usage(cx: &Cx, store: &ImageStore) -> UsageById {
    let ImageStore::Docker(docker) = store else { return UsageById::new() };
    read_usage(cx, docker).unwrap_or_default()
}

fn read_usage(cx: &Cx, docker: &Docker) -> Option<UsageById> {
    let sh = cx.shell().ok()?;
    let format = "{{json .Images}}";
    let command = docker.cmd(&sh).args(["system", "df", "--verbose", "--format", format]);
    let output = Command::new(command).timeout(TOOL_TIMEOUT).read(cx).ok()?;
    Some(parse(&output.text()))
}

fn parse(json: &str) -> UsageById {
    let entries: Vec<Entry> = serde_json::from_str(json).unwrap_or_default();
    let usage = |entry: Entry| {
        let (shared, containers) = (parse_size(&entry.shared_size), entry.containers.parse().ok());
        (entry.id, ImageUsage { shared, containers })
    };
    entries.into_iter().map(usage).collect()
}

/// Parses a size such as `1.982MB`. Docker rounds it to four digits.
fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 5] = [
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (number, factor) =
        UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let mut bytes = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
    let mut place = *factor;
    for digit in part.chars() {
        place /= 10;
        bytes += u64::from(digit.to_digit(10)?) * place;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_docker_are_parsed() {
        let table = [
            ("0B", Some(0)),
            ("18B", Some(18)),
            ("1.982MB", Some(1_982_000)),
            ("77.8kB", Some(77_800)),
            ("1.05GB", Some(1_050_000_000)),
            ("N/A", None),
            ("", None),
            ("1.xMB", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn usage_of_images_is_parsed() {
        let json = r#"[{"Containers":"2","ID":"sha256:a","SharedSize":"1kB"},
            {"Containers":"N/A","ID":"sha256:b","SharedSize":"N/A"}]"#;
        let usage = parse(json);
        let known = ImageUsage { shared: Some(1_000), containers: Some(2) };
        assert_eq!(usage["sha256:a"], known);
        assert_eq!(usage["sha256:b"], ImageUsage::default());
        assert_eq!(parse("null"), UsageById::new());
    }
}
