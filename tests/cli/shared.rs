//! Manifests with the images of several packages of a workspace.

use std::fs;

use crate::project::{IMAGE, Project};

const API: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  template:
    spec:
      containers:
      - name: api
        image: api
---
apiVersion: v1
kind: Service
metadata: {name: api}
";

/// Creates a workspace with the packages `app` and `api`, and a manifest for both.
fn workspace() -> Project {
    let project = Project::new();
    let package = "[package]\nname = \"app\"\nedition = \"2024\"\n";
    let workspace = "[workspace]\nmembers = [\"api\"]\n[workspace.metadata.kdev]\nmanifests = [\"k8s/*.yaml\"]\n";
    project.write("Cargo.toml", &format!("{package}{workspace}"));
    fs::create_dir_all(project.path("api/src")).unwrap();
    project.write("api/Cargo.toml", "[package]\nname = \"api\"\nedition = \"2024\"\n");
    project.write("api/src/main.rs", "fn main() {}\n").write("api/Dockerfile", "FROM scratch\n");
    project.write("k8s/api.yaml", API);
    project
}

/// Sets the image of the other package in the cluster.
fn deploy_api(project: &Project, image: &str) {
    let live = format!(
        r#"{{"kind":"Deployment","metadata":{{"name":"api","namespace":"default"}},"spec":{{"template":{{"spec":{{"containers":[{{"name":"api","image":"{image}","imagePullPolicy":"IfNotPresent"}}]}}}}}}}}"#
    );
    project.write("fake/api.json", &live);
}

#[test]
fn workload_of_other_package_keeps_its_build() {
    let project = workspace();
    deploy_api(&project, "api:kdev-aaaaaaaaaaaa");
    // The fake has no rollout of `api`, so `up` does not wait for it.
    let ran = project.run(&["up", "--package", "app"]);
    assert!(!ran.code(0).err().contains("deployment/api"), "{}", ran.err());
    let applied = project.applied().unwrap();
    let kept = "- name: api\n        image: api:kdev-aaaaaaaaaaaa\n        imagePullPolicy: IfNotPresent\n";
    assert!(applied.contains(kept) && applied.contains(IMAGE), "{applied}");
    assert!(applied.contains("kind: Service"), "{applied}");
}

#[test]
fn workload_of_package_that_was_never_deployed_is_left_out() {
    let project = workspace();
    let ran = project.run(&["up", "--package", "app"]);
    let note = "        Note deployment/api is not applied, because image `api` of package `api` is not deployed yet; run `cargo kdev up --package api` to deploy it\n";
    assert!(ran.code(0).err().contains(note), "{}", ran.err());
    let applied = project.applied().unwrap();
    assert!(!applied.contains("image: api") && applied.contains(IMAGE), "{applied}");
    assert!(applied.contains("kind: Service"), "{applied}");
    // The other package can be deployed first, too.
    let ran = project.run(&["up", "--package", "api", "--dry-run"]);
    assert!(ran.err().contains("deployment/app is not applied, because"), "{}", ran.err());
}

#[test]
fn complete_image_of_other_package_stays() {
    let project = workspace();
    project.write("k8s/api.yaml", &API.replace("image: api", "image: ghcr.io/me/api:1"));
    project.config("").write("api/Cargo.toml", "[package]\nname = \"api\"\nedition = \"2024\"\n[package.metadata.kdev]\nimage = \"ghcr.io/me/api\"\n");
    let ran = project.run(&["up", "--package", "app", "--dry-run"]);
    ran.code(0).stderr("");
}

#[test]
fn library_with_name_of_image_is_not_deployable() {
    let project = workspace();
    project.remove("api/Dockerfile");
    project.run(&["up", "--package", "app", "--dry-run"]).code(0).stderr("");
    assert!(!project.calls().contains("get deployment/api"), "{}", project.calls());
}

#[test]
fn pod_with_both_images_needs_build_of_other_package() {
    let project = workspace();
    project.remove("k8s/api.yaml");
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    project.write("k8s/app.yaml", &manifest.replace("image: redis:7", "image: api"));
    project.run(&["up", "--package", "app"]).code(90).stderr(
        "error: deployment/app runs image `api` of package `api`, which is not deployed yet
  help: run `cargo kdev load api:TAG` with a build that Docker has, and set `image: api:TAG`\n",
    );
    assert!(!project.calls().contains("docker build"), "{}", project.calls());
    // The help works.
    let tagged = manifest.replace("image: redis:7", "image: api:kdev-aaaaaaaaaaaa");
    project.write("k8s/app.yaml", &tagged).run(&["up", "--package", "app"]).code(0);
}

#[test]
fn render_keeps_image_of_other_package() {
    let project = workspace();
    let ran = project.run(&["render", "--package", "app"]);
    ran.code(0).stderr("        Note deployment/api keeps image `api` of package `api` as it is written; `up` uses the build that runs in the cluster\n");
    assert!(ran.out().contains("        image: api\n---\n"), "{}", ran.out());
}
