//! `why` and `doctor` of several packages, and the order of `up`.

use std::fs;

use crate::doctor;
use crate::project::{Project, pod};
use crate::services;

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
fn why_shows_other_namespaces_beside_failed_one() {
    let project = Project::new();
    add_package(&project, "namespace = \"second\"\n");
    project.write("fake/all.json", &format!("{{\"items\":[{}]}}", pod_without_image("app")));
    let forbid = |namespaces: &str| {
        let kubectl = fs::canonicalize("../../tests/cli/fakes/kubectl").unwrap();
        let script = format!(
            "case \"$*\" in *' {namespaces} '*' get pods,'*) echo 'Error from server (Forbidden): pods is forbidden' >&2; exit 1 ;; esac\nexec sh {} \"$@\"",
            kubectl.display()
        );
        project.script("kubectl", &script);
    };
    forbid("second");
    let ran = project.run(&["why", "--workspace"]);
    assert!(ran.code(0).out().contains(" --package app`"), "{}", ran.out());
    assert!(ran.err().contains("Note namespace `second` was left out: "), "{}", ran.err());
    forbid("--namespace");
    let ran = project.run(&["why", "--workspace"]);
    assert!(ran.code(92).err().contains("pods is forbidden"), "{}", ran.err());
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

#[test]
fn fix_of_several_packages_asks_once() {
    let project = doctor::project();
    add_package(&project, "");
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let contexts = contexts.replace("kind-test", "team").replace("127.0.0.1", "10.0.0.9");
    project.write("fake/contexts.json", &contexts);
    let ask = |answer: &str| {
        let args = ["doctor", "--workspace", "--color", "never", "--fix"];
        project.run_in_terminal(&args, answer)
    };
    let output = ask("n");
    assert!(output.contains("Write `contexts = [\"team\"]` to"), "{output}");
    assert_eq!(output.matches("[y/N]").count(), 1, "{output}");
    assert!(!project.path("kdev.local.toml").exists());
    let output = ask("y");
    assert!(output.trim_end().ends_with("no problems found"), "{output}");
    let written = fs::read_to_string(project.path("kdev.local.toml")).unwrap();
    assert_eq!(written, "contexts = [\"team\"]\n");
}

/// Sets `after` of packages of the workspace of `services.rs`, with a manifest for each.
fn project_with_order(after: &[(&str, &str)]) -> Project {
    let project = services::workspace();
    let manifest = fs::read_to_string(project.path("app/k8s/app.yaml")).unwrap();
    for name in ["api", "app", "webapp"] {
        let after = after.iter().find(|(package, _)| *package == name);
        let after = after.map(|(_, after)| format!("after = {after}\n")).unwrap_or_default();
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        let kdev = format!("[package.metadata.kdev]\n{after}");
        project.write(&format!("{name}/Cargo.toml"), &format!("{package}{kdev}"));
        fs::create_dir_all(project.path(&format!("{name}/k8s"))).unwrap();
        let manifest = manifest.replace("image: app\n", &format!("image: {name}\n"));
        project.write(&format!("{name}/k8s/app.yaml"), &manifest);
    }
    project
}

/// The packages in the order in which their records were read, before they are applied.
fn applied(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let names = calls.lines().filter_map(|call| call.split_once(" get configmap/kdev-"));
    names.map(|(_, name)| name.split('-').next().unwrap().to_owned()).collect()
}

/// The packages in the order of their builds.
fn built(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let builds = calls.lines().filter(|call| call.starts_with("docker build "));
    let context = |call: &str| call.rsplit('/').next().unwrap().to_owned();
    builds.map(context).collect()
}

#[test]
fn packages_are_deployed_after_others() {
    let project = project_with_order(&[("api", "[\"webapp\"]"), ("app", "[\"api\"]")]);
    project.run(&["up", "--workspace"]).code(0);
    assert_eq!(applied(&project), ["webapp", "api", "app"], "{}", project.calls());
    // The rollout of one is complete before the next one is applied.
    let calls = project.calls();
    let steps = calls.lines().filter_map(|call| {
        let is_step = |step: &&str| call.contains(step);
        [" rollout status ", " --field-manager=kdev --show-managed-fields "]
            .into_iter()
            .find(is_step)
    });
    let steps: Vec<&str> = steps.filter(|step| step.contains("rollout")).collect();
    assert_eq!(steps.len(), 3, "{calls}");
    // Only selected packages are deployed.
    let project = project_with_order(&[("app", "[\"api\"]")]);
    project.run(&["up", "-p", "app"]).code(0);
    assert_eq!(built(&project), ["app"]);
}

#[test]
fn invalid_order_is_rejected() {
    let project = project_with_order(&[("api", "[\"webapp\"]"), ("webapp", "[\"api\"]")]);
    project.run(&["up", "--workspace"]).code(90).stderr(
        "error: the keys `after` of the packages have a cycle: `api` after `webapp`, `webapp` after `api`
  help: remove `webapp` from `after` of package `api`\n",
    );
    let project = project_with_order(&[("app", "[\"db\"]")]);
    project.run(&["up", "--workspace"]).code(90).stderr(
        "error: package `db` in `after` of package `app` not found in the workspace
  help: use the names of other packages: `api`, `lib`, and `webapp`\n",
    );
    assert_eq!(built(&project), [""; 0]);
}

#[test]
fn render_notes_image_whose_package_has_other_manifests() {
    let project = project_with_order(&[]);
    let manifest = fs::read_to_string(project.path("app/k8s/app.yaml")).unwrap();
    project.write("app/k8s/app.yaml", &manifest.replace("image: redis:7", "image: api"));
    let ran = project.run(&["render", "--workspace"]);
    let note = "        Note app: deployment/app keeps image `api` of package `api` as it is written; `up` uses the build that runs in the cluster\n";
    assert_eq!(ran.code(0).err().matches(" keeps image ").count(), 1, "{}", ran.err());
    assert!(ran.err().contains(note), "{}", ran.err());
}

#[test]
fn dry_run_of_all_packages_does_not_require_their_builds() {
    let project = Project::new();
    add_package(&project, "");
    let live = r#"{"kind":"Deployment","metadata":{"name":"api","namespace":"default"},"spec":{"template":{"spec":{"containers":[{"name":"api","image":"other:1"}]}}}}"#;
    project.write("fake/api.json", live);
    let ran = project.run(&["up", "-p", "app", "--dry-run"]);
    let error =
        "error: deployment/api runs image `api` of package `api`, which is not deployed yet\n";
    assert!(ran.code(90).err().starts_with(error), "{}", ran.err());
    project.run(&["up", "--workspace", "--dry-run"]).code(0);
}
