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
