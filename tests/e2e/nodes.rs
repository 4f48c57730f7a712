//! Connections to nodes: the local machine, root, sudo, SSH host keys and SSH options.

use std::fs;
use std::path::PathBuf;

use crate::exclusive::{Claim, Part, Permit};
use crate::lab::{command, images_on, in_node, run, run_on_terminal, state};
use crate::test_service::{NODES, Service};

/// Writes the lab's SSH configuration with another line before it.
fn write_ssh_config(service: &Service, line: &str) -> PathBuf {
    let config = fs::read_to_string(state("ssh/config")).unwrap();
    let path = service.path("ssh_config");
    fs::write(&path, format!("Host *\n  {line}\n\n{config}")).unwrap();
    path
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn local_node_is_loaded_without_ssh() {
    let service = Service::on_node("node-1", "myself");
    let up = service.up(&[]);
    let mut inside = in_node("node-1", &["env"]);
    // From a node, the host's Docker socket is reachable through `/proc/1/root`.
    let docker_host = std::env::var("DOCKER_HOST");
    let docker_host = docker_host.unwrap_or("unix:///proc/1/root/run/docker.sock".into());
    inside.arg(format!("DOCKER_HOST={docker_host}"));
    // With an invalid SSH configuration, `up` succeeds only if it does not use SSH.
    for (name, value) in up.get_envs().filter(|(name, _)| *name != "KDEV_SSH_CONFIG") {
        match value {
            Some(value) => {
                inside.arg(format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap()))
            }
            None => inside.env_remove(name),
        };
    }
    // The nodes do not see the host's home folders, where these programs may be.
    let (cargo, kdev) = (service.path("cargo"), service.path("cargo-kdev"));
    // By another process: a child of another test could still have the open file, which then
    // cannot be executed.
    run(command("cp").arg(env!("CARGO")).arg(&cargo));
    run(command("cp").arg(up.get_program()).arg(&kdev));
    inside.arg("KDEV_SSH_CONFIG=/nonexistent").arg(format!("CARGO={}", cargo.display()));
    let dir = service.dir().to_str().unwrap();
    inside.args(["sh", "-c", r#"cd "$0" && exec "$@""#, dir]).arg(&kdev).args(up.get_args());
    let output = inside.output().unwrap();
    let stderr = crate::lab::stderr_text(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("Loaded node-1"), "{stderr}");
    assert_eq!(images_on("node-1", "/myself:").len(), 1);
    assert_eq!(images_on("node-2", "/myself:").len(), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn nodes_differ_in_containerd_version_and_user() {
    let _permit = Permit::acquire("both-lines", Claim::access());
    let version = |node| run(&mut in_node(node, &["ctr", "version"]));
    assert!(version("node-1").contains("Version:  1.6."));
    assert!(version("node-2").contains("Version:  2."));
    let ids = NODES.map(|node| {
        let user = run(command("ssh").arg("-F").arg(state("ssh/config")).args([node, "id -u"]));
        let files = ["cat", "/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/etc/hostname"];
        (user.trim().to_owned(), run(&mut in_node(node, &files)))
    });
    assert_eq!(ids[0].0, "0");
    assert_ne!(ids[1].0, "0");
    assert_ne!(ids[0].1, ids[1].1);
    assert_ne!(
        ids[0].1,
        run(command("cat").args([
            "/etc/machine-id",
            "/proc/sys/kernel/random/boot_id",
            "/etc/hostname"
        ]))
    );
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_host_key_fails_up_until_accepted() {
    let service = Service::on_node("node-1", "unknown-key");
    let known = service.path("known_hosts");
    fs::write(&known, "").unwrap();
    let config = write_ssh_config(&service, &format!("UserKnownHostsFile {}", known.display()));
    let args = ["--ssh-config", config.to_str().unwrap()];
    let stderr = service.up_fails(&args, 93);
    assert!(stderr.starts_with("error: the SSH host key of node `node-1` ("), "{stderr}");
    assert!(stderr.contains(") is unknown: "), "{stderr}");
    assert!(images_on("node-1", "/unknown-key:").is_empty());
    // Follow the help: run the `ssh` command once and accept the key.
    let help_command = stderr.split("help: run `").nth(1).unwrap().split('`').next().unwrap();
    run_on_terminal(&format!("{help_command} true"), &command("sh"), "? ", "yes");
    assert_eq!(service.up(&args).output().unwrap().status.code(), Some(0));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn changed_host_key_fails_up_until_replaced() {
    let service = Service::on_node("node-1", "changed-key");
    let known = service.path("known_hosts");
    let key = service.path("other");
    run(command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let address = fs::read_to_string(state("nodes/node-1/address")).unwrap();
    fs::write(&known, format!("{},node-1 {public}", address.trim())).unwrap();
    let config = write_ssh_config(&service, &format!("UserKnownHostsFile {}", known.display()));
    let args = ["--ssh-config", config.to_str().unwrap()];
    let stderr = service.up_fails(&args, 93);
    assert!(stderr.starts_with("error: the SSH host key of node `node-1` ("), "{stderr}");
    assert!(stderr.contains("has changed"), "{stderr}");
    let mut help_command = stderr.split("run `").nth(1).unwrap().split('`');
    run(command("sh").args(["-c", help_command.next().unwrap()]));
    let accept = format!("{} true", help_command.nth(1).unwrap());
    run_on_terminal(&accept, &command("sh"), "? ", "yes");
    assert_eq!(service.up(&args).output().unwrap().status.code(), Some(0));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unauthorized_ssh_key_is_reported_for_each_node() {
    let service = Service::with_claim("denied", Claim::both_nodes().uses(Part::NodeList));
    let key = service.path("other");
    run(command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    let config = fs::read_to_string(state("ssh/config")).unwrap();
    let lines = config.lines().map(|line| {
        if line.trim().starts_with("IdentityFile") {
            format!("  IdentityFile {}\n", key.display())
        } else {
            format!("{line}\n")
        }
    });
    service.write("ssh_config", &lines.collect::<String>());
    let path = service.path("ssh_config");
    let stderr = service.up_fails(&["--ssh-config", path.to_str().unwrap()], 93);
    assert!(
        stderr.contains("error: node `node-1` (") && stderr.contains("error: node `node-2` ("),
        "{stderr}"
    );
    assert_eq!(stderr.matches(") denied the SSH login: ").count(), 2, "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unreachable_node_prevents_load_to_other_nodes() {
    let service = Service::new("silent");
    // Nothing listens on port 1 of the node.
    let address = fs::read_to_string(state("nodes/node-2/address")).unwrap();
    service.write("kdev.local.toml", &format!("nodes.node-2.ssh = \"dev@{}:1\"\n", address.trim()));
    let stderr = service.up_fails(&[], 93);
    assert!(stderr.starts_with("error: cannot reach node `node-2` ("), "{stderr}");
    assert!(stderr.contains("Connection refused"), "{stderr}");
    assert!(images_on("node-1", "/silent:").is_empty(), "something was sent to the other node");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn hostile_ssh_options_do_not_change_the_connection() {
    let service = Service::on_node("node-2", "ssh-options");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("LocalForward {} 127.0.0.1:22", busy.local_addr().unwrap());
    let lines = [
        &forward,
        "ExitOnForwardFailure yes",
        "RemoteCommand echo ignored",
        "RequestTTY force",
        "ForkAfterAuthentication yes",
        "SessionType none",
        "StdinNull yes",
        "PermitLocalCommand yes",
        "LocalCommand echo local",
        "LogLevel QUIET",
        "VisualHostKey yes",
    ];
    let config = write_ssh_config(&service, &lines.join("\n  "));
    let output = service.up(&["--ssh-config", config.to_str().unwrap()]).output().unwrap();
    let stderr = crate::lab::stderr_text(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("Loaded node-2"), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn address_of_other_node_fails_up_until_corrected() {
    let service = Service::on_node("node-2", "wrong-address");
    let address = |node: &str| {
        let file = state(&format!("nodes/{node}/address"));
        fs::read_to_string(file).unwrap().trim().to_owned()
    };
    let (other, right) = (address("node-1"), address("node-2"));
    let lines = format!("LogLevel INFO\nHost {right}\n  HostName {other}\n  User root");
    let config = write_ssh_config(&service, &lines);
    let args = ["--ssh-config", config.to_str().unwrap()];
    let stderr = service.up_fails(&args, 93);
    let error = format!("error: {right} is node `node-1`, not node `node-2`: its machine ID is `");
    assert!(stderr.starts_with(&error), "{stderr}");
    for node in NODES {
        assert_eq!(images_on(node, "/wrong-address:").len(), 0);
    }
    // Follow the help.
    assert!(stderr.contains("help: set `nodes.node-2.ssh = \"user@host\"`"), "{stderr}");
    service.write("kdev.local.toml", "nodes.node-2.ssh = \"dev@node-2\"\n");
    assert_eq!(service.up(&args).output().unwrap().status.code(), Some(0));
    assert_eq!(images_on("node-2", "/wrong-address:").len(), 1);
}
