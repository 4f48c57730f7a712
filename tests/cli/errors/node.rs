//! A node cannot be reached or used.

use super::*;

/// Nodes are reached while docker builds: how far that came may differ.
#[track_caller]
fn fails(project: &Project, error: &str) {
    project.run(&["up", "--node", "n1"]).code(93).stdout("").error(error);
    untouched(project);
}

/// ssh says this and fails with its own code, 255.
#[track_caller]
fn ssh_says(words: &str, stderr: &str) -> Project {
    let project = Project::new();
    project.write("fake/ssh-10.0.0.1", words);
    fails(&project, stderr);
    project
}

#[test]
fn it_is_not_reachable() {
    let words = "ssh: connect to host 10.0.0.1 port 22: Connection refused\n";
    let project = ssh_says(words, "error: node `n1` at 10.0.0.1 is not reachable: `ssh 10.0.0.1` exited with code 255: ssh: connect to host 10.0.0.1 port 22: Connection refused
  help: check it with `ssh 10.0.0.1`; if it is reached elsewhere, set `nodes.n1.ssh` in `[package.metadata.kdev]`\n");
    // Who follows the advice succeeds.
    project.config("nodes.n1.ssh = \"root@10.9.9.9\"").run(&["up", "--node", "n1"]).code(0);
}

#[test]
fn it_ends_a_build_that_would_be_of_no_use() {
    let project = Project::new();
    let words = "ssh: connect to host 10.0.0.1 port 22: Connection refused\n";
    project.write("fake/ssh-10.0.0.1", words).write("fake/build-hangs", "");
    fails(&project, "error: node `n1` at 10.0.0.1 is not reachable: [..]\n  help: [..]\n");
}

#[test]
fn its_host_key_is_unknown() {
    let words = "No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.\nHost key verification failed.\n";
    ssh_says(words, "error: the host key of node `n1` at 10.0.0.1 is not known: No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.
    Host key verification failed.
  help: run `ssh -o StrictHostKeyChecking=ask 10.0.0.1` once, and accept the key if it is what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the node itself\n");
    ssh_says(
        "Host key verification failed.\n",
        "error: the host key of node `n1` at 10.0.0.1 is not known: Host key verification failed.
  help: run `ssh 10.0.0.1` once, and accept the key if it is what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the node itself\n",
    );
}

#[test]
fn its_host_key_has_changed() {
    let words = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n  ssh-keygen -f \"/home/u/.ssh/known_hosts\" -R \"10.0.0.1\"\nHost key verification failed.\n";
    ssh_says(words, "error: the host key of node `n1` at 10.0.0.1 has changed
  help: if the node was reinstalled, run `ssh-keygen -f \"/home/u/.ssh/known_hosts\" -R \"10.0.0.1\"`, then `ssh -o StrictHostKeyChecking=ask 10.0.0.1`; if not, somebody else answers\n");
}

#[test]
fn it_lets_nobody_in() {
    ssh_says("u@10.0.0.1: Permission denied (publickey).\n", "error: node `n1` at 10.0.0.1 denies the login: u@10.0.0.1: Permission denied (publickey).
  help: make `ssh 10.0.0.1` work without a password; another user is set with `nodes.n1.ssh` in `[package.metadata.kdev]`\n");
}

#[test]
fn its_login_shell_runs_nothing() {
    let project = Project::new();
    project.write("fake/nologin-10.0.0.1", "");
    fails(
        &project,
        "error: node `n1` at 10.0.0.1 runs no command: This account is currently not available.
  help: use a user with a login shell: set `nodes.n1.ssh` in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn the_target_is_no_host() {
    let project = Project::new();
    project.config("nodes.n1.ssh = \"-oProxyCommand=touch /tmp/x\"");
    fails(
        &project,
        "error: node `n1`: `-oProxyCommand=touch /tmp/x` is no ssh target
  help: set `nodes.n1.ssh = \"user@host\"` in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn sudo_wants_a_password() {
    let project = Project::new();
    project.write("fake/uid", "1000").write("fake/sudo-refuses", "sudo: a password is required\n");
    fails(&project, "error: sudo on node `n1` at 10.0.0.1 asks for a password
  help: allow it on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n");
}

#[test]
fn sudo_wants_a_terminal() {
    let project = Project::new();
    project
        .write("fake/uid", "1000")
        .write("fake/sudo-refuses", "sudo: sorry, you must have a tty to run sudo\n");
    fails(
        &project,
        "error: sudo on node `n1` at 10.0.0.1 asks for a terminal
  help: allow it on node `n1` with `visudo`: `Defaults:USER !requiretty`\n",
    );
}

#[test]
fn sudos_rules_refuse() {
    let project = Project::new();
    let words = "Sorry, user dev is not allowed to execute '/usr/bin/ctr -n k8s.io version' as root on n1.\n";
    project.write("fake/uid", "1000").write("fake/sudo-refuses", words);
    fails(
            &project,
            "error: sudo on node `n1` at 10.0.0.1 does not allow it: Sorry, user dev is not allowed to execute '/usr/bin/ctr -n k8s.io version' as root on n1.
  help: allow it on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n",
        );
}

#[test]
fn there_is_no_sudo() {
    let project = Project::new();
    project.write("fake/uid", "1000").remove("bin/sudo");
    fails(
        &project,
        "error: node `n1` at 10.0.0.1 has no sudo, and its containerd is root's
  help: install sudo on node `n1`, or log in as root with `nodes.n1.ssh = \"root@host\"`\n",
    );
}

#[test]
fn containerd_does_not_answer() {
    let project = Project::new();
    let words =
        "ctr: failed to dial \"/run/containerd/containerd.sock\": context deadline exceeded\n";
    project.write("fake/ctr-denied", words);
    fails(&project, "error: containerd on node `n1` at 10.0.0.1 does not answer: ctr: failed to dial \"/run/containerd/containerd.sock\": context deadline exceeded
  help: run `[ROOT]/bin/ctr -n k8s.io version` on node `n1` as root\n");
}

#[test]
fn its_runtime_is_not_containerd() {
    let project = Project::new();
    project.nodes_are("containerd://1.6.20", "cri-o://1.30.0");
    fails(
        &project,
        "error: node `n1` runs `cri-o://1.30.0`, and kdev knows containerd only
  help: use nodes with containerd, or leave it out with `--node`\n",
    );
}

#[test]
fn its_distribution_is_not_installed() {
    let project = Project::new();
    project.nodes_are("containerd://1.6.20", "containerd://2.1.5-k3s1");
    fails(
        &project,
        "error: node `n1` at 10.0.0.1 has no `/var/lib/rancher/rke2/bin/ctr`
  help: install it on node `n1`, or set `nodes.n1.ctr` in `[package.metadata.kdev]` to what talks to its containerd\n",
    );
    // Who follows the advice succeeds.
    project.config("nodes.n1.ctr = \"ctr\"").run(&["up", "--node", "n1"]).code(0);
}

#[test]
fn a_container_of_its_name_is_another_machine() {
    let project = Project::new();
    project.nodes_are("\"machineID\":\"n1\"", "\"machineID\":\"0123\"");
    project.config("nodes.n1.docker = \"worker\"");
    fails(
        &project,
        "error: container `worker` is not the node `n1` of this cluster
  help: set `nodes.n1.ssh`, or the right container with `nodes.n1.docker`, in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn the_container_has_no_name() {
    let project = Project::new();
    project.config("nodes.n1.docker = \"--privileged\"");
    fails(
        &project,
        "error: node `n1`: `--privileged` is no name of a container
  help: set `nodes.n1.docker` in `[package.metadata.kdev]` to a name that `docker container ls` lists\n",
    );
}
