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
    project.write("fake/buildx", "").write("fake/builder", EMULATING);
    project.run(&["up"]).code(0);
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
