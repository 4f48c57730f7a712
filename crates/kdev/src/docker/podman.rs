//! Runs Podman, whose command line is nearly that of Docker.
//!
//! The differences: a name without a registry is in the registry `localhost` and not on
//! Docker Hub, image IDs are always digests of configurations, and nothing has to be pushed
//! to get single layers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kdev_core::image::built::BuiltImage;
use kdev_core::image::local::LocalImage;
use kdev_core::image::reference::Reference;
use xshell::{Cmd, Shell, cmd};

use crate::cx::Cx;
use crate::docker::error::{Error, Result};
use crate::docker::version::VersionOutput;
use crate::docker::{Engine, ImageListEntry, InspectedImage, command_error};
use crate::process::{Command, Disk, Failure, Output};
use crate::tools::{self, TOOL_TIMEOUT};

/// The registry of names without one.
const LOCAL_REGISTRY: &str = "localhost";
/// The variables that select another machine.
const REMOTE_VARIABLES: [&str; 2] = ["CONTAINER_HOST", "CONTAINER_CONNECTION"];
/// The lines of `podman image ls` are those of `docker image ls --format '{{json .}}'`.
const LIST_FORMAT: &str = r#"{"Repository":{{json .Repository}},"Tag":{{json .Tag}},"ID":{{json .ID}},"CreatedSince":{{json .CreatedSince}},"CreatedAt":{{json .CreatedAt}}}"#;

/// How to add user IDs, for which rootless Podman needs a restart.
pub(crate) const ADD_USER_IDS: &str = "run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER && podman system migrate`";

/// Podman on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Podman {
    path: PathBuf,
    pub(crate) version: String,
    /// The default platform of builds.
    pub(crate) platform: String,
}

impl Podman {
    /// Finds Podman, and checks that it runs containers and stores images on this machine.
    pub(crate) fn connect(cx: &Cx) -> Result<Self> {
        let path = tools::PODMAN.find()?;
        let sh = cx.shell()?;
        let format = "{{json .}}";
        let version = cmd!(sh, "{path} version --format {format}");
        let output = Command::new(version).timeout(TOOL_TIMEOUT).read(cx);
        let output = output.map_err(|failure| match &failure.stderr {
            stderr if stderr.contains("Cannot connect to Podman") => remote(cx, &path),
            _ => unusable(failure),
        })?;
        let version: VersionOutput = serde_json::from_slice(&output.stdout)
            .map_err(|error| tools::Error::unexpected(tools::PODMAN.name, error))?;
        let client = version.client.unwrap_or_default();
        tools::PODMAN.check_min_version(&client.version)?;
        if version.server.is_some() {
            return Err(remote(cx, &path));
        }
        Ok(Self { path, version: client.version, platform: client.os_arch })
    }

    /// Returns the name under which Podman has an image that kdev has built or tagged.
    pub(crate) fn local_name(reference: &Reference) -> String {
        let tag = reference.tag().unwrap_or("latest");
        format!("{}:{tag}", local_repository(reference))
    }

    /// Starts a podman command line; the subcommand follows.
    pub(crate) fn cmd<'a>(&self, sh: &'a Shell) -> Cmd<'a> {
        let path = &self.path;
        cmd!(sh, "{path}")
    }

    /// Describes the image store, as in `overlay in /var/lib/containers/storage`.
    pub(crate) fn describe_store(&self, cx: &Cx) -> Result<String> {
        let sh = cx.shell()?;
        let format = "{{.Store.GraphDriverName}} in {{.Store.GraphRoot}}";
        let command =
            Command::new(self.cmd(&sh).args(["info", "--format", format])).timeout(TOOL_TIMEOUT);
        let output = command.read(cx).map_err(unusable)?;
        Ok(output.text().trim().to_owned())
    }

    /// Returns whether a user without root privileges has no other user IDs, so that Podman
    /// cannot store files of other users.
    pub(crate) fn has_single_user_id(&self, cx: &Cx) -> bool {
        let Ok(sh) = cx.shell() else { return false };
        let format =
            "{{.Host.Security.Rootless}} {{range .Host.IDMappings.UIDMap}}{{.Size}} {{end}}";
        let command = Command::new(self.cmd(&sh).args(["info", "--format", format]));
        let Ok(output) = command.timeout(TOOL_TIMEOUT).read(cx) else { return false };
        is_single_user_id(&output.text())
    }

    /// Inspects an image by its ID.
    pub(crate) fn inspect(&self, cx: &Cx, image: &str) -> Result<InspectedImage> {
        let sh = cx.shell()?;
        let command = Command::new(self.cmd(&sh).args(["image", "inspect", "--", image]))
            .timeout(TOOL_TIMEOUT);
        let output = command.read(cx).map_err(|failure| match &failure.stderr {
            stderr if stderr.contains("image not known") => {
                Error::ImageNotFound { image: image.to_owned(), engine: Engine::Podman }
            }
            _ => command_error(failure, format!("inspect image `{image}`")),
        })?;
        let images: Vec<InspectedImage> =
            serde_json::from_slice(&output.stdout).map_err(unexpected_output)?;
        let found = images.into_iter().next().ok_or_else(|| unexpected_output("no image"))?;
        Ok(InspectedImage { id: with_algorithm(&found.id), ..found })
    }

    /// Inspects an image by its name.
    ///
    /// Podman would complete a short name from the registries of the user's configuration,
    /// so that another image than the one of the manifest could be found.
    pub(crate) fn find(&self, cx: &Cx, reference: &Reference) -> Result<InspectedImage> {
        let (local, full) = (Podman::local_name(reference), reference.to_string());
        match self.inspect(cx, &local) {
            Err(Error::ImageNotFound { .. }) if local != full => self.inspect(cx, &full),
            found => found,
        }
        .map_err(|error| match error {
            Error::ImageNotFound { engine, .. } => {
                Error::ImageNotFound { image: reference.familiar(), engine }
            }
            error => error,
        })
    }

    /// Lists all named images, the newest first. An image in the registry `localhost` is also
    /// listed under the name that a manifest has for it.
    pub(crate) fn images(&self, cx: &Cx) -> Result<Vec<LocalImage>> {
        let sh = cx.shell()?;
        let list = self.cmd(&sh).args(["image", "ls", "--no-trunc", "--format", LIST_FORMAT]);
        let listed = Command::new(list).timeout(TOOL_TIMEOUT).read(cx);
        let text = listed.map_err(|f| command_error(f, "list the images".to_owned()))?.text();
        Ok(parse_images(&text))
    }

    /// Returns the platforms of images, by ID.
    pub(crate) fn platforms(&self, cx: &Cx, ids: &[&str]) -> Result<BTreeMap<String, String>> {
        let platform = |id: &&str| match self.inspect(cx, id) {
            Ok(image) => Some(Ok((image.id, format!("{}/{}", image.os, image.architecture)))),
            // It was removed in the meantime.
            Err(Error::ImageNotFound { .. }) => None,
            Err(error) => Some(Err(error)),
        };
        ids.iter().filter_map(platform).collect()
    }

    /// Tags an image.
    pub(crate) fn tag(&self, cx: &Cx, id: &str, reference: &Reference) -> Result<()> {
        let sh = cx.shell()?;
        let name = Podman::local_name(reference);
        let command = Command::new(self.cmd(&sh).args(["tag", id, &name])).timeout(TOOL_TIMEOUT);
        command.read(cx).map_err(|f| command_error(f, format!("tag image `{name}`")))?;
        Ok(())
    }

    /// Returns the command that writes the archive of an image to stdout, under its name in
    /// the manifests.
    pub(crate) fn save_command(&self, cx: &Cx, image: &BuiltImage) -> Result<Command> {
        let sh = cx.shell()?;
        // Otherwise containers.conf can make the name one more image.
        let args = ["save", "--quiet", "--multi-image-archive=false", &image.id];
        Ok(Command::new(self.cmd(&sh).args(args).arg(image.reference.to_string())))
    }

    /// Writes the image as an OCI layout to a directory, without compression and without the
    /// blobs that are already there: Podman only checks that such a file exists.
    pub(crate) fn save_layout(&self, cx: &Cx, image: &BuiltImage, dir: &Path) -> Result<()> {
        let sh = cx.shell()?;
        let args = ["save", "--quiet", "--format", "oci-dir", "--uncompressed", "--output"];
        let command = Command::new(self.cmd(&sh).args(args).arg(dir).arg(&image.id));
        command
            .keep_free(Disk::of(dir.parent().unwrap_or(dir)))
            .read(cx)
            .map_err(|f| command_error(f, "save the layers".to_owned()))?;
        Ok(())
    }
}

fn local_repository(reference: &Reference) -> String {
    let familiar = reference.name().familiar();
    if familiar == reference.name().to_string() {
        familiar
    } else {
        format!("{LOCAL_REGISTRY}/{familiar}")
    }
}

fn parse_images(text: &str) -> Vec<LocalImage> {
    let entries = text.lines().filter_map(|line| serde_json::from_str::<ImageListEntry>(line).ok());
    let listed: Vec<LocalImage> = entries.filter_map(ImageListEntry::into_local_image).collect();
    let alias = |image: &LocalImage| {
        let name = image.name.strip_prefix(LOCAL_REGISTRY)?.strip_prefix('/')?;
        let alias = Reference::parse(name).ok()?;
        (Podman::local_name(&alias) == image.name).then(|| alias.to_string())
    };
    let aliases: Vec<String> = listed.iter().filter_map(alias).collect();
    // `localhost/app` precedes `docker.io/library/app` as the image that `app` names.
    let is_hidden = |image: &LocalImage| aliases.contains(&image.name);
    let with_alias = |image: LocalImage| {
        let renamed = alias(&image).map(|name| LocalImage { name, ..image.clone() });
        renamed.into_iter().chain([image])
    };
    listed.into_iter().filter(|image| !is_hidden(image)).flat_map(with_alias).collect()
}

/// Reads `true 1 65536 `: whether Podman is rootless, and the sizes of the ranges of IDs.
fn is_single_user_id(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.next() == Some("true") && words.eq(["1"])
}

/// Returns the digest of an ID, which `podman image inspect` prints without algorithm.
fn with_algorithm(id: &str) -> String {
    if id.contains(':') { id.to_owned() } else { format!("sha256:{id}") }
}

/// Returns the error for a client of another machine, with what has selected that machine.
fn remote(cx: &Cx, podman: &Path) -> Error {
    let without_variables = cx.shell().map(|sh| {
        let cmd = cmd!(sh, "{podman} version --format json");
        let cmd = REMOTE_VARIABLES.iter().fold(cmd, xshell::Cmd::env_remove);
        Command::new(cmd).timeout(TOOL_TIMEOUT).read(cx)
    });
    let is_local = |output: &Output| {
        serde_json::from_slice::<VersionOutput>(&output.stdout)
            .is_ok_and(|version| version.server.is_none())
    };
    Error::RemotePodman {
        is_variable: matches!(&without_variables, Ok(Ok(output)) if is_local(output)),
    }
}

fn unusable(source: Failure) -> Error {
    Error::PodmanUnusable { source }
}

fn unexpected_output(reason: impl std::fmt::Display) -> Error {
    tools::Error::unexpected(tools::PODMAN.name, reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_name_is_in_podmans_registry() {
        let table = [
            ("app", "localhost/app:latest"),
            ("app:1", "localhost/app:1"),
            ("docker.io/library/app:1", "localhost/app:1"),
            ("org/app:1", "localhost/org/app:1"),
            ("localhost/app:1", "localhost/app:1"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            ("ghcr.io/org/app:1", "ghcr.io/org/app:1"),
        ];
        for (text, expected) in table {
            assert_eq!(Podman::local_name(&Reference::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn single_user_id_is_recognized() {
        let table =
            [("true 1 \n", true), ("true 1 65536 \n", false), ("false \n", false), ("", false)];
        for (text, expected) in table {
            assert_eq!(is_single_user_id(text), expected, "{text:?}");
        }
    }

    #[test]
    fn images_have_names_of_manifests() {
        let line = |repository: &str, id: &str| {
            format!(
                r#"{{"Repository":"{repository}","Tag":"1","ID":"sha256:{id}","CreatedSince":"Less than a second ago","CreatedAt":"2026-11-28 04:58:25 +0000 UTC"}}"#
            )
        };
        let lines = [
            line("docker.io/library/app", "aa"),
            line("localhost/app", "bb"),
            line("<none>", "cc"),
            line("docker.io/library/nginx", "dd"),
            line("localhost/org/app", "ee"),
            line("localhost/ghcr.io/app", "ff"),
            "Emulate Docker CLI using podman.".to_owned(),
        ];
        let images = parse_images(&lines.join("\n"));
        let names: Vec<(&str, &str)> =
            images.iter().map(|image| (image.name.as_str(), image.id.as_str())).collect();
        let expected = [
            ("docker.io/library/app:1", "sha256:bb"),
            ("localhost/app:1", "sha256:bb"),
            ("docker.io/library/nginx:1", "sha256:dd"),
            ("docker.io/org/app:1", "sha256:ee"),
            ("localhost/org/app:1", "sha256:ee"),
            ("localhost/ghcr.io/app:1", "sha256:ff"),
        ];
        assert_eq!(names, expected);
        assert_eq!(images[0].created_at, "2026-11-28T04:58:25Z");
    }
}
