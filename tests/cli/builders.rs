//! The builder of Docker: where it is, what it can do, and the platform that it builds for.

use std::fs;

use crate::project::Project;

/// The output of `docker buildx inspect` for Docker's own builder, with emulation of arm64.
pub(crate) const EMULATING: &str = "\
Name:          default
Driver:        docker

Nodes:
Name:             default
Endpoint:         default
Status:           running
BuildKit version: v0.25.1
Platforms:        linux/amd64, linux/amd64/v2, linux/arm64
Labels:
 org.mobyproject.buildkit.worker.snapshotter: overlayfs
";

const ARM: [(&str, &str, &str); 2] = [("n1", "10.0.0.1", "arm64"), ("n2", "10.0.0.2", "arm64")];

/// A project for Docker 28 with BuildKit, which builds an image for arm64.
fn arm_project(nodes: &[(&str, &str, &str)], builder: &str) -> Project {
    let project = Project::new();
    project.nodes(nodes).write("fake/image-arch", "arm64").write("fake/builder", builder);
    project.write("fake/docker-version", "28.2.2");
    project.write("fake/buildx", "github.com/docker/buildx v0.29.1 a\n");
    project
}

/// The build command of a run.
fn build(project: &Project) -> String {
    let calls = project.calls();
    let build = calls.lines().rfind(|call| call.starts_with("docker build "));
    build.unwrap_or_default().to_owned()
}

#[test]
fn image_is_built_for_platform_of_nodes() {
    let project = arm_project(&ARM, EMULATING);
    project.run(&["up"]).code(0);
    assert!(build(&project).contains(" --platform linux/arm64 "), "{}", project.calls());
    assert!(project.calls().contains("docker buildx inspect default\n"), "{}", project.calls());
    // The builder can emulate the platform, and is only asked once.
    project.write("Dockerfile", "FROM alpine\nRUN true\n");
    project.run(&["up"]).code(0);
    assert!(build(&project).contains(" --platform linux/arm64 "), "{}", project.calls());
    assert_eq!(project.calls().matches("buildx").count(), 1, "{}", project.calls());
}

#[test]
fn default_platform_that_fits_a_node_is_not_passed() {
    let mixed = [ARM[0], ARM[1], ("n3", "10.0.0.3", "amd64")];
    let project = arm_project(&mixed, EMULATING);
    project.write("fake/image-arch", "amd64");
    let ran = project.run(&["up"]);
    let skipped = "    Skipping n1: it is linux/arm64, but the image is built for linux/amd64
    Skipping n2: it is linux/arm64, but the image is built for linux/amd64\n";
    assert!(ran.code(0).err().contains(skipped), "{}", ran.err());
    assert!(!build(&project).contains("--platform"), "{}", project.calls());
    // Requested nodes decide.
    project.write("fake/image-arch", "arm64");
    project.run(&["up", "--node", "n1", "--node", "n2"]).code(0);
    assert!(build(&project).contains(" --platform linux/arm64 "), "{}", project.calls());
}

#[test]
fn default_platform_is_that_of_selected_builder() {
    let far = EMULATING.replace("Driver:        docker", "Driver:        remote");
    let far = far.replace("linux/amd64, linux/amd64/v2, linux/arm64", "linux/arm64, linux/amd64");
    let project = arm_project(&[("n1", "10.0.0.1", "amd64")], &far);
    project.write("fake/image-arch", "amd64").config("docker-build = [\"--load\"]");
    // `docker buildx install` and `docker buildx use`.
    fs::create_dir(project.path(".docker")).unwrap();
    project.write(".docker/config.json", r#"{"aliases":{"builder":"buildx"}}"#);
    project.run(&["up"]).code(0);
    assert!(build(&project).contains(" --platform linux/amd64 "), "{}", project.calls());
    project.write(".docker/config.json", "{}");
    project.run(&["up"]).code(0);
    assert!(!build(&project).contains("--platform"), "{}", project.calls());
}

#[test]
fn platform_of_user_is_kept() {
    let project = arm_project(&ARM, EMULATING);
    let variable = [("DOCKER_DEFAULT_PLATFORM", "linux/arm64")];
    project.run_with(&variable, &["up"]).code(0);
    assert!(!build(&project).contains("--platform"), "{}", project.calls());
    project.write("Dockerfile", "FROM --platform=linux/arm64 alpine\nRUN true\n");
    project.run(&["up"]).code(0);
    assert!(!build(&project).contains("--platform"), "{}", project.calls());
    project.write("Dockerfile", "FROM alpine\nRUN true\n");
    project.config("docker-build = [\"--platform=linux/arm64\"]");
    project.run(&["up"]).code(0);
    assert_eq!(build(&project).matches("--platform").count(), 1, "{}", project.calls());
}

#[test]
fn build_that_requires_emulation_fails_before_build() {
    let project = arm_project(&ARM, &EMULATING.replace(", linux/arm64", ""));
    project.write("Dockerfile", "FROM alpine\nCOPY . /src\nRUN true\n");
    let ran = project.run(&["up"]);
    ran.code(90).stderr("error: cannot build for linux/arm64, the platform of the nodes: line 3 of the Dockerfile runs a program, and the builder runs only those of linux/amd64
  help: run `docker run --privileged --rm tonistiigi/binfmt --install arm64` to emulate it, or compile in a stage that begins with `FROM --platform=$BUILDPLATFORM`\n");
    assert_eq!(build(&project), "");
    // One advice: a stage for the platform of the builder.
    let cross = "FROM --platform=$BUILDPLATFORM alpine AS build\nRUN true\nFROM scratch\nCOPY --from=build /a /a\n";
    project.write("Dockerfile", cross);
    project.run(&["up"]).code(0);
    assert!(build(&project).contains(" --platform linux/arm64 "), "{}", project.calls());
    // The other one: emulation, which is noticed at once.
    project.write("Dockerfile", "FROM alpine\nRUN true\n");
    project.run(&["up"]).code(90);
    project.write("fake/builder", EMULATING);
    project.run(&["up"]).code(0);
}

#[test]
fn legacy_builder_does_not_build_for_other_platform() {
    let project = arm_project(&ARM, EMULATING);
    project.remove("fake/builder").remove("fake/buildx");
    let ran = project.run(&["up"]);
    ran.code(90).stderr("error: cannot build for linux/arm64, the platform of the nodes: Docker's legacy builder builds for linux/amd64
  help: run `sudo apt-get install docker-buildx-plugin` if Docker is from docker.com, else `sudo apt-get install docker-buildx`\n");
    assert_eq!(build(&project), "");
    // An old client has BuildKit without Buildx.
    project.write("fake/docker-version", "20.10.24");
    let ran = project.run(&["up"]);
    assert!(ran.code(90).err().ends_with("  help: set DOCKER_BUILDKIT=1\n"), "{}", ran.err());
    project.run_with(&[("DOCKER_BUILDKIT", "1")], &["up"]).code(0);
    assert!(build(&project).contains(" --platform linux/arm64 "), "{}", project.calls());
    project.write("fake/docker-version", "28.2.2");
    project.write("fake/buildx", "").write("fake/builder", EMULATING);
    project.run(&["up"]).code(0);
    let ran = project.run_with(&[("DOCKER_BUILDKIT", "0")], &["up"]);
    let help = "  help: unset DOCKER_BUILDKIT, or set it to 1\n";
    assert!(ran.code(90).err().ends_with(help), "{}", ran.err());
}

#[test]
fn copied_program_of_other_platform_is_named() {
    let project = arm_project(&ARM, EMULATING);
    project.write("Dockerfile", "FROM scratch\nCOPY app /app\n");
    let program = |machine: u8| {
        let mut header = [0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18] = machine;
        fs::write(project.path("app"), header).unwrap();
    };
    program(62);
    let ran = project.run(&["up"]);
    ran.code(90).stderr("error: the Dockerfile copies `app` (line 2), a program for linux/amd64, but the image is for linux/arm64
  help: build it with `cargo build --target aarch64-unknown-linux-musl`, and copy it from `target/aarch64-unknown-linux-musl/`\n");
    assert_eq!(build(&project), "");
    program(183);
    project.run(&["up"]).code(0);
}

#[test]
fn unknown_builder_fails_before_build_with_message_of_buildx() {
    let project = Project::new();
    project.write("fake/docker-version", "28.2.2");
    project.write("fake/buildx", "github.com/docker/buildx v0.29.1 a\n");
    let error = "error: cannot use builder `far`
  caused by: `docker buildx inspect far` exited with code 1: ERROR: no builder \"far\" found
  help: pass `--builder buildx:NAME` with a name that `docker buildx ls` lists\n";
    let ran = project.run(&["up", "--builder", "buildx:far"]);
    ran.code(91).stderr(error);
    let ran = project.run_with(&[("BUILDX_BUILDER", "far")], &["up"]);
    ran.code(91).stderr(error);
    assert_eq!(build(&project), "");
    project.write("fake/builder", EMULATING);
    project.run_with(&[("BUILDX_BUILDER", "far")], &["up", "--builder", "buildx:default"]).code(0);
    project.remove("fake/builder").remove("fake/buildx");
    let ran = project.run(&["up", "--builder", "buildx:far"]);
    ran.code(91).stderr("error: builder `far` requires buildx, which is not installed
  help: run `sudo apt-get install docker-buildx-plugin` if Docker is from docker.com, else `sudo apt-get install docker-buildx`\n");
}

/// A healthy project for `doctor` with Docker 28, buildx, and this address of the daemon.
fn doctor_project(address: &str) -> Project {
    let project = Project::new();
    project.nodes(&[("n1", "10.0.0.1", "amd64")]);
    project.config("nodes.n1.ssh = \"10.0.0.1\"");
    project.edit_nodes(
        "\"addresses\"",
        "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}],\"addresses\"",
    );
    project.script("df", "printf 'F B U A\\nx 104857600 1 52428800\\n'").script("zstd", "exit 0");
    project.write("fake/docker-version", "28.2.2").write("fake/docker-context", address);
    project.write("fake/buildx", "github.com/docker/buildx v0.29.1 a\n");
    project.write("fake/builder", EMULATING).write("fake/docker-info", CONTAINERD);
    project
}

const CONTAINERD: &str = r#"[["driver-type","io.containerd.snapshotter.v1"]]"#;

/// The problems of Docker that `doctor` reports.
fn docker_problems(project: &Project) -> String {
    let output = project.run(&["doctor", "-q"]).out().to_owned();
    let docker = output.split("docker\n").nth(1).unwrap_or_default();
    docker.split("node n1\n").next().unwrap().to_owned()
}

#[test]
fn doctor_names_setting_for_docker_desktop_with_classic_store() {
    let project = doctor_project("unix:///home/dev/.docker/desktop/docker.sock\n");
    project.write("fake/docker-os", "Docker Desktop");
    assert_eq!(docker_problems(&project), "");
    let ran = project.run(&["doctor"]);
    let layout = "  ok       layers                BuildKit exports only the changed layers\n";
    assert!(ran.out().contains(layout), "{}", ran.out());
    project.remove("fake/docker-info");
    let classic = EMULATING.split("Labels:").next().unwrap();
    project.write("fake/builder", classic);
    assert_eq!(
        docker_problems(&project),
        "  warning  layers                Docker exports the whole image after each build, which takes seconds for a large one: the virtual machine of Docker Desktop cannot connect to this machine, and its image store cannot export single layers
    help: in Docker Desktop, enable `Settings → General → Use containerd for pulling and storing images`\n"
    );
    // Follow the help.
    project.write("fake/builder", EMULATING).write("fake/docker-info", CONTAINERD);
    assert_eq!(docker_problems(&project), "");
}

#[test]
fn doctor_names_buildx_if_it_is_missing() {
    let project = doctor_project("tcp://10.0.0.9:2376\n");
    project.remove("fake/buildx").remove("fake/builder");
    assert_eq!(
        docker_problems(&project),
        "  warning  layers                Docker exports the whole image after each build, which takes seconds for a large one: the daemon at `tcp://10.0.0.9:2376` cannot connect to this machine, and the legacy builder cannot export single layers
    help: run `sudo apt-get install docker-buildx-plugin` if Docker is from docker.com, else `sudo apt-get install docker-buildx`\n"
    );
    project.write("fake/buildx", "github.com/docker/buildx v0.29.1 a\n");
    project.write("fake/builder", EMULATING);
    assert_eq!(docker_problems(&project), "");
}

#[test]
fn doctor_distinguishes_rootless_docker_by_store() {
    let project = doctor_project("unix:///run/user/1000/docker.sock\n");
    project.write("fake/docker-security", r#"["name=seccomp,profile=builtin","name=rootless"]"#);
    let layers = |evidence: &str| {
        let ran = project.run(&["doctor"]);
        let line = format!("  ok       layers                {evidence}\n");
        assert!(ran.out().contains(&line), "{}", ran.out());
    };
    layers("BuildKit exports only the changed layers");
    project.remove("fake/docker-info");
    project.write("fake/builder", EMULATING.split("Labels:").next().unwrap());
    layers("Docker pushes only the changed layers");
}

#[test]
fn doctor_names_setting_for_classic_store_on_other_machine() {
    let project = doctor_project("tcp://10.0.0.9:2376\n");
    project.remove("fake/docker-info");
    project.write("fake/builder", EMULATING.split("Labels:").next().unwrap());
    assert_eq!(
        docker_problems(&project),
        "  warning  layers                Docker exports the whole image after each build, which takes seconds for a large one: the daemon at `tcp://10.0.0.9:2376` cannot connect to this machine, and its image store cannot export single layers
    help: connect to the daemon over SSH, such as with `DOCKER_HOST=ssh://USER@HOST`\n"
    );
    // Follow the help.
    project.write("fake/docker-context", "ssh://10.0.0.9\n");
    assert!(!docker_problems(&project).contains(" layers "), "{}", docker_problems(&project));
}

#[test]
fn doctor_checks_shared_connections_of_docker_over_ssh() {
    let project = doctor_project("ssh://dev@far.example:2222\n");
    assert_eq!(
        docker_problems(&project),
        "  warning  ssh-connections       each build opens about 10 connections to `far.example`, because they are not shared
    help: add `ControlMaster auto`, `ControlPath ~/.ssh/%C`, and `ControlPersist 60` for `far.example` to `~/.ssh/config`\n"
    );
    let calls = project.calls();
    assert!(calls.contains("ssh -G -l dev -p 2222 -- far.example\n"), "{calls}");
    // The output of OpenSSH 9.2 after the help was followed.
    project.write(
        "fake/ssh-settings",
        "controlmaster auto\ncontrolpath /home/dev/.ssh/1\ncontrolpersist 60\n",
    );
    assert_eq!(docker_problems(&project), "");
}

#[test]
fn doctor_reports_builder_that_cannot_be_used() {
    let project = doctor_project("unix:///var/run/docker.sock\n");
    project.remove("fake/builder");
    let ran = project.run_with(&[("BUILDX_BUILDER", "far")], &["doctor", "-q"]);
    ran.code(91).stdout(
        "docker
  error    builder               cannot use builder `far`
    caused by: `docker buildx inspect far` exited with code 1: ERROR: no builder \"far\" found
    help: pass `--builder buildx:NAME` with a name that `docker buildx ls` lists\n",
    );
    let far = EMULATING.replace("default", "far").replace("docker\n", "remote\n");
    project.write("fake/builder", &far);
    let ran = project.run(&["doctor", "--builder", "buildx:far"]);
    let builder =
        "  ok       builder               builder `far` (remote driver) with buildx v0.29.1\n";
    assert!(ran.out().contains(builder), "{}", ran.out());
    let layers = "  ok       layers                builder `far` exports only the changed layers\n";
    assert!(ran.out().contains(layers), "{}", ran.out());
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let load = "[package.metadata.kdev]\ndocker-build = [\"--load\"]\n";
    project.write("Cargo.toml", &cargo.replace("[package.metadata.kdev]\n", load));
    let ran = project.run(&["doctor", "-q", "--builder", "buildx:far"]);
    ran.code(0).stdout("docker
  warning  layers                builder `far` (remote driver) loads the whole image into Docker after each build, which takes seconds for a large one
    help: remove `--load` from `docker-build` in `[package.metadata.kdev]` to export only the changed layers\n");
    // Another help, because this one would be an error.
    project.write("fake/builder", &far.replace("v0.25.1", "v0.11.0"));
    let ran = project.run(&["doctor", "-q", "--builder", "buildx:far"]);
    let help = "    help: pass `--builder buildx:default` to build with Docker\n";
    assert!(ran.code(0).out().ends_with(help), "{}", ran.out());
    project.write("Cargo.toml", &cargo);
    let ran = project.run(&["doctor", "-q", "--builder", "buildx:far"]);
    ran.code(91).stdout("docker
  error    layers                BuildKit 0.11 of builder `far` is too old; kdev requires 0.12 or later
    help: upgrade the builder, or add `\"--load\"` to `docker-build` in `[package.metadata.kdev]` to store the image in Docker\n");
    project.write("fake/builder", EMULATING);
    project.run(&["doctor", "-q", "--builder", "buildx:default"]).code(0).stdout("");
}

#[test]
fn doctor_reports_platform_that_builder_cannot_build_for() {
    let project = doctor_project("unix:///var/run/docker.sock\n");
    project.nodes(&[("n1", "10.0.0.1", "arm64")]);
    project.write("Dockerfile", "FROM alpine\nRUN true\n");
    let ran = project.run(&["doctor"]);
    assert!(ran.out().contains("linux/arm64, matches Docker\n"), "{}", ran.out());
    project.write("fake/builder", &EMULATING.replace(", linux/arm64", ""));
    let ran = project.run(&["doctor", "-q"]);
    let expected = "  error    build-platform        cannot build for linux/arm64, the platform of the nodes: line 2 of the Dockerfile runs a program, and the builder runs only those of linux/amd64
    help: run `docker run --privileged --rm tonistiigi/binfmt --install arm64` to emulate it";
    assert!(ran.code(90).out().contains(expected), "{}", ran.out());
}

#[test]
fn failed_build_makes_next_run_ask_builder_again() {
    let project = arm_project(&ARM, EMULATING);
    let asked = || project.calls().matches("buildx inspect").count();
    project.run(&["up"]).code(0);
    assert_eq!(asked(), 1);
    project.write("fake/build-fails", "");
    project.run(&["up"]).code(7);
    assert_eq!(asked(), 1);
    project.remove("fake/build-fails");
    project.run(&["up"]).code(0);
    assert_eq!(asked(), 2);
    project.run(&["up"]).code(0);
    assert_eq!(asked(), 2);
}

#[test]
fn unchanged_up_starts_no_more_programs_than_before() {
    let project = Project::new();
    project.write("fake/docker-version", "28.2.2").write("fake/builder", EMULATING);
    project.write("fake/docker-context", "unix:///var/run/docker.sock\n");
    project.write("fake/layers", r#"["sha256:1111"]"#);
    project.run(&["up"]).code(0);
    let starts = || {
        let _ = fs::remove_file(project.path("fake/log"));
        project.run(&["up"]).code(0);
        let calls = project.calls();
        let docker = calls.lines().filter_map(|call| call.strip_prefix("docker "));
        let mut words: Vec<_> = docker.filter_map(|call| call.split(' ').next()).collect();
        words.retain(|word| !["exec", "container"].contains(word));
        words.sort_unstable();
        words.join(" ")
    };
    // No list of older builds: this build is not new. Neither `docker context` nor `docker buildx`: the facts about both are kept. The fake does
    // not push anything, so each run pushes.
    assert_eq!(starts(), "build image image info push tag tag version");
}
