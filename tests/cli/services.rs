//! Several services of one workspace.

use std::fs;

use crate::project::Project;

/// A workspace with the services `api`, `app`, and `web`, and a library. Only `app` has a
/// manifest.
pub(crate) fn workspace() -> Project {
    let project = Project::new();
    project.write("Cargo.toml", "[workspace]\nmembers = [\"*p*\", \"lib\"]\nexclude = [\"k8s\"]\n");
    for name in ["api", "app", "webapp", "lib"] {
        fs::create_dir_all(project.path(&format!("{name}/src"))).unwrap();
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        project.write(&format!("{name}/Cargo.toml"), &package);
        project.write(&format!("{name}/src/main.rs"), "fn main() {}\n");
        if name != "lib" {
            project.write(&format!("{name}/Dockerfile"), "FROM scratch\n");
        }
    }
    fs::rename(project.path("k8s"), project.path("app/k8s")).unwrap();
    project
}

#[test]
fn failing_service_does_not_stop_others() {
    let project = workspace();
    let ran = project.run(&["up", "--workspace"]);
    let stderr = ran.code(90).err();
    let failed = |package: &str| format!("      Failed {package}: no manifest matches ");
    assert!(stderr.contains(&failed("api")) && stderr.contains(&failed("webapp")), "{stderr}");
    assert!(stderr.contains("    Finished app: app:kdev-0123456789ab in [TIME]\n"), "{stderr}");
    let error = |package: &str| format!("\nerror: {package}: no manifest matches ");
    assert!(stderr.contains(&error("api")) && stderr.contains(&error("webapp")), "{stderr}");
    assert!(!stderr.contains("lib"), "{stderr}");
    assert!(project.applied().unwrap().contains("name: app"));
}

#[test]
fn exit_code_is_that_of_first_failure() {
    let project = workspace();
    project.write("api/Cargo.toml", "[package]\nname = \"api\"\nedition = \"2024\"\n[package.metadata.kdev]\nbuilder = \"podman\"\n");
    project.run(&["up", "-p", "api", "-p", "webapp"]).code(91);
    project.run(&["up", "-p", "webapp", "-p", "w*"]).code(90);
}

#[test]
fn excluding_all_services_is_rejected() {
    let ran = workspace().run(&["up", "--workspace", "--exclude", "*"]);
    ran.code(90).error(
        "error: no service found in the workspace\n  help: pass `--exclude` for fewer packages\n",
    );
}

#[test]
fn selected_services_are_deployed() {
    let project = workspace();
    let excluded = ["--workspace", "--exclude", "api", "--exclude", "web*"];
    for args in [excluded.as_slice(), &["-p", "app", "-p", "a?p"]] {
        let ran = project.run(&[&["up"], args].concat());
        assert!(ran.code(0).err().contains("    Finished app:kdev-"), "{}", ran.err());
    }
    let help = "\n  help: pass one of these to `--package`: `api`, `app`, `webapp`, and `lib`\n";
    let ran = project.run(&["up", "-p", "app", "-p", "wep"]);
    ran.code(90).error(&format!("error: package `wep` not found in the workspace{help}"));
    let ran = project.run(&[
        "up",
        "--workspace",
        "--exclude",
        "old",
        "--exclude",
        "[!a]*",
        "--exclude",
        "api",
    ]);
    let note = "        Note excluded package `old` not found in the workspace\n";
    assert!(ran.code(0).err().starts_with(note), "{}", ran.err());
}

#[test]
fn flags_of_cargo_are_checked_before_first_service() {
    let project = workspace();
    let ran = project.run(&["up", "--workspace", "--bin", "app"]);
    ran.code(90).stderr(
        "error: cannot use `--bin` with several packages: `api`, `app`, and `webapp`
  help: select one with `--package NAME`\n",
    );
    let package = "[package]\nname = \"api\"\nedition = \"2024\"\n[package.metadata.kdev]\nbuilder = \"cargo\"\n";
    project.write("api/Cargo.toml", package);
    let ran = project.run(&["up", "--workspace", "--release"]);
    let error = "error: cannot pass `--release` to cargo: `cargo-build` is not set, so the Dockerfile of package `app` builds the program\n";
    assert!(ran.code(90).err().starts_with(error), "{}", ran.err());
    assert!(!project.calls().contains("kubectl"), "{}", project.calls());
}

#[test]
fn events_of_several_services_have_package() {
    let project = workspace();
    let ran = project.run(&["up", "-p", "api", "-p", "app", "--message-format", "json"]);
    let stdout = ran.code(90).out();
    let failed = stdout.lines().find(|line| line.contains(r#""reason":"failed""#)).unwrap();
    assert!(failed.ends_with(r#","package":"api"}"#), "{failed}");
    let finished = stdout.lines().find(|line| line.contains(r#""reason":"finished""#)).unwrap();
    assert!(finished.ends_with(r#","package":"app"}"#), "{finished}");
    let error = stdout.lines().last().unwrap();
    assert!(error.contains(r#""code":90"#) && error.contains(r#""package":"api""#), "{error}");
    let ran = project.run(&["up", "-p", "app", "--message-format", "json"]);
    assert!(!ran.code(0).out().contains(r#""package""#), "{}", ran.out());
}

#[test]
fn default_members_are_services_of_up_but_not_of_down() {
    let project = workspace();
    let root = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &format!("{root}default-members = [\"app\", \"api\", \"lib\"]\n"));
    let stderr = project.run(&["up"]).code(90).err().to_owned();
    assert!(stderr.contains("Finished app: ") && stderr.contains("Failed api: "), "{stderr}");
    let ran = project.run(&["down"]);
    ran.code(90).error(
        "error: the workspace has several packages: `api` and `app`
  help: select one with `--package NAME`, or all services with `--workspace`\n",
    );
    let ran = project.run(&["down", "-p", "webapp", "-p", "api"]);
    let stderr = ran.code(0).err();
    assert!(stderr.contains("Note webapp: nothing to delete"), "{stderr}");
    assert!(stderr.contains("Note api: nothing to delete"), "{stderr}");
}

#[test]
fn one_image_for_several_packages_is_rejected() {
    let help = "help: set `image` in `[package.metadata.kdev]` of each package, and remove `--image` and `KDEV_IMAGE`";
    let project = workspace();
    let all = "error: the packages `api`, `app`, and `webapp` cannot have the same image";
    let ran = project.run(&["up", "--workspace", "--image", "one"]);
    ran.code(90).error(&format!("{all}\n  {help}\n"));
    // A setting of the workspace, and one of a package that is the name of another one.
    let manifest = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let shared = format!("{manifest}[workspace.metadata.kdev]\nimage = \"one\"\n");
    project.write("Cargo.toml", &shared);
    project.run(&["up", "--workspace"]).code(90).error(&format!("{all}\n  {help}\n"));
    project.write("Cargo.toml", &manifest);
    let package =
        "[package]\nname = \"api\"\nedition = \"2024\"\n[package.metadata.kdev]\nimage = \"app\"\n";
    project.write("api/Cargo.toml", package);
    let two = "error: the packages `api` and `app` cannot have the same image";
    project.run(&["up", "--workspace"]).code(90).error(&format!("{two}\n  {help}\n"));
    assert!(!project.calls().contains("docker build"), "{}", project.calls());
    // One of them alone is deployed.
    project.run(&["up", "-p", "app"]).code(0);
}
