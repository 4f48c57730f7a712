//! docker's daemon with its image store and its builder, as findings.

use crate::commands::doctor::report::{CheckResult, CheckGroup};
use crate::commands::doctor::fix::Fix;
use crate::cx::Cx;
use crate::docker::{self, Docker};
use crate::parallel::run_both;
use crate::process;
use crate::tools::{self, major_minor};

/// From this client on only buildx speaks to `BuildKit`.
const REQUIRES_BUILDX: (u32, u32) = (23, 0);

/// What is found of docker.
#[derive(Default)]
pub(crate) struct DockerCheck {
    pub(crate) results: Vec<CheckResult>,
    /// What it builds for, unless it is told otherwise.
    pub(crate) platform: Option<String>,
    /// The client's version, where the old builder builds.
    old_builder: Option<String>,
}

impl DockerCheck {
    /// Asks docker; its client is a tool, and looked at as one.
    pub(crate) fn run(cx: &Cx) -> Self {
        match Docker::connect(cx) {
            Ok(docker) => Self::for_client(cx, docker),
            Err(error) if process::is_interrupt(&error) || is_missing(&error) => {
                let words = "there is no `docker`";
                Self::failed(CheckResult::skipped(CheckGroup::Docker, "daemon", words))
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

    fn failed(finding: CheckResult) -> Self {
        Self { results: vec![finding], ..Self::default() }
    }

    fn for_client(cx: &Cx, docker: Docker) -> Self {
        let (store, buildx) = run_both(|| docker.describe_store(cx), || docker.buildx_version(cx));
        let words = format!("{} for {}", docker.version, docker.platform);
        let daemon = CheckResult::ok(CheckGroup::Docker, "daemon", words);
        let store = match store {
            Ok(words) => CheckResult::ok(CheckGroup::Docker, "image-store", words),
            Err(error) => CheckResult::failed(CheckGroup::Docker, "image-store", error),
        };
        let builder = match &buildx {
            Some(version) => format!("BuildKit, by buildx {version}"),
            None => "the old one, for there is no buildx".to_owned(),
        };
        Self {
            results: vec![daemon, store, CheckResult::ok(CheckGroup::Docker, "builder", builder)],
            platform: Some(docker.platform),
            old_builder: buildx.is_none().then_some(docker.client),
        }
    }

    /// What the Dockerfile needs of the builder: a line, and what is in it.
    pub(crate) fn check_dockerfile(&mut self, needed: Option<&(usize, String)>) {
        let (Some(client), Some((line, what))) = (&self.old_builder, needed) else { return };
        let words = format!(
            "line {line} of the Dockerfile is for BuildKit, and docker has no buildx: `{what}`"
        );
        let judged = if major_minor(client) < REQUIRES_BUILDX {
            CheckResult::warning(CheckGroup::Docker, "builder", words, "set DOCKER_BUILDKIT=1")
        } else {
            let help = "install buildx as https://github.com/docker/buildx says";
            CheckResult::error(CheckGroup::Docker, "builder", words, help)
        };
        for found in self.results.iter_mut().filter(|found| found.check == "builder") {
            *found = judged.clone();
        }
    }
}

fn is_missing(error: &docker::Error) -> bool {
    matches!(error, docker::Error::Tool(tools::Error::NotFound { .. }))
}
