//! The build fails.

use super::*;

#[test]
fn build_failure_keeps_output_and_exit_code_of_docker() {
    let project = Project::new();
    project.write("fake/build-fails", "");
    fails(
        &project,
        7,
        "    Building app:latest
Step 1/1 : FROM scratch
The command '/bin/sh -c exit 7' returned a non-zero code: 7
error: failed to build `app:latest`
  caused by: `docker build --tag app:latest --file [ROOT]/Dockerfile [..]` exited with code 7
  help: check the build output above\n",
    );
}

#[test]
fn quiet_build_failure_prints_output() {
    let project = Project::new();
    project.write("fake/build-fails", "");
    project.run(&["up", "-q"]).code(7).stderr(
        "[..]
[..]
error: failed to build `app:latest`
  caused by: `docker build --tag app:latest --file [ROOT]/Dockerfile [..]` exited with code 7
  help: check the build output above\n",
    );
}

#[test]
fn missing_binary_suggests_its_location() {
    let project = Project::new();
    project.write("Dockerfile", "FROM scratch\nCOPY target/release/app /app\n");
    project.run(&["up", "--dry-run"]).code(0).stderr("");
    project.write("fake/build-fails", "");
    let output = project.run_with(&[("CARGO_TARGET_DIR", "/elsewhere")], &["up"]);
    output.code(7).stderr(
        "    Building app:latest
Step 1/1 : FROM scratch
The command '/bin/sh -c exit 7' returned a non-zero code: 7
error: failed to build `app:latest`
  caused by: `docker build --tag app:latest --file [ROOT]/Dockerfile [..]` exited with code 7
  help: unset CARGO_TARGET_DIR or set `context` in `[package.metadata.kdev]`: the Dockerfile copies from `target/`, but cargo builds into `/elsewhere`, which is outside the build context\n",
    );
    // The build may succeed with the output of an earlier build.
    project.remove("fake/build-fails");
    let output = project.run_with(&[("CARGO_TARGET_DIR", "/elsewhere")], &["up"]);
    let note = "        Note the Dockerfile copies from `target/`, but cargo builds into `/elsewhere`, which is outside the build context\n";
    assert!(output.code(0).err().contains(note), "{}", output.err());
}

#[test]
fn image_for_other_architecture() {
    let project = Project::new();
    project.write("fake/image-arch", "arm64");
    fails(
        &project,
        94,
        &format!(
            "{BUILT}error: image `{IMAGE}` is built for linux/arm64, but node `n1` is linux/amd64
  help: build for the node: set DOCKER_DEFAULT_PLATFORM=linux/amd64\n"
        ),
    );
    assert!(!project.calls().contains("docker save"));
}

#[test]
fn builder_that_does_not_store_image_is_named() {
    let project = Project::new();
    project.write("fake/builder", "Name:          far\nDriver:        remote\nLast Activity: 2026-11-28 01:44:39 +0000 UTC\n\nNodes:\nName:             far0\nEndpoint:         unix:///tmp/sock\n");
    let ran = project.run_with(&[("BUILDX_BUILDER", "far")], &["up"]);
    ran.code(90).error(
        "error: builder `far` (remote driver) did not store the image in Docker
  help: add `\"--load\"` to `docker-build` in `[package.metadata.kdev]`, or set BUILDX_BUILDER=default\n",
    );
    untouched(&project);
    assert!(project.calls().contains("docker buildx inspect\n"), "{}", project.calls());
    project.run_with(&[("BUILDX_BUILDER", "default")], &["up"]).code(0);
    project.config("docker-build = [\"--builder\", \"far\"]");
    project.run(&["up"]).code(90);
    assert!(project.calls().contains("docker buildx inspect far\n"), "{}", project.calls());
    let cargo = std::fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &cargo.replace("\"far\"]", "\"far\", \"--load\"]"));
    project.run(&["up"]).code(0);
}

#[test]
fn missing_image_id_suggests_folder_for_snap() {
    let project = Project::new();
    project.write("fake/snap", "");
    let ran = project.run(&["up"]);
    let stderr = ran.code(90).err();
    assert!(stderr.contains("error: `docker build` did not write the image ID to `"), "{stderr}");
    assert!(stderr.contains("help: if Docker is installed as a snap"), "{stderr}");
    project.sh("mkdir -p ~/kdev-tmp");
    let folder = project.path("kdev-tmp").display().to_string();
    project.run_with(&[("TMPDIR", &folder)], &["up"]).code(0);
}
