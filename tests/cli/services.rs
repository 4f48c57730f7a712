//! Several services of one workspace.

use std::fs;
use std::path::Path;

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

/// Lets cargo build the programs of `api` and `app`, which share the library.
fn built_by_cargo() -> Project {
    let project = workspace();
    for name in ["api", "app"] {
        let package = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\nlib.path = \"../lib\"\n[package.metadata.kdev]\ncargo-build = []\ncontext = \"..\"\n"
        );
        project.write(&format!("{name}/Cargo.toml"), &package);
        let dockerfile = format!("FROM scratch\nCOPY target/debug/{name} /app\n");
        project.write(&format!("{name}/Dockerfile"), &dockerfile);
    }
    fs::rename(project.path("lib/src/main.rs"), project.path("lib/src/lib.rs")).unwrap();
    fs::create_dir(project.path("api/k8s")).unwrap();
    let manifest = fs::read_to_string(project.path("app/k8s/app.yaml")).unwrap();
    project.write("api/k8s/api.yaml", &manifest.replace("image: app", "image: api"));
    project
}

fn up_with_cargo(project: &Project, args: &[&str]) -> crate::project::Ran {
    let fakes = ["bin", "tools"].map(|dir| project.path(dir).display().to_string()).join(":");
    let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
    let path = format!("{fakes}:{cargo}:/usr/bin:/bin");
    let args = [&["up", "-p", "api", "-p", "app", "-v"], args].concat();
    project.run_with(&[("PATH", path.as_str())], &args)
}

#[test]
fn one_cargo_build_serves_several_packages() {
    let project = built_by_cargo();
    let joint = "cargo build --package api --package app --keep-going";
    let ran = up_with_cargo(&project, &["--dry-run", "--locked"]);
    let out = ran.code(0).out();
    assert!(out.contains(&format!("{joint} --locked")), "{out}");
    assert_eq!(out.matches("cargo build").count(), 1, "{out}");
    let err = up_with_cargo(&project, &[]).code(0).err().to_owned();
    assert!(err.contains(&format!("Building cd [ROOT] && {joint}\n")), "{err}");
    assert_eq!(err.matches("cargo build").count(), 1, "{err}");
    assert_eq!(err.matches("Compiling lib").count(), 1, "{err}");
    // Each package only has its own programs.
    project.write("app/Dockerfile", "FROM scratch\nCOPY target/release/app /app\n");
    let ran = up_with_cargo(&project, &["--release"]);
    let stale = "error: api: the Dockerfile copies `target/debug/api` (line 2), but cargo built `target/release/api`\n";
    assert!(ran.code(90).err().contains(stale), "{}", ran.err());
    assert!(ran.err().contains("Finished app: "), "{}", ran.err());
}

#[test]
fn package_that_cannot_be_compiled_does_not_stop_others() {
    let project = built_by_cargo();
    project.write("api/src/main.rs", "fn main() { x }\n");
    let ran = up_with_cargo(&project, &[]);
    let err = ran.code(101).err();
    assert!(
        err.contains(
            "Note cargo failed to build some of the packages, so each of them is built alone"
        ),
        "{err}"
    );
    assert!(err.contains("Finished app: "), "{err}");
    let error = "error: api: failed to build `api`
  caused by: `cd [ROOT]/api && cargo build --package api` exited with code 101\n";
    assert!(err.contains(error), "{err}");
}

#[test]
fn package_with_own_settings_of_cargo_is_built_alone() {
    let project = built_by_cargo();
    fs::create_dir(project.path("api/.cargo")).unwrap();
    project.write("api/.cargo/config.toml", "");
    let out = up_with_cargo(&project, &["--dry-run"]).code(0).out().to_owned();
    assert!(out.contains("cargo build --package api\n"), "{out}");
    assert!(out.contains("cargo build --package app\n"), "{out}");
    project.remove("api/.cargo/config.toml");
    let cargo = fs::read_to_string(project.path("api/Cargo.toml")).unwrap();
    for args in ["[\"--release\"]", "[\"--target-dir=../target\"]"] {
        project.write(
            "api/Cargo.toml",
            &cargo.replace("cargo-build = []", &format!("cargo-build = {args}")),
        );
        let out = up_with_cargo(&project, &["--dry-run"]).code(0).out().to_owned();
        assert_eq!(out.matches("cargo build").count(), 2, "{out}");
    }
}
