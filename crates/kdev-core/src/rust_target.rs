//! The targets of Rust for the platforms of nodes.

/// A platform, the architectures of its targets and of `std::env::consts::ARCH`, its target with
/// the GNU C library, and a target whose programs are static by default.
type Row = (&'static str, &'static [&'static str], &'static str, Option<&'static str>);

#[rustfmt::skip]
const TARGETS: [Row; 7] = [
    ("linux/386", &["i586", "i686", "x86"], "i686-unknown-linux-gnu", Some("i686-unknown-linux-musl")),
    ("linux/amd64", &["x86_64"], "x86_64-unknown-linux-gnu", Some("x86_64-unknown-linux-musl")),
    ("linux/arm", &["armv7", "arm"], "armv7-unknown-linux-gnueabihf", Some("armv7-unknown-linux-musleabihf")),
    ("linux/arm64", &["aarch64"], "aarch64-unknown-linux-gnu", Some("aarch64-unknown-linux-musl")),
    ("linux/ppc64le", &["powerpc64le"], "powerpc64le-unknown-linux-gnu", None),
    ("linux/riscv64", &["riscv64gc", "riscv64"], "riscv64gc-unknown-linux-gnu", Some("riscv64gc-unknown-linux-musl")),
    ("linux/s390x", &["s390x"], "s390x-unknown-linux-gnu", None),
];
/// The variants that the targets are for.
const VARIANTS: [&str; 2] = ["linux/arm/v7", "linux/arm64/v8"];

/// Returns the platform of a target, such as `x86_64-unknown-linux-musl`.
pub fn platform(target: &str) -> Option<&'static str> {
    let architecture = target.split('-').next().filter(|_| target.contains("-linux"))?;
    row_of_architecture(architecture).map(|row| row.0)
}

/// Returns the Linux platform of the machine on which this program runs.
pub fn host_platform() -> String {
    let architecture = std::env::consts::ARCH;
    let platform = row_of_architecture(architecture).map(|row| row.0.to_owned());
    platform.unwrap_or_else(|| format!("linux/{architecture}"))
}

/// Returns whether a platform is this one, or a variant of it, such as `linux/arm/v7`.
pub fn is_same_platform(platform: &str, expected: &str) -> bool {
    platform.strip_prefix(expected).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns a target for a platform whose programs are static by default.
pub fn static_target(platform: &str) -> Option<&'static str> {
    row(platform)?.3
}

/// Returns the target for a platform with the GNU C library.
pub fn gnu_target(platform: &str) -> Option<&'static str> {
    row(platform).map(|row| row.2)
}

fn row(platform: &str) -> Option<&'static Row> {
    let is_base = |base: &str| {
        platform == base
            || VARIANTS.contains(&platform)
                && platform.rsplit_once('/').is_some_and(|(start, _)| start == base)
    };
    TARGETS.iter().find(|row| is_base(row.0))
}

fn row_of_architecture(architecture: &str) -> Option<&'static Row> {
    TARGETS.iter().find(|row| row.1.contains(&architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_has_platform() {
        let table = [
            ("x86_64-unknown-linux-gnu", Some("linux/amd64")),
            ("aarch64-unknown-linux-musl", Some("linux/arm64")),
            ("armv7-unknown-linux-musleabihf", Some("linux/arm")),
            ("x86_64-pc-windows-gnu", None),
            ("x86_64-apple-darwin", None),
            ("custom.json", None),
        ];
        for (target, expected) in table {
            assert_eq!(platform(target), expected, "{target}");
        }
        assert!(TARGETS.iter().all(|row| platform(row.2) == Some(row.0)));
        assert!(TARGETS.iter().all(|row| row.3.is_none_or(|musl| platform(musl) == Some(row.0))));
    }

    #[test]
    fn platform_has_targets() {
        let table = [
            ("linux/amd64", Some("x86_64-unknown-linux-musl")),
            ("linux/arm64/v8", Some("aarch64-unknown-linux-musl")),
            ("linux/arm/v7", Some("armv7-unknown-linux-musleabihf")),
            ("linux/s390x", None),
            ("linux/arm/v5", None),
            ("windows/amd64", None),
        ];
        for (platform, expected) in table {
            assert_eq!(static_target(platform), expected, "{platform}");
        }
        assert_eq!(gnu_target("linux/s390x"), Some("s390x-unknown-linux-gnu"));
        assert_eq!(row(&host_platform()).map(|row| row.0.to_owned()), Some(host_platform()));
    }
}
