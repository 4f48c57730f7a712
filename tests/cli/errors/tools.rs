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

/// The output of `docker version` of Podman 4.3.1, and of a Docker client that uses it.
const PODMAN: [&str; 2] = [
    r#"{"Client":{"APIVersion":"4.3.1","Version":"4.3.1","GoVersion":"go1.19.8","GitCommit":"","BuiltTime":"Thu Jan  1 00:00:00 1970","Built":0,"OsArch":"linux/amd64","Os":"linux"}}"#,
    r#"{"Client":{"Version":"28.2.2","ApiVersion":"1.41"},"Server":{"Platform":{"Name":"linux/amd64/debian-12"},"Components":[{"Name":"Podman Engine","Version":"4.3.1"},{"Name":"Conmon","Version":"conmon version 2.1.6"}],"Version":"4.3.1","ApiVersion":"1.41","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}}"#,
];
const INSTALL: &str = "install Docker with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install";

#[test]
fn podman_as_docker() {
    let project = Project::new();
    project.write("fake/docker-version.json", PODMAN[0]);
    let expected =
        format!("error: `docker` is Podman, which is not supported\n  help: {INSTALL}\n");
    fails(&project, 91, &expected);
    project.write("fake/docker-version-line", "podman version 4.3.1\n");
    let ran = project.run(&["doctor"]);
    assert!(
        ran.code(91).out().contains("`docker` is Podman, which is not supported"),
        "{}",
        ran.out()
    );
    assert!(!ran.out().contains("too old"), "{}", ran.out());
}

#[test]
fn podman_behind_docker_client() {
    let table = [
        ("", "pass `--builder podman` to use Podman without Docker's client"),
        (
            "default unix:///run/user/0/podman/podman.sock\n",
            "DOCKER_HOST is `unix:///run/user/0/podman/podman.sock`; pass `--builder podman`, or set it to a Docker daemon",
        ),
        (
            "mine unix:///run/podman.sock\n",
            "the Docker context `mine` is at `unix:///run/podman.sock`; run `docker context use default` to use the local daemon",
        ),
    ];
    for (context, help) in table {
        let project = Project::new();
        project.write("fake/docker-version.json", PODMAN[1]).write("fake/docker-context", context);
        let expected =
            format!("error: the Docker daemon is Podman, which is not supported\n  help: {help}\n");
        fails(&project, 91, &expected);
    }
}

#[test]
fn docker_client_and_daemon_without_common_api() {
    let table = [
        (
            "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version",
            "`docker` 20.10.24 is too old for the Docker daemon",
            "client",
        ),
        (
            "client version 1.44 is too new. Maximum supported API version is 1.41",
            "the Docker daemon is too old for `docker` 20.10.24",
            "daemon",
        ),
    ];
    for (message, error, side) in table {
        let project = Project::new();
        let client = r#"{"Client":{"Version":"20.10.24","ApiVersion":"1.41"},"Server":null}"#;
        project.write("fake/docker-version.json", client);
        project.write("fake/docker-down", &format!("Error response from daemon: {message}\n"));
        let expected = format!(
            "error: {error}
  caused by: `docker version --format '{{{{json .}}}}'` exited with code 1: Error response from daemon: {message}
  help: follow https://docs.docker.com/engine/install to upgrade the Docker {side}\n"
        );
        fails(&project, 91, &expected);
    }
}

#[test]
fn docker_api_version_without_support() {
    let project = Project::new();
    let output = project.run_with(&[("DOCKER_API_VERSION", "1.52")], &["up"]);
    output.code(91).stderr("error: the Docker daemon does not support the API version of DOCKER_API_VERSION
  caused by: `docker version --format '{{json .}}'` exited with code 1: Error response from daemon: client version 1.52 is too new. Maximum supported API version is 1.41
  help: unset DOCKER_API_VERSION\n");
    project.run(&["up"]).code(0);
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
fn context_of_variable_is_left_by_unsetting_variable() {
    let project = Project::new();
    project.write("fake/docker-context", "far tcp://127.0.0.1:9\n");
    let help = |end: &str| {
        let ran = project.run_with(&[("DOCKER_CONTEXT", "far")], &["up"]);
        let place = "  help: the Docker context `far` is at `tcp://127.0.0.1:9`; ";
        assert!(ran.code(91).err().ends_with(&format!("{place}{end}\n")), "{}", ran.err());
    };
    project.write("fake/docker-version.json", PODMAN[1]);
    help("unset DOCKER_CONTEXT to use the local daemon");
    project.remove("fake/docker-version.json");
    project.write("fake/docker-down", "Cannot connect to the Docker daemon\n");
    help("start the daemon there, or unset DOCKER_CONTEXT to use the local one");
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
