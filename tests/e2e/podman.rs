//! Builds and loads with Podman, whose images are in a folder of the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::lab::{command, images_on, program_path, run, stderr_text};
use crate::partial_load::{BASE, assert_small_load, service_with_large_base, up_with_page};
use crate::test_service::{NODES, Service};

/// Makes the service use Podman, with a separate image store.
pub(crate) fn use_podman(service: &mut Service) {
    let at = |name: &str| service.path("docker").join(name).display().to_string();
    for folder in ["root", "run"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    let (root, state) = (at("root"), at("run"));
    let storage =
        format!("[storage]\ndriver = \"overlay\"\ngraphroot = \"{root}\"\nrunroot = \"{state}\"\n");
    fs::write(at("storage.conf"), storage).unwrap();
    let variables =
        [("CONTAINERS_STORAGE_CONF", at("storage.conf")), ("KDEV_BUILDER", "podman".to_owned())];
    service.variables.extend(variables);
}

fn podman(service: &Service, args: &[&str]) -> Command {
    let mut podman = command("podman");
    podman.args(args).envs(service.variables.iter().cloned());
    podman
}

/// Returns the tags of the service's image.
fn tags(service: &Service) -> Vec<String> {
    let args = ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", service.name];
    run(&mut podman(service, &args)).lines().map(str::to_owned).collect()
}

/// Returns the output of a command of kdev in the service's namespace.
#[track_caller]
fn kdev_ok(service: &Service, command: &str) -> String {
    let args = [command, "--namespace", service.name];
    let output = service.kdev(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn podman_sends_only_changed_layers() {
    let mut service = service_with_large_base("podded");
    use_podman(&mut service);
    let first = up_with_page(&service, "one");
    assert!(first.iter().all(|bytes| *bytes > BASE as u64), "sent {first:?}");
    assert_small_load(&up_with_page(&service, "two"));
    let stderr = service.up_ok();
    assert!(stderr.contains("Present node-1: image is already loaded"), "{stderr}");
    // The name on the nodes is the one that the kubelet looks for.
    for node in NODES {
        let names = images_on(node, "/podded:");
        assert!(names.iter().all(|name| name.starts_with("docker.io/library/podded:kdev-")));
        assert_eq!(names.len(), 2, "{names:?}");
    }

    assert!(kdev_ok(&service, "status").contains(" latest "), "{}", kdev_ok(&service, "status"));
    run(podman(&service, &["build", "--quiet", "--build-arg=A=1", "--label=newer=1", "--tag"])
        .args([service.name, "."])
        .current_dir(service.dir()));
    assert!(kdev_ok(&service, "status").contains(" outdated "));

    for page in ["three", "four"] {
        assert_small_load(&up_with_page(&service, page));
    }
    let tags = tags(&service);
    let kept = tags.iter().filter(|tag| tag.starts_with("localhost/podded:kdev-"));
    assert_eq!((tags.len(), kept.count()), (4, 3), "{tags:?}");
}

/// Makes `docker` the wrapper of Podman's package `podman-docker`.
fn install_wrapper(service: &mut Service) {
    let folder = service.path("docker/bin");
    fs::create_dir_all(&folder).unwrap();
    let wrapper = folder.join("docker");
    let script = format!(
        "#!/bin/sh\necho 'Emulate Docker CLI using podman.' >&2\nexec {} \"$@\"\n",
        program_path("podman")
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    service.variables.extend([("PATH", path), ("KDEV_BUILDER", "auto".to_owned())]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_of_podman_as_docker_is_loaded_under_its_own_name() {
    let mut service = Service::on_node("node-2", "shimmed");
    use_podman(&mut service);
    install_wrapper(&mut service);
    let image = "localhost/shimmed:1";
    run(podman(&service, &["build", "--quiet", "--format", "docker", "--tag", image, "."])
        .current_dir(service.dir()));
    let args = ["load", image, "--node", "node-2", "--message-format", "json"];
    let output = service.kdev(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    assert_eq!(images_on("node-2", "/shimmed:"), [image]);
    // The same layers, under the name of the manifest.
    let output = service.kdev(&["load", "shimmed:1", "--node", "node-2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    assert_eq!(images_on("node-2", "library/shimmed:"), ["docker.io/library/shimmed:1"]);
    let report = kdev_ok(&service, "doctor");
    assert!(report.contains("podman\n  ok       engine "), "{report}");
    let layout: Value =
        serde_json::from_str(&run(&mut podman(&service, &["info", "--format", "json"]))).unwrap();
    assert!(report.contains(layout["store"]["graphRoot"].as_str().unwrap()), "{report}");
}
