//! The apply set, `--prune` and `down`.

use std::fs;

use crate::project::Project;

/// A project with a ConfigMap beside the Deployment.
pub(crate) fn with_config() -> Project {
    let project = Project::new();
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    project.write(
        "k8s/app.yaml",
        &format!("{manifest}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: old}}\n"),
    );
    project
}

/// Returns the `kubectl` commands that change the cluster, without the flags before the verb.
fn changes(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let calls = calls.lines().filter_map(|line| line.split(" --request-timeout=15s ").nth(1));
    let verbs = ["apply", "label", "delete"];
    let changes = calls.filter(|call| verbs.iter().any(|verb| call.starts_with(verb)));
    changes.map(str::to_owned).collect()
}

fn remove_old_object(project: &Project) {
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let kept = manifest.split("---\napiVersion: v1").next().unwrap();
    project.write("k8s/app.yaml", kept).remove("fake/log");
    project.write("fake/members", "configmap/old\ndeployment.apps/app\n");
}

#[test]
fn apply_set_is_recorded_once() {
    let project = with_config();
    project.run(&["up"]).code(0);
    let calls = changes(&project);
    // The record is written before anything is applied, and when everything is applied.
    assert!(calls[0].contains("apply --server-side --field-manager=kdev-applyset"), "{calls:?}");
    assert!(calls[1].starts_with("apply --server-side --field-manager=kdev "), "{calls:?}");
    let labels = calls[2..calls.len() - 1].join("\n");
    assert!(
        labels.contains("label configmap/old applyset.kubernetes.io/part-of=applyset-"),
        "{labels}"
    );
    assert_eq!(labels.matches("owner.kdev/kdev-app-").count(), 2, "{labels}");
    assert!(calls.last().unwrap().starts_with("apply --server-side --field-manager=kdev "));
    let inventory = fs::read_to_string(project.path("fake/inventory")).unwrap();
    assert!(inventory.contains(r#""applyset.kubernetes.io/tooling":"kdev/v1""#), "{inventory}");
    assert!(
        inventory.contains(r#""contains-group-kinds":"ConfigMap,Deployment.apps""#)
            || inventory.contains("ConfigMap,Deployment.apps"),
        "{inventory}"
    );
    // The label is not part of the applied manifests.
    assert!(!project.applied().unwrap().contains("applyset"));
    project.remove("fake/log").run(&["up"]).code(0);
    assert_eq!(changes(&project), [""; 0]);
}

#[test]
fn removed_object_is_reported_and_pruned_with_flag() {
    let project = with_config();
    project.run(&["up"]).code(0);
    remove_old_object(&project);
    let note =
        "        Note `configmap/old` is no longer in the manifests; pass `--prune` to delete it\n";
    for _ in 0..2 {
        let ran = project.run(&["up"]);
        assert!(ran.code(0).err().contains(note), "{}", ran.err());
        assert!(!project.calls().contains(" delete "), "{}", project.calls());
    }
    let ran = project.run(&["up", "--prune"]);
    let deleted = "     Deleted configmap/old from kind-test\n";
    assert!(ran.code(0).err().contains(deleted), "{}", ran.err());
    project.remove("fake/log");
    assert!(!project.run(&["up"]).code(0).err().contains("no longer in the manifests"));
    assert_eq!(changes(&project), [""; 0]);
}

/// `kubectl get --output=yaml` prints the labels, too.
#[test]
fn copy_with_labels_is_not_deleted() {
    let project = with_config();
    project.run(&["up"]).code(0);
    remove_old_object(&project);
    project.write("fake/members", "configmap/copy\nconfigmap/old\ndeployment.apps/app\n");
    let ran = project.run(&["up", "--prune"]);
    assert!(ran.code(0).err().contains("     Deleted configmap/old from kind-test\n"));
    project.run(&["down"]).code(0);
    assert!(!project.calls().contains("configmap/copy"), "{}", project.calls());
}

#[test]
fn dry_run_shows_labels_deletions_and_record() {
    let project = with_config();
    project.run(&["up"]).code(0);
    let shown = |project: &Project, args: &[&str]| {
        let ran = project.run(&[&["up", "--dry-run"], args].concat());
        let commands = ran.code(0).out().lines();
        let commands = commands.filter_map(|line| line.split("'--request-timeout=15s' ").nth(1));
        commands.map(|command| command.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let commands: Vec<String> = shown(&project, &[]);
    assert_eq!(commands, ["apply --server-side"]);
    remove_old_object(&project);
    let commands: Vec<String> = shown(&project, &["--prune"]);
    let expected = [
        "apply --server-side",
        "apply --server-side",
        "label deployment.apps/app",
        "delete configmap/old",
        "apply --server-side",
    ];
    assert_eq!(commands, expected);
    assert_eq!(changes(&project), [""; 0]);
}

#[test]
fn down_deletes_only_applied_objects() {
    let project = with_config();
    project.run(&["up"]).code(0);
    remove_old_object(&project);
    let ran = project.run(&["down", "--dry-run"]);
    let kubectl = "kubectl --context kind-test --namespace default '--request-timeout=15s' delete";
    ran.code(0).stderr("").stdout(&format!(
        "{kubectl} configmap/old deployment.apps/app --ignore-not-found '--timeout=90s'
{kubectl} configmap/kdev-app-[..] --ignore-not-found '--timeout=90s'\n"
    ));
    assert_eq!(changes(&project), [""; 0]);
    project.run(&["down"]).code(0).stdout("").stderr(
        "     Deleted configmap/old, deployment.apps/app from kind-test
     Deleted configmap/kdev-app-[..] from kind-test\n",
    );
    let calls = project.calls();
    let all = calls.lines().filter(|line| line.starts_with("kubectl --context"));
    assert!(
        all.clone()
            .all(|call| call.starts_with("kubectl --context kind-test --namespace default ")),
        "{calls}"
    );
    assert!(calls.contains("--selector owner.kdev/kdev-app-"), "{calls}");
    project.run(&["down"]).code(0).stderr(
        "        Note nothing to delete: `up` has not applied `app` to namespace `default`\n",
    );
}

/// Objects of a set as `kubectl` lists them; some hold data.
const MEMBERS: &str = "configmap/old
customresourcedefinition.apiextensions.k8s.io/widgets.example.com
deployment.apps/app
namespace/shop
persistentvolumeclaim/files
runtimeclass.node.k8s.io/gvisor
widget.example.com/w
";

#[test]
fn down_keeps_data_without_flag() {
    let project = with_config();
    project.run(&["up"]).code(0);
    project.record_members(MEMBERS).remove("fake/log");
    project.run(&["down"]).code(0).stdout("").stderr(
        "     Deleted widget.example.com/w from kind-test
     Deleted runtimeclass.node.k8s.io/gvisor from kind-test
     Deleted configmap/old, deployment.apps/app from kind-test
        Note `customresourcedefinition.apiextensions.k8s.io/widgets.example.com`, `namespace/shop`, and `persistentvolumeclaim/files` stay; pass `--delete-data` to delete them\n",
    );
    // The record remains, so that a later run finds them.
    let kept = "customresourcedefinition.apiextensions.k8s.io/widgets.example.com
namespace/shop
persistentvolumeclaim/files
";
    project.write("fake/members", kept);
    project.run(&["down", "--delete-data", "--yes"]).code(0).stderr(
        "     Deleted persistentvolumeclaim/files from kind-test
     Deleted customresourcedefinition.apiextensions.k8s.io/widgets.example.com from kind-test
     Deleted namespace/shop from kind-test
     Deleted configmap/kdev-app-[..] from kind-test\n",
    );
}

#[test]
fn prune_keeps_data_without_flag() {
    let project = with_config();
    project.run(&["up"]).code(0);
    remove_old_object(&project);
    project.record_members("configmap/old\ndeployment.apps/app\nnamespace/shop\n");
    let ran = project.run(&["up", "--prune"]);
    let stderr = ran.code(0).err();
    assert!(stderr.contains("     Deleted configmap/old from kind-test\n"), "{stderr}");
    let note = "Note `namespace/shop` is no longer in the manifests; pass `--prune --delete-data` to delete it\n";
    assert!(stderr.contains(note), "{stderr}");
    assert!(!project.calls().contains(" delete namespace/shop"), "{}", project.calls());
    let ran = project.run(&["up", "--prune", "--delete-data", "--yes"]);
    assert!(ran.code(0).err().contains("Deleted namespace/shop from kind-test\n"), "{}", ran.err());
    project.run(&["up", "--delete-data"]).code(2);
}

#[test]
fn cluster_scoped_object_in_manifests_is_not_stale() {
    let project = with_config();
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let class = "---\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: gvisor}\nhandler: runsc\n";
    project.write("k8s/app.yaml", &format!("{manifest}{class}"));
    project.run(&["up"]).code(0);
    remove_old_object(&project);
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    project.write("k8s/app.yaml", &format!("{manifest}{class}"));
    let members = "configmap/old\ndeployment.apps/app\nruntimeclass.node.k8s.io/gvisor\n";
    project.write("fake/members", members);
    let ran = project.run(&["up", "--prune"]);
    let stderr = ran.code(0).err();
    assert!(stderr.contains("     Deleted configmap/old from kind-test\n"), "{stderr}");
    assert!(!project.calls().contains("delete runtimeclass"), "{}", project.calls());
}

#[test]
fn down_requires_allowed_context() {
    let project = with_config();
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let current = |name: &str| format!("\"current-context\":\"{name}\"");
    project.write("fake/contexts.json", &contexts.replace(&current("kind-test"), &current("prod")));
    project.run(&["down"]).code(92);
    assert!(!project.calls().contains("--context prod"), "{}", project.calls());
}
