//! Images without Docker: `builder = "cargo"`.

use std::fs;
use std::process::Command;

use crate::init::{Place, SERVER};
use crate::lab::{command, images_on, run, stderr_text};

/// Settings with which cargo writes a static program for the nodes.
const SETTINGS: &str =
    "builder = \"cargo\"\ncargo-build = [\"--target=x86_64-unknown-linux-gnu\"]\n";
const CARGO_CONFIG: &str = "[build]\nrustflags = [\"-Ctarget-feature=+crt-static\"]\n";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_of_cargo_is_deployed_and_updated_without_docker() {
    let place = Place::new("init-cargo");
    let web = place.dir.path().join("web");
    let new = ["new", "--quiet", "--vcs", "git", "--name", "init-cargo"];
    run(command("cargo").args(new).arg(&web));
    fs::write(web.join("src/main.rs"), SERVER).unwrap();
    place.run("web", &["init", "--yes", "--context", "kdev-lab"]);
    let local = web.join("kdev.local.toml");
    let permission = fs::read_to_string(&local).unwrap();
    fs::write(local, format!("{SETTINGS}{permission}")).unwrap();
    fs::create_dir_all(web.join(".cargo")).unwrap();
    fs::write(web.join(".cargo/config.toml"), CARGO_CONFIG).unwrap();
    let up = || {
        let mut up: Command = place.kdev("web", &["up"]);
        // No daemon listens there.
        let output = up.env("DOCKER_HOST", "unix:///absent/docker.sock").output().unwrap();
        let stderr = stderr_text(&output);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    };
    up();
    place.wait_for_page("init-cargo", "first");
    let again = up();
    assert!(again.contains("Unchanged kdev-lab is up to date"), "{again}");

    fs::write(web.join("src/main.rs"), SERVER.replace("first", "later")).unwrap();
    let changed = up();
    // The layer that never changes is not sent again.
    assert!(changed.contains(" already present"), "{changed}");
    place.wait_for_page("init-cargo", "later");
    for node in ["node-1", "node-2"] {
        assert_eq!(images_on(node, "/init-cargo:kdev-").len(), 2, "{node}");
    }
    place.run("web", &["down", "--images"]);
    for node in ["node-1", "node-2"] {
        assert_eq!(images_on(node, "/init-cargo:kdev-").len(), 0, "{node}");
    }
}
