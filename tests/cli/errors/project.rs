//! Errors of the project, its configuration and its manifests.

use super::*;

#[test]
fn no_cargo_project() {
    let project = Project::new();
    project.remove("Cargo.toml");
    fails(&project, 90, "error: failed to read the Cargo project
  caused by: `cargo metadata --format-version 1 --no-deps` exited with code 101: error: could not find `Cargo.toml` in `[ROOT]` or any parent directory
  help: run the command in a directory with a Cargo.toml, or pass `--manifest-path PATH`\n");
}

#[test]
fn dockerfile_not_found() {
    let project = Project::new();
    project.remove("Dockerfile");
    fails(
        &project,
        90,
        "error: Dockerfile not found at `[ROOT]/Dockerfile`
  help: create it, or set `dockerfile = \"path\"` in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn no_manifest() {
    let project = Project::new();
    project.remove("k8s/app.yaml");
    let command = "mkdir -p k8s && kubectl create deployment app --image app --dry-run=client --output yaml > k8s/app.yaml";
    fails(&project, 90, &format!("error: no manifest matches `[ROOT]/k8s/*.yaml`, `[ROOT]/k8s/*.yml`, and `[ROOT]/k8s/*.json`
  help: run `{command}` to create one\n"));
    // The help fixes it.
    project.sh(command).run(&["up"]).code(0);
    assert!(project.applied().unwrap().contains("      - image: app:kdev-0123456789ab\n"));
    // With a configured path, the help refers to the configuration.
    let project = Project::new();
    project.config("manifests = [\"deploy/*.yaml\"]");
    fails(
        &project,
        90,
        "error: no manifest matches `[ROOT]/deploy/*.yaml`
  help: create one, or correct `manifests = [\"path/*.yaml\"]` in `[package.metadata.kdev]`\n",
    );
}

#[test]
fn suggested_manifest_has_valid_name() {
    let project = Project::new();
    project.remove("k8s/app.yaml").config("image = \"example.com/team/my_app\"");
    let help = "create deployment my-app --image example.com/team/my_app --dry-run=client --output yaml > k8s/my-app.yaml` to create one\n";
    let output = project.run(&["up"]).code(90).err().to_owned();
    assert!(output.ends_with(help), "{output}");
}

#[test]
fn image_not_used_by_manifests() {
    let project = Project::new();
    project.write(
        "k8s/app.yaml",
        "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: \"apq:1\"}]}\n",
    );
    fails(
        &project,
        90,
        "error: no container in `[ROOT]/k8s/app.yaml` uses image `app`
  help: write `image: app` at line 3 of `[ROOT]/k8s/app.yaml`, or set `image = \"apq\"` in `[package.metadata.kdev]`\n",
    );
    // The help fixes it.
    project.config("image = \"apq\"").run(&["up", "--dry-run"]).code(0);
    // A name that is not similar is not suggested.
    let project = Project::new();
    let manifest = |image: &str| {
        format!("kind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c{image}}}]}}\n")
    };
    project.write("k8s/app.yaml", &manifest(", image: redis"));
    let output = project.run(&["up"]).code(90).err().to_owned();
    let help = "use it in the manifest, or set `image = \"redis\"` in `[package.metadata.kdev]`\n";
    assert!(output.ends_with(help), "{output}");
    project.write("k8s/app.yaml", &manifest(""));
    let output = project.run(&["up"]).code(90).err().to_owned();
    let help = "set `image: app` in a container of a workload, such as a Deployment\n";
    assert!(output.ends_with(help), "{output}");
}

#[test]
fn misspelled_kind() {
    let project = Project::new();
    let manifest = std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    project.write("k8s/app.yaml", &manifest.replace("kind: Deployment", "kind: Deploymnt"));
    fails(
        &project,
        90,
        "error: cannot update `[ROOT]/k8s/app.yaml` at line 1, column 7
  caused by: unknown kind `Deploymnt`; did you mean `Deployment`?
  help: change line 1 of `[ROOT]/k8s/app.yaml`\n",
    );
}

#[test]
fn invalid_cargo_toml() {
    let project = Project::new();
    project.write("Cargo.toml", "[package]\nname = \"app\"\n[workspace\n");
    let output = project.run(&["up"]).code(90).err().to_owned();
    assert!(output.ends_with("\n  help: fix line 3 of `Cargo.toml`\n"), "{output}");
    project.write("Cargo.toml", "[package]\nname = \"app\"\nedition = \"2999\"\n");
    let output =
        project.run(&["up"]).code(90).err().replace(&*project.path("").to_string_lossy(), "");
    assert!(output.ends_with("\n  help: fix `[ROOT]/Cargo.toml`\n"), "{output}");
    let project = Project::new();
    project.write("kdev.local.toml", "timeout = 3\nimage = x\n");
    let output = project.run(&["up"]).code(90).err().to_owned();
    assert!(output.ends_with("\n  help: fix line 2 of `[ROOT]/kdev.local.toml`\n"), "{output}");
}

#[test]
fn invalid_manifest() {
    let project = Project::new();
    project.write("k8s/app.yaml", "kind: Pod\nspec: {containers: [{image: app}\n");
    fails(
        &project,
        90,
        "error: cannot update `[ROOT]/k8s/app.yaml` at line [..], column [..]\n  caused by: [..]\n  help: change line [..] of `[ROOT]/k8s/app.yaml`\n",
    );
}

#[test]
fn unknown_key() {
    let project = Project::new();
    project.config("manifest = []");
    fails(
        &project,
        90,
        "error: unknown key `manifest` in `[package.metadata.kdev]` of `[ROOT]/Cargo.toml`
  help: did you mean `manifests`?\n",
    );
}

#[test]
fn value_of_wrong_type() {
    let project = Project::new();
    project.write("kdev.local.toml", "timeout = \"long\"\n");
    fails(
        &project,
        90,
        "error: invalid value for `timeout` in `[ROOT]/kdev.local.toml`
  caused by: invalid type: string \"long\", expected u64
  help: see `docs/configuration.md` for valid values\n",
    );
}

#[test]
fn invalid_image_name() {
    let project = Project::new();
    project.config("image = \"-o/tmp/x\"");
    fails(&project, 90, "error: invalid image name
  caused by: `-o/tmp/x` is not a valid image reference: a name consists of lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`
  help: set `image = \"name\"` in `[package.metadata.kdev]`\n");
}

#[test]
fn ambiguous_package() {
    let project = Project::new();
    project.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"3\"\n");
    for name in ["a", "b"] {
        std::fs::create_dir_all(project.path(name).join("src")).unwrap();
        project.write(&format!("{name}/src/main.rs"), "fn main() {}\n");
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        project.write(&format!("{name}/Cargo.toml"), &package);
    }
    fails(
        &project,
        90,
        "error: the workspace has several packages: `a` and `b`
  help: select one with `--package NAME`, or all services with `--workspace`\n",
    );
    let ran = project.run(&["up", "--package", "c"]);
    ran.code(90).error("error: package `c` not found in the workspace\n  help: pass one of these to `--package`: `a` and `b`\n");
}

#[test]
fn invalid_command_line() {
    let project = Project::new();
    project.run(&["up", "--nod", "n1"]).code(2).stdout("").stderr(
        "error: unexpected argument '--nod' found

  tip: a similar argument exists: '--node'

Usage: cargo kdev up --node <NAME>

For more information, try '--help'.\n",
    );
}

#[test]
fn hidden_files_beside_manifests_are_skipped() {
    let project = Project::new();
    for name in ["._app.yaml", ".#app.yaml"] {
        project.write(&format!("k8s/{name}"), "\0not YAML");
    }
    project.run(&["render"]).code(0).stderr(
        "        Note skipping hidden file or backup `[ROOT]/k8s/.#app.yaml`
        Note skipping hidden file or backup `[ROOT]/k8s/._app.yaml`\n",
    );
    project.write("k8s/.own.yaml", "kind: ConfigMap\nmetadata: {name: own}\n");
    project.config("manifests = [\"k8s/app.yaml\", \"k8s/.own.yaml\"]");
    project.run(&["render"]).code(0).stderr("");

    let project = Project::new();
    std::fs::create_dir(project.path("k8s/.backup")).unwrap();
    project.write("k8s/.backup/app.yaml", "\0not YAML").write("k8s/app.yaml~", "\0not YAML");
    project.config("manifests = [\"k8s/**/*.yaml*\"]");
    project.run(&["render"]).code(0).stderr(
        "        Note skipping hidden file or backup `[ROOT]/k8s/.backup/app.yaml`
        Note skipping hidden file or backup `[ROOT]/k8s/app.yaml~`\n",
    );
}
