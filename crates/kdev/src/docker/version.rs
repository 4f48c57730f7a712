//! The output of `docker version`, and the reasons why a client and an engine do not work
//! together.

use serde::Deserialize;

use crate::tools::major_minor;

/// The first client, and the first version of the API, with `docker save --platform`.
const SAVES_PLATFORM: ((u32, u32), (u32, u32)) = ((28, 0), (1, 48));

/// The output of `docker version --format '{{json .}}'`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VersionOutput {
    #[serde(default)]
    pub(crate) client: Option<ComponentVersion>,
    #[serde(default)]
    pub(crate) server: Option<ComponentVersion>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ComponentVersion {
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) arch: String,
    /// Operating system and architecture, as Podman's client prints them.
    #[serde(default)]
    pub(crate) os_arch: String,
    /// Only Podman's client has this spelling.
    #[serde(default, rename = "APIVersion")]
    podman_api_version: Option<String>,
    /// The name of the context of a client.
    #[serde(default)]
    pub(crate) context: Option<String>,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    #[serde(default)]
    name: String,
}

impl ComponentVersion {
    /// Returns whether this is the client or the engine of Podman.
    pub(crate) fn is_podman(&self) -> bool {
        self.podman_api_version.is_some()
            || self.components.iter().any(|component| component.name == "Podman Engine")
    }

    /// Returns whether this is the client of nerdctl, which lists the client of `BuildKit`.
    pub(crate) fn is_nerdctl(&self) -> bool {
        self.components.iter().any(|component| component.name == "buildctl")
    }
}

/// Returns whether `docker save` supports `--platform`.
///
/// A client uses the older one of both API versions, or that of `DOCKER_API_VERSION`. It
/// reports its own version if the daemon does not respond within two seconds, such as over SSH.
pub(crate) fn supports_save_platform(client: &ComponentVersion, server: &ComponentVersion) -> bool {
    let (min_client, min_api) = SAVES_PLATFORM;
    let reported = [client, server].map(|side| side.api_version.as_str());
    major_minor(&client.version) >= min_client
        && reported.iter().all(|api| api.is_empty() || major_minor(api) >= min_api)
        && !reported.concat().is_empty()
}

/// Returns text that identifies a daemon and its version.
pub(crate) fn server_fingerprint(output: &[u8]) -> String {
    let output: serde_json::Value = serde_json::from_slice(output).unwrap_or_default();
    output["Server"].to_string()
}

/// Which side has to support another version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiMismatch {
    /// The client's newest version is older than the daemon's oldest one.
    ClientTooOld,
    /// The client's oldest version is newer than the daemon's newest one.
    DaemonTooOld,
}

impl ApiMismatch {
    /// Reads `client version 1.41 is too old. Minimum supported API version is 1.44, …`.
    pub(crate) fn from_message(stderr: &str) -> Option<Self> {
        let (_, rest) = stderr.split_once("client version ")?;
        match rest.split_once(" is too ")?.1 {
            rest if rest.starts_with("old") => Some(Self::ClientTooOld),
            rest if rest.starts_with("new") => Some(Self::DaemonTooOld),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_recognized_as_client_and_as_engine() {
        // The output of Podman 4.3.1, of a Docker client with it, and of Docker.
        let table = [
            (
                r#"{"Client":{"APIVersion":"4.3.1","Version":"4.3.1","OsArch":"linux/amd64"}}"#,
                true,
                false,
            ),
            (
                r#"{"Client":{"Version":"28.2.2","ApiVersion":"1.41"},"Server":{"Components":[{"Name":"Podman Engine","Version":"4.3.1"}],"Version":"4.3.1","ApiVersion":"1.41"}}"#,
                false,
                true,
            ),
            (
                r#"{"Client":{"Version":"28.2.2","ApiVersion":"1.41"},"Server":{"Components":[{"Name":"Engine"}],"Version":"20.10.24","ApiVersion":"1.41"}}"#,
                false,
                false,
            ),
            (r#"{"Client":{"Version":"28.2.2"},"Server":null}"#, false, false),
        ];
        for (json, client, server) in table {
            let version: VersionOutput = serde_json::from_str(json).unwrap();
            let is_podman =
                |side: Option<ComponentVersion>| side.is_some_and(|one| one.is_podman());
            assert_eq!(
                (is_podman(version.client), is_podman(version.server)),
                (client, server),
                "{json}"
            );
        }
    }

    #[test]
    fn save_platform_needs_client_and_both_api_versions() {
        // Negotiated; selected by `DOCKER_API_VERSION`; not negotiated in time; old clients.
        let table = [
            ("28.2.2", "1.48", "1.52", true),
            ("28.2.2", "1.41", "1.41", false),
            ("28.2.2", "1.41", "1.50", false),
            ("28.2.2", "1.50", "1.41", false),
            ("28.2.2", "1.50", "", true),
            ("28.2.2", "", "1.50", true),
            ("28.2.2", "", "1.41", false),
            ("28.2.2", "", "", false),
            ("27.5.1", "1.47", "1.50", false),
            ("20.10.24", "", "1.50", false),
        ];
        for (version, client_api, server_api, expected) in table {
            let side = |version: &str, api: &str| ComponentVersion {
                version: version.to_owned(),
                api_version: api.to_owned(),
                ..ComponentVersion::default()
            };
            let (client, server) = (side(version, client_api), side("29.0.0", server_api));
            let supported = supports_save_platform(&client, &server);
            assert_eq!(supported, expected, "{version} {client_api} {server_api}");
        }
    }

    #[test]
    fn api_mismatch_is_read_from_message() {
        // The messages of Docker 29 and 20.10.
        let table = [
            (
                "Error response from daemon: client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version\n",
                Some(ApiMismatch::ClientTooOld),
            ),
            (
                "Error response from daemon: client version 1.52 is too new. Maximum supported API version is 1.41\n",
                Some(ApiMismatch::DaemonTooOld),
            ),
            ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", None),
        ];
        for (stderr, expected) in table {
            assert_eq!(ApiMismatch::from_message(stderr), expected, "{stderr}");
        }
    }
}
