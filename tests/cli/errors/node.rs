//! Errors of the connection to a node.

use std::fs;

use super::*;

/// Checks only the error: nodes are reached during the build, so the output before it varies.
#[track_caller]
fn fails(project: &Project, error: &str) {
    project.run(&["up", "--node", "n1"]).code(93).stdout("").error(error);
    untouched(project);
}

/// Checks the error if `ssh` prints a message and exits with 255.
#[track_caller]
fn fails_with_ssh_error(message: &str, stderr: &str) -> Project {
    let project = Project::new();
    project.write("fake/ssh-10.0.0.1", message);
    fails(&project, stderr);
    project
}

#[test]
fn unreachable_node() {
    let message = "ssh: connect to host 10.0.0.1 port 22: Connection refused\n";
    let project = fails_with_ssh_error(message, "error: cannot reach node `n1` (10.0.0.1): `ssh 10.0.0.1` exited with code 255: ssh: connect to host 10.0.0.1 port 22: Connection refused
  help: run `ssh 10.0.0.1` to check the connection; if the node has another address, set `nodes.n1.ssh` in `[package.metadata.kdev]`\n");
    // The help fixes it.
    project.config("nodes.n1.ssh = \"root@10.9.9.9\"").run(&["up", "--node", "n1"]).code(0);
}

#[test]
fn node_name_with_dots_is_quoted_in_help() {
    let project = Project::new();
    project.write("fake/ssh-10.0.0.1", "ssh: connect to host 10.0.0.1 port 22: No route to host\n");
    project.nodes(&[("n1.example.com", "10.0.0.1", "amd64")]);
    let ran = project.run(&["load", "app"]);
    let key = "nodes.\"n1.example.com\".ssh";
    assert!(ran.code(93).err().contains(&format!("set `{key}` in ")), "{}", ran.err());
    project.config(&format!("{key} = \"root@10.9.9.9\"")).run(&["load", "app"]).code(0);
}

#[test]
fn unreachable_node_stops_build() {
    let project = Project::new();
    let message = "ssh: connect to host 10.0.0.1 port 22: Connection refused\n";
    project.write("fake/ssh-10.0.0.1", message).write("fake/build-hangs", "");
    fails(&project, "error: cannot reach node `n1` (10.0.0.1): [..]\n  help: [..]\n");
}

#[test]
fn unknown_host_key() {
    let message = "No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.\nHost key verification failed.\n";
    fails_with_ssh_error(message, "error: the SSH host key of node `n1` (10.0.0.1) is unknown: No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.
    Host key verification failed.
  help: run `ssh -o StrictHostKeyChecking=ask 10.0.0.1` and accept the key if `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the node prints the same fingerprint\n");
    fails_with_ssh_error(
        "Host key verification failed.\n",
        "error: the SSH host key of node `n1` (10.0.0.1) is unknown: Host key verification failed.
  help: run `ssh 10.0.0.1` and accept the key if `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the node prints the same fingerprint\n",
    );
}

#[test]
fn changed_host_key() {
    let message = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n  ssh-keygen -f \"/home/u/.ssh/known_hosts\" -R \"10.0.0.1\"\nHost key verification failed.\n";
    fails_with_ssh_error(message, "error: the SSH host key of node `n1` (10.0.0.1) has changed
  help: if the node was reinstalled, run `ssh-keygen -f \"/home/u/.ssh/known_hosts\" -R \"10.0.0.1\"`, then `ssh -o StrictHostKeyChecking=ask 10.0.0.1`; if not, another machine may be impersonating it\n");
}

#[test]
fn denied_login() {
    fails_with_ssh_error("u@10.0.0.1: Permission denied (publickey).\n", "error: node `n1` (10.0.0.1) denied the SSH login: u@10.0.0.1: Permission denied (publickey).
  help: make `ssh 10.0.0.1` work without a password, or set another user with `nodes.n1.ssh` in `[package.metadata.kdev]`\n");
}

#[test]
fn login_shell_does_not_run_commands() {
    let project = Project::new();
    project.write("fake/nologin-10.0.0.1", "");
    fails(
        &project,
        "error: the login shell on node `n1` (10.0.0.1) does not run commands: This account is currently not available.
  help: set `nodes.n1.ssh` in `[package.metadata.kdev]` to a user with a login shell\n",
    );
}

#[test]
fn invalid_ssh_target() {
    let project = Project::new();
    project.config("nodes.n1.ssh = \"-oProxyCommand=touch /tmp/x\"");
    fails(
        &project,
        "error: node `n1`: invalid SSH target `-oProxyCommand=touch /tmp/x`
  help: set `nodes.n1.ssh = \"user@host\"` in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn sudo_requires_password() {
    let project = Project::new();
    project.write("fake/uid", "1000").write("fake/sudo-refuses", "sudo: a password is required\n");
    fails(&project, "error: sudo on node `n1` (10.0.0.1) requires a password
  help: add this rule on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n");
}

#[test]
fn sudo_requires_terminal() {
    let project = Project::new();
    project
        .write("fake/uid", "1000")
        .write("fake/sudo-refuses", "sudo: sorry, you must have a tty to run sudo\n");
    fails(
        &project,
        "error: sudo on node `n1` (10.0.0.1) requires a terminal
  help: add this rule on node `n1` with `visudo`: `Defaults:USER !requiretty`\n",
    );
}

#[test]
fn sudo_rule_rejects_ctr() {
    let project = Project::new();
    let message = "Sorry, user dev is not allowed to execute '/usr/bin/ctr -n k8s.io version' as root on n1.\n";
    project.write("fake/uid", "1000").write("fake/sudo-refuses", message);
    fails(
            &project,
            "error: sudo on node `n1` (10.0.0.1) does not allow `ctr`: Sorry, user dev is not allowed to execute '/usr/bin/ctr -n k8s.io version' as root on n1.
  help: add this rule on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n",
        );
}

#[test]
fn sudo_not_found() {
    let project = Project::new();
    project.write("fake/uid", "1000").remove("bin/sudo");
    fails(
        &project,
        "error: node `n1` (10.0.0.1) has no sudo, and its containerd requires root
  help: install sudo on node `n1`, or log in as root with `nodes.n1.ssh = \"root@host\"`\n",
    );
}

#[test]
fn containerd_does_not_respond() {
    let project = Project::new();
    let message =
        "ctr: failed to dial \"/run/containerd/containerd.sock\": context deadline exceeded\n";
    project.write("fake/ctr-denied", message);
    fails(&project, "error: cannot connect to containerd on node `n1` (10.0.0.1): ctr: failed to dial \"/run/containerd/containerd.sock\": context deadline exceeded
  help: run `[ROOT]/bin/ctr -n k8s.io version` as root on node `n1`\n");
}

#[test]
fn unsupported_runtime() {
    let project = Project::new();
    project.edit_nodes("containerd://1.6.20", "cri-o://1.30.0");
    fails(
        &project,
        "error: node `n1` runs `cri-o://1.30.0`; only containerd is supported
  help: pass `--node` to select nodes that run containerd\n",
    );
}

#[test]
fn bundled_ctr_not_found() {
    let project = Project::new();
    project.edit_nodes("containerd://1.6.20", "containerd://2.1.5-k3s1");
    fails(
        &project,
        "error: `/var/lib/rancher/rke2/bin/ctr` not found on node `n1` (10.0.0.1)
  help: install it on node `n1`, or set `nodes.n1.ctr` in `[package.metadata.kdev]` to the `ctr` command of its containerd\n",
    );
    // The help fixes it.
    project.config("nodes.n1.ctr = \"ctr\"").run(&["up", "--node", "n1"]).code(0);
}

#[test]
fn container_is_not_the_node() {
    let project = Project::new();
    project.machine("worker", "0123", "b").config("nodes.n1.docker = \"worker\"");
    fails(
        &project,
        "error: container `worker` is not node `n1` of this cluster: its machine ID is `0123`, but the node has `n1`
  help: set `nodes.n1.ssh = \"user@host\"`, or `nodes.n1.docker` for a container, in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn address_leads_to_another_node() {
    let project = Project::new();
    project.machine("10.0.0.1", "n2", "c");
    fails(
        &project,
        "error: 10.0.0.1 is node `n2`, not node `n1`: its machine ID is `n2`, but the node has `n1`
  help: set `nodes.n1.ssh = \"user@host\"`, or `nodes.n1.docker` for a container, in `[package.metadata.kdev]`\n",
    );
    // The help fixes it.
    project.machine("10.9.9.9", "n1", "b").config("nodes.n1.ssh = \"root@10.9.9.9\"");
    project.run(&["up", "--node", "n1"]).code(0);
}

#[test]
fn clone_is_recognized_by_boot_id_of_another_node() {
    let project = Project::new();
    project.edit_nodes(
        "\"machineID\":\"n2\",\"bootID\":\"b\"",
        "\"machineID\":\"n1\",\"bootID\":\"c\"",
    );
    project.machine("10.0.0.1", "n1", "c");
    fails(
        &project,
        "error: 10.0.0.1 is node `n2`, not node `n1`: its boot ID is `c`, but the node has `b`
  help: set `nodes.n1.ssh = \"user@host\"`, or `nodes.n1.docker` for a container, in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn clone_with_unknown_boot_id_is_not_the_node() {
    let project = Project::new();
    project.machine("10.0.0.1", "n1", "c");
    // The kubelet stops reporting while kdev waits for it.
    let nodes = fs::read_to_string(project.path("fake/nodes.json")).unwrap();
    let taint = "\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unreachable\",\"effect\":\"NoExecute\"}],";
    project.write("fake/nodes-next.json", &nodes.replace("\"spec\":{", taint));
    fails(
        &project,
        "error: cannot verify that 10.0.0.1 is node `n1`: its boot ID is `c`, but the node has `b`; it is a clone, or its kubelet has not started since the last boot
  help: run `systemctl status kubelet` on the node (`ssh 10.0.0.1`) to check its kubelet\n",
    );
}

#[test]
fn load_runs_on_another_machine_than_the_check() {
    let project = Project::new();
    project.machine("moved", "n2", "b").write("fake/ssh-moves", "");
    let stderr = project.run(&["load", "tool:1", "--node", "n1"]).code(93).err().to_owned();
    assert!(stderr.contains("error: 10.0.0.1 is not node `n1` of this cluster: its machine ID is `n2`, but the node has `n1`\n"), "{stderr}");
    assert_eq!(project.images_on("moved"), [""; 0]);
}

#[test]
fn invalid_container_name() {
    let project = Project::new();
    project.config("nodes.n1.docker = \"--privileged\"");
    fails(
        &project,
        "error: node `n1`: invalid container name `--privileged`
  help: set `nodes.n1.docker` in `[package.metadata.kdev]` to a name from `docker container ls`\n",
    );
}
