//! Errors of the tools.

use super::*;

#[test]
fn docker_not_found() {
    let project = Project::new();
    project.remove("bin/docker");
    fails(&project, 91, "error: `docker` not found on PATH
  help: install it with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install\n");
}

#[test]
fn kubectl_not_found() {
    let project = Project::new();
    project.remove("bin/kubectl");
    fails(
        &project,
        91,
        "error: `kubectl` not found on PATH
  help: follow https://kubernetes.io/docs/tasks/tools to install it\n",
    );
}

#[test]
fn ssh_not_found() {
    let project = Project::new();
    project.remove("bin/ssh");
    fails(
        &project,
        91,
        "error: `ssh` not found on PATH
  help: install it with `sudo apt-get install openssh-client`\n",
    );
}

#[test]
fn outdated_docker() {
    let project = Project::new();
    project.write("fake/docker-version", "19.03.15");
    fails(&project, 91, "error: `docker` 19.03.15 is too old; 20.10 or newer is required
  help: install it with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install\n");
}

#[test]
fn outdated_kubectl() {
    let project = Project::new();
    project.write("fake/kubectl-version", "1.18.2");
    fails(
        &project,
        91,
        "error: `kubectl` 1.18.2 is too old; 1.22 or newer is required
  help: follow https://kubernetes.io/docs/tasks/tools to install it\n",
    );
}

#[test]
fn outdated_ssh() {
    let project = Project::new();
    project.write("fake/ssh-version", "OpenSSH_6.6.1p1, OpenSSL 1.0\n");
    fails(
        &project,
        91,
        "error: `ssh` 6.6.1p1 is too old; 6.7 or newer is required
  help: install it with `sudo apt-get install openssh-client`\n",
    );
}

#[test]
fn stopped_docker_daemon() {
    let project = Project::new();
    project.write("fake/docker-down", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n");
    fails(&project, 91, "error: cannot connect to the Docker daemon
  caused by: `docker version --format '{{json .}}'` exited with code 1: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?
  help: run `sudo systemctl start docker`, or set DOCKER_HOST to a running daemon\n");
}

#[test]
fn docker_host_without_daemon() {
    let message =
        "Cannot connect to the Docker daemon at tcp://127.0.0.1:9. Is the docker daemon running?";
    let table = [
        ("default", "DOCKER_HOST is `tcp://127.0.0.1:9`; unset or fix it"),
        (
            "far",
            "the Docker context `far` is at `tcp://127.0.0.1:9`; start the daemon there, or run `docker context use default` to use the local one",
        ),
    ];
    for (context, help) in table {
        let project = Project::new();
        project.write("fake/docker-down", message);
        project.write("fake/docker-context", &format!("{context} tcp://127.0.0.1:9\n"));
        let output = project.run(&["up"]).code(91).err().to_owned();
        assert!(output.ends_with(&format!("  help: {help}\n")), "{output}");
    }
}

#[test]
fn docker_socket_without_permission() {
    let project = Project::new();
    project.write(
        "fake/docker-down",
        "permission denied while trying to connect to the Docker daemon socket\n",
    );
    fails(&project, 91, "error: cannot connect to the Docker daemon
  caused by: `docker version --format '{{json .}}'` exited with code 1: permission denied while trying to connect to the Docker daemon socket
  help: run `sudo usermod -aG docker $USER` and log in again\n");
}
