//! `cargo kdev init`: writes the first files of a project. It needs no cluster, no network and no
//! manifest.

use std::path::{Path, PathBuf};

use crate::cluster::kubeconfig::{self, ClusterTarget};
use crate::config::{BuilderChoice, Config, ConfigLayer, Error as ConfigError};
use crate::cx::Cx;
use crate::docker::ImageStore;
use crate::error::Result;
use crate::init::image::{self, ImageBuilder};
use crate::init::package::Program;
use crate::init::plan::{self, Facts, Options};
use crate::init::sources::{self, SourceFacts};
use crate::init::toolchain::Toolchain;
use crate::init::{self, Error, FileAction, InitReport, ManifestFormat, WorkloadType};
use crate::parallel::run_both;
use crate::project::{PackageSelection, Project};

/// The options of [`init()`].
#[derive(Clone, Debug, Default)]
pub struct InitRequest {
    /// The package.
    pub selection: PackageSelection,
    /// The kubeconfigs. A context permits changes to its cluster, which `kdev.local.toml` keeps.
    pub target: ClusterTarget,
    /// How the program runs; by default detected.
    pub kind: Option<WorkloadType>,
    /// The port that the program listens on; by default detected.
    pub port: Option<u16>,
    /// The form of the manifests.
    pub format: ManifestFormat,
    /// The program that builds the image; by default cargo, if it can.
    pub builder: Option<BuilderChoice>,
    /// Whether a Secret sets environment variables.
    pub secrets: bool,
    /// Whether files are written without a question.
    pub yes: bool,
    /// Whether files are written outside of a repository.
    pub allow_no_vcs: bool,
}

/// Writes the files that are missing, after `show` has shown them. Returns whether they were
/// written: not in a dry run, not if nothing is missing, and not if the user does not confirm.
pub fn init(cx: &Cx, request: &InitRequest, show: impl FnOnce(&InitReport)) -> Result<bool> {
    let project = Project::read(cx, &request.selection)?;
    let program = Program::read(cx, &project)?;
    let layer = ConfigLayer { builder: request.builder.clone(), ..ConfigLayer::default() };
    let inspected = Config::resolve_without_build(&project, layer.clone())?;
    let config = Config::resolve_without_build(&project, ConfigLayer::default())?;
    let current_context = check_context(&request.target)?;
    let (builder, toolchain) =
        run_both(|| inspect_builder(cx, &inspected), || read_toolchain(cx, &program));
    let kdev_source = if plan::needs_script(&program.workspace_root) {
        init::installed_source(cx, &program.workspace_root)?
    } else {
        None
    };
    let sources = sources::read(&program.dir, &program.main)?;
    let facts = Facts {
        sources: SourceFacts::find(&sources),
        builder: builder?,
        toolchain: toolchain?,
        dockerfile: find_dockerfile(&project, layer)?,
        configured_builder: Some(config.builder.clone()).filter(|one| *one != BuilderChoice::Auto),
        manifests: find_manifests(&config),
        kdev_source,
        current_context,
        program,
    };
    let options = Options {
        kind: request.kind,
        port: request.port,
        format: request.format,
        secrets: request.secrets,
        builder: request.builder.clone(),
        context: request.target.explicit_context(),
        flags: request.selection.to_flags(),
    };
    let report = plan::plan(&facts, &options)?;
    cx.check_interrupt()?;
    show(&report);
    write(cx, request, &report, &facts.program.dir)
}

/// Writes the files if the user confirms it.
fn write(cx: &Cx, request: &InitRequest, report: &InitReport, dir: &Path) -> Result<bool> {
    let changed = report.files.iter().filter(|file| file.action != FileAction::Keep).count();
    if changed == 0 || cx.is_dry_run() {
        return Ok(false);
    }
    if !request.allow_no_vcs && !plan::is_in_repository(dir) {
        return Err(Error::NoRepository { dir: dir.to_owned() }.into());
    }
    if !request.yes {
        let answer = cx.confirm("Write these files?");
        cx.check_interrupt()?;
        if !answer.ok_or(Error::NotConfirmed)? {
            return Ok(false);
        }
    }
    init::write::write(&report.files)?;
    Ok(true)
}

/// Returns the current context. The context that the user has passed must exist, if there is a
/// kubeconfig.
fn check_context(target: &ClusterTarget) -> Result<Option<String>> {
    let Some(view) = kubeconfig::read_selected(target) else { return Ok(None) };
    let known: Vec<String> = view.contexts().into_iter().map(|entry| entry.name).collect();
    match target.explicit_context() {
        Some(context) if !known.contains(&context) => {
            Err(Error::UnknownContext { context, known }.into())
        }
        _ => Ok(view.current_context()),
    }
}

fn read_toolchain(cx: &Cx, program: &Program) -> init::Result<Option<Toolchain>> {
    Toolchain::read(cx, &program.dir, &program.workspace_root)
}

/// Inspects Docker or Podman. A problem is described, because `up` reports it.
fn inspect_builder(cx: &Cx, config: &Config) -> Result<ImageBuilder> {
    let store = match ImageStore::connect(cx, config) {
        Ok(store) => store,
        Err(error) => {
            cx.check_interrupt()?;
            let (name, description) = ("Docker or Podman", error.to_string());
            return Ok(ImageBuilder { name, description, ..ImageBuilder::default() });
        }
    };
    let (name, description, has_cache_mounts) = match &store {
        ImageStore::Podman(podman) => ("Podman", format!("Podman {}", podman.version), true),
        // It pulls images, also those that Docker has.
        ImageStore::Buildx(buildx) => {
            let description = format!("builder `{}` of Buildx", buildx.builder.name);
            return Ok(ImageBuilder {
                name: "Buildx",
                description,
                is_available: true,
                has_cache_mounts: true,
                rust_image: None,
            });
        }
        ImageStore::Assembled(_) => {
            let description = "cargo, without Docker".to_owned();
            let (name, is_available) = ("cargo", true);
            return Ok(ImageBuilder { name, description, is_available, ..ImageBuilder::default() });
        }
        ImageStore::Docker(docker) => {
            let facts = docker.facts(cx, config.builder_name());
            let has_builder = facts.is_ok_and(|facts| facts.builder.is_some());
            let has_buildkit = has_builder || docker.has_own_buildkit(cx);
            let builder = if has_buildkit { "BuildKit" } else { "the legacy builder" };
            ("Docker", format!("Docker {} with {builder}", docker.version), has_buildkit)
        }
    };
    let images = store.images(cx).unwrap_or_default();
    cx.check_interrupt()?;
    let rust_image = image::rust_image(images.iter().map(|image| image.name.as_str()));
    Ok(ImageBuilder { name, description, is_available: true, has_cache_mounts, rust_image })
}

/// Returns the Dockerfile that `up` uses, also if the settings name one that does not exist.
fn find_dockerfile(project: &Project, flags: ConfigLayer) -> Result<Option<PathBuf>> {
    match Config::resolve(project, flags) {
        Ok(config) => Ok(Some(config.dockerfile)),
        Err(ConfigError::ContainerfileNotFound { .. }) => Ok(None),
        Err(ConfigError::DockerfileNotFound { path }) => {
            Ok(Some(path).filter(|path| *path != project.dir.join("Dockerfile")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the manifests that the settings name, or the default folder if it has any.
fn find_manifests(config: &Config) -> Option<PathBuf> {
    if let Some(configured) = &config.manifests {
        return configured.first().cloned();
    }
    let dir = config.dir.join("k8s");
    let entries = std::fs::read_dir(&dir).ok()?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let is_manifest = |path: &PathBuf| {
        path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|one| end == *one))
            || path.ends_with("Chart.yaml")
    };
    paths.into_iter().find(is_manifest)
}
