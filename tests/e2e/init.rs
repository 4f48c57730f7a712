//! `cargo kdev init` in a new package, and the templates.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::exclusive::{Claim, Permit};
use crate::images;
use crate::lab::{command, docker, get, run, state, stderr_text, wait_for};
use crate::namespace::{self, DeleteOnDrop};
use crate::sample::copy_dir;
use crate::test_service::fetch;

pub(crate) const SERVER: &str = r#"use std::io::{Read, Write};
use std::net::TcpListener;

fn main() {
    for client in TcpListener::bind("0.0.0.0:8080").unwrap().incoming() {
        let mut client = client.unwrap();
        client.read(&mut [0; 1024]).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst").unwrap();
    }
}
"#;
/// An image that builds as the official one does, with programs that only copy.
const RUST_IMAGE: &str = "rust:kdevtest";
const RUST_DOCKERFILE: &str = r#"FROM scratch
COPY bin /bin
COPY program /program
SHELL ["/bin/sh", "-c"]
ENV PATH=/bin
"#;
const CARGO: &str = "#!/bin/sh
test \"$RUSTFLAGS\" = -Ctarget-feature=+crt-static && test -e Cargo.lock && test -e src/main.rs && test ! -e k8s
mkdir -p target/x/release && cp /program target/x/release/init-web
";

/// A directory and a namespace.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    namespace: &'static str,
    _deleted: DeleteOnDrop,
    _permit: Permit,
}

impl Place {
    pub(crate) fn new(namespace: &'static str) -> Self {
        let permit = Permit::acquire(namespace, Claim::both_nodes());
        let deleted = DeleteOnDrop::new(namespace);
        namespace::create(namespace);
        // In the state folder, because the nodes may not see the checkout.
        let dir = TempDir::new_in(state("")).unwrap();
        Self { dir, namespace, _deleted: deleted, _permit: permit }
    }

    /// Returns a command of kdev in a folder.
    pub(crate) fn kdev(&self, folder: &str, args: &[&str]) -> Command {
        let mut kdev = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        kdev.arg("kdev").args(args).current_dir(self.dir.path().join(folder));
        kdev.env("KUBECONFIG", state("kubeconfig")).env("KDEV_SSH_CONFIG", state("ssh/config"));
        kdev.env("KDEV_NAMESPACE", self.namespace).env_remove("KDEV_CONTEXT");
        kdev.env("KDEV_SETTLE", "0").env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        // Charts need `helm`.
        let path = std::env::var("PATH").unwrap();
        kdev.env("PATH", format!("{}:{path}", self.dir.path().join("helm").display()));
        kdev.env_remove("CARGO_TARGET_DIR");
        kdev
    }

    #[track_caller]
    pub(crate) fn run(&self, folder: &str, args: &[&str]) -> String {
        let output = self.kdev(folder, args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?} in {folder}: {}", stderr_text(&output));
        stderr_text(&output)
    }

    /// Waits for a page of a Service.
    pub(crate) fn wait_for_page(&self, service: &str, expected: &str) {
        let service = get(self.namespace, &["service", service]);
        let url = format!("http://{}/", service["spec"]["clusterIP"].as_str().unwrap());
        wait_for("the page", || (fetch(&url) == expected).then_some(()));
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn new_package_is_deployed_by_two_commands() {
    let place = Place::new("init-web");
    let web = place.dir.path().join("web");
    let new = ["new", "--quiet", "--vcs", "git", "--name", "init-web"];
    run(command("cargo").args(new).arg(&web));
    fs::write(web.join("src/main.rs"), SERVER).unwrap();
    place.run("web", &["init", "--yes", "--context", "kdev-lab"]);
    assert!(!web.join("Dockerfile").exists());
    place.run("web", &["up"]);
    place.wait_for_page("init-web", "first");
    // Nothing is missing, and nothing is to be applied.
    let again = place.run("web", &["init"]);
    assert!(again.contains("Unchanged all files exist"), "{again}");
    let again = place.run("web", &["up"]);
    assert!(again.contains("Unchanged kdev-lab is up to date"), "{again}");

    build_in_docker(&place, &web);
    let tags =
        run(&mut docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "init-web"]));
    images::queue_removal(tags.lines());
}

/// Deploys the package again, built by an image with Rust.
fn build_in_docker(place: &Place, web: &Path) {
    let _removed = RemoveOnDrop;
    let image = place.dir.path().join("rust");
    fs::create_dir_all(image.join("bin")).unwrap();
    fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
    for tool in ["sh", "sed", "cp", "mkdir", "test"] {
        symlink("busybox", image.join("bin").join(tool)).unwrap();
    }
    for (name, script) in [("cargo", CARGO), ("rustc", "#!/bin/sh\necho 'host: x'\n")] {
        let path = image.join("bin").join(name);
        fs::write(&path, script).unwrap();
        run(command("chmod").arg("755").arg(path));
    }
    let target = fs::read_dir(web.join("target")).unwrap().map(|entry| entry.unwrap().path());
    let programs = target.map(|folder| folder.join("release/init-web"));
    let program = programs.into_iter().find(|path| path.exists()).unwrap();
    let text = fs::read(program).unwrap();
    // The program that Docker builds has another page.
    let at = text.windows(7).position(|part| part == b"\r\nfirst").unwrap();
    let changed = [&text[..at], b"\r\nother", &text[at + 7..]].concat();
    fs::write(image.join("program"), changed).unwrap();
    run(command("chmod").arg("755").arg(image.join("program")));
    fs::write(image.join("Dockerfile"), RUST_DOCKERFILE).unwrap();
    run(docker(&["build", "--tag", RUST_IMAGE]).arg(&image));

    let cargo = fs::read_to_string(web.join("Cargo.toml")).unwrap();
    let (without_table, _) = cargo.split_once("\n[package.metadata.kdev]").unwrap();
    fs::write(web.join("Cargo.toml"), without_table).unwrap();
    place.run("web", &["init", "--yes", "--builder", "docker"]);
    let dockerfile = fs::read_to_string(web.join("Dockerfile")).unwrap();
    assert!(dockerfile.starts_with(&format!("FROM {RUST_IMAGE} AS build\n")), "{dockerfile}");
    place.run("web", &["up"]);
    place.wait_for_page("init-web", "other");
}

struct RemoveOnDrop;

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = docker(&["image", "rm", "--force", RUST_IMAGE]).output();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn templates_are_deployed() {
    let place = Place::new("templates");
    fs::create_dir(place.dir.path().join("helm")).unwrap();
    symlink(state("lib/helm"), place.dir.path().join("helm/helm")).unwrap();
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
    for name in ["worker", "job", "service-kustomize", "service-chart", "workspace"] {
        copy_dir(&templates.join(name), &place.dir.path().join(name));
    }
    let context = ["up", "--context", "kdev-lab"];
    for name in ["worker", "job", "service-kustomize", "service-chart"] {
        let output = place.run(name, &context);
        assert!(output.contains("Ready "), "{output}");
    }
    for package in ["api", "reporter"] {
        place.run("workspace", &[&context[..], &["--package", package]].concat());
    }
    place.wait_for_page("hello-kustomize", "hello, cluster");
    place.wait_for_page("hello-chart", "hello, cluster");
    place.wait_for_page("api", "hello from api");
    let job = get(place.namespace, &["job", "job"]);
    assert_eq!(job["status"]["succeeded"], 1, "{job}");
    for name in ["worker", "job", "hello-kustomize", "hello-chart", "api", "reporter"] {
        let list = ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name];
        images::queue_removal(run(&mut docker(&list)).lines());
    }
}
