//! The daemons that build the images. Each runs until its value is dropped.

use super::slow_link;
use crate::bench::methods::Bench;
use crate::lab::{self, Moby};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use xshell::{Cmd, Shell, cmd};

/// The builder of Buildx, in a configuration of the Docker client that only benchmarks use.
const BUILDX_NAME: &str = "kdev-bench";

/// A builder, and the variables with which kdev and other programs use it.
pub(super) struct Machine {
    pub(super) env: Vec<(&'static str, String)>,
    /// The Docker that has the image after the build; `None` if no Docker has it.
    pub(super) docker: Option<String>,
    /// Its folder, with the images.
    folder: PathBuf,
    process: Option<Child>,
    moby: Option<Moby>,
}

impl Machine {
    pub(super) fn start_docker_29(bench: &Bench) -> Result<Self> {
        Self::with_moby(bench, Moby::start(&bench.sh)?)
    }

    /// Starts Docker 29 with its own loopback interface: its socket is on this machine, but it
    /// cannot push to `127.0.0.1` of this machine.
    pub(super) fn start_virtual_machine(bench: &Bench) -> Result<Self> {
        Self::with_moby(bench, Moby::start_with_own_network(&bench.sh)?)
    }

    /// Uses the Docker of the lab, with Buildx.
    pub(super) fn start_classic(bench: &Bench) -> Result<Self> {
        let mut machine = Self::new(bench)?;
        machine.docker = Some(bench.sh.var("DOCKER_HOST").unwrap_or_default());
        Ok(machine)
    }

    /// Starts Docker 29 behind an SSH server, over a connection with latency.
    pub(super) fn start_over_ssh(bench: &Bench) -> Result<Self> {
        let mut machine = Self::start_virtual_machine(bench)?;
        let (sh, at) = (&bench.sh, |name: &str| machine.folder.join(name).display().to_string());
        let key = at("host_key");
        cmd!(sh, "ssh-keygen -q -t ed25519 -N '' -f {key}").quiet().run()?;
        let keys = lab::state_path("ssh/authorized_keys").display().to_string();
        fs::write(
            at("sshd_config"),
            format!(
                "HostKey {key}\nAuthorizedKeysFile {keys}\nPermitRootLogin prohibit-password\n\
                 UsePAM no\nMaxStartups 100\n"
            ),
        )?;
        let net = format!("--net=/proc/{}/ns/net", lab::moby_pid().context("no Docker 29")?);
        let server = ["nsenter", &net, "/usr/sbin/sshd", "-i", "-f", &at("sshd_config")];
        let port = slow_link::listen(server.map(str::to_owned).to_vec())?;
        let public = fs::read_to_string(at("host_key.pub"))?;
        fs::write(at("known_hosts"), format!("far {public}"))?;
        let identity = lab::state_path("ssh/id_ed25519").display().to_string();
        fs::write(
            at("ssh_config"),
            format!(
                "Host far\n HostName 127.0.0.1\n Port {port}\n HostKeyAlias far\n \
                 IdentityFile {identity}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n",
                at("known_hosts")
            ),
        )?;
        // Docker has no option for the configuration of ssh. The last `-F` counts.
        let bin = machine.folder.join("bin");
        fs::create_dir_all(&bin)?;
        let wrapper = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("ssh_config"));
        fs::write(bin.join("ssh"), wrapper)?;
        fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755))?;
        let path = format!("{}:{}", bin.display(), sh.var("PATH")?);
        let socket = machine.docker.as_deref().unwrap_or_default().trim_start_matches("unix://");
        let host = format!("ssh://root@far{socket}");
        machine.env.retain(|(name, _)| *name != "DOCKER_HOST");
        machine.env.extend([("PATH", path), ("DOCKER_HOST", host.clone())]);
        machine.docker = Some(host);
        Ok(machine)
    }

    /// Starts a `BuildKit` daemon that a builder of Buildx uses.
    pub(super) fn start_remote(bench: &Bench) -> Result<Self> {
        lab::ensure_test_tools(&bench.sh)?;
        let mut machine = Self::new(bench)?;
        let at = |name: &str| machine.folder.join(name).display().to_string();
        let (sh, program) = (&bench.sh, lab::state_path("lib/buildkitd"));
        let (root, trace) = (at("root"), at("otel.sock"));
        let address = format!("unix://{}", at("buildkit.sock"));
        let serve = cmd!(
            sh,
            "{program} --addr {address} --root {root} --otel-socket-path {trace} --cdi-disabled
             --containerd-worker=false --oci-worker-net=host --oci-worker-binary=runc"
        );
        let socket = machine.folder.join("buildkit.sock");
        machine.process = Some(start(serve)?);
        lab::wait_until("BuildKit", 20, || socket.exists())?;
        machine
            .command(sh, "docker")
            .args(["buildx", "create", "--name", BUILDX_NAME, "--driver", "remote", &address])
            .quiet()
            .ignore_stdout()
            .run()?;
        machine.env.push(("KDEV_BUILDER", format!("buildx:{BUILDX_NAME}")));
        Ok(machine)
    }

    /// Uses Podman with its own folder for images.
    pub(super) fn start_podman(bench: &Bench) -> Result<Self> {
        ensure!(which::which("podman").is_ok(), "podman is not installed");
        let mut machine = Self::new(bench)?;
        let at = |name: &str| machine.folder.join(name).display().to_string();
        let (images, state, file) = (at("root"), at("run"), at("storage.conf"));
        fs::write(
            &file,
            format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = \"{images}\"\nrunroot = \"{state}\"\n"
            ),
        )?;
        machine
            .env
            .extend([("CONTAINERS_STORAGE_CONF", file), ("KDEV_BUILDER", "podman".to_owned())]);
        Ok(machine)
    }

    fn with_moby(bench: &Bench, moby: Moby) -> Result<Self> {
        let mut machine = Self::new(bench)?;
        machine.env.push(("DOCKER_HOST", moby.host.clone()));
        machine.docker = Some(moby.host.clone());
        machine.moby = Some(moby);
        Ok(machine)
    }

    /// Creates the folder, and a configuration of the Docker client with Buildx.
    fn new(bench: &Bench) -> Result<Self> {
        lab::ensure_test_tools(&bench.sh)?;
        let folder = bench.folder.join("machine");
        let _ = fs::remove_dir_all(&folder);
        let plugins = folder.join("client/cli-plugins");
        fs::create_dir_all(&plugins)?;
        symlink(lab::state_path("lib/buildx"), plugins.join("docker-buildx"))?;
        let env = vec![("DOCKER_CONFIG", folder.join("client").display().to_string())];
        Ok(Self { env, docker: None, folder, process: None, moby: None })
    }

    /// Returns a command that uses the builder.
    pub(super) fn command<'a>(&self, sh: &'a Shell, program: impl AsRef<Path>) -> Cmd<'a> {
        let program = program.as_ref();
        cmd!(sh, "{program}").envs(self.env.iter().map(|(name, value)| (name, value)))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let pid = i32::try_from(process.id()).unwrap_or_default();
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = process.wait();
        }
        drop(self.moby.take());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start(command: Cmd<'_>) -> Result<Child> {
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}
