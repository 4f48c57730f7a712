//! Kubernetes quantities: `500m`, `2`, `1.5Gi`.

/// Suffixes of a quantity, with their factors in thousandths.
const SUFFIXES: [(&str, i128); 16] = [
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("e3", 1_000_000),
    ("e6", 1_000_000_000),
    ("", 1000),
];

/// Parses a quantity into thousandths; `None` if it is invalid.
pub fn parse(text: &str) -> Option<i128> {
    let (digits, one) =
        SUFFIXES.iter().find_map(|(suffix, one)| Some((text.strip_suffix(suffix)?, *one)))?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let number = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    let places = u32::try_from(part.len()).ok().filter(|places| *places < 10)?;
    let (whole, part): (i128, i128) = (number(whole)?, number(part)?);
    Some(whole.checked_mul(one)? + part.checked_mul(one)? / 10_i128.pow(places))
}

/// Formats an amount of a resource for a person, rounded down.
pub fn format(resource: &str, thousandths: i128) -> String {
    let whole = thousandths / 1000;
    if resource == "cpu" {
        return match thousandths % 1000 {
            0 => whole.to_string(),
            _ => format!("{thousandths}m"),
        };
    }
    let is_bytes = resource.ends_with("memory")
        || resource.ends_with("storage")
        || resource.starts_with("hugepages-");
    match whole {
        bytes if is_bytes && bytes >= 1 << 30 && bytes % (1 << 30) == 0 => {
            format!("{}Gi", bytes >> 30)
        }
        bytes if is_bytes && bytes >= 1 << 20 => format!("{}Mi", bytes >> 20),
        number => number.to_string(),
    }
}

/// Formats an amount of a resource, rounded up.
pub fn format_rounded_up(resource: &str, thousandths: i128) -> String {
    let written = format(resource, thousandths);
    if parse(&written) == Some(thousandths) {
        return written;
    }
    ((thousandths + 999) / 1000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_round_trip() {
        let table = [
            ("cpu", "500m", "500m"),
            ("cpu", "1.5", "1500m"),
            ("cpu", "2000m", "2"),
            ("cpu", ".1", "100m"),
            ("memory", "24632884Ki", "24055Mi"),
            ("memory", "1.5Gi", "1536Mi"),
            ("memory", "1G", "953Mi"),
            ("memory", "2048Mi", "2Gi"),
            ("memory", "128e6", "122Mi"),
            ("memory", "17", "17"),
            ("pods", "110", "110"),
            ("example.com/gpu", "1", "1"),
        ];
        for (resource, text, expected) in table {
            assert_eq!(format(resource, parse(text).unwrap()), expected, "{text}");
        }
        assert_eq!(format_rounded_up("memory", parse("1G").unwrap()), "1000000000");
        assert_eq!(format_rounded_up("memory", parse("1Gi").unwrap()), "1Gi");
        for text in ["x", "1x", "1.2.3", "-"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
