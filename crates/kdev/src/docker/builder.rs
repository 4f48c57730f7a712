//! The builder that Docker uses: the output of `docker buildx inspect`.

use kdev_core::text;
use serde::{Deserialize, Serialize};

/// The driver of the builders that are part of a daemon and store images there.
const DAEMON_DRIVER: &str = "docker";
/// The label of a worker that stores images in containerd.
const SNAPSHOTTER_LABEL: &str = "org.mobyproject.buildkit.worker.snapshotter:";
/// The names of the field with the version of `BuildKit`; the second one is that of older
/// versions of buildx.
const VERSION_FIELDS: [&str; 2] = ["BuildKit version:", "Buildkit:"];
/// The mark of platforms that the user has set for a node.
const SET_BY_USER: char = '*';
/// The first `BuildKit` whose image layouts have the file `oci-layout`.
pub(crate) const WRITES_LAYOUTS: (u32, u32) = (0, 12);
/// The first `BuildKit` that exports a build twice: into Docker, and as an image layout.
const EXPORTS_TWICE: (u32, u32) = (0, 13);

/// A builder of `BuildKit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Builder {
    pub(crate) name: String,
    /// Such as `docker`, `docker-container`, `remote`, or `kubernetes`.
    pub(crate) driver: String,
    /// The version of `BuildKit`; `None` if no node of the builder is running.
    pub(crate) buildkit_version: Option<(u32, u32)>,
    /// Whether the node that builds for the default platform is running.
    pub(crate) is_running: bool,
    /// The platform that it builds for by default, if it is known.
    #[serde(default)]
    pub(crate) default_platform: Option<String>,
    /// The platforms that it can build for, such as `linux/arm64`.
    pub(crate) platforms: Vec<String>,
    /// Whether it stores images in containerd.
    has_snapshotter: bool,
    /// Why a node cannot be used.
    pub(crate) error: Option<String>,
}

impl Builder {
    /// Reads the fields of the builder and of its nodes.
    pub(crate) fn parse(output: &str) -> Option<Self> {
        let (head, nodes) = output.split_once("\nNodes:").unwrap_or((output, ""));
        let field = |name: &str| field(head, name);
        let (name, driver) = (field("Name:")?, field("Driver:")?);
        // Each node begins with its name.
        let nodes: Vec<String> =
            nodes.split("\nName:").skip(1).map(|node| format!("Name:{node}")).collect();
        let version = |node: &String| {
            parse_version(&VERSION_FIELDS.iter().find_map(|name| self::field(node, name))?)
        };
        let node = nodes.iter().find(|node| version(node).is_some());
        let platforms: Vec<String> = nodes.iter().flat_map(|node| node_platforms(node)).collect();
        let error =
            field("Error:").or_else(|| nodes.iter().find_map(|node| self::field(node, "Error:")));
        Some(Self {
            name,
            driver,
            buildkit_version: node.and_then(version),
            is_running: nodes.first().is_some_and(|node| is_running(node)),
            default_platform: nodes.first().and_then(|node| default_platform(node)),
            platforms,
            has_snapshotter: node.is_some_and(|node| node.contains(SNAPSHOTTER_LABEL)),
            error: error.map(|error| text::printable(&error)),
        })
    }

    /// Returns whether it keeps the results of builds, instead of storing them in Docker.
    pub(crate) fn keeps_results(&self) -> bool {
        self.driver != DAEMON_DRIVER
    }

    /// Returns whether it can write an image layout into a directory of this machine. The
    /// version of a builder that is not running is unknown; a build starts it, and its image
    /// is usually recent.
    pub(crate) fn can_export_layout(&self) -> bool {
        if self.keeps_results() {
            self.buildkit_version.is_none_or(|version| version >= WRITES_LAYOUTS)
        } else {
            // The classic image store has no OCI exporter.
            self.has_snapshotter
                && self.buildkit_version.is_some_and(|version| version >= EXPORTS_TWICE)
        }
    }
}

/// Returns whether a node can build without being started.
fn is_running(node: &str) -> bool {
    field(node, "Status:").is_some_and(|status| status == "running")
}

/// Returns the platforms of a node.
fn node_platforms(node: &str) -> Vec<String> {
    let list = field(node, "Platforms:").unwrap_or_default();
    let names = list.split(',').map(|one| one.trim().trim_end_matches(SET_BY_USER).to_owned());
    names.filter(|platform| !platform.is_empty()).collect()
}

/// Returns the platform that a build without `--platform` has on the first node of a builder.
/// Platforms that the user has set are listed before those of the node.
fn default_platform(node: &str) -> Option<String> {
    let is_set = field(node, "Platforms:")?.contains(SET_BY_USER);
    if is_set { None } else { node_platforms(node).into_iter().next() }
}

/// Returns the rest of the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Reads `v0.25.1`, and `v0.8+unknown` of Debian's Docker.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of buildx 0.29 for Docker 29.
    const CONTAINERD: &str = "\
Name:          default
Driver:        docker
Last Activity: 2026-11-28 05:00:25 +0000 UTC

Nodes:
Name:             default
Endpoint:         default
Status:           running
BuildKit version: v0.25.1
Platforms:        linux/amd64, linux/amd64/v2, linux/arm64*
Labels:
 org.mobyproject.buildkit.worker.containerd.namespace: moby
 org.mobyproject.buildkit.worker.executor:             containerd
 org.mobyproject.buildkit.worker.snapshotter:          overlayfs
GC Policy rule#0:
 All:            false
";
    /// The output of buildx 0.29 for Docker 20.10 of Debian.
    const CLASSIC: &str = "\
Name:          default
Driver:        docker
Last Activity: 2026-11-28 04:46:51 +0000 UTC

Nodes:
Name:             default
Endpoint:         default
Status:           running
BuildKit version: v0.8+unknown
Platforms:        linux/amd64, linux/386
";
    /// The output of buildx 0.29 for a builder whose socket does not exist.
    const INACTIVE: &str = "\
Name:          far
Driver:        remote
Last Activity: 2026-11-28 05:00:25 +0000 UTC

Nodes:
Name:     far0
Endpoint: unix:///tmp/nosuch.sock
Status:   inactive
";

    #[test]
    fn builder_has_driver_version_and_platforms() {
        let builder = |name: &str, driver: &str| Builder {
            name: name.to_owned(),
            driver: driver.to_owned(),
            ..Builder::default()
        };
        let strings = |platforms: &[&str]| platforms.iter().map(ToString::to_string).collect();
        let containerd = Builder {
            buildkit_version: Some((0, 25)),
            platforms: strings(&["linux/amd64", "linux/amd64/v2", "linux/arm64"]),
            has_snapshotter: true,
            is_running: true,
            ..builder("default", "docker")
        };
        let classic = Builder {
            buildkit_version: Some((0, 8)),
            platforms: strings(&["linux/amd64", "linux/386"]),
            is_running: true,
            default_platform: Some("linux/amd64".to_owned()),
            ..builder("default", "docker")
        };
        let table = [
            (CONTAINERD, Some(containerd)),
            (CLASSIC, Some(classic.clone())),
            (&CLASSIC.replace("BuildKit version", "Buildkit"), Some(classic)),
            (INACTIVE, Some(builder("far", "remote"))),
            ("ERROR: no builder \"far\" found\n", None),
        ];
        for (output, expected) in table {
            assert_eq!(Builder::parse(output), expected, "{output}");
        }
    }

    #[test]
    fn nodes_of_builder_share_platforms() {
        let running = "Name:             far1\nStatus:           running\nBuildKit version: v0.34.2\nPlatforms:        linux/arm64\n";
        let builder = Builder::parse(&format!("{INACTIVE}\n{running}")).unwrap();
        assert_eq!(builder.buildkit_version, Some((0, 34)));
        assert_eq!(builder.platforms, ["linux/arm64"]);
        // A build without a platform starts the first node.
        assert_eq!((builder.is_running, builder.default_platform), (false, None));
    }

    #[test]
    fn layout_export_depends_on_driver_store_and_version() {
        let table = [
            // Docker needs its containerd image store, and two outputs of one build.
            ("docker", Some((0, 25)), true, true),
            ("docker", Some((0, 13)), true, true),
            ("docker", Some((0, 12)), true, false),
            ("docker", Some((0, 25)), false, false),
            ("docker", None, true, false),
            ("docker-container", Some((0, 25)), false, true),
            ("docker-container", Some((0, 11)), false, false),
            ("docker-container", None, false, true),
            ("remote", Some((0, 34)), true, true),
            ("kubernetes", Some((0, 12)), false, true),
        ];
        for (driver, buildkit_version, has_snapshotter, expected) in table {
            let builder = Builder {
                driver: driver.to_owned(),
                buildkit_version,
                has_snapshotter,
                ..Builder::default()
            };
            assert_eq!(builder.can_export_layout(), expected, "{builder:?}");
        }
    }
}
