//! Builders that keep the results of their builds: the build exports its layers to kdev, which
//! knows the build by its own record.

use std::fs;
use std::path::Path;

use kdev_core::image::digest::sha256;

use crate::project::Project;

/// The output of `docker buildx inspect` for a `BuildKit` daemon.
const REMOTE: &str = "\
Name:          far
Driver:        remote

Nodes:
Name:             far0
Endpoint:         unix:///run/buildkit.sock
Status:           running
BuildKit version: v0.34.2
Platforms:        linux/amd64, linux/arm64
";

/// A Docker client with buildx whose builder exports the layout in `fake/layout`, without the
/// blobs that exist in the directory. `fake/exported` lists the others.
const DOCKER: &str = r#"case "$*" in
"buildx build "*type=oci*)
	printf 'docker %s\n' "$*" >>"$FAKE/log"
	dest=${*##*dest=}
	dest=${dest%%\"*}
	if [ -e "$FAKE/build-fails" ]; then
		# The client has begun to receive a layer.
		mkdir -p "$dest/ingest/1"
		cat "$FAKE/build-fails" >&2
		exit 1
	fi
	: >"$FAKE/exported"
	for blob in "$FAKE"/layout/blobs/sha256/*; do
		name=${blob##*/}
		[ ! -e "$dest/blobs/sha256/$name" ] || continue
		echo "$name" >>"$FAKE/exported"
		cat "$blob" >"$dest/blobs/sha256/$name"
	done
	cat "$FAKE/layout/index.json" >"$dest/index.json"
	exit
	;;
"buildx inspect --bootstrap "*)
	printf 'docker %s\n' "$*" >>"$FAKE/log"
	[ ! -e "$FAKE/bootstrap-fails" ] || { cat "$FAKE/bootstrap-fails" >&2 && exit 1; }
	cat "$FAKE/started"
	exit
	;;
"buildx inspect"*)
	# buildx prints its help for a name that is a flag.
	case $3 in -*) printf 'docker %s\n' "$*" >>"$FAKE/log" && echo 'Usage:  docker buildx inspect [NAME]' && exit ;; esac
	;;
esac
exec REAL "$@""#;

/// A project with Docker 28, and the builder `far`.
fn project() -> Project {
    let project = Project::new();
    project.write("fake/docker-version", "28.2.2").write("fake/builder", REMOTE);
    project.write("fake/buildx", "github.com/docker/buildx v0.29.1 a\n");
    project.write("fake/docker-context", "unix:///var/run/docker.sock\n");
    let docker = fs::canonicalize(project.path("bin/docker")).unwrap();
    project.script("docker", &DOCKER.replace("REAL", &docker.display().to_string()));
    build(&project, "amd64", &["base", "first"]);
    project
}

/// Sets the image that the next build gives, and returns the digest of its configuration.
fn build(project: &Project, architecture: &str, layers: &[&str]) -> String {
    let layout = project.path("fake/layout");
    let _ = fs::remove_dir_all(&layout);
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let put = |bytes: &str| {
        let digest = sha256(bytes.as_bytes());
        fs::write(layout.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
        digest
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| put(layer)).collect();
    let blob = |digest: &String| format!(r#"{{"digest":"{digest}","size":5}}"#);
    let blobs: Vec<String> = diff_ids.iter().map(blob).collect();
    let config = put(&format!(
        r#"{{"os":"linux","architecture":"{architecture}","rootfs":{{"diff_ids":{diff_ids:?}}}}}"#
    ));
    let manifest = format!(r#"{{"config":{},"layers":[{}]}}"#, blob(&config), blobs.join(","));
    let index = format!(r#"{{"manifests":[{}]}}"#, blob(&put(&manifest)));
    fs::write(layout.join("index.json"), index).unwrap();
    let tag = format!("app:kdev-{}", &config["sha256:".len()..][..12]);
    project.pods(&["n1", "n2"].map(|node| {
        let container = format!(r#"{{"name":"app","imageID":"{config}"}}"#);
        crate::project::pod(&format!("app-{node}"), node, "app", &tag, &container)
    }));
    config
}

/// Returns which of these layers the last build has exported.
fn exported<'a>(project: &Project, layers: &[&'a str]) -> Vec<&'a str> {
    let exported = fs::read_to_string(project.path("fake/exported")).unwrap();
    let is_exported =
        |layer: &&&str| exported.contains(&sha256(layer.as_bytes())["sha256:".len()..]);
    layers.iter().filter(is_exported).copied().collect()
}

fn builds(project: &Project) -> usize {
    project.calls().matches("docker buildx build ").count()
}

const BUILDER: [&str; 2] = ["--builder", "buildx:far"];

fn up(project: &Project) -> crate::project::Ran {
    project.run(&[&["up"], &BUILDER[..]].concat())
}

/// Asserts that no directory of an export is left.
fn assert_clean(project: &Project) {
    let cache = fs::read_dir(project.path(".cache/kdev")).into_iter().flatten().flatten();
    let left = cache.filter(|entry| entry.file_name().to_string_lossy().starts_with("layout-"));
    assert_eq!(left.count(), 0);
}

#[test]
fn build_exports_only_new_layers() {
    let project = project();
    let config = build(&project, "amd64", &["base", "first"]);
    up(&project).code(0);
    assert_eq!(exported(&project, &["base", "first"]), ["base", "first"]);
    let image = format!("app:kdev-{}", &config["sha256:".len()..][..12]);
    assert!(project.applied().unwrap().contains(&image), "{}", project.applied().unwrap());
    assert!(project.images_on("10.0.0.1").contains(&format!("docker.io/library/{image}")));
    build(&project, "amd64", &["base", "second"]);
    up(&project).code(0);
    assert_eq!(exported(&project, &["base", "second"]), ["second"]);
    assert_eq!(builds(&project), 2, "{}", project.calls());
    let calls = project.calls();
    for absent in ["docker save", "docker push", "docker image", "docker tag", "type=image"] {
        assert!(!calls.contains(absent), "{absent}: {calls}");
    }
    assert_clean(&project);
}

#[test]
fn builder_is_selected_by_variable_and_by_buildx() {
    let project = project();
    project.run_with(&[("BUILDX_BUILDER", "far")], &["up"]).code(0);
    project.run_with(&[("KDEV_BUILDER", "buildx:far")], &["up"]).code(0);
    assert_eq!(builds(&project), 2, "{}", project.calls());
    // `docker buildx install` and `docker buildx use`.
    fs::create_dir(project.path(".docker")).unwrap();
    project.write(".docker/config.json", r#"{"aliases":{"builder":"buildx"}}"#);
    project.run(&["up"]).code(0);
    project.write(".docker/config.json", "{}").config("docker-build = [\"--builder=far\"]");
    project.run(&["up"]).code(0);
    assert_eq!(builds(&project), 4, "{}", project.calls());
    assert!(!project.calls().contains("docker build "), "{}", project.calls());
}

#[test]
fn commands_know_build_by_its_record() {
    let project = project();
    let run = |command: &[&str]| project.run(&[command, &BUILDER[..]].concat());
    let ran = run(&["render"]);
    let placeholder = "Note image `app:latest` has not been built yet, so the tag";
    assert!(ran.code(0).err().contains(placeholder), "{}", ran.err());
    let config = build(&project, "amd64", &["base", "first"]);
    let tag = format!("kdev-{}", &config["sha256:".len()..][..12]);
    up(&project).code(0);
    assert!(run(&["render"]).code(0).out().contains(&format!("app:{tag}")));
    let status = run(&["status"]);
    assert!(status.code(0).out().contains(&tag), "{}", status.out());
    assert!(status.out().contains("latest"), "{}", status.out());
    run(&["load"]).code(0);
    run(&["load", &format!("app:{tag}")]).code(0);
    assert_eq!(builds(&project), 1, "{}", project.calls());
    // Docker has all other images.
    project.write("fake/log", "");
    run(&["load", "other:1"]).code(0);
    assert!(project.calls().contains("docker image inspect -- other:1"), "{}", project.calls());
}

#[test]
fn place_of_builds_is_buildx() {
    let project = project();
    let run = |command: &[&str]| project.run(&[command, &BUILDER[..]].concat());
    let ran = run(&["status"]);
    let note = "the latest build is unknown: Buildx has no image of this project";
    assert!(ran.err().contains(note), "{}", ran.err());
    for layer in ["first", "second"] {
        build(&project, "amd64", &["base", layer]);
        up(&project).code(0);
    }
    let images = run(&["images"]);
    assert_eq!(images.code(0).out().matches("Buildx ").count(), 2, "{}", images.out());
    let pruned = run(&["prune", "--keep", "1"]);
    let removed = pruned.code(0).err().contains("Removed Buildx: app:kdev-");
    assert!(removed, "{}", pruned.err());
}

#[test]
fn layers_that_are_not_in_cache_are_exported_again() {
    let project = project();
    project.config("docker-build = [\"--no-cache\", \"--ssh\", \"default\"]");
    up(&project).code(0);
    // The cache was trimmed, and a node was restored.
    let base = sha256(b"base").replace("sha256:", ".cache/kdev/layers/blobs/sha256/");
    project.remove(&base);
    for file in ["images", "blobs"] {
        project.remove(&format!("fake/node-10.0.0.2/{file}"));
    }
    build(&project, "amd64", &["base", "second"]);
    project.write("fake/log", "");
    let ran = up(&project);
    let note = "Note exporting layers that are not in the cache from builder `far`\n";
    assert_eq!(ran.code(0).err().matches(note).count(), 1, "{}", ran.err());
    assert_eq!(exported(&project, &["base", "second"]), ["base"]);
    let calls = project.calls();
    let builds: Vec<&str> =
        calls.lines().filter(|call| call.starts_with("docker buildx build ")).collect();
    assert_eq!(builds.len(), 2, "{calls}");
    assert!(builds[0].contains(" --no-cache --ssh default "), "{calls}");
    // It must use the result of the first one.
    assert!(!builds[1].contains("--no-cache"), "{calls}");
    assert!(builds[1].contains(" --ssh default "), "{calls}");
    assert_clean(&project);
}

#[test]
fn removed_layers_of_changed_sources_are_an_error() {
    let project = project();
    up(&project).code(0);
    fs::remove_dir_all(project.path(".cache/kdev/layers")).unwrap();
    for node in ["10.0.0.1", "10.0.0.2"] {
        project.remove(&format!("fake/node-{node}/images"));
        project.remove(&format!("fake/node-{node}/blobs"));
    }
    // The sources have changed since.
    build(&project, "amd64", &["base", "second"]);
    let ran = project.run(&[&["load", "--node", "n1"], &BUILDER[..]].concat());
    ran.code(94).error("error: failed to get the layers that node `n1` is missing: the cache folder no longer has them, and another build gave other layers
  help: run `cargo kdev up` to build the image again\n");
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
    // Follow the help.
    up(&project).code(0);
}

#[test]
fn failed_build_leaves_nothing_and_is_not_repeated() {
    let project = project();
    for message in [
        "ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF\n",
        "ERROR: failed to solve: write: no space left on device\n",
    ] {
        project.write("fake/build-fails", message).write("fake/log", "");
        let ran = up(&project);
        ran.code(1);
        assert_eq!(ran.err().matches(message.trim()).count(), 1, "{}", ran.err());
        assert_eq!(builds(&project), 1, "{}", project.calls());
        assert_clean(&project);
        assert_eq!(project.applied(), None);
    }
    project.remove("fake/build-fails");
    up(&project).code(0);
}

#[test]
fn incomplete_export_is_an_error() {
    let project = project();
    let index = fs::read_to_string(project.path("fake/layout/index.json")).unwrap();
    project.write("fake/layout/index.json", r#"{"manifests":[]}"#);
    up(&project).code(90).error(
        "error: failed to read the image that builder `far` has exported
  caused by: it contains no image for the platform
  help: run the command again\n",
    );
    assert_clean(&project);
    assert_eq!(project.applied(), None);
    project.write("fake/layout/index.json", &index);
    up(&project).code(0);
}

#[test]
fn old_buildkit_is_reported_before_build() {
    let project = project();
    project.write("fake/builder", &REMOTE.replace("v0.34.2", "v0.11.6"));
    let error = "error: BuildKit 0.11 of builder `far` is too old; kdev requires 0.12 or later
  help: upgrade the builder, or add `\"--load\"` to `docker-build` in `[package.metadata.kdev]` to store the image in Docker\n";
    up(&project).code(91).stderr(error);
    assert_eq!(builds(&project), 0, "{}", project.calls());
    // Follow the help. The fake of Docker has another image.
    project.config("docker-build = [\"--load\"]");
    project.write("fake/id", crate::project::CONFIG);
    let ran = up(&project);
    assert!(project.calls().contains("docker build "), "{}", ran.err());
    assert_eq!(builds(&project), 0, "{}", project.calls());
}

#[test]
fn stopped_builder_is_started_before_its_platform_is_chosen() {
    let project = project();
    project.nodes(&[("n1", "10.0.0.1", "arm64")]);
    build(&project, "arm64", &["base"]);
    let stopped = "Name:   far\nDriver: docker-container\n\nNodes:\nName:     far0\nEndpoint: unix:///run/docker.sock\nStatus:   inactive\n";
    let started = REMOTE.replace("remote", "docker-container").replace(", linux/arm64", "");
    project.write("fake/builder", stopped).write("fake/started", &started);
    let ran = up(&project);
    assert!(ran.err().starts_with("        Note starting builder `far`\n"), "{}", ran.err());
    assert!(project.calls().contains(" --platform linux/arm64 "), "{}", project.calls());
    // Another node does not matter: Buildx builds with the first one.
    let node = REMOTE.split("Nodes:\n").nth(1).unwrap().replace("linux/amd64, ", "");
    project.write("fake/builder", &format!("{stopped}\n{node}")).write("fake/log", "");
    up(&project).code(0);
    assert!(project.calls().contains("--bootstrap"), "{}", project.calls());
    assert!(project.calls().contains(" --platform linux/arm64 "), "{}", project.calls());
    project.write("fake/builder", stopped);
    // Only a build starts it.
    project.write("fake/log", "");
    project.run(&[&["status"], &BUILDER[..]].concat()).code(0);
    assert!(!project.calls().contains("--bootstrap"), "{}", project.calls());
    project.write(
        "fake/bootstrap-fails",
        "ERROR: Error response from daemon: No such image: moby/buildkit:1\n",
    );
    let ran = up(&project);
    let error = "error: failed to start builder `far`
  caused by: `docker buildx inspect --bootstrap far` exited with code 1: ERROR: Error response from daemon: No such image: moby/buildkit:1
  help: run `docker buildx inspect --bootstrap far` until it succeeds, or pass `--builder buildx:default` to build with Docker\n";
    assert!(ran.code(91).err().ends_with(error), "{}", ran.err());
    // Follow the help.
    project.remove("fake/bootstrap-fails").sh("docker buildx inspect --bootstrap far >/dev/null");
    up(&project).code(0);
    // The other one.
    let docker = REMOTE.replace("far", "default").replace("remote", "docker");
    project.write("fake/builder", &docker).write("fake/image-arch", "arm64");
    let ran = project.run(&["up", "--builder", "buildx:default"]);
    assert!(ran.err().contains("Built app:kdev-0123456789ab"), "{}", ran.err());
}

#[test]
fn doctor_reports_remote_builder_that_is_not_running() {
    let project = project();
    let stopped = REMOTE.split("BuildKit").next().unwrap().replace("running", "inactive");
    project.write("fake/builder", &stopped);
    let ran = project.run(&[&["doctor"], &BUILDER[..]].concat());
    let row = "  error    builder               builder `far` (remote driver) with buildx v0.29.1: it is not running
    help: run `docker buildx inspect --bootstrap far` until it succeeds, or pass `--builder buildx:default` to build with Docker\n";
    assert!(ran.out().contains(row), "{}", ran.out());
}

#[test]
fn several_platforms_are_an_error() {
    let project = project();
    project.config("docker-build = [\"--platform\", \"linux/amd64,linux/arm64\"]");
    up(&project).code(90).error("error: cannot build for several platforms at once: `linux/amd64,linux/arm64`
  help: remove `--platform` from `docker-build` in `[package.metadata.kdev]` to build for the nodes\n");
    assert_eq!(builds(&project), 0, "{}", project.calls());
}

#[test]
fn image_of_mixed_cluster_is_loaded_onto_nodes_of_its_platform() {
    let project = project();
    project.nodes(&[("n1", "10.0.0.1", "arm64"), ("n2", "10.0.0.2", "amd64")]);
    let ran = up(&project);
    let skipped = "Skipping n1: it is linux/arm64, but the image is built for linux/amd64\n";
    assert!(ran.err().contains(skipped), "{}", ran.err());
    let calls = project.calls();
    let build = calls.lines().find(|call| call.starts_with("docker buildx build ")).unwrap();
    assert!(!build.contains("--platform"), "{build}");
    assert_eq!(project.images_on("10.0.0.2").len(), 2);
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
}

#[test]
fn platform_is_passed_to_builder_with_platforms_of_user() {
    let project = project();
    let set = REMOTE.replace("linux/amd64, linux/arm64", "linux/arm64*, linux/amd64");
    project.write("fake/builder", &set).nodes(&[("n1", "10.0.0.1", "arm64")]);
    build(&project, "arm64", &["base"]);
    up(&project);
    // Without it, the node would build for its own platform.
    assert!(project.calls().contains(" --platform linux/arm64 "), "{}", project.calls());
}

#[test]
fn name_of_builder_is_never_a_flag() {
    let project = project();
    for name in ["--help", "-D", "a b", "../far", " "] {
        let ran = project.run_with(&[("BUILDX_BUILDER", name)], &["up"]);
        ran.code(91).stderr(&format!(
            "error: `{name}` is not a valid builder name
  help: pass `--builder buildx:NAME` with a name that `docker buildx ls` lists\n"
        ));
        // Other images do not need the builder.
        project.run_with(&[("BUILDX_BUILDER", name)], &["load", "other:1"]).code(0);
    }
    assert!(!project.calls().contains("buildx"), "{}", project.calls());
    // Follow the help.
    project.run_with(&[("BUILDX_BUILDER", "--help")], &["up", "--builder", "buildx:far"]).code(0);
}

#[test]
fn removed_builder_is_an_error_before_build() {
    let project = project();
    let config = build(&project, "amd64", &["base"]);
    let tag = format!("kdev-{}", &config["sha256:".len()..][..12]);
    fs::create_dir_all(project.path(".docker/buildx/instances")).unwrap();
    project.write(".docker/buildx/instances/far", "{}");
    up(&project).code(0);
    project.remove(".docker/buildx/instances/far").remove("fake/builder");
    up(&project).code(91).stderr(
        "error: cannot use builder `far`
  caused by: `docker buildx inspect far` exited with code 1: ERROR: no builder \"far\" found
  help: pass `--builder buildx:NAME` with a name that `docker buildx ls` lists\n",
    );
    assert_eq!(builds(&project), 1, "{}", project.calls());
    let status = project.run(&[&["status"], &BUILDER[..]].concat());
    assert!(status.code(0).out().contains(&tag), "{}", status.out());
}

#[test]
fn remote_builder_does_not_need_docker_daemon() {
    let project = project();
    let down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n";
    project.write("fake/docker-down", down);
    for driver in ["remote", "kubernetes", "cloud"] {
        project.write("fake/builder", &REMOTE.replace("remote", driver)).write("fake/log", "");
        up(&project).code(0);
        assert!(project.calls().contains("compression=zstd"), "{}", project.calls());
        let ran = project.run(&[&["doctor"], &BUILDER[..]].concat());
        let rows = format!(
            "  ok       builder               builder `far` ({driver} driver)
  ok       layers                builder `far` exports only the changed layers\n"
        );
        assert!(ran.out().contains(&rows), "{}", ran.out());
    }
    // One in a container does.
    project.write("fake/builder", &REMOTE.replace("remote", "docker-container"));
    let ran = up(&project);
    assert!(ran.code(91).err().starts_with("error: cannot connect to the Docker daemon\n"));
}

#[test]
fn unusable_cache_folder_is_an_error_before_build() {
    let project = project();
    project.write("not-a-folder", "");
    let cache = project.path("not-a-folder").display().to_string();
    let run = |cache: &str| {
        project.run_with(&[("XDG_CACHE_HOME", cache)], &["up", BUILDER[0], BUILDER[1]])
    };
    let ran = run(&cache);
    assert!(ran.err().contains("failed to write `[ROOT]/not-a-folder/kdev`"), "{}", ran.err());
    assert_eq!((builds(&project), ran.exit_code()), (0, Some(90)), "{}", ran.err());
}

#[test]
fn two_builds_at_once_do_not_disturb_each_other() {
    let project = project();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| up(&project).exit_code())).collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), Some(0));
        }
    });
    assert_eq!(builds(&project), 2, "{}", project.calls());
    let calls = project.calls();
    let dirs: std::collections::BTreeSet<&str> =
        calls.lines().filter_map(|call| call.split("dest=").nth(1)).collect();
    assert_eq!(dirs.len(), 2, "{calls}");
    assert_clean(&project);
    assert!(Path::new(&project.path(".cache/kdev/records/images/far")).exists());
}
