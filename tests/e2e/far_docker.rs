//! Daemons with the classic image store that use another loopback interface than kdev: behind
//! SSH, and in a network namespace.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::docker_variants::{ClassicDocker, Daemon, docker_at};
use crate::lab::{bound_command, command, run, state, stderr_text, wait_for};
use crate::partial_load::{assert_small_load, sent_bytes, service_with_large_base};
use crate::test_service::Service;

/// A directory on PATH with a Docker client that counts its calls of `docker save`.
pub(crate) struct CountingClient {
    bin: PathBuf,
}

impl CountingClient {
    pub(crate) fn new(service: &Service) -> Self {
        let client = Self { bin: service.path("cache/bin") };
        let docker = run(command("sh").args(["-c", "command -v docker"]));
        let (saves, docker) = (client.saves(), docker.trim());
        let save = format!("[ \"$1\" != save ] || echo save >>{}", saves.display());
        client.add("docker", &format!("{save}\nexec {docker} \"$@\""));
        client
    }

    fn saves(&self) -> PathBuf {
        self.bin.join("saves")
    }

    /// Adds a program to the directory.
    fn add(&self, name: &str, script: &str) {
        fs::create_dir_all(&self.bin).unwrap();
        let path = self.bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a command and returns how often it has called `docker save`.
    pub(crate) fn run(&self, command: &mut Command) -> (Output, usize) {
        let _ = fs::remove_file(self.saves());
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap());
        let output = command.env("PATH", path).output().unwrap();
        (output, fs::read_to_string(self.saves()).unwrap_or_default().lines().count())
    }
}

/// A machine with a Docker daemon that is reached by SSH. Its server runs in the network
/// namespace of the daemon, once for each connection.
struct SshMachine {
    folder: PathBuf,
    docker: ClassicDocker,
}

impl SshMachine {
    fn start(service: &mut Service, client: &CountingClient) -> Self {
        let docker = ClassicDocker::start_with_own_network(service);
        let machine = Self { folder: service.path("docker"), docker };
        machine.configure("");
        let at = |name: &str| machine.folder.join(name).display().to_string();
        let lab = |name: &str| state(name).display().to_string();
        let key = at("host_key");
        run(command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]));
        let public = fs::read_to_string(format!("{key}.pub")).unwrap();
        fs::write(at("known_hosts"), format!("far {public}")).unwrap();
        // The directory for the separation of privileges only exists where sshd is a service.
        let server = format!(
            "nsenter --net=/proc/$(cat {})/ns/net unshare --mount sh -c 'mount -n -t tmpfs tmpfs /run && mkdir /run/sshd && exec /usr/sbin/sshd -i -f {}'",
            at("pid"),
            at("sshd_config")
        );
        let config = format!(
            "Host far\n ProxyCommand {server}\n IdentityFile {}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n",
            lab("ssh/id_ed25519"),
            at("known_hosts")
        );
        fs::write(at("ssh_config"), config).unwrap();
        // Docker has no option for the configuration of ssh. The last `-F` counts.
        let log = format!("echo \"$@\" | head -n 1 >>{}", at("ssh.log"));
        client.add("ssh", &format!("{log}\nexec /usr/bin/ssh -F {} \"$@\"", at("ssh_config")));
        service.docker_host = Some(format!("ssh://root@far{}", at("docker.sock")));
        machine
    }

    /// Sets the configuration of the server.
    fn configure(&self, more: &str) {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let keys = state("ssh/authorized_keys").display().to_string();
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {keys}\nPermitRootLogin prohibit-password\nUsePAM no\n{more}\n",
            at("host_key")
        );
        fs::write(at("sshd_config"), config).unwrap();
    }

    /// Adds settings of the user for connections to this machine.
    fn configure_client(&self, more: &str) {
        let path = self.folder.join("ssh_config");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{config}{more}")).unwrap();
    }

    /// Returns how many ports ssh was asked to forward since the last call.
    fn forwardings(&self) -> usize {
        let path = self.folder.join("ssh.log");
        let log = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        log.lines().filter(|line| line.contains("-O forward")).count()
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.folder.join("pid")).unwrap().trim().to_owned()
    }
}

/// Builds an image with a new page, and loads it. Returns the messages, and the number of
/// calls of `docker save`.
#[track_caller]
fn load(service: &Service, client: &CountingClient, near: &str, page: &str) -> (String, usize) {
    service.set_page(page);
    let mut build = docker_at(near, &["build", "--quiet", "--tag", service.name, "."]);
    run(build.current_dir(service.dir()));
    let mut load = service.kdev(&["load", "--message-format", "json"]);
    let (output, saves) = client.run(&mut load);
    let events = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{events}{}", stderr_text(&output));
    (events, saves)
}

#[track_caller]
fn assert_partial(events: &str, saves: usize, expected_saves: usize) {
    assert_small_load(&sent_bytes(events));
    assert_eq!(saves, expected_saves, "{events}");
}

/// Returns the sockets on which a program listens in the network namespace of a process.
fn listening_ports(pid: &str) -> String {
    run(command("nsenter").args(["--target", pid, "--net", "ss", "-Hltn"]))
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_over_ssh_pushes_through_forwarded_port() {
    let mut service = service_with_large_base("ssh-docker");
    let client = CountingClient::new(&service);
    let machine = SshMachine::start(&mut service, &client);
    // Another connection of the user has this port, and this command is for a terminal.
    let used = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = used.local_addr().unwrap().port();
    machine.configure_client(&format!(" LocalForward 127.0.0.1:{port} 127.0.0.1:1\n"));
    let near = machine.docker.host();
    load(&service, &client, &near, "one");
    let (events, saves) = load(&service, &client, &near, "two");
    assert_partial(&events, saves, 0);
    // The forwarding ends with the run.
    assert!(!listening_ports(&machine.pid()).contains("127.0.0.1:476"));
    assert!(machine.forwardings() >= 2);

    // Another program has the usual port.
    let digests = fs::read_dir(service.path("cache/kdev/records/digests")).unwrap();
    let names = digests.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.into_iter().find(|name| name.ends_with("@root@far.json")).unwrap();
    let usual = name.split('@').next().unwrap();
    let blocker =
        format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr", usual.rsplit(':').next().unwrap());
    let mut socat = bound_command("nsenter");
    socat.args(["--target", &machine.pid(), "--net", "socat", &blocker, "OPEN:/dev/null"]);
    let mut socat = socat.spawn().unwrap();
    wait_for("the port to be in use", || {
        listening_ports(&machine.pid()).contains(usual).then_some(())
    });
    let (events, saves) = load(&service, &client, &near, "three");
    socat.kill().unwrap();
    socat.wait().unwrap();
    assert_partial(&events, saves, 0);
    assert_eq!(machine.forwardings(), 2, "{events}");

    // Without forwarding, the archive is read once, until the server permits it again.
    machine.configure("AllowTcpForwarding no");
    let (events, saves) = load(&service, &client, &near, "four");
    assert!(events.contains("does not permit port forwarding"), "{events}");
    assert_partial(&events, saves, 1);
    assert_eq!(machine.forwardings(), 2, "{events}");
    machine.configure("");
    let (events, saves) = load(&service, &client, &near, "five");
    assert!(!events.contains("forward"), "{events}");
    assert_partial(&events, saves, 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_over_ssh_uses_connection_of_user() {
    let mut service = service_with_large_base("ssh-master");
    let client = CountingClient::new(&service);
    let machine = SshMachine::start(&mut service, &client);
    let socket = machine.folder.join("user");
    let share =
        format!(" ControlMaster auto\n ControlPersist 600\n ControlPath {}\n", socket.display());
    machine.configure_client(&share);
    let _connection = UserConnection(machine.folder.join("ssh_config"));
    let near = machine.docker.host();
    load(&service, &client, &near, "one");
    let (events, saves) = load(&service, &client, &near, "two");
    assert_partial(&events, saves, 0);
    // The user's connection stays, without the forwarding.
    let log = fs::read_to_string(machine.folder.join("ssh.log")).unwrap();
    assert!(!log.contains("kdev-is-connected"), "{log}");
    assert!(socket.exists());
    assert!(!listening_ports(&machine.pid()).contains("127.0.0.1:476"));
}

/// Ends the user's connection when it is dropped.
struct UserConnection(PathBuf);

impl Drop for UserConnection {
    fn drop(&mut self) {
        let _ = command("ssh").arg("-F").arg(&self.0).args(["-O", "exit", "far"]).output();
    }
}

/// Makes the daemon of a service available on another socket, which does not show in which network
/// namespace the daemon runs. Sets `service.docker_host`.
pub(crate) fn start_socket_proxy(service: &mut Service) -> Daemon {
    let proxy = service.path("docker/proxy.sock");
    let host = service.docker_host.as_deref().unwrap();
    let mut socat = bound_command("socat");
    socat.arg(format!("UNIX-LISTEN:{},fork", proxy.display()));
    socat.arg(format!("UNIX-CONNECT:{}", host.strip_prefix("unix://").unwrap()));
    let daemon = Daemon::start(&mut socat, service.path("docker/proxy.log"));
    wait_for("the proxy", || proxy.exists().then_some(()));
    service.docker_host = Some(format!("unix://{}", proxy.display()));
    daemon
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_in_other_network_namespace_pushes_unless_it_is_hidden() {
    let mut service = service_with_large_base("docker-namespace");
    let client = CountingClient::new(&service);
    let docker = ClassicDocker::start_with_own_network(&mut service);
    let near = docker.host();
    load(&service, &client, &near, "one");
    let (events, saves) = load(&service, &client, &near, "two");
    assert_partial(&events, saves, 0);

    // The socket of a proxy does not show where the daemon is. The first push is refused.
    let proxy = start_socket_proxy(&mut service);
    let note = "the Docker daemon cannot connect to this machine";
    let (events, saves) = load(&service, &client, &near, "three");
    assert!(events.contains(note), "{events}");
    assert_partial(&events, saves, 1);
    let (events, saves) = load(&service, &client, &near, "four");
    drop(proxy);
    assert!(!events.contains(note), "{events}");
    assert_partial(&events, saves, 1);
}

#[test]
#[ignore = "needs root, as the lab does"]
fn helper_of_ordinary_user_listens_in_namespace_of_rootless_daemon() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (program, socket) = (dir.path().join("kdev"), dir.path().join("socket"));
    // By another process: a child of another test could still have the open file.
    run(command("cp").arg(env!("CARGO_BIN_EXE_cargo-kdev")).arg(&program));
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut daemon = bound_command("setpriv");
    daemon.args(user).args(["unshare", "--user", "--map-root-user", "--net"]);
    let mut daemon = daemon.args(["sleep", "60"]).spawn().unwrap();
    let (pid, own) = (daemon.id().to_string(), fs::read_link("/proc/self/ns/net").unwrap());
    let namespace = format!("/proc/{pid}/ns/net");
    wait_for("the namespace", || (fs::read_link(&namespace).unwrap() != own).then_some(()));
    run(command("nsenter").args(["--target", &pid, "--net", "ip", "link", "set", "lo", "up"]));
    let receiver = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let mut helper = command("setpriv");
    helper.args(user).arg(&program).args(["listen-in-namespace", &pid]).arg(&socket);
    run(helper.arg("image"));
    // The helper has exited, but the socket is in the queue of the receiver.
    assert!(listening_ports(&pid).contains("127.0.0.1:476"));
    drop(receiver);
    assert!(!listening_ports(&pid).contains("127.0.0.1:476"));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
