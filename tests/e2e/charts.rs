//! Deploys Helm charts with the `helm` of the lab.

use std::fs;
use std::process::Command;

use crate::lab::{get, run, state, stderr_text};
use crate::test_service::{Service, deployment};

const CHART: &str = "apiVersion: v2\nname: chart\nversion: 0.1.0\n";

/// Creates a service whose manifest is a chart, with a link to `helm` in its `bin` folder.
fn chart_service(name: &'static str) -> Service {
    let service = Service::new(name);
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    let kdev = "[package.metadata.kdev]\nmanifests = [\"chart\"]\n";
    service.write("Cargo.toml", &format!("{cargo}{kdev}"));
    fs::create_dir_all(service.path("chart/templates")).unwrap();
    service.write("chart/Chart.yaml", CHART);
    let image = format!("image: {name}:latest");
    let template = deployment(name, "imagePullPolicy: Always")
        .replace(&image, r#"image: "{{ .Values.image }}:{{ .Chart.Version }}""#);
    service.write("chart/templates/all.yaml", &template);
    service.write("chart/values.yaml", &format!("image: {name}\n"));
    fs::create_dir(service.path("bin")).unwrap();
    std::os::unix::fs::symlink(state("lib/helm"), service.path("bin/helm")).unwrap();
    service
}

fn up_with_helm(service: &Service, args: &[&str]) -> Command {
    add_helm_to_path(service, service.up(args))
}

fn add_helm_to_path(service: &Service, mut command: Command) -> Command {
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", service.path("bin").display()));
    command
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn helm_chart_is_deployed_without_test_hooks() {
    let service = chart_service("charted");
    service.write(
        "chart/templates/test.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: test, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: c, image: absent}]}\n",
    );
    let output = up_with_helm(&service, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    assert!(service.pages().iter().all(|(_, page)| page == "first"), "{:?}", service.pages());
    assert_eq!(service.pods().len(), 2);
    let again = up_with_helm(&service, &[]).output().unwrap();
    assert!(stderr_text(&again).contains("Unchanged"), "{}", stderr_text(&again));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn helm_chart_is_rendered_for_namespace_of_context() {
    let service = chart_service("charted-for");
    service.write(
        "chart/templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made-for}\ndata: {namespace: \"{{ .Release.Namespace }}\"}\n",
    );
    // The context of `--context` is not the current one.
    let kubeconfig = service.path("kubeconfig");
    fs::copy(state("kubeconfig"), &kubeconfig).unwrap();
    let config = |args: &[&str]| {
        run(crate::lab::command("kubectl").arg("--kubeconfig").arg(&kubeconfig).args(args));
    };
    config(&["config", "set-context", "kdev-lab", "--namespace", service.name]);
    config(&["config", "set-context", "other", "--namespace", "elsewhere"]);
    config(&["config", "use-context", "other"]);
    let mut up = add_helm_to_path(&service, service.kdev(&["up", "--context", "kdev-lab"]));
    let output = up.env("KUBECONFIG", &kubeconfig).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    let map = get(service.name, &["configmap", "made-for"]);
    assert_eq!(map["data"]["namespace"], service.name);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn invalid_helm_chart_shows_helm_error() {
    let service = chart_service("charted-wrongly");
    let fails = || {
        let output = up_with_helm(&service, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(90), "{}", stderr_text(&output));
        stderr_text(&output)
    };
    service.write("chart/templates/no.yaml", "a: {{ required \"set `size`\" .Values.size }}\n");
    let stderr = fails();
    assert!(stderr.contains("no.yaml:1:6): set `size`"), "{stderr}");
    assert!(stderr.contains("\n  help: fix the chart; run `helm template "), "{stderr}");

    let needs = "dependencies:\n- {name: part, version: 0.1.0, repository: \"file://../part\"}\n";
    service.write("chart/Chart.yaml", &format!("{CHART}{needs}"));
    fs::remove_file(service.path("chart/templates/no.yaml")).unwrap();
    fs::create_dir(service.path("part")).unwrap();
    service.write("part/Chart.yaml", &CHART.replace("name: chart", "name: part"));
    let stderr = fails();
    let help_command = stderr.split("  help: ").nth(1).unwrap().split('`').nth(1).unwrap();
    assert!(help_command.starts_with("helm dependency build "), "{stderr}");
    run(&mut add_helm_to_path(&service, {
        let mut sh = crate::lab::command("sh");
        sh.args(["-c", help_command]);
        sh
    }));
    let output = up_with_helm(&service, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
}
