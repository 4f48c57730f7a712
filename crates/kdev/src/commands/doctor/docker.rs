//! Checks of Docker: the daemon, its image store and its builder; or of Podman.

use crate::commands::doctor::builder;
use crate::commands::doctor::fix::Fix;
use crate::commands::doctor::report::{CheckGroup, CheckResult};
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{self, ADD_USER_IDS, Buildx, Docker, Engine, ImageStore, Podman};
use crate::parallel::run_both;
use crate::process;
use crate::tools::{self, Tool, major_minor};

/// The first version of the client that uses `BuildKit` only through buildx.
const REQUIRES_BUILDX: (u32, u32) = (23, 0);

/// The platform that a program builds for by default.
#[derive(Clone, Debug)]
pub(crate) struct BuilderPlatform {
    pub(crate) engine: Engine,
    pub(crate) platform: String,
}

/// The result of the checks.
#[derive(Default)]
pub(crate) struct DockerCheck {
    pub(crate) results: Vec<CheckResult>,
    /// Docker or Podman, if it can be used.
    pub(crate) store: Option<ImageStore>,
    /// The default platform of builds.
    pub(crate) platform: Option<BuilderPlatform>,
    /// The version of the client if it uses the legacy builder.
    legacy_builder_client: Option<String>,
}

impl DockerCheck {
    /// Runs the checks. The client is checked with the other tools.
    pub(crate) fn run(cx: &Cx, store: docker::Result<ImageStore>, config: &Config) -> Self {
        match store {
            Ok(store) => {
                let check = match store.clone() {
                    ImageStore::Docker(docker) => Self::for_client(cx, *docker, config),
                    ImageStore::Buildx(buildx) => Self::for_buildx(cx, *buildx, config),
                    ImageStore::Podman(podman) => Self::for_podman(cx, podman),
                    // The target is checked for the platform of the nodes.
                    ImageStore::Assembled(_) => Self::default(),
                };
                Self { store: Some(store), ..check }
            }
            Err(error) if error.is_about_builder() => match Docker::connect(cx) {
                // The check of its builder reports the error.
                Ok(docker) => Self::for_client(cx, docker, config),
                Err(_) => Self::failed(CheckResult::failed(CheckGroup::Docker, "builder", error)),
            },
            Err(error) if is_about_podman(&error) => {
                Self::failed(CheckResult::failed(CheckGroup::Podman, "engine", error))
            }
            Err(error) if is_missing(&error, tools::PODMAN) => {
                let cause = "`podman` not found on PATH";
                Self::failed(CheckResult::skipped(CheckGroup::Podman, "engine", cause))
            }
            Err(error) if process::is_interrupt(&error) || is_missing(&error, tools::DOCKER) => {
                let cause = "`docker` not found on PATH";
                Self::failed(CheckResult::skipped(CheckGroup::Docker, "daemon", cause))
            }
            Err(error) => {
                let fix = match &error {
                    docker::Error::DaemonUnreachable { source, .. } => {
                        Fix::for_docker_error(&source.stderr)
                    }
                    _ => None,
                };
                Self::failed(CheckResult::failed(CheckGroup::Docker, "daemon", error).with_fix(fix))
            }
        }
    }

    fn failed(result: CheckResult) -> Self {
        Self { results: vec![result], ..Self::default() }
    }

    fn for_client(cx: &Cx, docker: Docker, config: &Config) -> Self {
        let (store, buildx) = run_both(|| docker.describe_store(cx), || docker.buildx_version(cx));
        let version = format!("{} for {}", docker.version, docker.platform);
        let daemon = CheckResult::ok(CheckGroup::Docker, "daemon", version);
        let store = match store {
            Ok(name) => CheckResult::ok(CheckGroup::Docker, "image-store", name),
            Err(error) => CheckResult::failed(CheckGroup::Docker, "image-store", error),
        };
        let mut results = vec![daemon, store];
        results.extend(builder::check(cx, &docker, buildx.as_deref(), config));
        Self {
            results,
            platform: Some(BuilderPlatform { engine: Engine::Docker, platform: docker.platform }),
            legacy_builder_client: buildx.is_none().then_some(docker.client),
            store: None,
        }
    }

    /// Checks a builder that keeps its results, and Docker, which its clients may use for
    /// other images.
    fn for_buildx(cx: &Cx, buildx: Buildx, config: &Config) -> Self {
        let platform = buildx.platform().map(str::to_owned);
        let platform =
            platform.map(|platform| BuilderPlatform { engine: Engine::Docker, platform });
        let check = match buildx.docker {
            Some(docker) => Self::for_client(cx, docker, config),
            None => Self { results: builder::check_kept(&buildx.builder, None), ..Self::default() },
        };
        Self { platform, ..check }
    }

    fn for_podman(cx: &Cx, podman: Podman) -> Self {
        let version = format!("{} for {}", podman.version, podman.platform);
        let store = match podman.describe_store(cx) {
            Ok(store) => CheckResult::ok(CheckGroup::Podman, "image-store", store),
            Err(error) => CheckResult::failed(CheckGroup::Podman, "image-store", error),
        };
        let mut results = vec![CheckResult::ok(CheckGroup::Podman, "engine", version), store];
        if podman.has_single_user_id(cx) {
            let evidence = "only one user ID, so Podman cannot store files of other users";
            let result =
                CheckResult::warning(CheckGroup::Podman, "user-ids", evidence, ADD_USER_IDS);
            results.push(result);
        }
        Self {
            results,
            platform: Some(BuilderPlatform { engine: Engine::Podman, platform: podman.platform }),
            legacy_builder_client: None,
            store: None,
        }
    }

    /// Adds a problem if the Dockerfile requires BuildKit and the legacy builder is used.
    /// `required_by` has the number and the text of the line.
    pub(crate) fn check_dockerfile(&mut self, required_by: Option<&(usize, String)>) {
        let (Some(client), Some((line, text))) = (&self.legacy_builder_client, required_by) else {
            return;
        };
        let evidence = format!(
            "line {line} of the Dockerfile requires BuildKit, but buildx is not installed: `{text}`"
        );
        let result = if major_minor(client) < REQUIRES_BUILDX {
            CheckResult::warning(CheckGroup::Docker, "builder", evidence, "set DOCKER_BUILDKIT=1")
        } else {
            let help = "follow https://github.com/docker/buildx to install buildx";
            CheckResult::error(CheckGroup::Docker, "builder", evidence, help)
        };
        for builder in self.results.iter_mut().filter(|result| result.check == "builder") {
            *builder = result.clone();
        }
    }
}

fn is_about_podman(error: &docker::Error) -> bool {
    matches!(error, docker::Error::RemotePodman { .. } | docker::Error::PodmanUnusable { .. })
}

fn is_missing(error: &docker::Error, program: Tool) -> bool {
    matches!(error, docker::Error::Tool(tools::Error::NotFound { tool, .. }) if *tool == program.name)
}
