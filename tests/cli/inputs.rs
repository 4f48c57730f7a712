//! `cargo kdev up --inputs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::project::Project;

/// Returns the existing inputs of a class, relative to the project.
fn inputs(project: &Project, class: &str) -> BTreeSet<String> {
    let output = project.run(&["up", "--inputs", "--message-format", "json"]);
    let lines = output.code(0).out().lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = lines.filter(|line| line["reason"] == "input" && line["class"] == class);
    let existing = rows.filter(|row| row["exists"] == true);
    existing.map(|row| row["path"].as_str().unwrap().replace("[ROOT]/", "")).collect()
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

fn notes(project: &Project) -> String {
    let ran = project.run(&["up", "--inputs"]);
    let lines = ran.code(0).err().lines().filter(|line| !line.contains(" if they existed "));
    lines.flat_map(|line| [line.trim_start(), "\n"]).collect()
}

/// Builds the program as `up` would.
fn build(project: &Project) {
    let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
    let line = format!("PATH={cargo}:/usr/bin:/bin cargo build --quiet --release --package app");
    project.sh(&line);
}

#[test]
fn inputs_are_listed_without_docker_and_cluster() {
    let project = Project::new();
    project.write("Dockerfile", "FROM scratch\nCOPY src/main.rs /\n");
    project.run(&["up", "--inputs"]).code(0).stdout(
        "\
config    Cargo.toml    settings of the project
docker    Dockerfile    Dockerfile
manifest  k8s/app.yaml  manifest
docker    src/main.rs   copied in line 2 of the Dockerfile
",
    );
    assert_eq!(project.calls(), "");
    let output = project.run(&["up", "--inputs", "--message-format", "json"]);
    let row = r#"{"version":1,"reason":"input","package":"app","path":"[ROOT]/kdev.local.toml","class":"config","exists":false,"cause":"personal settings"}"#;
    assert!(output.code(0).out().contains(row), "{}", output.out());
    fs::create_dir(project.path(".kube")).unwrap();
    project.write(".kube/config", "").write("kdev.local.toml", "");
    let expected = [".kube/config", "Cargo.toml", "kdev.local.toml"];
    assert_eq!(inputs(&project, "config"), set(&expected));
}

#[test]
fn sources_are_those_of_last_build() {
    let project = Project::new();
    project.config("cargo-build = [\"--release\"]");
    let source = "fn main() {\n    print!(include_str!(\"../a page\"));\n}\n";
    project.write("src/main.rs", source).write("a page", "").write("README.md", "");
    let unknown = inputs(&project, "cargo");
    assert!(unknown.contains("README.md"), "{unknown:?}");
    build(&project);
    let exact = ["Cargo.lock", "Cargo.toml", "a page", "src/main.rs"];
    assert_eq!(inputs(&project, "cargo"), set(&exact));
    // The program is not rebuilt for a file on which it does not depend.
    project.write("README.md", "changed");
    assert_eq!(inputs(&project, "cargo"), set(&exact));
    // The next build may have other sources.
    project.write("src/main.rs", &format!("mod missing;\n{source}"));
    let unknown = inputs(&project, "cargo");
    assert!(unknown.contains("README.md") && unknown.contains("a page"), "{unknown:?}");
    assert!(!unknown.iter().any(|path| path.starts_with("target/")), "{unknown:?}");
}

#[test]
fn build_script_without_limits_depends_on_package() {
    let project = Project::new();
    project.config("cargo-build = [\"--release\"]").write("README.md", "").write("page", "");
    project.write("build.rs", "fn main() {}\n");
    build(&project);
    assert!(inputs(&project, "cargo").contains("README.md"));
    project.write("build.rs", "fn main() {\n    println!(\"cargo::rerun-if-changed=page\");\n}\n");
    build(&project);
    let expected = ["Cargo.lock", "Cargo.toml", "build.rs", "page", "src/main.rs"];
    assert_eq!(inputs(&project, "cargo"), set(&expected));
}

#[test]
fn services_of_workspace_have_own_inputs() {
    let project = Project::new();
    project.remove("src/main.rs").remove("Dockerfile");
    let cargo_build = "[package.metadata.kdev]\ncargo-build = []\n";
    project.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\", \"shared\"]\n[workspace.dependencies]\nshared = { path = \"shared\" }\n");
    for (name, dependencies) in [("a", "shared.workspace = true"), ("b", ""), ("shared", "")] {
        fs::create_dir_all(project.path(name).join("src")).unwrap();
        fs::create_dir_all(project.path(name).join("k8s")).unwrap();
        let settings = if name == "shared" { "" } else { cargo_build };
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\n{dependencies}\n{settings}"
        );
        project.write(&format!("{name}/Cargo.toml"), &manifest);
        let source = if name == "shared" { "lib.rs" } else { "main.rs" };
        project.write(&format!("{name}/src/{source}"), "fn main() {}\n");
        project.write(&format!("{name}/Dockerfile"), "FROM scratch\n");
    }
    let rows = |package: &str| {
        let args = ["up", "--inputs", "--package", package, "--message-format", "json"];
        let output = project.run(&args).code(0).out().to_owned();
        assert!(output.contains(&format!(r#""package":"{package}""#)), "{output}");
        output
    };
    let (a, b) = (rows("a"), rows("b"));
    for path in ["a/src/main.rs", "shared/Cargo.toml", "shared/src/lib.rs"] {
        assert!(a.contains(&format!("[ROOT]/{path}\"")), "{path}\n{a}");
        assert!(!b.contains(&format!("[ROOT]/{path}\"")), "{path}\n{b}");
    }
    let all = project.run(&["up", "--inputs", "--workspace", "--message-format", "json"]);
    let all = all.code(0).out().to_owned();
    assert!(all.contains(r#""package":"a""#) && all.contains(r#""package":"b""#), "{all}");
}

#[test]
fn unclear_instruction_makes_whole_context_an_input() {
    let project = Project::new();
    project.write("Dockerfile", "FROM scratch\nCOPY --parents src/main.rs /\n");
    project.write(".dockerignore", "bin\nfake\nk8s\ntools\n").write("README.md", "");
    let expected = [".dockerignore", "Cargo.toml", "Dockerfile", "README.md", "src", "src/main.rs"];
    assert_eq!(inputs(&project, "docker"), set(&expected));
    let note = "Note `COPY --parents` in line 2 of `[ROOT]/Dockerfile` may refer to any file, so all files of the build context are inputs\n";
    assert_eq!(notes(&project), note);
    project.write("Dockerfile", "FROM scratch\nCOPY src/main.rs /\n");
    assert_eq!(notes(&project), "");
}

#[test]
fn folder_of_named_context_is_an_input() {
    let project = Project::new();
    project.config("docker-build = [\"--build-context\", \"page=page\"]");
    project.write("Dockerfile", "FROM scratch\nCOPY --from=page a /\n");
    fs::create_dir(project.path("page")).unwrap();
    project.write("page/a", "");
    assert_eq!(inputs(&project, "docker"), set(&["Dockerfile", "page", "page/a"]));
}

#[test]
fn needless_files_in_image_are_noted() {
    let project = Project::new();
    project.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    fs::create_dir(project.path(".git")).unwrap();
    project.write(".git/HEAD", "");
    let git = "Note the image contains `.git`, so each commit builds it again; add `.git` to `.dockerignore`\n";
    let manifest = "Note the image contains the manifest `k8s/app.yaml`, so each change of it builds the image again; add `k8s` to `.dockerignore`\n";
    assert_eq!(notes(&project), format!("{git}{manifest}"));
    project.write(".dockerignore", ".git\n");
    assert_eq!(notes(&project), manifest);
    project.write(".dockerignore", ".git\nk8s\n");
    assert_eq!(notes(&project), "");
}

#[test]
fn output_of_cargo_is_no_input_of_image() {
    let project = Project::new();
    project.config("cargo-build = [\"--release\"]");
    project.write("Dockerfile", "FROM scratch\nCOPY target/release/app target/site /\n");
    build(&project);
    fs::create_dir(project.path("target/site")).unwrap();
    // Another program than cargo has written it.
    project.write("target/site/page", "");
    let expected = ["Dockerfile", "target/site", "target/site/page"];
    assert_eq!(inputs(&project, "docker"), set(&expected));
    project.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    project.write(".dockerignore", "*\n!target\n!src\n");
    let expected = [".dockerignore", "Dockerfile", "src", "src/main.rs"];
    assert_eq!(inputs(&project, "docker"), set(&expected));
}

#[test]
fn image_without_dockerfile_depends_on_assets() {
    let project = Project::new();
    project.remove("Dockerfile");
    project.config("builder = \"cargo\"\ncontainer.assets = [\"static:/static\"]");
    fs::create_dir_all(project.path("static/js")).unwrap();
    project.write("static/js/a.js", "");
    assert_eq!(inputs(&project, "docker"), set(&["static", "static/js", "static/js/a.js"]));
    assert!(inputs(&project, "cargo").contains("src/main.rs"));
}

#[test]
fn kustomization_and_chart_name_files() {
    let project = Project::new();
    for dir in ["base", "other", "chart/templates", "library"] {
        fs::create_dir_all(project.path(dir)).unwrap();
    }
    let files = [
        (
            "k8s/kustomization.yaml",
            "resources: [app.yaml, ../base]\nconfigMapGenerator:\n- name: app\n  envs: [.env]\n  files: [key=../page.txt]\npatches:\n- path: patch.yaml\n- patch: |-\n    other\n",
        ),
        ("k8s/.env", ""),
        ("k8s/patch.yaml", ""),
        ("k8s/unused.yaml", ""),
        ("page.txt", ""),
        ("base/kustomization.yml", "resources:\n- db.yaml\n- ../k8s\n"),
        ("base/db.yaml", ""),
        ("other/unused.yaml", ""),
        ("chart/Chart.yaml", "dependencies:\n- name: library\n  repository: file://../library\n"),
        ("chart/values.yaml", ""),
        ("chart/templates/app.yaml", ""),
        ("library/Chart.yaml", ""),
    ];
    for (name, text) in files {
        project.write(name, text);
    }
    let kustomization = [
        "base/db.yaml",
        "base/kustomization.yml",
        "k8s/.env",
        "k8s/app.yaml",
        "k8s/kustomization.yaml",
        "k8s/patch.yaml",
        "page.txt",
    ];
    assert_eq!(inputs(&project, "manifest"), set(&kustomization));
    project.config("manifests = [\"chart\"]");
    let chart =
        ["chart/Chart.yaml", "chart/templates/app.yaml", "chart/values.yaml", "library/Chart.yaml"];
    assert_eq!(inputs(&project, "manifest"), set(&chart));
}
