//! Where a setting comes from: flag, variable, personal file, package,
//! workspace, discovery.

use crate::project::Project;

/// The image that a dry run would build.
fn image(project: &Project, args: &[&str]) -> String {
    let all = [&["up", "--dry-run"], args].concat();
    project.run(&all).code(0);
    project.calls().clear();
    let rendered = project.run(&[&all[..], &["--message-format", "json"]].concat());
    let text = format!("{rendered:?}");
    let after = text.split("build --tag ").nth(1).unwrap();
    after.split(':').next().unwrap().to_owned()
}

#[test]
fn each_source_overrides_the_next_one() {
    let project = Project::new();
    let manifest = |name: &str| {
        format!("kind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: {name}}}]}}\n")
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
