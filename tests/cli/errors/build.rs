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

/// Moves the package into the folder `crates/app` of a workspace.
fn move_into_workspace(project: &Project) {
    std::fs::create_dir_all(project.path("crates/app")).unwrap();
    for name in ["Cargo.toml", "Dockerfile", "src", "k8s"] {
        std::fs::rename(project.path(name), project.path(&format!("crates/app/{name}"))).unwrap();
    }
    let cargo = std::fs::read_to_string(project.path("crates/app/Cargo.toml")).unwrap();
    project.write("crates/app/Cargo.toml", &cargo.replace("[workspace]\n", ""));
    project.write("Cargo.toml", "[workspace]\nmembers = [\"crates/app\"]\n");
}

#[test]
fn path_of_workspace_suggests_context() {
    let table = [
        ("COPY Cargo.lock ./", "`Cargo.lock` (line 2"),
        ("COPY src crates /app/", "`crates` (line 2"),
        ("RUN true\nCOPY crates/*/Cargo.toml /app/", "`crates/*/Cargo.toml` (line 3"),
        ("RUN --mount=source=Cargo.lock,target=/l true", "`Cargo.lock` (line 2"),
    ];
    for (text, path) in table {
        let project = Project::new();
        move_into_workspace(&project);
        project.write("Cargo.lock", "").write("fake/build-fails", "");
        project.write("crates/app/Dockerfile", &format!("FROM scratch\n{text}\n"));
        let ran = project.run(&["up"]);
        let help = format!(
            "  help: set `context = \"../..\"` in `[package.metadata.kdev]`: {path} of the Dockerfile) is in the workspace's folder, not in the build context\n"
        );
        assert!(ran.code(7).err().ends_with(&help), "{text}: {}", ran.err());
    }
}

#[test]
fn path_of_package_suggests_path_in_context() {
    let project = Project::new();
    move_into_workspace(&project);
    project.write("crates/app/Dockerfile", "FROM scratch\nCOPY src /src\n");
    let cargo = std::fs::read_to_string(project.path("crates/app/Cargo.toml")).unwrap();
    let context = "[package.metadata.kdev]\ncontext = \"../..\"\n";
    project.write("crates/app/Cargo.toml", &format!("{cargo}\n{context}"));
    project.write("fake/build-fails", "");
    let help = "  help: copy `crates/app/src` in line 2 of the Dockerfile: paths are relative to the build context\n";
    let ran = project.run(&["up"]);
    assert!(ran.code(7).err().ends_with(help), "{}", ran.err());
    // The advice was followed, but the build still fails.
    project.write("crates/app/Dockerfile", "FROM scratch\nCOPY crates/app/src absent /src/\n");
    let ran = project.run(&["up"]);
    assert!(ran.code(7).err().ends_with("  help: check the build output above\n"), "{}", ran.err());
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
