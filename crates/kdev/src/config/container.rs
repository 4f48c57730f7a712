//! The table `container`: what an image without a Dockerfile contains beside its program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kdev_core::image::assembly::ContainerSettings;
use serde::Deserialize;

use crate::config::base::BaseImage;
use crate::details::Details;

/// The user of the container by default: the one that other images without a shell call
/// `nonroot`.
pub(crate) const DEFAULT_USER: &str = "65532:65532";
/// The protocols of a port in the configuration of an image.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The settings of an image that kdev assembles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct ContainerConfig {
    /// The image on which the program is put.
    #[serde(default)]
    pub base: BaseImage,
    /// Files of the project.
    #[serde(default)]
    pub assets: Vec<Asset>,
    /// Arguments of the program.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables of the program.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The ports on which the program listens. Kubernetes does not read them.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// The user, as in `USER` of a Dockerfile.
    pub user: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// Labels of the image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The signal that ends the program, such as `SIGINT`.
    pub stop_signal: Option<String>,
    /// Whether the image has the certificates of public certificate authorities.
    pub ca_certificates: Option<bool>,
    /// Whether the image has debug information.
    pub keep_debug_info: Option<bool>,
}

/// Files of the project in the image, such as `"static:/srv/static"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "AssetValue")]
pub struct Asset {
    /// The file or directory, relative to the package.
    pub(crate) from: PathBuf,
    /// The absolute path in the image.
    pub(crate) to: String,
    /// The permissions of files.
    pub(crate) mode: Option<u32>,
    /// The user and group ID.
    pub(crate) owner: (u64, u64),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected `FROM:/TO`, or a table with `from`, `to`, `mode`, and `owner`"
)]
enum AssetValue {
    Text(String),
    Table(AssetTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssetTable {
    from: PathBuf,
    to: String,
    /// In octal digits, such as `"0600"`.
    mode: Option<String>,
    /// `USER` or `USER:GROUP`.
    owner: Option<String>,
}

impl TryFrom<AssetValue> for Asset {
    type Error = Details;

    fn try_from(value: AssetValue) -> Result<Self, Details> {
        let table = match value {
            AssetValue::Table(table) => table,
            AssetValue::Text(text) => {
                let expected = || format!("expected `FROM:/TO`, found `{text}`");
                let (from, to) = text.rsplit_once(':').ok_or_else(|| Details(expected()))?;
                let (from, to) = (PathBuf::from(from), to.to_owned());
                AssetTable { from, to, mode: None, owner: None }
            }
        };
        let is_plain = |part: &str| !["", ".", ".."].contains(&part);
        if !table
            .to
            .strip_prefix('/')
            .is_some_and(|to| to.trim_end_matches('/').split('/').all(is_plain))
        {
            return Err(Details(format!("`{}` is not an absolute path in the image", table.to)));
        }
        let mode = table.mode.map(|mode| {
            let bits = u32::from_str_radix(&mode, 8).ok().filter(|bits| *bits <= 0o7777);
            bits.ok_or_else(|| Details(format!("`{mode}` is not a mode such as \"0644\"")))
        });
        let owner = table.owner.unwrap_or_else(|| "0".to_owned());
        let (user, group) = owner.split_once(':').unwrap_or((&owner, &owner));
        let id = |text: &str| {
            text.parse().map_err(|_| Details(format!("`{owner}` is not `USER:GROUP` in numbers")))
        };
        let owner_ids = (id(user)?, id(group)?);
        Ok(Self { from: table.from, to: table.to, mode: mode.transpose()?, owner: owner_ids })
    }
}

/// A port, such as `8080` or `"53/udp"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PortValue")]
pub struct Port(String);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a port such as 8080 or \"53/udp\"")]
enum PortValue {
    Number(u16),
    Text(String),
}

impl TryFrom<PortValue> for Port {
    type Error = Details;

    fn try_from(value: PortValue) -> Result<Self, Details> {
        let text = match value {
            PortValue::Number(number) => number.to_string(),
            PortValue::Text(text) => text,
        };
        let (number, protocol) = text.split_once('/').unwrap_or((&text, PROTOCOLS[0]));
        match number.parse::<u16>() {
            Ok(number) if number > 0 && PROTOCOLS.contains(&protocol) => {
                Ok(Self(format!("{number}/{protocol}")))
            }
            _ => {
                Err(Details(format!("expected a port such as 8080 or \"53/udp\", found `{text}`")))
            }
        }
    }
}

impl ContainerConfig {
    /// Returns why the settings are invalid.
    pub(crate) fn problem(&self) -> Option<String> {
        let is_invalid = |name: &&String| name.is_empty() || name.contains('=');
        if let Some(name) = self.env.keys().find(is_invalid) {
            return Some(format!("`env`: `{name}` is not a name of a variable"));
        }
        let dir = self.working_dir.as_ref().filter(|dir| !dir.starts_with('/'))?;
        Some(format!("`working-dir`: `{dir}` is not an absolute path"))
    }

    /// Returns the settings of the container, which runs the program at this path. The user of
    /// the base has precedence over the default.
    pub(crate) fn settings(&self, program: &str, user_of_base: Option<&str>) -> ContainerSettings {
        let user = self.user.as_deref().or(user_of_base).unwrap_or(DEFAULT_USER);
        ContainerSettings {
            user: Some(user.to_owned()),
            exposed_ports: self.ports.iter().map(|port| port.0.clone()).collect(),
            env: self.env.clone(),
            entrypoint: vec![program.to_owned()],
            cmd: self.args.clone(),
            working_dir: self.working_dir.clone(),
            labels: self.labels.clone(),
            stop_signal: self.stop_signal.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_have_source_and_absolute_target() {
        let asset = |from: &str, to: &str, mode, owner| {
            Ok(Asset { from: from.into(), to: to.to_owned(), mode, owner })
        };
        let table = [
            (r#""static:/srv/static""#, asset("static", "/srv/static", None, (0, 0))),
            (r#""a:b:/c/""#, asset("a:b", "/c/", None, (0, 0))),
            (
                r#"{"from": "key", "to": "/key", "mode": "0600", "owner": "65532"}"#,
                asset("key", "/key", Some(0o600), (65532, 65532)),
            ),
            (
                r#"{"from": "a", "to": "/a", "own": "1"}"#,
                Err("expected `FROM:/TO`, or a table with `from`, `to`, `mode`, and `owner`"),
            ),
            (r#""static""#, Err("expected `FROM:/TO`, found `static`")),
            (r#""static:srv""#, Err("`srv` is not an absolute path in the image")),
            (r#""static:/""#, Err("`/` is not an absolute path in the image")),
            (r#""static:/srv/../etc""#, Err("`/srv/../etc` is not an absolute path in the image")),
            (
                r#"{"from": "a", "to": "/a", "mode": "rw"}"#,
                Err("`rw` is not a mode such as \"0644\""),
            ),
            (
                r#"{"from": "a", "to": "/a", "owner": "web"}"#,
                Err("`web` is not `USER:GROUP` in numbers"),
            ),
        ];
        for (json, expected) in table {
            let found = serde_json::from_str::<Asset>(json).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{json}");
        }
    }

    #[test]
    fn invalid_settings_are_found() {
        let table = [
            (r#"{"working-dir": "/srv", "env": {"A": "b=c"}}"#, None),
            (r#"{"working-dir": "srv"}"#, Some("`working-dir`: `srv` is not an absolute path")),
            (r#"{"env": {"A=B": "c"}}"#, Some("`env`: `A=B` is not a name of a variable")),
        ];
        for (json, expected) in table {
            let config: ContainerConfig = serde_json::from_str(json).unwrap();
            assert_eq!(config.problem().as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn ports_have_number_and_protocol() {
        let table = [
            ("8080", Some("8080/tcp")),
            ("\"53/udp\"", Some("53/udp")),
            ("\"9000\"", Some("9000/tcp")),
            ("0", None),
            ("65536", None),
            ("-1", None),
            ("\"53/dns\"", None),
            ("\"http\"", None),
        ];
        for (json, expected) in table {
            let port = serde_json::from_str::<Port>(json).ok().map(|port| port.0);
            assert_eq!(port.as_deref(), expected, "{json}");
        }
    }
}
