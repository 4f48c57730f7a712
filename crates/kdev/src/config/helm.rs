//! The table `helm`: how charts are rendered.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The keys of the table.
pub(crate) const HELM_KEYS: [&str; 4] = ["release", "values", "set", "api-versions"];
/// Helm accepts no longer name of a release.
pub(crate) const RELEASE_LIMIT: usize = 53;

/// How charts are rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct HelmSettings {
    /// The name of the release; the name of the package by default.
    pub release: Option<String>,
    /// Files with values, as for `--values`: the last file wins.
    pub values: Option<Vec<PathBuf>>,
    /// Values as for `--set`, such as `image.pullPolicy=Never`.
    pub set: Option<Vec<String>>,
    /// API versions for `.Capabilities.APIVersions`, beside those of the cluster.
    pub api_versions: Option<Vec<String>>,
}

impl HelmSettings {
    /// Returns the settings with unset keys taken from a lower layer.
    pub(super) fn or(self, lower: Self) -> Self {
        Self {
            release: self.release.or(lower.release),
            values: self.values.or(lower.values),
            set: self.set.or(lower.set),
            api_versions: self.api_versions.or(lower.api_versions),
        }
    }

    /// Returns the settings with the paths of a table in this directory.
    pub(super) fn in_dir(self, dir: &Path) -> Self {
        let join = |files: Vec<PathBuf>| files.iter().map(|file| dir.join(file)).collect();
        Self { values: self.values.map(join), ..self }
    }

    /// Returns which key is invalid, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if let Some(release) = self.release.as_ref().filter(|name| !is_release_name(name)) {
            let reason = format!(
                "`{release}` is not a name of a release: at most {RELEASE_LIMIT} lowercase letters, digits, and hyphens"
            );
            return Some(("release", reason));
        }
        let set = self.set.iter().flatten().find(|text| !has_key(text))?;
        Some(("set", format!("expected `KEY=VALUE`, found `{set}`")))
    }
}

/// Returns whether Helm accepts the name: as a DNS subdomain, but shorter.
fn is_release_name(name: &str) -> bool {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(is_valid) && label.trim_matches('-') == label
    };
    name.len() <= RELEASE_LIMIT && name.split('.').all(is_label)
}

fn has_key(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_dns_name_and_values_have_keys() {
        let release =
            |name: &str| HelmSettings { release: Some(name.to_owned()), ..HelmSettings::default() };
        for name in ["web", "web-1", "1.web", &"a".repeat(53)] {
            assert_eq!(release(name).problem(), None, "{name}");
        }
        for name in ["", "Web", "-web", "web-", "web..a", "a b", &"a".repeat(54)] {
            assert_eq!(release(name).problem().unwrap().0, "release", "{name}");
        }
        let set =
            |text: &str| HelmSettings { set: Some(vec![text.into()]), ..HelmSettings::default() };
        for text in ["a=1", "a.b=", "a={x,y}", "a[0]=b=c"] {
            assert_eq!(set(text).problem(), None, "{text}");
        }
        for text in ["a", "", "=1"] {
            assert_eq!(set(text).problem().unwrap().0, "set", "{text}");
        }
    }
}
