//! Images with a program that `cargo build` has written.

use std::fs;
use std::path::Path;

use crate::docker_variants::start_docker_29;
use crate::lab::{command, kubectl, run, stderr_text};
use crate::test_service::Service;

/// Creates a service on one node whose image also has the release build of its package.
fn service_with_program(name: &'static str) -> Service {
    let service = Service::on_node("node-1", name);
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    let table = "[package.metadata.kdev]\ncargo-build = [\"--release\"]\n";
    service.write("Cargo.toml", &format!("{cargo}{table}"));
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    let copy = format!("COPY target/release/{name} /program\nENTRYPOINT");
    service.write("Dockerfile", &dockerfile.replace("ENTRYPOINT", &copy));
    service
}

/// Checks that the pod has this program.
#[track_caller]
fn assert_program(service: &Service, path: &Path) {
    let pod = service.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let exec = ["exec", &pod, "--", "/busybox", "sha256sum", "/program"];
    let running = run(&mut kubectl(service.name, &exec));
    let built = run(command("sha256sum").arg(path));
    assert_eq!(running.split(' ').next(), built.split(' ').next(), "{running}{built}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_for_other_target_is_deployed_after_advice() {
    let service = service_with_program("moved-program");
    service.up_ok();
    assert_program(&service, &service.path("target/release/moved-program"));
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    fs::create_dir(service.path(".cargo")).unwrap();
    service.write(".cargo/config.toml", &format!("build.target = \"{host}\"\n"));
    service.write("src/main.rs", "fn main() {\n    println!(\"changed\");\n}\n");
    let error = service.up_fails(&[], 90);
    let built = format!("target/{host}/release/moved-program");
    let message = format!(
        "error: the Dockerfile copies `target/release/moved-program` (line 5), but cargo built `{built}`\n"
    );
    assert!(error.starts_with(&message), "{error}");
    let help = format!("help: copy `{built}` in line 5 of `");
    assert!(error.contains(&help), "{error}");
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    service.write("Dockerfile", &dockerfile.replace("target/release/moved-program", &built));
    service.up_ok();
    assert_program(&service, &service.path(&built));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn path_of_workspace_is_copied_after_advice() {
    let service = Service::on_node("node-1", "workspace-root");
    fs::create_dir(service.path("member")).unwrap();
    for name in ["Cargo.toml", "Dockerfile", "src", "k8s"] {
        fs::rename(service.path(name), service.path(&format!("member/{name}"))).unwrap();
    }
    let cargo = fs::read_to_string(service.path("member/Cargo.toml")).unwrap();
    let cargo = cargo.replace("[workspace]\n", "");
    service.write("member/Cargo.toml", &cargo);
    service.write("Cargo.toml", "[workspace]\nmembers = [\"member\"]\nresolver = \"3\"\n");
    let up = || {
        let output = service.up(&["--package", service.name]).output().unwrap();
        (output.status.code(), stderr_text(&output))
    };
    let (code, stderr) = up();
    let help = "help: set `context = \"..\"` in `[package.metadata.kdev]`: `busybox` (line 3 of the Dockerfile) is in the workspace's folder, not in the build context\n";
    assert!(code == Some(1) && stderr.ends_with(help), "{code:?} {stderr}");
    let table = "[package.metadata.kdev]\ncontext = \"..\"\n";
    service.write("member/Cargo.toml", &format!("{cargo}{table}"));
    assert_eq!(up().0, Some(0));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn client_that_is_too_old_for_docker_29_is_named() {
    let mut service = Service::on_node("node-1", "old-client");
    let _daemon = start_docker_29(&mut service);
    // Debian's client, 20.10.
    let path = format!("/usr/bin:{}", std::env::var("PATH").unwrap());
    let output = service.up(&[]).env("PATH", path).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(91), "{stderr}");
    assert!(stderr.starts_with("error: `docker` 20.10"), "{stderr}");
    assert!(stderr.contains(" is too old for the Docker daemon\n"), "{stderr}");
    assert!(stderr.contains("client version 1.41 is too old. Minimum supported API"), "{stderr}");
}
