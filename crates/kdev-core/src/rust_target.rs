//! The targets of Rust for the platforms of nodes.

/// The targets for one platform.
struct PlatformTargets {
    platform: &'static str,
    /// The first parts of the targets' names, and the values of `std::env::consts::ARCH`.
    architectures: &'static [&'static str],
    /// The target with the GNU C library.
    gnu: &'static str,
    /// The target with musl, if its programs are static by default.
    musl: Option<&'static str>,
}

#[rustfmt::skip]
const TARGETS: [PlatformTargets; 7] = [
    PlatformTargets { platform: "linux/386", architectures: &["i586", "i686", "x86"], gnu: "i686-unknown-linux-gnu", musl: Some("i686-unknown-linux-musl") },
    PlatformTargets { platform: "linux/amd64", architectures: &["x86_64"], gnu: "x86_64-unknown-linux-gnu", musl: Some("x86_64-unknown-linux-musl") },
    PlatformTargets { platform: "linux/arm", architectures: &["armv7", "arm"], gnu: "armv7-unknown-linux-gnueabihf", musl: Some("armv7-unknown-linux-musleabihf") },
    PlatformTargets { platform: "linux/arm64", architectures: &["aarch64"], gnu: "aarch64-unknown-linux-gnu", musl: Some("aarch64-unknown-linux-musl") },
    PlatformTargets { platform: "linux/ppc64le", architectures: &["powerpc64le"], gnu: "powerpc64le-unknown-linux-gnu", musl: None },
    PlatformTargets { platform: "linux/riscv64", architectures: &["riscv64gc", "riscv64"], gnu: "riscv64gc-unknown-linux-gnu", musl: Some("riscv64gc-unknown-linux-musl") },
    PlatformTargets { platform: "linux/s390x", architectures: &["s390x"], gnu: "s390x-unknown-linux-gnu", musl: None },
];
/// The variants that the targets are for.
const VARIANTS: [&str; 2] = ["linux/arm/v7", "linux/arm64/v8"];

/// Returns the platform of a target, such as `x86_64-unknown-linux-musl`.
pub fn platform(target: &str) -> Option<&'static str> {
    let architecture = target.split('-').next().filter(|_| target.contains("-linux"))?;
    find_by_architecture(architecture).map(|found| found.platform)
}

/// Returns the Linux platform of the machine on which this program runs.
pub fn host_platform() -> String {
    let architecture = std::env::consts::ARCH;
    let platform = find_by_architecture(architecture).map(|found| found.platform.to_owned());
    platform.unwrap_or_else(|| format!("linux/{architecture}"))
}

/// Returns whether a platform is this one, or a variant of it, such as `linux/arm/v7`.
pub fn is_same_platform(platform: &str, expected: &str) -> bool {
    platform.strip_prefix(expected).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns a target for a platform whose programs are static by default.
pub fn static_target(platform: &str) -> Option<&'static str> {
    find_by_platform(platform)?.musl
}

/// Returns the target for a platform with the GNU C library.
pub fn gnu_target(platform: &str) -> Option<&'static str> {
    find_by_platform(platform).map(|found| found.gnu)
}

fn find_by_platform(platform: &str) -> Option<&'static PlatformTargets> {
    let is_base = |base: &str| {
        platform == base
            || VARIANTS.contains(&platform)
                && platform.rsplit_once('/').is_some_and(|(start, _)| start == base)
    };
    TARGETS.iter().find(|one| is_base(one.platform))
}

fn find_by_architecture(architecture: &str) -> Option<&'static PlatformTargets> {
    TARGETS.iter().find(|one| one.architectures.contains(&architecture))
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
        for one in TARGETS {
            for target in [Some(one.gnu), one.musl].into_iter().flatten() {
                assert_eq!(platform(target), Some(one.platform), "{target}");
            }
        }
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
        let host = host_platform();
        assert_eq!(find_by_platform(&host).map(|found| found.platform), Some(host.as_str()));
    }
}
