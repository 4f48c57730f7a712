//! Manifests that are rendered from kustomizations and charts.

use std::fs;
use std::path::Path;

use crate::project::{IMAGE, Project};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - image: app\n    name: c\n";

fn rendered() -> String {
    POD.replace("image: app\n", &format!("image: {IMAGE}\n    imagePullPolicy: Never\n"))
}

/// Replaces `kubectl` or `helm` with a script that logs its arguments and prints a text.
fn prints(project: &Project, tool: &str, text: &str) {
    let _ = fs::remove_file(project.path("bin").join(tool));
    project.write("fake/output", text);
    project.script(tool, &format!("echo {tool} \"$@\" >>\"$FAKE/log\"; cat \"$FAKE/output\""));
}

#[test]
fn default_folder_with_kustomization_is_rendered_by_kubectl() {
    let project = Project::new();
    project.write("k8s/kustomization.yaml", "resources: [app.yaml]\n");
    prints(&project, "kubectl", POD);
    project.run(&["render"]).code(0).stdout(&rendered()).stderr("");
    let root = project.path("k8s");
    assert!(project.calls().contains(&format!("kubectl kustomize {}\n", root.display())));
}

#[test]
#[ignore = "needs kubectl"]
fn real_kubectl_renders_kustomization() {
    let project = Project::new();
    fs::create_dir_all(project.path("deploy/base")).unwrap();
    project.write("deploy/base/pod.yaml", POD);
    project.write("deploy/base/kustomization.yaml", "resources: [pod.yaml]\n");
    project.write("deploy/kustomization.yaml", "resources: [base]\nnamePrefix: dev-\n");
    project.config("manifests = [\"deploy\"]").remove("bin/kubectl");
    let path = std::env::var_os("PATH").unwrap();
    let kubectl = std::env::split_paths(&path).map(|dir| dir.join("kubectl"));
    let kubectl = kubectl.into_iter().find(|path| path.exists()).unwrap();
    std::os::unix::fs::symlink(kubectl, project.path("bin/kubectl")).unwrap();
    let expected = rendered().replace("name: p", "name: dev-p");
    project.run(&["render"]).code(0).stdout(&expected).stderr("");
}

fn chart(project: &Project) -> &Project {
    chart_with(project, "manifests = [\"chart\"]\nnamespace = \"dev\"")
}

fn chart_with<'a>(project: &'a Project, config: &str) -> &'a Project {
    fs::create_dir(project.path("chart")).unwrap();
    project.write("chart/Chart.yaml", "name: c\nversion: 0.1.0\napiVersion: v2\n");
    project.config(config)
}

#[test]
fn chart_is_rendered_by_helm() {
    let project = Project::new();
    chart(&project);
    prints(&project, "helm", POD);
    project.run(&["render"]).code(0).stdout(&rendered()).stderr("");
    let folder = project.path("chart");
    let call = format!("helm template app {} --skip-tests --namespace dev\n", folder.display());
    assert!(project.calls().contains(&call), "{}", project.calls());
}

#[test]
fn chart_is_rendered_for_namespace_of_context() {
    let project = Project::new();
    chart_with(&project, "manifests = [\"chart\"]");
    project.write("fake/output", POD);
    project.script("helm", "echo helm \"$@\" >>\"$FAKE/log\"; cat \"$FAKE/output\"");
    project.run(&["up", "--dry-run"]).code(0);
    let call = format!("helm template app {} --skip-tests", project.path("chart").display());
    for (args, context) in [
        (&["up", "--dry-run"][..], "kind-test"),
        (&["up", "--dry-run", "--context", "prod"], "prod"),
    ] {
        project.run(args).code(0);
        let call = format!("{call} --kube-context {context} --namespace default\n");
        assert!(project.calls().contains(&call), "{}", project.calls());
    }
    // Offline, helm reads the namespace of the current context itself.
    project.run(&["render"]).code(0);
    assert!(project.calls().contains(&format!("{call}\n")), "{}", project.calls());
}

#[test]
fn helm_not_found() {
    let project = Project::new();
    chart(&project).run(&["render"]).code(91).stdout("").stderr(
        "error: `helm` not found on PATH
  help: follow https://helm.sh/docs/intro/install to install it\n",
    );
}

#[test]
fn invalid_chart_shows_error_of_helm() {
    let project = Project::new();
    chart(&project).script("helm", "echo 'Error: values.yaml: bad' >&2; exit 1");
    project.run(&["render"]).code(90).stdout("").stderr(
        "error: failed to render `[ROOT]/chart`
  caused by: `helm template app [ROOT]/chart --skip-tests --namespace dev` exited with code 1: Error: values.yaml: bad
  help: fix the chart; run `helm template app [ROOT]/chart --skip-tests --namespace dev --debug` to see the full error\n",
    );
}

#[test]
fn missing_chart_dependency_has_help() {
    let project = Project::new();
    let message = "Error: An error occurred while checking for chart dependencies. You may need to run `helm dependency build` to fetch missing dependencies: found in Chart.yaml, but missing in charts/ directory: db";
    project.write("fake/message", message);
    chart(&project).script("helm", "cat \"$FAKE/message\" >&2; exit 1");
    let ran = project.run(&["render"]);
    let help = "\n  help: run `helm dependency build [ROOT]/chart` to fetch the dependencies\n";
    assert!(ran.code(90).err().ends_with(help), "{}", ran.err());
}

#[test]
fn invalid_kustomization_shows_error_of_kubectl() {
    let project = Project::new();
    project.write("k8s/kustomization.yaml", "resources: [absent.yaml]\n");
    let _ = fs::remove_file(project.path("bin/kubectl"));
    project.script("kubectl", "echo 'error: accumulating resources: absent.yaml' >&2; exit 1");
    project.run(&["render"]).code(90).stdout("").stderr(
        "error: failed to render `[ROOT]/k8s`
  caused by: `kubectl kustomize [ROOT]/k8s` exited with code 1: error: accumulating resources: absent.yaml
  help: fix the kustomization; run `kubectl kustomize [ROOT]/k8s` to check it\n",
    );
}

#[test]
fn invalid_output_of_helm_has_position() {
    let project = Project::new();
    chart(&project);
    prints(&project, "helm", "kind: Pod\nkind: Pod\n");
    project.run(&["render"]).code(90).stdout("").stderr(
        "error: cannot update the output of `helm template app [ROOT]/chart --skip-tests --namespace dev` at line 2, column 1
  caused by: duplicate key `kind`
  help: run `helm template app [ROOT]/chart --skip-tests --namespace dev` and check line 2\n",
    );
}

#[test]
fn folder_without_chart_or_kustomization_is_rejected() {
    let project = Project::new();
    project.config("manifests = [\"k8s\"]");
    let folder: &Path = &project.path("k8s");
    assert!(folder.is_dir());
    project.run(&["render"]).code(90).stderr(
        "error: no manifest matches `[ROOT]/k8s`
  help: create one, or correct `manifests = [\"path/*.yaml\"]` in `[package.metadata.kdev]`\n",
    );
}
