//! Deploys Helm charts with the `helm` of the lab.

use std::fs;
use std::process::Command;

use crate::api::get_raw;
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
fn helm_chart_is_rendered_for_namespace_and_settings() {
    let service = chart_service("charted-for");
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    let helm = "helm = { release = \"shop\", values = [\"dev.yaml\"], set = [\"size=3\"], api-versions = [\"example.com/v1\"] }\n";
    service.write("Cargo.toml", &format!("{cargo}{helm}"));
    service.write("dev.yaml", "color: red\nsize: 2\n");
    let data = "{namespace: \"{{ .Release.Namespace }}\", text: \"{{ .Release.Name }} {{ .Values.color }} {{ .Values.size }} {{ .Capabilities.APIVersions.Has `example.com/v1` }}\"}";
    service.write(
        "chart/templates/map.yaml",
        &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: made-for}}\ndata: {data}\n"),
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
    assert_eq!(map["data"]["text"], "shop red 3 true");
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

const RANDOM: &str = "apiVersion: v1
kind: Secret
metadata: {name: generated}
data: {password: \"{{ randAlphaNum 16 | b64enc }}\"}
";
/// The same, but an existing password is kept.
const KEPT: &str = "{{- $live := lookup \"v1\" \"Secret\" .Release.Namespace \"generated\" }}
apiVersion: v1
kind: Secret
metadata: {name: generated}
data: {password: \"{{ dig \"data\" \"password\" (randAlphaNum 16 | b64enc) $live }}\"}
";
const CAPABILITIES: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: capabilities}
data:
  version: {{ .Capabilities.KubeVersion.Version | quote }}
  deployment: {{ .Capabilities.APIVersions.Has \"apps/v1/Deployment\" | quote }}
  absent: {{ .Capabilities.APIVersions.Has \"absent.example.com/v1\" | quote }}
";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn helm_chart_is_rendered_against_cluster_of_kdev() {
    let service = chart_service("charted-live");
    service.write("chart/templates/secret.yaml", RANDOM);
    service.write("chart/templates/capabilities.yaml", CAPABILITIES);
    let up = || {
        let mut up = up_with_helm(&service, &[]);
        up.env("HELM_KUBECONTEXT", "absent").env("HELM_NAMESPACE", "default");
        let output = up.env("HELM_KUBEAPISERVER", "https://127.0.0.1:1").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
        let path = format!("/api/v1/namespaces/{}/secrets/generated", service.name);
        let secret = get_raw(&path).unwrap();
        (secret["data"]["password"].as_str().unwrap().to_owned(), stderr_text(&output))
    };
    let note = "secret/generated: `data.password` differs each time the chart is rendered";
    let (first, stderr) = up();
    assert!(!stderr.contains(note), "{stderr}");
    let map = get(service.name, &["configmap", "capabilities"]);
    let version = get_raw("/version").unwrap();
    assert_eq!(map["data"]["version"], version["gitVersion"]);
    assert_eq!(map["data"]["deployment"], "true");
    assert_eq!(map["data"]["absent"], "false");
    // Without `lookup`, the value changes, and a note says so.
    let (second, stderr) = up();
    assert!(stderr.contains(note), "{stderr}");
    assert_ne!(first, second);
    // The advice of the note keeps the value.
    service.write("chart/templates/secret.yaml", KEPT);
    let (third, stderr) = up();
    assert!(stderr.contains("Unchanged") && !stderr.contains(note), "{stderr}");
    assert_eq!(second, third);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn lookup_without_permission_shows_helm_error() {
    let service = chart_service("charted-forbidden");
    service.write("chart/templates/secret.yaml", KEPT);
    let kubeconfig = service.path("kubeconfig");
    let text = fs::read_to_string(state("kubeconfig")).unwrap();
    // The user of the context impersonates another one, who has no permissions.
    assert!(text.contains("\n    user:\n"), "{text}");
    fs::write(&kubeconfig, text.replace("\n    user:\n", "\n    user:\n      as: kdev-guest\n"))
        .unwrap();
    let output = up_with_helm(&service, &[]).env("KUBECONFIG", &kubeconfig).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(92), "{stderr}");
    assert!(stderr.contains("User \"kdev-guest\" cannot get resource \"secrets\""), "{stderr}");
    assert!(stderr.contains("auth can-i --list` to see your permissions\n"), "{stderr}");
}
