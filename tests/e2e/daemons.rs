//! Daemons that build for one test and are stopped when the test ends: Docker 29 behind its
//! own loopback interface, a `BuildKit` daemon, and one in a container.
//!
//! `kept_results.rs` has the tests of the builders. All files are in the folder `docker` of the service, which is not part of its build context.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::docker_variants::{Daemon, docker_at};
use crate::lab::{command, docker, program_path, registry_address, run, state, wait_for};
use crate::test_service::Service;

/// The name of the builder in the Docker configuration of a test.
pub(crate) const BUILDER: &str = "far";

/// The loopback interface of a new network namespace is down.
const WITH_LOOPBACK: &str = r#"ip link set lo up; exec "$0" "$@""#;

/// A proxy that does not exist: no traffic may leave the machine.
const NO_PROXY: [(&str, &str); 2] =
    [("HTTP_PROXY", "http://127.0.0.1:1"), ("HTTPS_PROXY", "http://127.0.0.1:1")];

/// Starts Docker 29, with the containerd image store, in its own network namespace: its socket
/// is on this machine, but a push to `127.0.0.1` is refused, as in the virtual machine of
/// Docker Desktop. Sets `service.docker_host`.
pub(crate) fn start_docker_29_in_own_network(service: &mut Service) -> Daemon {
    let mut unshare = command("unshare");
    unshare.args(["--net", "sh", "-c", WITH_LOOPBACK, "moby", "--bridge=none"]);
    start_moby(service, unshare)
}

/// Like [`start_docker_29_in_own_network`], with a network for the containers of builds.
pub(crate) fn start_docker_29_with_bridge(service: &mut Service) -> Daemon {
    let mut unshare = command("unshare");
    unshare.args(["--net", "sh", "-c", WITH_LOOPBACK, "moby"]);
    start_moby(service, unshare)
}

/// Starts Docker 29 with a command that runs the program `moby` with the arguments.
pub(crate) fn start_moby(service: &mut Service, mut moby: Command) -> Daemon {
    let folder = service.path("docker");
    fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let host = format!("unix://{}", at("docker.sock"));
    if !folder.join("daemon.json").exists() {
        fs::write(at("daemon.json"), "{}").unwrap();
    }
    // It starts the containerd that the lab has built.
    let path = format!("{}:{}", state("lib").display(), std::env::var("PATH").unwrap());
    moby.args(["--host", &host, "--config-file", &at("daemon.json"), "--pidfile", &at("pid")])
        .args(["--data-root", &at("root"), "--exec-root", &at("exec")])
        .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"])
        .env("PATH", path);
    let daemon = Daemon::start(&mut moby, folder.join("log"));
    let is_up = || docker_at(&host, &["info"]).output().unwrap().status.success().then_some(());
    wait_for("Docker to respond", is_up);
    service.docker_host = Some(host);
    daemon
}

/// A builder of Buildx that only one test uses: the Docker client of the service has its own
/// configuration with Buildx, in which the builder `BUILDER` exists, but is not selected.
pub(crate) struct Builder {
    config: PathBuf,
    host: Option<String>,
    /// Stopped after the container of the builder is removed.
    daemon: Option<Daemon>,
}

impl Builder {
    /// Starts a `BuildKit` daemon on a Unix socket, and adds it with the driver `remote`. It
    /// has its own image store, and knows the registry of the lab as mirror of Docker Hub.
    /// Sets the variables of the service.
    pub(crate) fn start_remote(service: &mut Service) -> Self {
        Self::start_remote_behind(service, "buildkit.sock")
    }

    /// Like [`Self::start_remote`], but Buildx uses another socket, which must lead to that of
    /// the daemon.
    pub(crate) fn start_remote_behind(service: &mut Service, socket: &str) -> Self {
        let daemon = Self::start_buildkit(service);
        let address = format!("unix://{}", service.path("docker").join(socket).display());
        let builder = Self::with_config(service, Some(daemon));
        builder.create(&["--driver", "remote", &address]);
        builder
    }

    fn start_buildkit(service: &Service) -> Daemon {
        let folder = service.path("docker");
        fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        fs::write(at("buildkitd.toml"), buildkit_config()).unwrap();
        let address = format!("unix://{}", at("buildkit.sock"));
        let _ = fs::remove_file(at("buildkit.sock"));
        let mut buildkit = command(&state("lib/buildkitd").display().to_string());
        buildkit
            .args(["--addr", &address, "--root", &at("buildkit"), "--config"])
            .args([&at("buildkitd.toml"), "--otel-socket-path", &at("otel.sock")])
            .args(["--cdi-disabled", "--containerd-worker=false", "--oci-worker-net=host"])
            .args(["--oci-worker-binary=runc"])
            .envs(NO_PROXY)
            // Only the registry of the lab is reached without the proxy.
            .env("NO_PROXY", registry_address().split(':').next().unwrap());
        let daemon = Daemon::start(&mut buildkit, folder.join("buildkit.log"));
        wait_for("BuildKit to respond", || folder.join("buildkit.sock").exists().then_some(()));
        daemon
    }

    /// Kills the `BuildKit` daemon.
    pub(crate) fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    /// Starts the daemon again after it was killed.
    pub(crate) fn restart(&mut self, service: &Service) {
        self.daemon = Some(Self::start_buildkit(service));
    }

    /// Adds a builder with the driver `docker-container` to the Docker of the service, which
    /// must be Docker 29. Its image is made of the lab's `BuildKit`. Sets the variables of the
    /// service.
    pub(crate) fn start_container(service: &mut Service) -> Self {
        let folder = service.path("docker/image");
        let image = "localhost/kdev-lab/buildkit:1";
        create_image(&folder, service.docker_host.as_deref(), image);
        let builder = Self::with_config(service, None);
        let image = format!("image={image}");
        let options = ["--driver-opt", &image, "--driver-opt", "network=host"];
        builder.create(&[&["--driver", "docker-container"], &options[..]].concat());
        builder
    }

    fn with_config(service: &mut Service, daemon: Option<Daemon>) -> Self {
        let config = service.path("docker/config");
        create_docker_config(&config);
        service.variables.push(("DOCKER_CONFIG", config.display().to_string()));
        service.variables.push(("KDEV_BUILDER", format!("buildx:{BUILDER}")));
        Self { config, host: service.docker_host.clone(), daemon }
    }

    fn create(&self, args: &[&str]) {
        let create = ["buildx", "create", "--name", BUILDER, "--bootstrap"];
        run(&mut self.docker(&[&create, args].concat()));
    }

    /// Returns a command of the Docker client with the configuration of the builder.
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut docker = docker(args);
        docker.env("DOCKER_CONFIG", &self.config);
        docker.envs(self.host.iter().map(|host| ("DOCKER_HOST", host)));
        docker
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        let _ = self.docker(&["buildx", "rm", "--force", BUILDER]).output();
    }
}

/// Creates a configuration folder for the Docker client that has Buildx as a plugin.
pub(crate) fn create_docker_config(folder: &Path) {
    let plugins = folder.join("cli-plugins");
    fs::create_dir_all(&plugins).unwrap();
    std::os::unix::fs::symlink(state("lib/buildx"), plugins.join("docker-buildx")).unwrap();
    // Clients before 23.0 do not use Buildx otherwise.
    fs::write(folder.join("config.json"), r#"{"aliases": {"builder": "buildx"}}"#).unwrap();
}

/// Returns the configuration of a `BuildKit` daemon that uses only the registry of the lab.
fn buildkit_config() -> String {
    let registry = registry_address();
    format!(
        "[registry.\"docker.io\"]\nmirrors = [\"{registry}\"]\n\
         [registry.\"{registry}\"]\nhttp = true\ninsecure = true\n"
    )
}

/// Creates an image with the programs that the driver `docker-container` needs: `BuildKit`,
/// runc with its libraries, and a shell.
fn create_image(folder: &Path, host: Option<&str>, image: &str) {
    let runc = program_path("runc");
    let libraries = run(command("ldd").arg(&runc));
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let lab = ["buildkitd", "buildctl"].map(|name| state("lib").join(name).display().to_string());
    let busybox = "/bin/busybox".to_owned();
    let programs = [busybox, runc].into_iter().chain(lab).map(|path| {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        (path, format!("bin/{name}"))
    });
    let libraries = libraries.map(|path| (path.to_owned(), path[1..].to_owned()));
    for (from, to) in programs.chain(libraries) {
        let to = folder.join("root").join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    for name in ["sh", "true", "mkdir", "cat", "tar"] {
        std::os::unix::fs::symlink("busybox", folder.join("root/bin").join(name)).unwrap();
    }
    fs::create_dir_all(folder.join("root/tmp")).unwrap();
    let archive = folder.join("root.tar");
    run(command("tar").arg("-cf").arg(&archive).arg("-C").arg(folder.join("root")).arg("."));
    let change = ["--change", "ENV PATH=/bin", "--change", "ENTRYPOINT [\"/bin/buildkitd\"]"];
    let mut import = docker(&[&["import"], &change[..]].concat());
    import.envs(host.iter().map(|host| ("DOCKER_HOST", host)));
    run(import.arg(&archive).arg(image));
    fs::remove_dir_all(folder).unwrap();
}
