//! Renders kustomizations with `kubectl` and charts with `helm`.

use std::path::Path;
use std::time::Duration;

use xshell::{Cmd, cmd};

use crate::cluster::kubeconfig::ClusterTarget;
use crate::config::Config;
use crate::cx::Cx;
use crate::manifests::error::{Error, Result};
use crate::manifests::source::Manifest;
use crate::process::Command;
use crate::tools::{self, HELM, KUBECTL, Tool};

/// The files that mark a folder as a kustomization.
const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// The file that marks a folder as a chart.
const CHART_FILE: &str = "Chart.yaml";
/// Limits the rendering of a folder; bases and dependencies can be remote.
const RENDER_TIMEOUT: Duration = Duration::from_secs(120);

/// The program that renders a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generator {
    Kustomize,
    Helm,
}

impl Generator {
    /// Returns the generator for this folder, or `None` if it is not a kustomization or chart.
    pub(crate) fn detect(folder: &Path) -> Option<Self> {
        let has = |name: &str| folder.join(name).is_file();
        if KUSTOMIZATION_FILES.iter().any(|name| has(name)) {
            return Some(Self::Kustomize);
        }
        has(CHART_FILE).then_some(Self::Helm)
    }

    /// Renders the folder.
    pub(crate) fn run(
        self,
        cx: &Cx,
        folder: &Path,
        config: &Config,
        target: &ClusterTarget,
    ) -> Result<Manifest> {
        let command = self.command(cx, folder, config, target)?.timeout(RENDER_TIMEOUT);
        let generated_by = Some(command.to_string());
        let failed = |failure| Error::Render(folder.to_owned(), failure);
        let output = command.read(cx).map_err(failed)?;
        let text = String::from_utf8(output.stdout)
            .map_err(|error| tools::Error::unexpected(self.tool().name, error))?;
        Ok(Manifest { path: folder.to_owned(), text, generated_by })
    }

    fn command(
        self,
        cx: &Cx,
        folder: &Path,
        config: &Config,
        target: &ClusterTarget,
    ) -> Result<Command> {
        let (sh, program) = (cx.shell()?, self.tool().find()?);
        Ok(Command::new(match self {
            Self::Kustomize => tools::without_kuberc(cmd!(sh, "{program} kustomize {folder}")),
            Self::Helm => {
                let release = release_name(&config.package);
                // Test hooks are only for `helm test`.
                let cmd = cmd!(sh, "{program} template {release} {folder} --skip-tests");
                match &config.namespace {
                    Some(namespace) => cmd.arg("--namespace").arg(namespace),
                    None => with_context(cmd, target),
                }
            }
        }))
    }

    fn tool(self) -> Tool {
        match self {
            Self::Kustomize => KUBECTL,
            Self::Helm => HELM,
        }
    }
}

/// Passes the context to `helm`, which then uses its namespace, as kdev does.
fn with_context<'a>(mut cmd: Cmd<'a>, target: &ClusterTarget) -> Cmd<'a> {
    if let Some(kubeconfig) = &target.kubeconfig {
        cmd = cmd.arg("--kubeconfig").arg(kubeconfig);
    }
    match target.explicit_context() {
        Some(context) => cmd.arg("--kube-context").arg(context),
        None => cmd,
    }
}

/// Converts the package's name to a valid Helm release name: at most 53 lowercase letters,
/// digits, and hyphens, without a hyphen at either end.
fn release_name(package: &str) -> String {
    let convert = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = package.chars().map(convert).skip_while(|c| *c == '-').take(53).collect();
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::release_name;

    #[test]
    fn release_name_is_valid_for_any_package() {
        assert_eq!(release_name("My_App"), "my-app");
        assert_eq!(release_name("_app_"), "app");
        assert_eq!(release_name(&"a-".repeat(40)).len(), 53);
        assert_eq!(release_name(&format!("b{}", "a-".repeat(40))).len(), 52);
        assert_eq!(release_name("größe"), "gr--e");
    }
}
