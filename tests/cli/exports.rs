//! Exports of new layers by BuildKit, for a daemon that cannot push to this machine.

use std::fs;

use crate::builders::EMULATING;
use crate::project::Project;

/// A Docker client whose build fails after it has begun to write the layers into a directory.
const FAILING_EXPORT: &str = r#"case "$1 $*" in
"build "*type=oci*)
	printf 'docker %s\n' "$*" >>"$FAKE/log"
	dest=${*##*dest=}
	mkdir -p "${dest%%\"*}/ingest/1"
	cat "$FAKE/export-error" >&2
	exit 1
	;;
"info "*)
	if grep -q Unavailable "$FAKE/export-error" && grep -q '^docker build' "$FAKE/log"; then
		echo 'Cannot connect to the Docker daemon at tcp://far:2376. Is the docker daemon running?' >&2
		exit 1
	fi
	;;
esac
exec DOCKER "$@""#;

/// A project for Docker 29 at a TCP address, with BuildKit.
fn far_project() -> Project {
    let project = Project::new();
    project.write("fake/docker-version", "29.0.0").write("fake/builder", EMULATING);
    project.write("fake/docker-info", r#"[["driver-type","io.containerd.snapshotter.v1"]]"#);
    project.write("fake/docker-context", "tcp://far:2376");
    project.write("fake/export-error", "ERROR: write: no space left on device\n");
    let docker = fs::canonicalize(project.path("bin/docker")).unwrap();
    project.script("docker", &FAILING_EXPORT.replace("DOCKER", &docker.display().to_string()));
    project
}

/// Returns the builds of a run.
fn builds(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let builds = calls.lines().filter(|call| call.starts_with("docker build "));
    builds.map(str::to_owned).collect()
}

#[test]
fn image_is_built_without_export_if_export_fails() {
    let project = far_project();
    let ran = project.run(&["up"]);
    let note = "Note failed to export the new layers; building the image without an export\n";
    assert!(ran.err().contains(note), "{}", ran.err());
    let builds = builds(&project);
    assert_eq!(builds.len(), 2, "{builds:?}");
    let image = "--output type=image,oci-mediatypes=true,compression=zstd ";
    assert!(builds.iter().all(|build| build.contains(image)), "{builds:?}");
    assert!(builds[0].contains("type=oci,tar=false,compression=zstd,"), "{builds:?}");
    assert!(!builds[1].contains("type=oci"), "{builds:?}");
}

#[test]
fn lost_daemon_is_reported_once() {
    let project = far_project();
    let lost = "failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF";
    project.write("fake/export-error", &format!("ERROR: {lost}\n"));
    let ran = project.run(&["up"]);
    ran.code(1);
    assert_eq!(ran.err().matches(lost).count(), 1, "{}", ran.err());
    assert!(!ran.err().contains("Note"), "{}", ran.err());
    assert_eq!(builds(&project).len(), 1);
    let left = fs::read_dir(project.path(".cache/kdev")).unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("layout-"));
    assert_eq!(left.count(), 0);
}

#[test]
fn unusable_cache_folder_does_not_fail_up() {
    let project = Project::new();
    project.write("not-a-folder", "");
    let cache = project.path("not-a-folder").display().to_string();
    let ran = project.run_with(&[("XDG_CACHE_HOME", &cache)], &["up"]);
    assert!(!ran.err().contains("not-a-folder"), "{}", ran.err());
    ran.code(0);
}

#[test]
fn failed_build_is_not_repeated() {
    let project = far_project();
    project.write("fake/build-fails", "");
    // The build fails before an export.
    let docker = fs::canonicalize(project.path("bin/docker")).unwrap();
    let script = fs::read_to_string(&docker).unwrap();
    project.script(
        "docker",
        &script.replace("\"build \"*type=oci*", "never").replace("#!/bin/sh\n", ""),
    );
    project.run(&["up"]).code(7);
    assert_eq!(builds(&project).len(), 1);
}

#[test]
fn load_flag_and_old_buildkit_prevent_export() {
    let with_flag = far_project();
    with_flag.config("docker-build = [\"--load\"]");
    let with_old_buildkit = far_project();
    with_old_buildkit.write("fake/builder", &EMULATING.replace("v0.25.1", "v0.12.5"));
    for project in [with_flag, with_old_buildkit] {
        let ran = project.run(&["up"]);
        let builds = builds(&project);
        assert_eq!(builds.len(), 1, "{}", ran.err());
        assert!(!builds[0].contains("type=oci"), "{builds:?}");
        assert!(!builds[0].contains("type=image"), "{builds:?}");
    }
}

#[test]
fn full_disk_of_daemon_fails_build_with_its_message() {
    // The messages of Docker 20.10 and 29, whose data was on a small disk.
    let messages = [
        "Error response from daemon: Error processing tar file(exit status 1): write /big: no space left on device",
        "ERROR: failed to build: failed to solve: write /var/lib/docker/overlay2/bel3ar89d0ms1dn9ni1ac9k3w/diff/big: no space left on device",
        "ERROR: failed to build: failed to solve: ResourceExhausted: failed to copy files: copy file range failed: no space left on device",
    ];
    let project = Project::new();
    let docker = fs::canonicalize(project.path("bin/docker")).unwrap();
    let failing = FAILING_EXPORT.replace("*type=oci*", "*");
    project.script("docker", &failing.replace("DOCKER", &docker.display().to_string()));
    for message in messages {
        project.write("fake/export-error", &format!("{message}\n"));
        let ran = project.run(&["up"]);
        let error = "\nerror: failed to build `app:latest`\n  caused by: `docker build --tag app:latest --file ";
        assert!(ran.code(1).err().contains(&format!("{message}{error}")), "{}", ran.err());
        // The disk of this machine is not full.
        assert!(!ran.err().contains("Note"), "{}", ran.err());
        assert!(ran.err().ends_with("  help: check the build output above\n"), "{}", ran.err());
    }
    assert_eq!(builds(&project).len(), messages.len());
}
