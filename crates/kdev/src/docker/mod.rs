//! Runs Docker or Podman: their properties, images and archives.
//!
//! - `builder.rs`: the builder that Docker uses
//! - `buildx.rs`: a builder that keeps the results of its builds
//! - `data_disk.rs`: the disk on which a local daemon stores images
//! - `detect.rs`: finds out the properties of the daemon and of its builder
//! - `facts.rs`: these properties, and their file in the cache directory
//! - `kept.rs`: the builds of builders that keep the results
//! - `layout.rs`: exports images with BuildKit
//! - `namespace.rs`: listens in the network namespace of a daemon
//! - `podman.rs`: Podman
//! - `ports.rs`: the ports of the endpoint that the daemon pushes to
//! - `reach.rs`: opens this endpoint
//! - `store.rs`: one of them, which has the images
//! - `tunnel.rs`: forwards a port of a remote daemon's machine
//! - `version.rs`: client and engines that do not work together, such as Podman

mod assembled;
mod builder;
mod buildx;
mod data_disk;
mod detect;
mod error;
mod facts;
mod kept;
mod layout;
mod namespace;
mod podman;
mod ports;
mod reach;
mod store;
mod tunnel;
mod version;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use kdev_core::image::archive;
use kdev_core::image::built::BuiltImage;
use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::Reference;
use serde::Deserialize;
use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use crate::cx::Cx;
use crate::process::{self, Command, Failure};
use crate::tools::{self, TOOL_TIMEOUT, major_minor};

pub(crate) use assembled::AssembledImages;
pub(crate) use builder::Builder;
pub(crate) use buildx::Buildx;
pub(crate) use data_disk::full_disk_hint;
pub(crate) use error::Result;
pub(crate) use error::start_builder_help;
pub use error::{DockerHost, Error};
use facts::DaemonInfo;
pub(crate) use facts::{DockerFacts, LayerSource, selects_builder};
pub use kdev_core::image::local::Engine;
pub(crate) use kept::KeptBuild;
pub(crate) use layout::NO_ATTESTATIONS;
pub use namespace::run_namespace_helper;
pub(crate) use podman::{ADD_USER_IDS, Podman};
use reach::EndpointSlot;
pub(crate) use store::ImageStore;
use version::{ApiMismatch, ComponentVersion, VersionOutput};

/// The variable that selects the version of the API, which the client otherwise negotiates.
const API_VERSION: &str = "DOCKER_API_VERSION";
/// The name of the context without settings.
const DEFAULT_CONTEXT: &str = "default";
/// The first daemon with the containerd image store.
const HAS_CONTAINERD_STORE: (u32, u32) = (24, 0);

/// The Docker client and its daemon.
#[derive(Clone, Debug)]
pub(crate) struct Docker {
    path: PathBuf,
    /// The client's version.
    pub(crate) client: String,
    /// The daemon's version.
    pub(crate) version: String,
    /// The daemon's default platform.
    pub(crate) platform: String,
    /// The name of the context.
    context: String,
    /// Identifies the daemon and its version.
    fingerprint: String,
    /// The output of `docker info`; not requested from a daemon that is too old for the
    /// containerd image store.
    info: Option<Box<DaemonInfo>>,
    /// Whether the daemon uses the containerd image store, where an image ID is the digest
    /// of a manifest and not of a configuration.
    containerd_store: bool,
    /// Whether `docker save` supports `--platform`.
    supports_save_platform: bool,
    /// The endpoint that the daemon pushes to.
    endpoint: EndpointSlot,
}

/// An image in the output of `docker image inspect`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InspectedImage {
    pub(crate) id: String,
    pub(crate) os: String,
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) size: u64,
    /// The settings of containers.
    #[serde(default)]
    pub(crate) config: Value,
    #[serde(default, rename = "RootFS")]
    root_fs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Vec<String>,
}

impl InspectedImage {
    /// Returns the diffIDs of the layers, the base first.
    pub(crate) fn layers(&self) -> Vec<String> {
        self.root_fs.layers.clone()
    }
}

impl Docker {
    /// Finds the client and connects to its daemon.
    pub(crate) fn connect(cx: &Cx) -> Result<Self> {
        let path = tools::DOCKER.find()?;
        let sh = cx.shell()?;
        let format = "{{json .}}";
        let command =
            Command::new(cmd!(sh, "{path} version --format {format}")).timeout(TOOL_TIMEOUT);
        let display = command.to_string();
        let output = command.output(cx).map_err(|f| daemon_unreachable(cx, &path, f))?;
        let version: VersionOutput = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let fingerprint = version::server_fingerprint(&output.stdout);
        if let Some(client) = &version.client {
            check_client(client)?;
        }
        let Some(server) = version.server else {
            let failure = Failure::from_output(display, output);
            let client = version.client.unwrap_or_default().version;
            return Err(match ApiMismatch::from_message(&failure.stderr) {
                Some(mismatch) => api_mismatch(cx, &path, client, mismatch, failure),
                None => daemon_unreachable(cx, &path, failure),
            });
        };
        if server.is_podman() {
            return Err(Error::Podman { host: selected_host(cx, &path) });
        }
        tools::DOCKER.check_min_version(&server.version)?;
        let has_store = major_minor(&server.version) >= HAS_CONTAINERD_STORE;
        let info = has_store.then(|| daemon_info(cx, &path)).transpose()?.map(Box::new);
        let containerd_store = info.as_ref().is_some_and(|info| info.has_containerd_store());
        let client = version.client.unwrap_or_default();
        let supports_save_platform = version::supports_save_platform(&client, &server);
        let platform = format!("{}/{}", server.os, server.arch);
        Ok(Self {
            path,
            client: client.version,
            version: server.version,
            platform,
            context: client.context.unwrap_or_else(|| DEFAULT_CONTEXT.to_owned()),
            fingerprint,
            info,
            containerd_store,
            supports_save_platform,
            endpoint: EndpointSlot::default(),
        })
    }

    /// Describes the image store.
    pub(crate) fn describe_store(&self, cx: &Cx) -> Result<String> {
        let info = self.info(cx)?;
        let store = if self.containerd_store { "containerd" } else { "classic" };
        Ok(format!("{store} ({})", info.driver()))
    }

    /// Returns the version of buildx, or `None` if the legacy builder is used.
    pub(crate) fn buildx_version(&self, cx: &Cx) -> Option<String> {
        let sh = cx.shell().ok()?;
        let command = Command::new(self.cmd(&sh).args(["buildx", "version"])).timeout(TOOL_TIMEOUT);
        let output = command.read(cx).ok()?.text();
        // `github.com/docker/buildx v0.12.1 30feaa1`
        output.split_whitespace().find(|word| word.starts_with('v')).map(str::to_owned)
    }

    /// Starts a docker command line; the subcommand follows.
    pub(crate) fn cmd<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        let path = &self.path;
        cmd!(sh, "{path}")
    }

    /// Inspects an image.
    pub(crate) fn inspect(&self, cx: &Cx, image: &str) -> Result<InspectedImage> {
        let sh = cx.shell()?;
        let command = Command::new(self.cmd(&sh).args(["image", "inspect", "--", image]))
            .timeout(TOOL_TIMEOUT);
        let output = command.read(cx).map_err(|failure| match failure.stderr.to_lowercase() {
            stderr if stderr.contains("no such image") => {
                Error::ImageNotFound { image: image.to_owned(), engine: Engine::Docker }
            }
            _ => command_error(failure, format!("inspect image `{image}`")),
        })?;
        let images: Vec<InspectedImage> =
            serde_json::from_slice(&output.stdout).map_err(unexpected_output)?;
        images.into_iter().next().ok_or_else(|| unexpected_output("no image"))
    }

    /// Lists all named images, the newest first.
    pub(crate) fn images(&self, cx: &Cx) -> Result<Vec<LocalImage>> {
        let sh = cx.shell()?;
        let format = "{{json .}}";
        let list = self.cmd(&sh).args(["image", "ls", "--no-trunc", "--format", format]);
        let listed = Command::new(list).timeout(TOOL_TIMEOUT).read(cx);
        let text = listed.map_err(|f| command_error(f, "list the images".to_owned()))?.text();
        let entries =
            text.lines().filter_map(|line| serde_json::from_str::<ImageListEntry>(line).ok());
        Ok(entries.filter_map(ImageListEntry::into_local_image).collect())
    }

    /// Returns the platforms of images, by ID.
    pub(crate) fn platforms(&self, cx: &Cx, ids: &[&str]) -> Result<BTreeMap<String, String>> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let sh = cx.shell()?;
        let command = Command::new(self.cmd(&sh).args(["image", "inspect", "--"]).args(ids));
        // It fails if an image was removed in the meantime, but prints the others.
        let Ok(output) = command.timeout(TOOL_TIMEOUT).output(cx) else {
            return Ok(BTreeMap::new());
        };
        let images: Vec<InspectedImage> =
            serde_json::from_slice(&output.stdout).map_err(unexpected_output)?;
        let platform =
            |image: InspectedImage| (image.id, format!("{}/{}", image.os, image.architecture));
        Ok(images.into_iter().map(platform).collect())
    }

    /// Returns whether an image ID is the digest of the configuration, as in container
    /// runtimes. This is only true without the containerd image store.
    pub(crate) fn uses_config_digest_as_id(&self) -> bool {
        !self.containerd_store
    }

    /// Reads the archive of an image. Calls `other` for each file that cannot be JSON, such as
    /// a layer.
    pub(crate) fn read_saved(
        &self,
        cx: &Cx,
        image: &BuiltImage,
        other: impl FnMut(&str, &mut dyn Read) -> io::Result<()> + Send,
    ) -> Result<archive::Image> {
        let sh = cx.shell()?;
        let command = Command::new(self.save_args(&sh, &image.id, &image.platform));
        let read = |saved| archive::read_image(saved, &image.platform, other);
        let output = command.read_with(cx, read);
        let found = output.map_err(|f| command_error(f, "read the image's archive".to_owned()))?;
        found.map_err(unexpected_output)
    }

    /// Tags an image with the reference under which it is saved.
    pub(crate) fn tag(&self, cx: &Cx, id: &str, reference: &Reference) -> Result<()> {
        let sh = cx.shell()?;
        let name = reference.familiar();
        let command = Command::new(self.cmd(&sh).args(["tag", id, &name])).timeout(TOOL_TIMEOUT);
        command.read(cx).map_err(|f| command_error(f, format!("tag image `{name}`")))?;
        Ok(())
    }

    /// Pushes an image to an open endpoint, under a temporary tag. Returns what Docker prints:
    /// among others, the digest of the pushed manifest.
    pub(crate) fn push(&self, cx: &Cx, image: &BuiltImage, registry: &str) -> Result<String> {
        let sh = cx.shell()?;
        let run = |args: &[&str]| {
            // kdev's endpoint is no registry with signed tags.
            let cmd = self.cmd(&sh).args(args).env_remove("DOCKER_CONTENT_TRUST");
            Command::new(cmd).read(cx).map_err(|f| command_error(f, "push the layers".to_owned()))
        };
        // No other run uses this name while the port is in use.
        let name = format!("{registry}/kdev:push");
        run(&["tag", &image.id, &name])?;
        let platform = ["--platform", &image.platform];
        let platform_flag: &[&str] =
            if self.containerd_store && self.supports_save_platform { &platform } else { &[] };
        let pushed = run(&[&["push"], platform_flag, &[&name]].concat());
        let untag = Command::new(self.cmd(&sh).args(["image", "rm", "--no-prune", &name]));
        let _ = untag.ignore_interrupt().timeout(TOOL_TIMEOUT).output(cx);
        Ok(pushed?.text())
    }

    /// Stores an image whose archive `write` writes.
    pub(crate) fn load(
        &self,
        cx: &Cx,
        name: &str,
        write: impl FnOnce(ChildStdin) -> io::Result<()> + Send,
    ) -> Result<()> {
        let sh = cx.shell()?;
        let command = Command::new(self.cmd(&sh).arg("load"));
        let display = command.to_string();
        let (output, written) = command.feed(cx, |stdin, _| write(stdin));
        let action = || format!("load image `{name}` into Docker");
        let output = output.map_err(|failure| command_error(failure, action()))?;
        match written {
            // Docker has failed, or does not need the end of the archive.
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(process::Error::write("the archive for Docker")(error).into());
            }
            _ => {}
        }
        let is_loaded = output.status.success();
        let failure = || command_error(Failure::from_output(display, output), action());
        if is_loaded { Ok(()) } else { Err(failure()) }
    }

    /// Returns the command that writes the archive of an image to stdout.
    pub(crate) fn save_command(&self, cx: &Cx, image: &BuiltImage) -> Result<Command> {
        let sh = cx.shell()?;
        Ok(Command::new(self.save_args(&sh, &image.reference.familiar(), &image.platform)))
    }

    fn save_args<'a>(&self, sh: &'a Shell, image: &str, platform: &str) -> Cmd<'a> {
        let cmd = self.cmd(sh).arg("save");
        let cmd =
            if self.supports_save_platform { cmd.args(["--platform", platform]) } else { cmd };
        cmd.arg(image)
    }
}

/// A line in the output of `docker image ls`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageListEntry {
    repository: String,
    tag: String,
    #[serde(rename = "ID")]
    id: String,
    created_since: String,
    #[serde(default)]
    created_at: String,
}

impl ImageListEntry {
    fn into_local_image(self) -> Option<LocalImage> {
        let name = Reference::parse(&format!("{}:{}", self.repository, self.tag)).ok()?;
        // Docker capitalizes `Less than a second ago`.
        let age = self.created_since.to_lowercase();
        let made = parse_created_at(&self.created_at).unwrap_or_default();
        Some(LocalImage {
            name: name.to_string(),
            id: self.id,
            age,
            created_at: made,
            ..LocalImage::default()
        })
    }
}

fn daemon_info(cx: &Cx, docker: &Path) -> Result<DaemonInfo> {
    let sh = cx.shell()?;
    let format = DaemonInfo::FORMAT;
    let command = Command::new(cmd!(sh, "{docker} info --format {format}")).timeout(TOOL_TIMEOUT);
    let output = command.read(cx).map_err(|f| daemon_unreachable(cx, docker, f))?;
    serde_json::from_slice(&output.stdout).map_err(unexpected_output)
}

fn daemon_unreachable(cx: &Cx, docker: &Path, failure: Failure) -> Error {
    let host = if failure.is_interrupt() { None } else { selected_host(cx, docker) };
    Error::DaemonUnreachable { source: failure, host }
}

/// Returns the daemon that was selected, or `None` if it is the default one.
fn selected_host(cx: &Cx, docker: &Path) -> Option<DockerHost> {
    let sh = cx.shell().ok()?;
    let format = "{{.Name}} {{.Endpoints.docker.Host}}";
    let command =
        Command::new(cmd!(sh, "{docker} context inspect --format {format}")).timeout(TOOL_TIMEOUT);
    let output = command.read(cx).ok()?.text();
    let (context, address) = output.trim().split_once(' ')?;
    let is_selected = !tools::DOCKER_SOCKETS.contains(&address);
    let is_variable = cx.docker_settings().variable("DOCKER_CONTEXT") == Some(context);
    let (context, address) = (context.to_owned(), address.to_owned());
    is_selected.then_some(DockerHost { context, address, is_variable })
}

/// Checks that the client is Docker's and new enough.
fn check_client(client: &ComponentVersion) -> Result<()> {
    if client.is_podman() {
        return Err(tools::Error::Podman.into());
    }
    if client.is_nerdctl() {
        return Err(Error::Nerdctl);
    }
    Ok(tools::DOCKER.check_min_version(&client.version)?)
}

/// Finds out whether `DOCKER_API_VERSION` prevents an API version that both sides support.
fn api_mismatch(
    cx: &Cx,
    docker: &Path,
    client: String,
    mismatch: ApiMismatch,
    source: Failure,
) -> Error {
    let without_variable = cx.shell().map(|sh| {
        let cmd = cmd!(sh, "{docker} version").env_remove(API_VERSION);
        Command::new(cmd).timeout(TOOL_TIMEOUT).read(cx)
    });
    match mismatch {
        _ if matches!(without_variable, Ok(Ok(_))) => Error::ApiVersionVariable { source },
        ApiMismatch::ClientTooOld => Error::ClientTooOld { client, source },
        ApiMismatch::DaemonTooOld => Error::DaemonTooOld { client, source },
    }
}

fn command_error(source: Failure, action: String) -> Error {
    Error::Command { action, source }
}

fn unexpected_output(reason: impl std::fmt::Display) -> Error {
    tools::Error::unexpected("docker", reason).into()
}

/// Converts a time such as `2026-01-31 13:00:00 +0100 CET` to RFC 3339.
fn parse_created_at(time: &str) -> Option<String> {
    let zone = time.match_indices(' ').nth(2).map_or(time.len(), |(at, _)| at);
    let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", &time[..zone]).ok()?;
    Some(time.to_timestamp().ok()?.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn parse_created_at_accepts_docker_times() {
        let table = [
            ("2026-01-31 13:00:00 +0100 CET", Some("2026-01-31T12:00:00Z")),
            ("2026-01-31 12:00:00 +0000 UTC", Some("2026-01-31T12:00:00Z")),
            ("0001-01-01 00:00:00 +0000 UTC", Some("0001-01-01T00:00:00Z")),
            ("N/A", None),
            ("", None),
        ];
        for (time, expected) in table {
            assert_eq!(super::parse_created_at(time).as_deref(), expected, "{time}");
        }
    }
}
