//! Checks of the builder that Docker uses, and of how the layers of a build get from there to
//! this machine.

use crate::commands::doctor::report::{CheckGroup, CheckResult};
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{Builder, Buildx, Docker, DockerFacts, LayerSource, start_builder_help};
use crate::process::Command;
use crate::tools::ssh::SshTarget;
use crate::tools::{self, SSH, TOOL_TIMEOUT};

/// How to use the image store of containerd in Docker Desktop.
const ENABLE_STORE_IN_DESKTOP: &str = "in Docker Desktop, enable `Settings → General → Use containerd for pulling and storing images`";
/// How to use the image store of containerd elsewhere. Docker 23 and older do not have it.
const ENABLE_STORE: &str = "add `\"features\": {\"containerd-snapshotter\": true}` to `daemon.json` of the daemon, and restart it";

/// The driver of builders that neither Docker nor Buildx starts.
const REMOTE_DRIVER: &str = "remote";
/// The name of the check of how layers get to this machine.
const LAYERS: &str = "layers";
/// How to get only the changed layers from a builder that can export them.
const REMOVE_LOAD: &str = "remove `--load` from `docker-build` in `[package.metadata.kdev]` to export only the changed layers";
/// How to use the builder of the daemon.
const BUILD_WITH_DOCKER: &str = "pass `--builder buildx:default` to build with Docker";

/// Checks the builder. `buildx` is the version of the plugin.
pub(super) fn check(
    cx: &Cx,
    docker: &Docker,
    buildx: Option<&str>,
    config: &Config,
) -> Vec<CheckResult> {
    let facts = match docker.refresh_facts(cx, config.builder_name()) {
        Ok(facts) => facts,
        Err(error) => return vec![CheckResult::failed(CheckGroup::Docker, "builder", error)],
    };
    let kept = facts.builder.as_ref().filter(|builder| builder.keeps_results());
    let mut results = match kept {
        Some(builder) if config.loads_into_docker() => {
            vec![kept_builder(builder, buildx), check_load(builder)]
        }
        Some(builder) => check_kept(builder, buildx),
        None => {
            let builder = match buildx {
                Some(version) => format!("BuildKit with buildx {version}"),
                None => "legacy builder; buildx is not installed".to_owned(),
            };
            let builder = CheckResult::ok(CheckGroup::Docker, "builder", builder);
            vec![builder, check_layers(&facts, docker.uses_config_digest_as_id())]
        }
    };
    results.extend(check_ssh(cx, &facts));
    results
}

/// Checks a builder that keeps its results. `buildx` is the version of the plugin, if it is known.
pub(super) fn check_kept(builder: &Builder, buildx: Option<&str>) -> Vec<CheckResult> {
    let name = &builder.name;
    let layers = match Buildx::check_export(builder) {
        Ok(()) => {
            let evidence = format!("builder `{name}` exports only the changed layers");
            CheckResult::ok(CheckGroup::Docker, LAYERS, evidence)
        }
        Err(error) => CheckResult::failed(CheckGroup::Docker, LAYERS, error),
    };
    vec![kept_builder(builder, buildx), layers]
}

fn kept_builder(builder: &Builder, buildx: Option<&str>) -> CheckResult {
    let Builder { name, driver, .. } = builder;
    let version = buildx.map(|version| format!(" with buildx {version}")).unwrap_or_default();
    let evidence = format!("builder `{name}` ({driver} driver){version}");
    // Docker starts a container by itself.
    let is_stopped = builder.buildkit_version.is_none() && driver == REMOTE_DRIVER;
    let problem = builder.error.clone().or(is_stopped.then(|| "it is not running".to_owned()));
    match problem {
        Some(problem) => {
            let (evidence, help) = (format!("{evidence}: {problem}"), start_builder_help(name));
            CheckResult::error(CheckGroup::Docker, "builder", evidence, help)
        }
        None => CheckResult::ok(CheckGroup::Docker, "builder", evidence),
    }
}

/// Checks a builder that loads its results into Docker.
fn check_load(builder: &Builder) -> CheckResult {
    let Builder { name, driver, .. } = builder;
    let evidence = format!(
        "builder `{name}` ({driver} driver) loads the whole image into Docker after each build, which takes seconds for a large one"
    );
    let help = if builder.can_export_layout() { REMOVE_LOAD } else { BUILD_WITH_DOCKER };
    CheckResult::warning(CheckGroup::Docker, LAYERS, evidence, help)
}

/// Checks how the changed layers of a build get to this machine.
fn check_layers(facts: &DockerFacts, has_classic_store: bool) -> CheckResult {
    let evidence = match facts.layer_source() {
        LayerSource::Push => match facts.address.strip_prefix("ssh://") {
            Some(host) => format!("Docker on `{host}` pushes only the changed layers, over SSH"),
            None => "Docker pushes only the changed layers".to_owned(),
        },
        LayerSource::Layout => "BuildKit exports only the changed layers".to_owned(),
        LayerSource::Archive => {
            let evidence = format!(
                "Docker exports the whole image after each build, which takes seconds for a large one: {}",
                archive_cause(facts)
            );
            let help = archive_help(facts, has_classic_store);
            return CheckResult::warning(CheckGroup::Docker, LAYERS, evidence, help);
        }
    };
    CheckResult::ok(CheckGroup::Docker, LAYERS, evidence)
}

/// Returns why the changed layers cannot be requested alone.
fn archive_cause(facts: &DockerFacts) -> String {
    let place = if facts.is_desktop {
        "the virtual machine of Docker Desktop cannot connect to this machine".to_owned()
    } else if facts.address.starts_with("unix://") {
        "the daemon cannot connect to this machine".to_owned()
    } else {
        format!("the daemon at `{}` cannot connect to this machine", facts.address)
    };
    let store = match &facts.builder {
        None => "the legacy builder cannot export single layers",
        Some(_) => "its image store cannot export single layers",
    };
    format!("{place}, and {store}")
}

/// Returns how to get only the changed layers.
fn archive_help(facts: &DockerFacts, has_classic_store: bool) -> &'static str {
    match &facts.builder {
        _ if has_classic_store && facts.is_desktop => ENABLE_STORE_IN_DESKTOP,
        _ if has_classic_store && facts.address.starts_with("tcp://") => {
            "connect to the daemon over SSH, such as with `DOCKER_HOST=ssh://USER@HOST`"
        }
        _ if has_classic_store => ENABLE_STORE,
        None => tools::INSTALL_BUILDX,
        Some(_) => "follow https://docs.docker.com/engine/install to upgrade the Docker daemon",
    }
}

/// Checks whether the connections of a client to a daemon on another machine are shared.
fn check_ssh(cx: &Cx, facts: &DockerFacts) -> Option<CheckResult> {
    let target = SshTarget::parse(facts.address.strip_prefix("ssh://")?.split('/').next()?)?;
    let (check, host) = ("ssh-connections", &target.host);
    let path = SSH.find().ok()?;
    let sh = cx.shell().ok()?;
    let cmd = tools::ssh::ssh_command(&sh, &path, None).arg("-G");
    let user = target.user.iter().flat_map(|user| ["-l", user]);
    let port = target.port.map(|port| port.to_string());
    let port = port.iter().flat_map(|port| ["-p", port]);
    let cmd = cmd.args(user).args(port).args(["--", host]);
    let output = Command::new(cmd).timeout(TOOL_TIMEOUT).read(cx).ok()?.text();
    if shares_connections(&output) {
        let evidence = format!("the connections to `{host}` are shared");
        return Some(CheckResult::ok(CheckGroup::Docker, check, evidence));
    }
    let evidence =
        format!("each build opens about 10 connections to `{host}`, because they are not shared");
    let help = format!(
        "add `ControlMaster auto`, `ControlPath ~/.ssh/%C`, and `ControlPersist 60` for `{host}` to `~/.ssh/config`"
    );
    Some(CheckResult::warning(CheckGroup::Docker, check, evidence, help))
}

/// Reads the output of `ssh -G`.
fn shares_connections(output: &str) -> bool {
    let value = |name: &str| {
        let mut lines = output.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let is_on = |name| !matches!(value(name), None | Some("false" | "no" | "none"));
    is_on("controlmaster") && is_on("controlpath")
}
