//! Files that contain something else than objects, and objects that cannot be applied.

use std::fs;

use crate::project::Project;

const VALUES: &str = "# defaults\nreplicas: 2\n";
const KUSTOMIZATION: &str =
    "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [app.yaml]\n";

fn config_map(name: &str, namespace: &str, value: u32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}{namespace}}}\ndata: {{a: '{value}'}}\n"
    )
}

#[test]
fn file_without_objects_is_rejected_before_build() {
    let project = Project::new();
    project.write("k8s/values.yaml", VALUES);
    for command in [&["up"], &["render"]] {
        project.run(command).code(90).stdout("").stderr(
            "error: cannot apply `[ROOT]/k8s/values.yaml:2`: it is not a Kubernetes object, because it has no `kind`
  help: move `[ROOT]/k8s/values.yaml` to another folder, or set `manifests = [\"k8s/app.yaml\"]` in `[package.metadata.kdev]`\n",
        );
    }
    assert!(!project.calls().contains("docker build"), "{}", project.calls());
    // Both ways of the help work.
    project.config("manifests = [\"k8s/app.yaml\"]").run(&["render"]).code(0);
    let project = Project::new();
    project.write("k8s/values.yaml", VALUES);
    fs::rename(project.path("k8s/values.yaml"), project.path("values.yaml")).unwrap();
    project.run(&["render"]).code(0);
}

#[test]
fn other_files_without_objects_are_rejected() {
    let table = [
        ("docker-compose.yaml", "services:\n  web: {image: app}\n", 1),
        ("patch.yaml", "- op: replace\n  path: /a\n", 1),
        ("dashboard.json", "{\n\"panels\": []}\n", 1),
        ("mixed.yaml", "kind: Service\nmetadata: {name: s}\n---\nreplicas: 2\n", 4),
    ];
    for (name, text, line) in table {
        let project = Project::new();
        project.write(&format!("k8s/{name}"), text);
        let ran = project.run(&["render"]);
        let start = format!(
            "error: cannot apply `[ROOT]/k8s/{name}:{line}`: it is not a Kubernetes object, because it has no `kind`\n"
        );
        assert!(ran.code(90).err().starts_with(&start), "{}", ran.err());
    }
}

#[test]
fn file_of_chart_or_kustomization_has_setting_as_help() {
    let table = [
        ("Chart.yaml", "name: c\nversion: 0.1.0\napiVersion: v2\n", "chart"),
        ("kustomization.yaml", KUSTOMIZATION, "kustomization"),
        ("kustomization.yaml", "resources: [app.yaml]\n", "kustomization"),
    ];
    for (name, text, noun) in table {
        let project = Project::new();
        project.write(&format!("k8s/{name}"), text);
        let config = fs::read_to_string(project.path("Cargo.toml")).unwrap();
        let ran = project.config("manifests = [\"k8s/*.yaml\"]").run(&["render"]);
        let help = format!(
            "\n  help: set `manifests = [\"k8s\"]` in `[package.metadata.kdev]` to render the {noun}\n"
        );
        assert!(ran.code(90).err().ends_with(&help), "{}", ran.err());
        // The help renders the folder.
        project.write("Cargo.toml", &config).config("manifests = [\"k8s\"]");
        let _ = fs::remove_file(project.path("bin/kubectl"));
        for tool in ["kubectl", "helm"] {
            project.script(tool, "cat \"$FAKE/../k8s/app.yaml\"");
        }
        project.run(&["render"]).code(0);
    }
}

#[test]
fn object_without_fixed_name_is_rejected() {
    let project = Project::new();
    let job = |name: &str| format!("apiVersion: batch/v1\nkind: Job\nmetadata:\n  {name}\n");
    project.write("k8s/job.yaml", &job("generateName: job-"));
    project.run(&["render"]).code(90).stderr(
        "error: cannot apply `[ROOT]/k8s/job.yaml:4`: server-side apply does not support `generateName`
  help: replace `generateName` with `name` at line 4 of `[ROOT]/k8s/job.yaml`\n",
    );
    project.write("k8s/job.yaml", &job("labels: {}"));
    project.run(&["render"]).code(90).stderr(
        "error: cannot apply `[ROOT]/k8s/job.yaml:1`: the object has no `metadata.name`
  help: set `metadata.name` of the object at line 1 of `[ROOT]/k8s/job.yaml`\n",
    );
    project.write("k8s/job.yaml", &job("name: job")).run(&["render"]).code(0);
}

#[test]
fn different_definitions_of_one_object_are_rejected() {
    let project = Project::new();
    project.write("k8s/a.yaml", &config_map("a", "", 1));
    project.write("k8s/b.yaml", &format!("# second\n{}", config_map("a", "", 2)));
    project.run(&["up"]).code(90).stderr(
        "error: configmap/a is defined twice: at `[ROOT]/k8s/a.yaml:1` and at `[ROOT]/k8s/b.yaml:2`
  help: remove or rename the object at line 2 of `[ROOT]/k8s/b.yaml`\n",
    );
    // The help works, and so do equal definitions.
    project.write("k8s/b.yaml", &config_map("b", "", 2)).run(&["render"]).code(0);
    project.write("k8s/b.yaml", &config_map("a", "", 1)).run(&["render"]).code(0);
    let twice = format!("{}---\n{}", config_map("b", "", 1), config_map("b", "", 2));
    project.write("k8s/b.yaml", &twice);
    let ran = project.run(&["render"]);
    assert!(
        ran.code(90).err().contains("/b.yaml:1` and at `[ROOT]/k8s/b.yaml:6`"),
        "{}",
        ran.err()
    );
}

#[test]
fn default_namespace_and_no_namespace_are_equal() {
    let project = Project::new();
    project.write("k8s/a.yaml", &config_map("a", "", 1));
    project.write("k8s/b.yaml", &config_map("a", ", namespace: default", 2));
    // The namespace of the context is `default`; `render` does not read the context.
    assert!(
        project.run(&["up", "--dry-run"]).code(90).err().contains("configmap/a is defined twice")
    );
    project.run(&["render"]).code(0);
    project.run(&["up", "--dry-run", "--namespace", "shop"]).code(0);
    project.config("namespace = \"default\"");
    assert!(project.run(&["render"]).code(90).err().contains("configmap/a is defined twice"));
}

#[test]
fn rejected_object_has_file_and_line() {
    let project = Project::new();
    project.write("k8s/b.yaml", "# job\nkind: Job\nmetadata: {name: app}\n");
    let message = "The Deployment \"app\" is invalid: spec.template.spec.x: Required value\n";
    project.write("fake/kubectl-diff-fails", message);
    let ran = project.run(&["up"]);
    let note = "        Note deployment/app is defined at `[ROOT]/k8s/app.yaml:1`\nerror: ";
    assert!(ran.code(92).err().contains(note), "{}", ran.err());
    assert!(!ran.err().contains("job/app"), "{}", ran.err());
}
