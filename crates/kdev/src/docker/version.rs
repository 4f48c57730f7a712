//! The output of `docker version`, and the reasons why a client and an engine do not work
//! together.

use serde::Deserialize;

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
