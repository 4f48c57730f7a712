//! Folders that are rendered: kustomizations with `kubectl`, and charts with `helm`.

use std::path::Path;

use xshell::cmd;

use crate::config::Config;
use crate::cx::Cx;
use crate::manifests::error::{Error, Result};
use crate::manifests::helm::{self, RENDER_TIMEOUT, RenderTarget};
use crate::manifests::source::Manifest;
use crate::process::Command;
use crate::tools::{self, KUBECTL};

/// The files that mark a folder as a kustomization.
pub(crate) const KUSTOMIZATION_FILES: [&str; 3] =
    ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// The file that marks a folder as a chart.
const CHART_FILE: &str = "Chart.yaml";

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
        target: RenderTarget,
    ) -> Result<Manifest> {
        match self {
            Self::Kustomize => kustomize(cx, folder),
            Self::Helm => helm::render(cx, folder, config, target),
        }
    }

    /// Returns the noun for the folders that it renders.
    pub(super) fn source_noun(self) -> &'static str {
        match self {
            Self::Kustomize => "kustomization",
            Self::Helm => "chart",
        }
    }
}

fn kustomize(cx: &Cx, folder: &Path) -> Result<Manifest> {
    let (sh, kubectl) = (cx.shell()?, KUBECTL.find()?);
    let cmd = cmd!(sh, "{kubectl} kustomize {folder}");
    let command = Command::new(cmd).timeout(RENDER_TIMEOUT);
    let generated_by = Some(command.to_string());
    let failed = |failure| Error::Render(folder.to_owned(), failure);
    let output = command.read(cx).map_err(failed)?;
    let text = String::from_utf8(output.stdout)
        .map_err(|error| tools::Error::unexpected(KUBECTL.name, error))?;
    Ok(Manifest { path: folder.to_owned(), text, generated_by, uses_lookup: false })
}
