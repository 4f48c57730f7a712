//! Builds with `BuildKit`, through Buildx as a plugin of the Docker client.

use std::fs;
use std::path::Path;

use crate::docker_variants::{Daemon, INDEX, start_docker_29};
use crate::lab::{command, docker, free_port, registry_address, run, state, stderr_text, wait_for};
use crate::partial_load::{assert_small_load, sent_bytes, service_with_large_base, up_with_page};
use crate::test_service::{NODES, Service, fetch};

/// A build without network that needs a cache, a secret, and a part of the context that only `BuildKit` mounts.
const MOUNTS: &str = r#"
FROM base AS build
RUN --mount=type=cache,target=/cache --mount=type=secret,id=token,target=/token --mount=type=bind,source=www,target=/page ["/busybox", "sh", "-c", "/busybox mkdir /made; /busybox cat /page/index.html /token >/made/index.html; /busybox date >>/cache/builds"]
FROM base AS unused
RUN ["/busybox", "false"]
FROM base
COPY base /base
COPY --from=build --chmod=755 /made /www
ENTRYPOINT ["/busybox", "sh", "-c", "trap 'exit 0' TERM; /busybox httpd -p 8080 -h /www; while :; do /busybox sleep 1 & wait $!; done"]
"#;

/// A build with a frontend from a registry, whose last stage fails. The instructions in
/// here-documents are text.
const FRONTEND: &str = r#"

FROM base AS made
SHELL ["/busybox", "sh", "-c"]
RUN --mount=type=ssh,required=true /busybox test -S "$SSH_AUTH_SOCK"
COPY --link --from=noise www/name /made/name
COPY --link <<PAGE /made/more
COPY missing /
PAGE
RUN <<SCRIPT
/busybox cat /made/name >>/made/more
COPY() { /busybox true; }
COPY missing /
SCRIPT
FROM base AS web
COPY --link www /www
COPY --link --from=made /made/more /www/more
ENTRYPOINT ["/busybox", "sh", "-c", "trap 'exit 0' TERM; /busybox httpd -p 8080 -h /www; while :; do /busybox sleep 1 & wait $!; done"]
FROM base AS last
COPY missing /
"#;

/// Returns a service with a large base, whose page is made by a `RUN` with mounts, and these
/// arguments of `docker build`.
fn service_with_mounts(name: &'static str, docker_build: &[&str]) -> Service {
    let service = service_with_large_base(name);
    let first = format!("FROM scratch AS base\nLABEL test={name}\nCOPY busybox /busybox");
    service.write("Dockerfile", &format!("{first}{MOUNTS}"));
    service.write(".dockerignore", "cache\ndocker\ntoken\n");
    service.write("token", "secret\n");
    let args = [&["--network=none", "--secret", "id=token,src=token"], docker_build].concat();
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    service
        .write("Cargo.toml", &format!("{cargo}[package.metadata.kdev]\ndocker-build = {args:?}\n"));
    service
}

/// Runs `up` with `BuildKit`, checks the page on both nodes, and returns the number of bytes
/// sent to each.
#[track_caller]
fn up_with_secret(service: &Service, page: &str) -> Vec<u64> {
    service.set_page(page);
    let output = service.up(&["--message-format", "json"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", stderr_text(&output));
    let expected = format!("{page}\nsecret");
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), expected.clone())));
    sent_bytes(&stdout)
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn classic_docker_builds_with_mounts_and_sends_only_changed_layers() {
    let service = service_with_mounts("buildkit", &[]);
    up_with_secret(&service, "one");
    assert_small_load(&up_with_secret(&service, "two"));
    // An unchanged build keeps its tag.
    let stderr = service.up_ok();
    assert!(stderr.contains("image is already loaded"), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn classic_docker_with_legacy_builder_sends_only_changed_layers() {
    let mut service = service_with_large_base("legacy");
    service.variables.push(("DOCKER_BUILDKIT", "0".to_owned()));
    let stderr = service.up_ok();
    assert!(stderr.contains("Step 1/"), "{stderr}");
    assert_small_load(&up_with_page(&service, "two"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_29_builds_with_context_and_attestation_and_sends_only_changed_layers() {
    let args = ["--build-context", "noise=base", "--attest=type=provenance,mode=max"];
    let mut service = service_with_mounts("attested", &args);
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    service.write("Dockerfile", &dockerfile.replace("COPY base ", "COPY --from=noise . "));
    let _daemon = start_docker_29(&mut service);
    up_with_secret(&service, "one");
    assert_small_load(&up_with_secret(&service, "two"));
    // The attestation makes the image an index.
    let mut inspect = docker(&["image", "inspect", "--format", "{{json .Descriptor}}", "attested"]);
    let descriptor = run(inspect.env("DOCKER_HOST", service.docker_host.as_ref().unwrap()));
    assert!(descriptor.contains(INDEX), "{descriptor}");
}

/// Makes the registry of the lab available on a loopback address: `BuildKit` of Docker 20.10
/// uses no others without TLS.
pub(crate) fn start_local_registry(service: &Service) -> (Daemon, String) {
    let port = free_port("127.0.0.1", 0);
    let mut socat = command("socat");
    socat
        .arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"))
        .arg(format!("TCP:{}", registry_address()));
    let log = service.path("cache/socat.log");
    let registry = format!("localhost:{port}");
    let daemon = Daemon::start(&mut socat, log);
    let url = format!("http://127.0.0.1:{port}/v2/");
    wait_for("the registry", || (fetch(&url) == "{}").then_some(()));
    (daemon, registry)
}

/// Builds the image of the Dockerfile frontend, and pushes it to a registry. Returns its name.
fn push_frontend(service: &Service, registry: &str) -> String {
    let folder = service.path("cache/frontend");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(state("lib/dockerfile-frontend"), folder.join("frontend")).unwrap();
    let dockerfile = "FROM scratch\nCOPY frontend /frontend\nENTRYPOINT [\"/frontend\"]\n\
        LABEL moby.buildkit.frontend.network.none=true moby.buildkit.frontend.caps=moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts\n";
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let image = format!("{registry}/{}/dockerfile:1", service.name);
    run(docker(&["build", "--quiet", "--tag", &image, "."]).current_dir(&folder));
    run(&mut docker(&["push", "--quiet", &image]));
    run(&mut docker(&["image", "rm", &image]));
    image
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn classic_docker_builds_target_with_frontend_and_ssh() {
    let mut service = Service::on_node("node-2", "frontend");
    fs::create_dir(service.path("cache")).unwrap();
    let (_registry, address) = start_local_registry(&service);
    let frontend = push_frontend(&service, &address);
    let first = "FROM scratch AS base\nLABEL test=frontend\nCOPY busybox /busybox";
    service.write("Dockerfile", &format!("# syntax={frontend}\n{first}{FRONTEND}"));
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    let args = ["--network=none", "--ssh", "default", "--build-context", "noise=."];
    let settings = format!("target = \"web\"\ndocker-build = {args:?}\n");
    service.write("Cargo.toml", &format!("{cargo}[package.metadata.kdev]\n{settings}"));
    let socket = service.path("cache/agent").display().to_string();
    let log = service.path("cache/agent.log");
    let _agent = Daemon::start(command("ssh-agent").args(["-D", "-a", &socket]), log);
    wait_for("ssh-agent", || Path::new(&socket).exists().then_some(()));
    service.variables.push(("SSH_AUTH_SOCK", socket));
    service.up_ok();
    let pods = service.pods();
    let address = pods[0]["status"]["podIP"].as_str().unwrap();
    assert_eq!(fetch(&format!("http://{address}:8080/more")), "COPY missing /\nfrontend");
    let stderr = service.up_ok();
    assert!(stderr.contains("image is already loaded"), "{stderr}");
}
