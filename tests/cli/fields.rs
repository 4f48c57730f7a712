//! The managers of fields, which kdev reads from `kubectl diff`.

use crate::project::Project;

/// Prints an object in the cluster and after the dry run, as `grep` prints the files.
pub(crate) fn diff(file: &str, live: &str, merged: &str) -> String {
    let print = |folder: &str, object: &str| {
        let prefixed = |(index, text)| format!("/tmp/{folder}/{file}:{}:{text}\n", index + 1);
        object.lines().enumerate().map(prefixed).collect::<String>()
    };
    print("LIVE-1", live) + &print("MERGED-2", merged)
}

/// A ConfigMap with a key that a client-side `kubectl apply` owns.
fn applied_with_kubectl() -> String {
    let managers = "  managedFields:\n  - apiVersion: v1\n    fieldsV1:\n      f:data:\n        f:old: {}\n    manager: kubectl-client-side-apply\n    operation: Update\n    time: \"2026-01-01T00:01:00Z\"\n";
    let map = format!(
        "apiVersion: v1\ndata:\n  old: x\nkind: ConfigMap\nmetadata:\n{managers}  name: colors\n  namespace: default\n  resourceVersion: \"7\"\n"
    );
    diff("v1.ConfigMap.default.colors", &map, &map)
}

#[test]
fn fields_of_kubectl_are_handed_over_before_apply() {
    let project = Project::new();
    project.write("fake/diff-output", &applied_with_kubectl());
    project.write("fake/patch-conflicts", "");
    project.run(&["up"]).code(0);
    let calls = project.calls();
    let verbs = ["diff", "patch"]
        .map(|verb| calls.lines().filter(|line| line.contains(&format!(" {verb} "))).count());
    // The object had changed, so the diff and the patch are repeated. A third diff finds the
    // differences after it.
    assert_eq!(verbs, [3, 2], "{calls}");
    assert!(calls.rfind(" patch ") < calls.find(" apply "), "{calls}");
    let patch = "patch configmap/colors --type=json --patch-file=/dev/stdin --field-manager=kdev";
    assert!(calls.contains(patch), "{calls}");
    let sent = std::fs::read_to_string(project.path("fake/patch")).unwrap();
    let expected = r#"[{"op":"replace","path":"/metadata/managedFields","value":[{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:old":{}}},"manager":"kdev","operation":"Apply","time":"2026-01-01T00:01:00Z"}]},{"op":"replace","path":"/metadata/resourceVersion","value":"7"}]"#;
    assert_eq!(sent, expected);
}

#[test]
fn kubectl_without_flag_for_managers_is_supported() {
    let project = Project::new();
    project.write("fake/no-managers-flag", "");
    project.run(&["up"]).code(0);
    let calls = project.calls();
    let diffs: Vec<&str> = calls.lines().filter(|line| line.contains(" diff ")).collect();
    let has_flag = |line: &&str| line.contains("--show-managed-fields");
    assert_eq!(diffs.iter().map(has_flag).collect::<Vec<_>>(), [true, false], "{calls}");
}
