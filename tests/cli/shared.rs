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
pub(crate) fn workspace() -> Project {
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
    let note = "        Note deployment/api is not applied, because image `api` of package `api` is not deployed yet; run `cargo kdev up --package api` to deploy it, or `cargo kdev up --workspace` to deploy all services\n";
    assert!(ran.code(0).err().contains(note), "{}", ran.err());
    let applied = project.applied().unwrap();
    assert!(!applied.contains("image: api") && applied.contains(IMAGE), "{applied}");
    assert!(applied.contains("kind: Service"), "{applied}");
    // The other package can be deployed first, too.
    let ran = project.run(&["up", "--package", "api", "--dry-run"]);
    assert!(ran.err().contains("deployment/app is not applied, because"), "{}", ran.err());
}

#[test]
fn run_of_all_packages_does_not_advise_itself() {
    let project = workspace();
    let ran = project.run(&["up", "--workspace", "--dry-run"]);
    assert!(!ran.code(0).err().contains("is not applied"), "{}", ran.err());
}

#[test]
fn package_waits_for_one_that_is_not_deployed_yet() {
    let project = workspace();
    // `api`, the first package, needs the image of `app`, which another program has changed.
    let live = r#"{"kind":"Deployment","metadata":{"name":"app","namespace":"default"},"spec":{"template":{"spec":{"containers":[{"name":"app","image":"other:1"}]}}}}"#;
    project.write("fake/app.json", live);
    let error = "deployment/app runs image `app` of package `app`, which is not deployed yet";
    let help = "help: run `cargo kdev up --package app` first, or `cargo kdev up --workspace`";
    let ran = project.run(&["up", "--package", "api"]);
    ran.code(90).stderr(&format!("error: {error}\n  {help}\n"));
    // The fake never deploys it, so the second turn fails, too.
    let ran = project.run(&["up", "--workspace"]);
    let stderr = ran.code(90).err();
    let (finished, failed) = (stderr.find("Finished app: "), stderr.find("Failed api: "));
    assert!(finished.is_some() && finished < failed, "{stderr}");
    assert_eq!(stderr.matches("Failed").count(), 1, "{stderr}");
}

#[test]
fn images_are_removed_after_objects_of_all_packages() {
    let project = workspace();
    project.run(&["down", "--workspace", "--images"]).code(0);
    let calls = project.calls();
    let last = calls.rfind("get configmaps").or_else(|| calls.rfind("get configmap")).unwrap();
    let first = calls.find("ssh ").unwrap();
    assert!(last < first, "{calls}");
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

#[test]
fn render_of_several_packages_prints_shared_manifests_once() {
    let project = workspace();
    let (image, kept) = (IMAGE.replace("app:", "api:"), "imagePullPolicy: Never\n");
    for args in [&["--workspace"][..], &["-p", "app", "-p", "api"]] {
        let ran = project.run(&[&["render"], args].concat());
        let out = ran.code(0).stderr("").out();
        assert_eq!(out.matches("kind: Deployment").count(), 2, "{out}");
        let expected = [format!("image: {image}\n"), format!("image: {IMAGE}\n"), kept.to_owned()];
        for text in expected {
            assert!(out.contains(&text), "{text}: {out}");
        }
    }
    // The lines are those of the source, and each field is explained once.
    let ran = project.run(&["render", "--workspace", "--explain"]);
    let updated = ran.code(0).err().lines().filter(|line| line.contains("Rendered"));
    assert_eq!(updated.count(), 2, "{}", ran.err());
    assert!(ran.err().contains("k8s/api.yaml:9:"), "{}", ran.err());
    let ran = project.run(&["render", "--workspace", "--image", "one"]);
    let error = "error: the packages `api` and `app` cannot have the same image\n";
    assert!(ran.code(90).err().starts_with(error), "{}", ran.err());
    // An incomplete stream is never printed.
    project.write("api/kdev.local.toml", "manifests = [\"absent.yaml\"]\n");
    let ran = project.run(&["render", "--workspace"]);
    let error = "error: api: no manifest matches `[ROOT]/api/absent.yaml`\n";
    assert!(ran.code(90).stdout("").err().starts_with(error), "{}", ran.err());
}

/// Returns a Deployment and its pod, which declares a port.
pub(crate) fn live(name: &str, port: u16) -> String {
    let ports = format!(r#""ports":[{{"containerPort":{port}}}]"#);
    let containers =
        format!(r#""containers":[{{"name":"{name}","image":"{name}:kdev-1",{ports}}}]"#);
    let meta = |name: &str, owner: &str| {
        format!(
            r#""metadata":{{"name":"{name}","namespace":"default","uid":"{name}","creationTimestamp":"2026-11-28T08:00:00Z","ownerReferences":[{owner}]}}"#
        )
    };
    let owner =
        |kind: &str, name: &str| format!(r#"{{"kind":"{kind}","name":"{name}","uid":"{name}"}}"#);
    let deployment = format!(
        r#"{{"kind":"Deployment",{},"spec":{{"template":{{"spec":{{{containers}}}}}}}}}"#,
        meta(name, "")
    );
    let set = format!(
        r#"{{"kind":"ReplicaSet",{}}}"#,
        meta(&format!("{name}-7c"), &owner("Deployment", name))
    );
    let status = format!(
        r#""status":{{"phase":"Running","containerStatuses":[{{"name":"{name}","containerID":"containerd://{name}","restartCount":0,"state":{{"running":{{}}}}}}]}}"#
    );
    let pod = format!(
        r#"{{"kind":"Pod",{},"spec":{{{containers}}},{status}}}"#,
        meta(&format!("{name}-7c-x"), &owner("ReplicaSet", &format!("{name}-7c")))
    );
    format!("{deployment},{set},{pod}")
}

#[test]
fn logs_of_several_packages_are_joined() {
    let project = workspace();
    project.write("fake/deployment.json", &live("app", 80));
    project.write("fake/pods.json", &live("api", 80));
    project.write(
        "fake/kubectl-logs",
        "set -- $rest\necho \"2026-11-28T08:00:01Z line of $1\"\nexit 0\n",
    );
    let ran = project.run(&["logs", "--workspace"]);
    let lines: Vec<&str> = ran.code(0).out().lines().collect();
    assert_eq!(
        lines,
        ["api-7c-x/api line of api-7c-x", "app-7c-x/app line of app-7c-x"],
        "{}",
        ran.err()
    );
    project.run(&["logs", "-p", "app"]).code(0).stdout("line of app-7c-x\n");
    // One package that cannot be read does not hide the others.
    project.write("api/kdev.local.toml", "manifests = [\"absent.yaml\"]\n");
    let ran = project.run(&["logs", "--workspace"]);
    let note =
        "        Note api: ignoring the package: no manifest matches `[ROOT]/api/absent.yaml`\n";
    ran.code(0).stdout("line of app-7c-x\n").stderr(note);
}

#[test]
fn port_of_several_packages_needs_workload() {
    let project = workspace();
    project.write("fake/deployment.json", &live("app", 80));
    project.write("fake/pods.json", &live("api", 80));
    let ran = project.run(&["forward", "--workspace", "0:80"]);
    ran.code(90).stderr(
        "error: cannot forward `0:80`: several workloads of the selected packages declare it
  help: pass the workload, such as `0:80/deployment/api`\n",
    );
    let ran = project.run(&["forward", "--workspace", "0:9"]);
    ran.code(90).stderr(
        "error: cannot forward `0:9`: no workload of the selected packages declares it
  help: pass the workload, such as `0:9/deployment/api`\n",
    );
}
