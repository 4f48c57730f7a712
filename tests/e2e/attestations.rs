//! Images with attestations, an SBOM and the provenance: their manifests, of the platform
//! `unknown/unknown`, are beside the manifest of the image in an index.

use std::fs;

use crate::buildkit::start_local_registry;
use crate::daemons::{Builder, start_docker_29_in_own_network, start_docker_29_with_bridge};
use crate::docker_variants::{docker_at, start_docker_29};
use crate::lab::{command, docker, run, stderr_text};
use crate::partial_load::{assert_small_load, service_with_large_base, up_with_page};
use crate::podman::use_podman;
use crate::test_service::{NODES, Service};

/// The image that `--sbom=true` runs.
const SCANNER: &str = "docker/buildkit-syft-scanner:stable-1";
/// A program with the interface of such images, which writes an SBOM without packages.
const SCANNER_DOCKERFILE: &str = r#"FROM scratch
COPY busybox /busybox
ENTRYPOINT ["/busybox", "sh", "-c", "echo '{\"_type\":\"https://in-toto.io/Statement/v0.1\",\"predicateType\":\"https://spdx.dev/Document\",\"predicate\":{\"spdxVersion\":\"SPDX-2.3\"}}' >$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"]
"#;
const SBOM: [&str; 2] = ["--sbom=true", "--provenance=mode=max"];
const PROVENANCE: [&str; 1] = ["--provenance=mode=max"];

fn service_with_arguments(name: &'static str, args: &[&str]) -> Service {
    let service = service_with_large_base(name);
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    let settings = format!("[package.metadata.kdev]\ndocker-build = {args:?}\n");
    service.write("Cargo.toml", &format!("{cargo}{settings}"));
    service
}

/// Builds the image of the scanner in the lab's Docker or in that of the service.
fn build_scanner(service: &Service, name: &str) {
    let folder = service.path("cache/scanner");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(service.path("busybox"), folder.join("busybox")).unwrap();
    fs::write(folder.join("Dockerfile"), SCANNER_DOCKERFILE).unwrap();
    let mut build = docker(&["build", "--quiet", "--tag", name, "."]);
    build.envs(service.docker_host.iter().map(|host| ("DOCKER_HOST", host)));
    run(build.current_dir(&folder));
}

/// Pushes the image of the scanner to the registry of the lab.
fn push_scanner(service: &Service) {
    fs::create_dir_all(service.path("cache")).unwrap();
    let (_registry, address) = start_local_registry(service);
    let image = format!("{address}/{SCANNER}");
    build_scanner(service, &image);
    run(&mut docker(&["push", "--quiet", &image]));
    run(&mut docker(&["image", "rm", &image]));
}

/// Deploys an image with attestations, and others with a new layer, whose attestations change
/// with each build.
#[track_caller]
fn assert_changed_layers_are_sent(service: &Service) {
    up_with_page(service, "one");
    assert_small_load(&up_with_page(service, "two"));
    let stderr = service.up_ok();
    assert!(stderr.contains("image is already loaded"), "{stderr}");
    let status = run(&mut service.kdev(&["status", "--namespace", service.name]));
    assert_eq!(status.matches(" latest ").count(), NODES.len(), "{status}");
    let output = service.kdev(&["load"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
}

/// Checks which attestations the service's image in Docker has.
#[track_caller]
fn assert_attestations(service: &Service, expected: &[&str]) {
    let host = service.docker_host.as_deref().unwrap();
    let archive = service.path("cache/attested.tar");
    run(docker_at(host, &["save", "--output"]).arg(&archive).arg(service.name));
    let files = run(command("tar")
        .args(["--to-stdout", "--extract", "--wildcards", "--file"])
        .args([archive.to_str().unwrap(), "blobs/sha256/*", "--no-anchored"]));
    for kind in expected {
        assert!(files.contains(kind), "{kind} is missing");
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unreachable_docker_29_exports_image_with_sbom_and_provenance() {
    let mut service = service_with_arguments("sbom-export", &SBOM);
    let _daemon = start_docker_29_with_bridge(&mut service);
    build_scanner(&service, SCANNER);
    assert_changed_layers_are_sent(&service);
    assert_attestations(&service, &["https://spdx.dev/Document", "https://slsa.dev/provenance/"]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_29_pushes_image_with_provenance() {
    let mut service = service_with_arguments("sbom-push", &PROVENANCE);
    let _daemon = start_docker_29(&mut service);
    assert_changed_layers_are_sent(&service);
    assert_attestations(&service, &["https://slsa.dev/provenance/"]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn remote_buildkit_exports_image_with_sbom_and_provenance() {
    let mut service = service_with_arguments("sbom-remote", &SBOM);
    push_scanner(&service);
    let _builder = Builder::start_remote(&mut service);
    assert_changed_layers_are_sent(&service);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn buildkit_in_container_exports_image_with_provenance() {
    let mut service = service_with_arguments("sbom-container", &PROVENANCE);
    let _docker = start_docker_29_in_own_network(&mut service);
    let _builder = Builder::start_container(&mut service);
    assert_changed_layers_are_sent(&service);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn podman_without_sbom_shows_its_error() {
    let mut service = service_with_arguments("sbom-podman", &["--sbom=syft"]);
    use_podman(&mut service);
    let output = service.up(&[]).output().unwrap();
    let stderr = stderr_text(&output);
    assert!(stderr.contains("unknown flag: --sbom"), "{stderr}");
    assert!(stderr.contains("error: failed to build"), "{stderr}");
}
