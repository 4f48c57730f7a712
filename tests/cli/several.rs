//! `why` and `doctor` of several packages, and the order of `up`.

use std::fs;

use crate::doctor;
use crate::project::{Project, pod};

/// Adds the package `api` to a project, with the same manifests.
fn add_package(project: &Project, kdev: &str) {
    let package = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let shared = "[workspace]\nmembers = [\"api\"]\n[workspace.metadata.kdev]\nmanifests = [\"k8s/*.yaml\"]\n";
    project.write("Cargo.toml", &package.replace("[workspace]\n", shared));
    fs::create_dir_all(project.path("api/src")).unwrap();
    let kdev = format!("[package.metadata.kdev]\n{kdev}");
    project
        .write("api/Cargo.toml", &format!("[package]\nname = \"api\"\nedition = \"2024\"\n{kdev}"));
    project.write("api/src/main.rs", "fn main() {}\n").write("api/Dockerfile", "FROM scratch\n");
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    project.write("k8s/api.yaml", &manifest.replace("app", "api").replace("apis/", "apps/"));
}

/// A pod whose image is on no node.
fn pod_without_image(image: &str) -> String {
    let status = format!(
        r#"{{"name":"{image}","restartCount":0,"state":{{"waiting":{{"reason":"ErrImageNeverPull"}}}}}}"#
    );
    let name = format!("{image}-1");
    pod(&name, "n1", image, &format!("{image}:kdev-aaaaaaaaaaaa"), &status)
        .replace(r#""status":"True""#, r#""status":"False""#)
        .replace(r#""ownerReferences":[{"uid":"r"}]"#, r#""ownerReferences":[]"#)
}

#[test]
fn why_of_several_packages_names_each() {
    let project = Project::new();
    add_package(&project, "");
    let pods = [pod_without_image("app"), pod_without_image("api"), pod_without_image("other")];
    project.write("fake/all.json", &format!("{{\"items\":[{}]}}", pods.join(",")));
    let ran = project.run(&["why", "--workspace"]);
    let helps = ran.code(0).out().lines().filter(|line| line.contains("help: "));
    let helps: Vec<&str> = helps.collect();
    assert!(helps[0].ends_with(" --package app`"), "{helps:#?}");
    assert!(helps[1].ends_with(" --package api`"), "{helps:#?}");
    assert!(!helps[2].contains("--package"), "{helps:#?}");
    assert_eq!(helps.len(), 3);
    let is_list = |call: &&str| call.contains(" get pods,");
    assert_eq!(project.calls().lines().filter(is_list).count(), 1, "{}", project.calls());
    // The package of a query follows from its image.
    let ran = project.run(&["why", "--workspace", "api-1"]);
    assert!(ran.code(0).out().contains(" --package api`"), "{}", ran.out());
    let ran = project.run(&["why", "-p", "api", "-p", "app", "absent"]);
    let error = "error: no pod or workload named `absent` in namespace `default`\n";
    assert!(ran.code(92).err().starts_with(error), "{}", ran.err());
}

#[test]
fn why_of_packages_with_other_namespaces_searches_all() {
    let project = Project::new();
    add_package(&project, "namespace = \"second\"\n");
    project.write("fake/all.json", &format!("{{\"items\":[{}]}}", pod_without_image("app")));
    let ran = project.run(&["why", "--workspace", "absent"]);
    ran.code(92).stderr(
        "error: no pod or workload named `absent` in namespace `second`, `default`
  help: use one of `pod/app-1`, or pass `--namespace NAME`\n",
    );
    for namespace in ["default", "second"] {
        let call = format!("--namespace {namespace} --request-timeout=15s get pods,");
        assert!(project.calls().contains(&call), "{}", project.calls());
    }
}

#[test]
fn doctor_of_several_packages_prints_common_results_once() {
    let project = doctor::project();
    add_package(&project, "");
    let ran = project.run(&["doctor", "--workspace"]);
    let stdout = ran.code(0).stderr("").out().to_owned();
    let titles: Vec<&str> = stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    let expected = [
        "tools",
        "docker",
        "project (package api)",
        "project (package app)",
        "cluster",
        "node n1",
        "no problems found",
    ];
    assert_eq!(titles, expected, "{stdout}");
    assert_eq!(stdout.matches(" daemon ").count(), 1, "{stdout}");
    let api = fs::read_to_string(project.path("api/Cargo.toml")).unwrap();
    project.write("api/Cargo.toml", &format!("{api}timeout = \"long\"\n"));
    project.run(&["doctor", "-p", "a*", "-q"]).code(90).stderr("").stdout(
        "project (package api)
  error    configuration         invalid value for `timeout` in `[package.metadata.kdev]` of `[ROOT]/api/Cargo.toml`
    caused by: invalid type: string \"long\", expected u64
    help: see `docs/configuration.md` for valid values
",
    );
    let json = project.run(&["doctor", "--workspace", "--message-format", "json"]);
    let line = json.out().lines().find(|line| line.contains(r#""state":"error""#)).unwrap();
    assert!(line.contains(r#""package":"api""#), "{line}");
    let line = json.out().lines().find(|line| line.contains(r#""check":"daemon""#)).unwrap();
    assert!(!line.contains("package"), "{line}");
}
