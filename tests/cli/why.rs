//! `cargo kdev why`: queries, and projects that cannot be read.

use std::fs;

use crate::project::{IMAGE, Project, pod};

const NO_PROBLEM: &str = "pod/app-n1 of deployment/app on n1: Ready\n  no problem found\n";

/// A project whose Deployment and pods are in the cluster.
fn project() -> Project {
    let project = Project::new();
    let text = |name: &str| fs::read_to_string(project.path(name)).unwrap();
    let items = format!("{},{}", text("fake/deployment.json"), text("fake/pods.json"));
    project.write("fake/all.json", &format!("{{\"items\":[{items}]}}"));
    project
}

#[test]
fn invalid_project_is_ignored() {
    let table = [
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\n[workspace\n",
            "failed to read the Cargo project; fix line 3 of `Cargo.toml`",
        ),
        (
            "kdev.local.toml",
            "dockerfil = \"x\"\n",
            "unknown key `dockerfil` in `[ROOT]/kdev.local.toml`; did you mean `dockerfile`?",
        ),
        (
            "kdev.local.toml",
            "timeout = 3\nimage = x\n",
            "invalid value for `kdev` in `[ROOT]/kdev.local.toml`; fix line 2 of `[ROOT]/kdev.local.toml`",
        ),
    ];
    for (file, text, note) in table {
        let project = project();
        project.write(file, text);
        let ran = project.run(&["why", "app"]);
        ran.code(0)
            .stdout(NO_PROBLEM)
            .stderr(&format!("        Note ignoring the project: {note}\n"));
        // A project that is selected explicitly must be valid.
        project.run(&["why", "app", "--manifest-path", "Cargo.toml"]).code(90);
    }
}

/// A container that was running when its pod was read has exited again before its log is
/// read: the kubelet has removed the previous run.
#[test]
fn run_that_exited_while_facts_are_collected_is_diagnosed() {
    let project = Project::new();
    let status = r#"{"name":"app","restartCount":1,"state":{"running":{}},"lastState":{"terminated":{"exitCode":255,"reason":"Error"}}}"#;
    project.pods(&[pod("app-1", "n1", "app", IMAGE, status)]);
    let pods = fs::read_to_string(project.path("fake/pods.json")).unwrap();
    project.write("fake/all.json", &format!("{{\"items\":[{pods}]}}"));
    project.write("fake/pod-log-previous", "unable to retrieve container logs for containerd://3f");
    project.write("fake/pod-log", "exec /app: exec format error\n");
    let ran = project.run(&["why", "pod/app-1", "--message-format", "json"]);
    assert!(ran.out().contains(r#""cause":"wrong-architecture""#), "{}{}", ran.out(), ran.err());
}

#[test]
fn query_accepts_kind_and_name_separately() {
    let project = project();
    for query in [&["app"][..], &["deployment/app"], &["deployment", "app"], &["deploy", "app"]] {
        project.run(&[&["why"], query].concat()).code(0).stdout(NO_PROBLEM).stderr("");
    }
}

#[test]
fn unknown_name_suggests_similar_workloads() {
    let project = project();
    let rest = "Others: `pod/app-n1` and `pod/app-n2`";
    let table = [
        ("apq", format!("did you mean `deployment/app`? {rest}")),
        ("deployment/apq", format!("did you mean `deployment/app`? {rest}")),
        (
            "service/app",
            format!(
                "only pods and workloads are supported; did you mean `deployment/app`? {rest}"
            ),
        ),
        (
            "jobs/migrate",
            "run `cargo kdev status` to see whether it has completed and was deleted; else use one of `deployment/app`, `pod/app-n1`, and `pod/app-n2`, or pass `--namespace NAME`".to_owned(),
        ),
        (
            "web",
            "use one of `deployment/app`, `pod/app-n1`, and `pod/app-n2`, or pass `--namespace NAME`"
                .to_owned(),
        ),
    ];
    for (query, help) in table {
        let error = format!("error: no pod or workload named `{query}` in namespace `default`\n");
        let ran = project.run(&["why", query]);
        ran.code(92).stdout("").stderr(&format!("{error}  help: {help}\n"));
    }
}
