//! What `up` has applied, what has left the manifests since, and `down`.

use std::fs;

use crate::project::Project;

/// The manifest of the project, and a second object beside it.
fn with_config() -> Project {
    let project = Project::new();
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    project.write(
        "k8s/app.yaml",
        &format!("{manifest}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: old}}\n"),
    );
    project
}

/// The calls that change something in the cluster, without their flags in front.
fn changes(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let calls = calls.lines().filter_map(|line| line.split(" --request-timeout=15s ").nth(1));
    let verbs = ["apply", "label", "delete"];
    let changes = calls.filter(|call| verbs.iter().any(|verb| call.starts_with(verb)));
    changes.map(str::to_owned).collect()
}

fn forget_old(project: &Project) {
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let kept = manifest.split("---\napiVersion: v1").next().unwrap();
    project.write("k8s/app.yaml", kept).remove("fake/log");
    project.write("fake/members", "configmap/old\ndeployment.apps/app\n");
}

#[test]
fn account_is_kept_once_and_no_file_is_written() {
    let project = with_config();
    project.run(&["up"]).code(0);
    let calls = changes(&project);
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(
        calls[1].starts_with(
            "label configmap/old deployment.apps/app applyset.kubernetes.io/part-of=applyset-"
        ),
        "{calls:?}"
    );
    let account = fs::read_to_string(project.path("fake/account")).unwrap();
    assert!(account.contains(r#""applyset.kubernetes.io/tooling":"kdev/v1""#), "{account}");
    assert!(
        account.contains(r#""contains-group-kinds":"ConfigMap,Deployment.apps""#)
            || account.contains("ConfigMap,Deployment.apps"),
        "{account}"
    );
    // Labels are no part of what the manifests say.
    assert!(!project.applied().unwrap().contains("applyset"));
    project.remove("fake/log").run(&["up"]).code(0);
    assert_eq!(changes(&project), [""; 0]);
}

#[test]
fn what_left_the_manifests_is_said_each_time_and_deleted_if_told() {
    let project = with_config();
    project.run(&["up"]).code(0);
    forget_old(&project);
    let note = "        Note `configmap/old` is no longer in the manifests; pass `--prune` to delete it\n";
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

#[test]
fn a_dry_run_shows_what_would_be_labelled_deleted_and_kept_account_of() {
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
    forget_old(&project);
    let commands: Vec<String> = shown(&project, &["--prune"]);
    let expected = [
        "apply --server-side",
        "label deployment.apps/app",
        "delete configmap/old",
        "apply --server-side",
    ];
    assert_eq!(commands, expected);
    assert_eq!(changes(&project), [""; 0]);
}

#[test]
fn down_deletes_all_that_up_has_applied_and_nothing_else() {
    let project = with_config();
    project.run(&["up"]).code(0);
    forget_old(&project);
    let ran = project.run(&["down", "--dry-run"]);
    let kubectl = "kubectl --context kind-test --namespace default '--request-timeout=15s' delete";
    ran.code(0).stderr("").stdout(&format!(
        "{kubectl} configmap/old deployment.apps/app --ignore-not-found '--timeout=90s'
{kubectl} configmap/kdev-app --ignore-not-found '--timeout=90s'\n"
    ));
    assert_eq!(changes(&project), [""; 0]);
    project.run(&["down"]).code(0).stdout("").stderr(
        "     Deleted configmap/old, deployment.apps/app from kind-test
     Deleted configmap/kdev-app from kind-test\n",
    );
    let calls = project.calls();
    let all = calls.lines().filter(|line| line.starts_with("kubectl --context"));
    assert!(
        all.clone()
            .all(|call| call.starts_with("kubectl --context kind-test --namespace default ")),
        "{calls}"
    );
    assert!(calls.contains("--selector applyset.kubernetes.io/part-of=applyset-"), "{calls}");
    project
        .run(&["down"])
        .code(0)
        .stderr("        Note `up` has applied nothing of `app` to namespace `default`\n");
}

#[test]
fn down_changes_no_context_that_up_might_not() {
    let project = with_config();
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let current = |name: &str| format!("\"current-context\":\"{name}\"");
    project.write("fake/contexts.json", &contexts.replace(&current("kind-test"), &current("prod")));
    project.run(&["down"]).code(92);
    assert!(!project.calls().contains("--context prod"), "{}", project.calls());
}
