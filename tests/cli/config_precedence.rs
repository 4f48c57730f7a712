//! The precedence of settings: flag, variable, `kdev.local.toml`, package, workspace,
//! discovery.

use crate::project::Project;

/// Returns the image that a dry run would build.
fn image(project: &Project, args: &[&str]) -> String {
    let ran = project.run(&[&["up", "--dry-run"], args].concat());
    let after = ran.code(0).out().split("build --tag ").nth(1).unwrap();
    after.split(':').next().unwrap().to_owned()
}

#[test]
fn sources_override_in_documented_order() {
    let project = Project::new();
    let manifest = |name: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: p-{name}}}\nspec: {{containers: [{{name: c, image: {name}}}]}}\n"
        )
    };
    let all: Vec<String> = ["app", "w", "p", "l", "f"].map(manifest).into();
    project.write("k8s/app.yaml", &all.join("---\n"));
    assert_eq!(image(&project, &[]), "app");
    let cargo = "[package]\nname = \"app\"\nedition = \"2024\"\n[workspace]\n[workspace.metadata.kdev]\nimage = \"w\"\n";
    project.write("Cargo.toml", cargo);
    assert_eq!(image(&project, &[]), "w");
    project.config("image = \"p\"");
    assert_eq!(image(&project, &[]), "p");
    project.write("kdev.local.toml", "image = \"l\"\n");
    assert_eq!(image(&project, &[]), "l");
    assert_eq!(image(&project, &["--image", "f"]), "f");
}

#[test]
fn variable_overrides_file_but_not_flag() {
    let project = Project::new();
    let ran = project.run_with(&[("KDEV_CONTEXT", "prod")], &["up", "--dry-run"]);
    assert!(ran.code(0).out().contains("kubectl --context prod "));
    let ran = project
        .run_with(&[("KDEV_CONTEXT", "prod")], &["up", "--dry-run", "--context", "kind-test"]);
    assert!(ran.code(0).out().contains("kubectl --context kind-test "));
    project.config("image = \"p\"");
    let ran = project.run_with(&[("KDEV_IMAGE", "app")], &["up", "--dry-run"]);
    assert!(ran.code(0).out().contains("--tag app:latest"));
}

/// Returns the arguments of `docker build` after the Dockerfile in a dry run.
fn build_args(project: &Project, env: &[(&str, &str)], args: &[&str]) -> String {
    let ran = project.run_with(env, &[&["up", "--dry-run"], args].concat());
    let (_, rest) = ran.code(0).out().split_once("Dockerfile").unwrap();
    rest.lines().next().unwrap().to_owned()
}

#[test]
fn builder_comes_from_flag_then_variable_then_file() {
    let project = Project::new();
    project.write("fake/builder", crate::builders::EMULATING);
    let unset = build_args(&project, &[], &[]);
    project.config("builder = \"buildx:a\"");
    assert_eq!(build_args(&project, &[], &[]), format!(" --builder a{unset}"));
    project.write("kdev.local.toml", "builder = \"buildx:b\"\n");
    assert_eq!(build_args(&project, &[], &[]), format!(" --builder b{unset}"));
    let env = [("KDEV_BUILDER", "buildx:c")];
    assert_eq!(build_args(&project, &env, &[]), format!(" --builder c{unset}"));
    assert_eq!(build_args(&project, &env, &["--builder", "docker"]), unset);
}

#[test]
fn unknown_builder_is_rejected_in_file_and_flag() {
    let project = Project::new();
    project.write("kdev.local.toml", "builder = \"kaniko\"\n");
    let ran = project.run(&["up", "--dry-run"]);
    let expected = "error: invalid value for `builder` in `[ROOT]/kdev.local.toml`
  caused by: expected `auto`, `docker`, `buildx:NAME`, `podman`, or `cargo`, found `kaniko`
  help: see `docs/configuration.md` for valid values
";
    assert_eq!(ran.code(90).err(), expected);
    let ran = project.run(&["up", "--dry-run", "--builder", "buildx:"]);
    let expected = "error: invalid value 'buildx:' for '--builder <BUILDER>': `buildx:` requires the name of a builder\n";
    assert!(ran.code(2).err().starts_with(expected), "{}", ran.err());
}
