//! Podman instead of Docker.

use crate::project::{CONFIG, Project};

/// The name of the image on a node.
const ON_NODE: &str = "docker.io/library/app:kdev-0123456789ab";

/// The output of `docker version` if `docker` is Podman's wrapper.
const WRAPPER: &str =
    r#"{"Client":{"APIVersion":"4.3.1","Version":"4.3.1","OsArch":"linux/amd64","Os":"linux"}}"#;
/// The output of `docker version` if `docker` is nerdctl.
const NERDCTL: &str = r#"{"Client":{"Version":"v2.0.3","GitCommit":"","GoVersion":"go1.23.5","Os":"linux","Arch":"amd64","Components":[{"Name":"buildctl","Version":"v0.19.0","Details":{"GitCommit":""}}]},"Server":{"Components":[{"Name":"containerd","Version":"v2.0.2","Details":{"GitCommit":""}},{"Name":"runc","Version":"1.2.4","Details":{"GitCommit":""}}]}}"#;

/// A project on a machine with Podman, and without Docker.
fn project() -> Project {
    let project = Project::new();
    project.install_podman().remove("bin/docker");
    project
}

/// Returns the calls of this subcommand.
fn podman_calls(project: &Project, subcommand: &str) -> Vec<String> {
    let start = format!("podman {subcommand} ");
    let calls = project.calls();
    calls.lines().filter(|line| line.starts_with(&start)).map(str::to_owned).collect()
}

#[test]
fn up_builds_and_loads_with_podman() {
    let project = project();
    project.config(
        "target = \"release\"\nbuild-args = { A = \"b\" }\ndocker-build = [\"--no-cache\"]\n",
    );
    project.nodes(&[("n1", "10.0.0.1", "amd64")]);
    project.run(&["up"]).code(0).stdout("").stderr(
        "    Building app:latest
STEP 1/1: FROM scratch
       Built app:kdev-0123456789ab in [TIME]
     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
     Applied deployment.apps/app to kind-test, namespace default
       Ready deployment/app: 2 pods in [TIME]
    Finished app:kdev-0123456789ab in [TIME]\n",
    );
    let builds = podman_calls(&project, "build");
    let expected = "podman build --tag localhost/app:latest --file [..]/Dockerfile --target release --build-arg A=b --no-cache --iidfile ";
    let (start, end) = expected.split_once("[..]").unwrap();
    assert!(builds[0].starts_with(start) && builds[0].contains(end), "{builds:?}");
    let tags = podman_calls(&project, "tag");
    assert_eq!(tags, [format!("podman tag {CONFIG} localhost/app:kdev-0123456789ab")]);
    // The nodes have the name that the kubelet looks for.
    assert_eq!(project.images_on("10.0.0.1"), [ON_NODE, CONFIG]);
    let save = format!("podman save --quiet --multi-image-archive=false {CONFIG} {ON_NODE}");
    assert_eq!(podman_calls(&project, "save")[0], save);
}

#[test]
fn podman_is_detected_if_docker_is_missing_or_its_wrapper() {
    let wrapper = Project::new();
    wrapper.install_podman().write("fake/docker-version.json", WRAPPER);
    for project in [project(), wrapper] {
        project.run(&["up"]).code(0);
        assert_eq!(podman_calls(&project, "build").len(), 1);
        assert!(!project.calls().contains("docker build"));
    }
}

#[test]
fn docker_is_preferred_until_podman_is_selected() {
    let project = Project::new();
    project.install_podman();
    project.run(&["up"]).code(0);
    assert!(!project.calls().contains("podman "), "{}", project.calls());
    project.run(&["up", "--builder", "podman"]).code(0);
    project.run_with(&[("KDEV_BUILDER", "podman")], &["up"]).code(0);
    project.config("builder = \"podman\"\n");
    project.run(&["up"]).code(0);
    assert_eq!(podman_calls(&project, "build").len(), 3);
    // A daemon that does not respond is an error: the images of Podman are others.
    project.write("fake/docker-down", "Cannot connect to the Docker daemon\n");
    let ran = project.run(&["up", "--builder", "auto"]);
    assert!(ran.code(91).err().starts_with("error: cannot connect to the Docker daemon\n"));
}

#[test]
fn unusable_podman_is_error_with_fix() {
    let remote =
        "error: `podman` is a client for another machine, which is not supported\n  help: ";
    let unset = "unset CONTAINER_HOST and CONTAINER_CONNECTION to use the Podman of this machine\n";
    let archive = "run `podman save --output image.tar NAME:TAG && cargo kdev load image.tar`, or pass `--builder docker`\n";
    let table = [
        (vec![("CONTAINER_HOST", "unix:///run/podman.sock")], "", format!("{remote}{unset}")),
        (vec![("CONTAINER_HOST", "unix:///stopped")], "", format!("{remote}{unset}")),
        (vec![("CONTAINER_CONNECTION", "far")], "", format!("{remote}{unset}")),
        (vec![], "running", format!("{remote}{archive}")),
        (vec![], "stopped", format!("{remote}{archive}")),
    ];
    for (variables, machine, expected) in table {
        let project = project();
        project.write("fake/podman-machine", machine);
        project.run_with(&variables, &["up"]).code(91).stdout("").stderr(&expected);
        assert_eq!(project.applied(), None);
    }
}

#[test]
fn missing_and_outdated_podman_are_errors() {
    let project = project();
    project.write("fake/podman-version", "3.4.4");
    let install = "  help: install Podman 4.3 or newer, as described at https://podman.io/docs/installation\n";
    let expected = format!("error: `podman` 3.4.4 is too old; 4.3 or newer is required\n{install}");
    project.run(&["up"]).code(91).stderr(&expected);
    project.remove("bin/podman");
    let expected = format!("error: `podman` not found on PATH\n{install}");
    project.run(&["up", "--builder", "podman"]).code(91).stderr(&expected);
    let ran = project.run(&["doctor", "--builder", "podman"]);
    let out = ran.code(91).out();
    assert!(
        out.starts_with("tools\n  error    podman                `podman` not found on PATH\n"),
        "{out}"
    );
    assert!(!out.contains("daemon"), "{out}");
}

#[test]
fn nerdctl_as_docker_is_error() {
    let project = Project::new();
    project.install_podman().write("fake/docker-version.json", NERDCTL);
    let expected = "error: `docker` is nerdctl, which is not supported
  help: install Docker with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install\n";
    project.run(&["up"]).code(91).stderr(expected);
}

#[test]
fn rootless_podman_without_programs_shows_message_and_fix() {
    let message = "time=\"2026-11-28T05:13:53Z\" level=error msg=\"invalid internal status, try resetting the pause process with \\\"podman system migrate\\\": command required for rootless mode with multiple IDs: exec: \\\"newuidmap\\\": executable file not found in $PATH\"";
    let project = project();
    project.write("fake/podman-unusable", &format!("{message}\n"));
    let expected = format!(
        "error: `podman` cannot be used
  caused by: `podman version --format '{{{{json .}}}}'` exited with code 1: {message}
  help: run `sudo apt-get install uidmap`\n"
    );
    assert_eq!(project.run(&["up"]).code(91).err(), expected);
}

#[test]
fn failed_build_with_one_user_id_notes_how_to_add_ids() {
    let add = "run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER && podman system migrate`";
    let project = project();
    project.write("fake/podman-build-fails", "Error: copier: put: lchown /x: invalid argument\n");
    let failed = "error: failed to build `app:latest`";
    let ran = project.run(&["up"]);
    assert!(ran.code(125).err().contains(failed) && !ran.err().contains("Note"), "{}", ran.err());
    project.write("fake/podman-ids", "true 1 \n");
    let ran = project.run(&["up"]);
    let note = format!(
        "        Note Podman has only one user ID, so it cannot store files of other users; {add}\n{failed}"
    );
    assert!(ran.code(125).err().contains(&note), "{}", ran.err());
    let ran = project.run(&["doctor", "-q"]);
    let problem = format!(
        "podman\n  warning  user-ids              only one user ID, so Podman cannot store files of other users\n    help: {add}\n"
    );
    assert!(ran.out().contains(&problem), "{}", ran.out());
}

#[test]
fn containerfile_is_preferred_by_podman_and_unknown_to_docker() {
    let file = |project: &Project| {
        let build = podman_calls(project, "build").pop().unwrap_or_default();
        let path = build.split(" --file ").nth(1).and_then(|rest| rest.split(' ').next());
        path.and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned()
    };
    // Podman is detected, then configured.
    let project = project();
    project.write("Containerfile", "FROM scratch\n");
    project.run(&["up"]).code(0);
    assert_eq!(file(&project), "Containerfile");
    project.remove("Dockerfile");
    project.run(&["up", "--builder", "podman"]).code(0);
    project.run(&["up"]).code(0);
    assert_eq!(file(&project), "Containerfile");
    project.remove("Containerfile");
    let ran = project.run(&["up", "--builder", "podman"]);
    let expected = "error: neither `Containerfile` nor `Dockerfile` found in `";
    assert!(ran.code(90).err().starts_with(expected), "{}", ran.err());
    let help =
        "help: create one of them, or set `dockerfile = \"path\"` in `[package.metadata.kdev]`\n";
    assert!(ran.err().ends_with(help), "{}", ran.err());

    let docker = Project::new();
    docker.write("Containerfile", "FROM scratch\n");
    docker.run(&["up"]).code(0);
    assert!(docker.calls().contains("/Dockerfile "), "{}", docker.calls());
    docker.remove("Dockerfile");
    for builder in ["docker", "auto"] {
        let ran = docker.run(&["up", "--builder", builder]);
        assert!(ran.code(90).err().starts_with("error: Dockerfile not found at "), "{}", ran.err());
    }
    // The advice of the error.
    docker.config("dockerfile = \"Containerfile\"\n").run(&["up"]).code(0);
}

#[test]
fn failed_build_for_other_platform_notes_emulation() {
    let project = project();
    project.nodes(&[("n1", "10.0.0.1", "arm64")]);
    project.write("fake/podman-build-fails", "exec /bin/sh: Exec format error\n");
    let note = "        Note Podman builds for linux/arm64, the platform of the nodes, and line 2 of `Dockerfile` runs a program, which requires emulation; run `sudo apt-get install qemu-user-static` if it is not installed\n";
    let ran = project.run(&["up"]);
    assert!(!ran.code(125).err().contains("Note"), "{}", ran.err());
    project.write("Dockerfile", "FROM alpine\nRUN true\n");
    let ran = project.run(&["up"]);
    assert!(ran.code(125).err().contains(note), "{}", ran.err());
    project.nodes(&[("n1", "10.0.0.1", "amd64")]);
    let ran = project.run(&["up"]);
    assert!(!ran.code(125).err().contains("Note"), "{}", ran.err());
}

#[test]
fn tags_of_old_builds_are_removed_from_podman() {
    let project = project();
    let name = |number: usize| format!("localhost/app:kdev-{number:012}");
    let names = [3, 2, 1, 0].map(name).join("\n");
    let others = "localhost/app:latest\nlocalhost/other:kdev-000000000000\n";
    project.write("fake/podman-names", &format!("{names}\n{others}"));
    let removal = format!("podman image rm --no-prune {} {}", name(1), name(0));
    let ran = project.run(&["up", "--dry-run"]);
    let out = ran.code(0).out();
    assert!(out.ends_with(&format!("\n{removal}\n")), "{out}");
    let tag = "\npodman tag app:latest 'localhost/app:kdev-<digest>'\n";
    let load = "podman save 'localhost/app:kdev-<digest>' | ";
    assert!(out.contains(tag) && out.contains(load), "{out}");
    project.run(&["up"]).code(0);
    let calls = project.calls();
    let removals: Vec<&str> = calls.lines().filter(|line| line.contains("image rm")).collect();
    assert_eq!(removals, [removal]);
}

#[test]
fn load_finds_local_and_pulled_images() {
    let table = [
        ("tool:1", "localhost/tool:1", "docker.io/library/tool:1"),
        ("localhost/tool:1", "localhost/tool:1", "localhost/tool:1"),
        ("tool:1", "docker.io/library/tool:1", "docker.io/library/tool:1"),
        ("ghcr.io/a/tool:1", "ghcr.io/a/tool:1", "ghcr.io/a/tool:1"),
    ];
    for (argument, in_podman, on_node) in table {
        let project = project();
        project.write("fake/podman-names", &format!("{in_podman}\n"));
        project.run(&["load", argument, "--node", "n2"]).code(0);
        assert_eq!(project.images_on("10.0.0.2"), [on_node, CONFIG], "{argument}");
    }
    let project = project();
    // Podman itself would take this one for `tool:1`.
    project.write("fake/podman-names", "ghcr.io/a/tool:1\n");
    project.run(&["load", "tool:1"]).code(90).stderr(
        "error: image `tool:1` not found in Podman
  help: pass an image that `podman image ls` lists, as `NAME:TAG`\n",
    );
}

#[test]
fn failed_export_names_podman() {
    let project = project();
    project.write("fake/save-fails", "").write("fake/podman-names", "localhost/tool:1\n");
    let ran = project.run(&["load", "tool:1", "--node", "n1"]);
    let err = ran.code(94).err();
    assert!(err.contains("error: failed to export the image for node `n1`\n"), "{err}");
    assert!(err.ends_with("  help: run `podman build --no-cache` to rebuild the image\n"), "{err}");
}

#[test]
fn status_and_render_know_builds_in_podman() {
    let project = project();
    project.run(&["up"]).code(0);
    let row = |repository: &str, tag: &str, id: &str| {
        format!(
            r#"{{"Repository":"{repository}","Tag":"{tag}","ID":"{id}","CreatedSince":"1 hour ago","CreatedAt":"2026-11-28 04:54:37 +0000 UTC"}}"#
        )
    };
    let pulled = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    let rows = [
        row("docker.io/library/app", "latest", pulled),
        row("localhost/app", "latest", CONFIG),
        row("localhost/app", "kdev-0123456789ab", CONFIG),
    ];
    project.write("fake/podman-images.json", &(rows.join("\n") + "\n"));
    let ran = project.run(&["status"]);
    assert!(ran.code(0).out().contains(" latest "), "{}", ran.out());
    project.write("fake/podman-names", "localhost/app:latest\n");
    let ran = project.run(&["render"]);
    assert!(ran.code(0).out().contains("image: app:kdev-0123456789ab\n"), "{}", ran.out());
    project.remove("fake/podman-images.json");
    let ran = project.run(&["status"]);
    let note = "Note the latest build is unknown: Podman has no image of this project\n";
    assert!(ran.code(0).err().contains(note), "{}", ran.err());
}

#[test]
fn doctor_checks_podman() {
    let project = project();
    project.nodes(&[("n1", "10.0.0.1", "arm64")]);
    let ran = project.run(&["doctor"]);
    let out = ran.out();
    let tools = "tools\n  ok       podman                4.3.1 at [ROOT]/bin/podman\n";
    assert!(out.starts_with(tools), "{out}");
    let podman = "podman
  ok       engine                4.3.1 for linux/amd64
  ok       image-store           overlay in /home/dev/.local/share/containers/storage
project\n";
    assert!(out.contains(podman), "{out}");
    let platform = "linux/arm64, matches Podman\n";
    assert!(out.contains(platform), "{out}");
    project.write("fake/podman-machine", "running");
    let ran = project.run(&["doctor", "-q"]);
    let problem =
        "podman\n  error    engine                `podman` is a client for another machine";
    assert!(ran.code(91).out().contains(problem), "{}", ran.out());
}
