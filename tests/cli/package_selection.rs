//! Which package of a workspace a command acts on: the one that `cargo build` would build.

use std::fs;

use crate::project::Project;

/// A workspace whose packages `api` and `worker` have a manifest each; only `worker` has a
/// `kdev` table.
fn workspace(root_manifest: &str) -> Project {
    let project = Project::new();
    project.write("Cargo.toml", root_manifest);
    for name in ["api", "worker"] {
        fs::create_dir_all(project.path(name).join("src/bin")).unwrap();
        fs::create_dir_all(project.path(name).join("k8s")).unwrap();
        project.write(&format!("{name}/src/main.rs"), "fn main() {}\n");
        let table = if name == "worker" { "[package.metadata.kdev]\n" } else { "" };
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{table}");
        project.write(&format!("{name}/Cargo.toml"), &package);
        project.write(&format!("{name}/Dockerfile"), "FROM scratch\n");
    }
    project
}

const VIRTUAL: &str = "[workspace]\nmembers = [\"api\", \"worker\"]\nresolver = \"3\"\n";

#[test]
fn package_of_current_directory_is_selected() {
    let rooted = format!("[package]\nname = \"app\"\nedition = \"2024\"\n{VIRTUAL}");
    let api_by_default = format!("{VIRTUAL}default-members = [\"api\"]\n");
    let table = [
        (VIRTUAL, "api", "api"),
        (VIRTUAL, "api/src/bin", "api"),
        (VIRTUAL, "worker", "worker"),
        (&api_by_default, "", "api"),
        (&api_by_default, "k8s", "api"),
        (&api_by_default, "worker", "worker"),
        (&rooted, "", "app"),
        (&rooted, "src", "app"),
        (&rooted, "api", "api"),
        (&rooted, "worker/k8s", "worker"),
    ];
    for (root_manifest, dir, package) in table {
        let project = workspace(root_manifest);
        let ran = project.run_in(dir, &["doctor"]);
        let line = format!("package `{package}` in ");
        assert!(ran.out().contains(&line), "{root_manifest}{dir}: {}", ran.out());
    }
}

#[test]
fn virtual_root_without_default_member_selects_no_package() {
    let project = workspace(VIRTUAL);
    let several = "select one with `--package NAME`, or all services with `--workspace`";
    let one = "select one with `--package NAME`";
    for (command, help) in
        [("up", several), ("down", several), ("render", several), ("images", one)]
    {
        let ran = project.run(&[command]);
        ran.code(90).error(&format!(
            "error: the workspace has several packages: `api` and `worker`\n  help: {help}\n"
        ));
    }
    let two = format!("{VIRTUAL}default-members = [\"worker\", \"api\"]\n");
    workspace(&two).run(&["down"]).code(90);
}

#[test]
fn empty_workspace_has_no_package() {
    let project = workspace("[workspace]\nmembers = []\nresolver = \"3\"\n");
    project.run(&["down"]).code(90).error(
        "error: the workspace has no packages
  help: add one to `members` in `[workspace]`, for example with `cargo new`\n",
    );
}

#[test]
fn manifest_path_selects_its_package() {
    let project = workspace(VIRTUAL);
    let ran = project.run_in("worker", &["doctor", "--manifest-path", "../api/Cargo.toml"]);
    assert!(ran.out().contains("package `api` in "), "{}", ran.out());
    project.run_in("worker", &["down", "--manifest-path", "../Cargo.toml"]).code(90);
}
