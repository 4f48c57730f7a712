//! Which project an apply set belongs to, and objects of several projects.

use std::fs;
use std::os::unix::fs::symlink;

use crate::fields::diff;
use crate::project::Project;
use crate::prune::with_config;

const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// The record of another project that has a package `app`.
const OTHER_RECORD: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kdev-app-0123456789","namespace":"default","annotations":{"kdev/package":"app","kdev/machine":"0","kdev/host":"laptop","kdev/user":"jane","kdev/directory":"/src/app","kdev/time":"2026-11-28T01:30:00Z","kdev/identity":"repository","kdev/repository":"github.com/org/app"}},"data":{"members":"default configmap/old"}}"#;

/// Returns the name of the record that `up` has written.
pub(crate) fn record_name(project: &Project) -> String {
    let record = fs::read_to_string(project.path("fake/inventory")).unwrap();
    let name = record.split(r#""name":""#).nth(1).unwrap();
    name.split('"').next().unwrap().to_owned()
}

/// Sets the objects that have the label of a set: `configmap/old` with these labels, and the
/// Deployment.
fn members(project: &Project, labels: &str) {
    let items = format!(
        r#"{{"items":[{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"old","namespace":"default","labels":{{{labels}}}}}}},{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"app","namespace":"default"}}}}]}}"#
    );
    project.write("fake/members.json", &items);
}

fn link_git(project: &Project) {
    let git = ["/usr/bin/git", "/bin/git"].into_iter().find(|path| fs::exists(path).unwrap());
    symlink(git.unwrap(), project.path("bin/git")).unwrap();
}

#[test]
fn unidentified_project_is_explained() {
    let table = [
        ("", "", "`git` is not installed"),
        ("git", "true", "the project is not in a git repository"),
        ("git", "git init -q", "the repository has no commits"),
        (
            "git",
            "touch a; git add a; git -c user.name=a -c user.email=a commit -qm a",
            "`Cargo.toml` is not committed",
        ),
        (
            "owner",
            "git add Cargo.toml; git -c user.name=a -c user.email=a commit -qm b",
            "git's `safe.directory` does not contain the repository",
        ),
    ];
    let project = Project::new();
    project.write("fake/records.json", &format!(r#"{{"items":[{OTHER_RECORD}]}}"#));
    for (tool, setup, cause) in table {
        if tool == "git" && !project.path("bin/git").exists() {
            link_git(&project);
        }
        if !setup.is_empty() {
            project.sh(setup);
        }
        let owner = if tool == "owner" { "1" } else { "0" };
        let ran = project.run_with(&[("GIT_TEST_ASSUME_DIFFERENT_OWNER", owner)], &["down"]);
        ran.code(0).stdout("").stderr(&format!(
            "        Note nothing to delete: `up` has not applied `app` to namespace `default`
        Note another project has applied package `app` of `github.com/org/app` (`jane` on `laptop`, `/src/app`, 2026-11-28T01:30:00Z); set the same `project-id` in `[package.metadata.kdev]` of both if they are one project, because {cause}\n"
        ));
    }
}

#[test]
fn variables_of_git_hook_select_no_other_repository() {
    let project = Project::new();
    link_git(&project);
    project.sh("git init -q; git add Cargo.toml; git -c user.name=a -c user.email=a commit -qm a");
    project.write("fake/records.json", &format!(r#"{{"items":[{OTHER_RECORD}]}}"#));
    let ran = project.run_with(&[("GIT_DIR", "/nonexistent"), ("GIT_WORK_TREE", "/")], &["down"]);
    let advice =
        "set the same `project-id` in `[package.metadata.kdev]` of both if they are one project\n";
    assert!(ran.code(0).err().ends_with(advice), "{}", ran.err());
}

#[test]
fn terminated_git_is_an_error_that_key_avoids() {
    let project = Project::new();
    project.script("git", "kill -9 $$");
    project.run(&["down"]).code(90).stdout("").stderr(
        "error: failed to read the git repository
  caused by: `git --no-replace-objects -C [ROOT] rev-parse --is-shallow-repository --show-prefix --git-common-dir HEAD HEAD:./Cargo.toml` was terminated by signal 9
  help: set `project-id` in `[package.metadata.kdev]` to identify the project without git\n",
    );
    project.config("project-id = \"shop\"");
    project.run(&["down"]).code(0);
}

#[test]
fn empty_project_id_is_rejected() {
    let project = Project::new();
    project.config("project-id = ' '");
    project.run(&["down"]).code(90).stderr(
        "error: invalid value for `project-id` in `[package.metadata.kdev]` of `[ROOT]/Cargo.toml`
  caused by: the text is empty
  help: see `docs/configuration.md` for valid values\n",
    );
}

#[test]
fn project_id_identifies_project_in_each_folder() {
    let name = |key: &str| {
        let project = Project::new();
        if !key.is_empty() {
            project.config(&format!("project-id = {key:?}"));
        }
        project.run(&["up"]).code(0);
        record_name(&project)
    };
    let shop = name("shop");
    assert!(shop.starts_with("kdev-app-"), "{shop}");
    assert_eq!(name("shop"), shop);
    let others = [name("other"), name(""), name("")];
    for (index, other) in others.iter().enumerate() {
        assert!(*other != shop && !others[..index].contains(other), "{others:?}");
    }
}

#[test]
fn object_of_other_project_stays_until_its_record_is_gone() {
    let project = with_config();
    project.run(&["up"]).code(0);
    let owner = record_name(&project);
    let other = "kdev-app-0123456789";
    members(&project, &format!(r#""owner.kdev/{owner}":"default","owner.kdev/{other}":"default""#));
    let kubectl = "kubectl --context kind-test --namespace default '--request-timeout=15s'";
    let deletion = |objects: &str| {
        format!(
            "{kubectl} delete {objects} --ignore-not-found '--timeout=90s'
{kubectl} delete configmap/{owner} --ignore-not-found '--timeout=90s'\n"
        )
    };
    project.write(&format!("fake/record-{other}"), OTHER_RECORD).remove("fake/log");
    project.run(&["down"]).code(0).stderr(
        "     Deleted deployment.apps/app from kind-test
        Note `configmap/old` stays because package `app` of `github.com/org/app` (`jane` on `laptop`, `/src/app`, 2026-11-28T01:30:00Z) also applies it
        Note set the same `project-id` in `[package.metadata.kdev]` of both if they are one project, because `git` is not installed
     Deleted configmap/kdev-app-[..] from kind-test\n",
    );
    let label = format!(" label configmap/old owner.kdev/{owner}- ");
    assert!(project.calls().contains(&label), "{}", project.calls());
    // The other project has been deleted.
    project.remove(&format!("fake/record-{other}")).run(&["up"]).code(0);
    let ran = project.run(&["down", "--dry-run"]);
    ran.code(0).stderr("").stdout(&deletion("configmap/old deployment.apps/app"));
    // Without the permission to read the record, the other project may exist.
    let forbidden = "Error from server (Forbidden): configmaps is forbidden\n";
    project.script(
        "kubectl",
        &format!(
            "case \"$*\" in *configmap/{other}*) printf '{forbidden}' >&2; exit 1 ;; esac\nexec sh {} \"$@\"",
            fs::canonicalize("../../tests/cli/fakes/kubectl").unwrap().display()
        ),
    );
    let ran = project.run(&["down"]);
    let note = "Note `configmap/old` stays because apply set `kdev-app-0123456789` in namespace `default` also applies it\n";
    assert!(ran.code(0).err().contains(note), "{}", ran.err());
}

#[test]
fn objects_of_interrupted_first_run_are_deleted() {
    let project = with_config();
    project.run(&["up"]).code(0);
    // The run was interrupted before it added the labels.
    let record = fs::read_to_string(project.path("fake/inventory")).unwrap();
    project.write("fake/inventory", &record.replace(r#""complete""#, r#""incomplete""#));
    let object = |version: &str, kind: &str, name: &str, manager: &str| {
        format!(
            r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"{name}","namespace":"default","managedFields":[{{"manager":"{manager}"}}]}}}}"#
        )
    };
    let created = object("v1", "ConfigMap", "old", "kdev");
    let existed = object("apps/v1", "Deployment", "app", "kubectl");
    project.write("fake/existing.json", &format!(r#"{{"items":[{created},{existed}]}}"#));
    project.write("fake/members", "");
    project.run(&["down"]).code(0).stderr(
        "     Deleted configmap/old from kind-test
     Deleted configmap/kdev-app-[..] from kind-test\n",
    );
}

#[test]
fn object_of_other_tool_stays() {
    let project = with_config();
    project.run(&["up"]).code(0);
    let owner = record_name(&project);
    let labels = format!(r#""owner.kdev/{owner}":"default","{PART_OF}":"applyset-other-v1""#);
    members(&project, &labels);
    let ran = project.run(&["down"]);
    let note = "Note `configmap/old` stays because another tool with apply set `applyset-other-v1` also applies it\n";
    assert!(ran.code(0).err().contains(note), "{}", ran.err());
}

/// The record and the ID of the set that an older kdev wrote for a package `app`.
const OLDER: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kdev-app","namespace":"default","labels":{"applyset.kubernetes.io/id":"applyset-1jfp3194vnG7R1kZQ5gJVZcUnEO0BVsBB_OZfN6FpvA-v1"},"annotations":{"applyset.kubernetes.io/tooling":"kdev/v1","applyset.kubernetes.io/contains-group-kinds":"ConfigMap,Deployment.apps,Job.batch"}},"data":{"members":"default configmap/old\ndefault deployment.apps/app"}}"#;

/// A ConfigMap of the user can have the name of a record.
#[test]
fn config_map_without_label_of_record_stays() {
    let project = with_config();
    members(&project, "");
    let foreign = OLDER.replace("applyset-1jfp3194vnG7R1kZQ5gJVZcUnEO0BVsBB_OZfN6FpvA-v1", "mine");
    project.write("fake/record-kdev-app", &foreign);
    for command in ["up", "down"] {
        let ran = project.run(&[command]);
        assert!(!ran.err().contains("configmap/kdev-app "), "{}", ran.err());
        assert!(project.path("fake/record-kdev-app").exists(), "{command}: {}", ran.err());
    }
}

#[test]
fn record_of_older_kdev_is_taken_over_if_manifests_have_its_objects() {
    let project = with_config();
    project.write("fake/record-kdev-app", OLDER);
    members(&project, "");
    let ran = project.run(&["down"]);
    ran.code(0).stderr(
        "        Note nothing is deleted: an older kdev recorded `app` in `configmap/kdev-app` without the project; run `cargo kdev up` to take over its objects\n",
    );
    assert!(!project.calls().contains(" delete "), "{}", project.calls());
    // Follow the advice.
    let ran = project.run(&["up"]);
    assert!(
        ran.code(0).err().contains("Deleted configmap/kdev-app from kind-test\n"),
        "{}",
        ran.err()
    );
    project.remove("fake/log").run(&["up"]).code(0);
    let calls = project.calls();
    assert!(!calls.contains(" label ") && !calls.contains(" apply "), "{calls}");
    project.run(&["down"]).code(0);
    assert!(project.calls().contains(" delete configmap/old deployment.apps/app "));
}

#[test]
fn record_of_older_kdev_with_other_objects_stays() {
    let project = Project::new();
    project.write("fake/record-kdev-app", OLDER);
    members(&project, "");
    let note = "        Note `configmap/old` is not in the manifests, and an older kdev recorded it in `configmap/kdev-app` without the project; run `kubectl --context kind-test --namespace default delete configmap/old` if this project applied it\n";
    for _ in 0..2 {
        let ran = project.run(&["up", "--prune"]);
        assert!(ran.code(0).err().contains(note), "{}", ran.err());
    }
    assert!(!project.calls().contains(" delete "), "{}", project.calls());
    // Follow the advice.
    let items = fs::read_to_string(project.path("fake/members.json")).unwrap();
    let (config_map, deployment) = items.split_once("}},").unwrap();
    assert!(config_map.contains("ConfigMap"));
    project.write("fake/members.json", &format!("{{\"items\":[{deployment}"));
    let ran = project.run(&["up"]);
    assert!(
        ran.code(0).err().contains("Deleted configmap/kdev-app from kind-test\n"),
        "{}",
        ran.err()
    );
}

#[test]
fn permission_to_record_is_needed_before_apply() {
    let project = Project::new();
    let forbidden = "Error from server (Forbidden): configmaps \"kdev-app\" is forbidden: User \"jane\" cannot patch resource \"configmaps\"\n";
    project.write("fake/kubectl-record-fails", forbidden);
    let ran = project.run(&["up"]);
    ran.code(92).error(
        "error: the API server of context `kind-test` rejected the request to record the apply set
  caused by: [..]
  help: run `kubectl --context kind-test --namespace default auth can-i --list` to see your permissions\n",
    );
    assert_eq!(project.applied(), None);
    let calls = project.calls();
    assert_eq!(calls.matches(" apply ").count(), 1, "{calls}");
}

#[test]
fn field_of_other_project_is_not_removed() {
    let map = |key: &str| {
        let managers = format!(
            "  managedFields:\n  - apiVersion: v1\n    fieldsV1:\n      f:data:\n        f:b: {{}}\n{key}    manager: kdev\n    operation: Apply\n"
        );
        let data = if key.is_empty() { "" } else { "  a.b: x\n" };
        format!(
            "apiVersion: v1\ndata:\n{data}  b: x\nkind: ConfigMap\nmetadata:\n  labels:\n    owner.kdev/kdev-app-0123456789: default\n{managers}  name: old\n  namespace: default\n"
        )
    };
    let output = diff("v1.ConfigMap.default.old", &map("        f:a.b: {}\n"), &map(""));
    let project = Project::new();
    project.write("fake/diff-output", &output);
    project.write("fake/record-kdev-app-0123456789", OTHER_RECORD);
    project.run(&["up"]).code(92).error(
        "error: refusing to remove fields of objects that another project applies, too
  caused by: `.data.a.b` of `configmap/old` is not in the manifests, and package `app` of `github.com/org/app` (`jane` on `laptop`, `/src/app`, 2026-11-28T01:30:00Z) also applies the object
  help: add the fields to the manifests, or pass `--force-conflicts` to remove them from the object\n",
    );
    let calls = project.calls();
    assert!(!calls.contains(" apply ") && !calls.contains(" label configmap/"), "{calls}");
    // Follow the advice.
    project.run(&["up", "--force-conflicts"]).code(0);
    // The other project has been deleted.
    project.remove("fake/record-kdev-app-0123456789").run(&["up"]).code(0);
}

#[test]
fn other_value_in_object_of_other_project_is_noted() {
    let map = |value: &str| {
        let managers = "  managedFields:\n  - apiVersion: v1\n    fieldsV1:\n      f:data:\n        f:a: {}\n        f:b: {}\n    manager: kdev\n    operation: Apply\n";
        format!(
            "apiVersion: v1\ndata:\n  a: {value}\n  b: x\nkind: ConfigMap\nmetadata:\n  labels:\n    owner.kdev/kdev-app-0123456789: default\n{managers}  name: old\n  namespace: default\n"
        )
    };
    let project = Project::new();
    project.write("fake/diff-output", &diff("v1.ConfigMap.default.old", &map("red"), &map("blue")));
    project.write("fake/record-kdev-app-0123456789", OTHER_RECORD);
    let note = "Note `.data.a` of `configmap/old` changes, and package `app` of `github.com/org/app` (`jane` on `laptop`, `/src/app`, 2026-11-28T01:30:00Z) also applies the object\n";
    let ran = project.run(&["up"]);
    assert_eq!(ran.code(0).err().matches(note).count(), 1, "{}", ran.err());
    // The other project has been deleted.
    let ran = project.remove("fake/record-kdev-app-0123456789").run(&["up"]);
    assert!(!ran.code(0).err().contains("also applies"), "{}", ran.err());
}

#[test]
fn immutable_object_of_other_project_is_not_recreated() {
    let immutable =
        "The Deployment \"app\" is invalid: spec.selector: Invalid value: {}: field is immutable\n";
    let labels = r#""labels":{"owner.kdev/kdev-app-0123456789":"default"}"#;
    let live = format!(
        r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"app","namespace":"default",{labels}}}}}"#
    );
    for step in ["diff", "apply"] {
        let project = Project::new();
        project.write(&format!("fake/kubectl-{step}-fails"), immutable);
        project.write("fake/app.json", &live);
        project.write("fake/record-kdev-app-0123456789", OTHER_RECORD);
        project.run(&["up", "--recreate"]).code(92).error(
            "error: refusing to delete and recreate objects that another project applies, too
  caused by: package `app` of `github.com/org/app` (`jane` on `laptop`, `/src/app`, 2026-11-28T01:30:00Z) also applies `deployment.apps/app`
  help: pass `--recreate --force-conflicts` to recreate them with the fields of these manifests only\n",
        );
        assert!(!project.calls().contains(" delete "), "{}", project.calls());
        // Follow the advice.
        project.run(&["up", "--recreate", "--force-conflicts"]).code(0);
        assert!(project.calls().contains(" delete deployment/app "), "{}", project.calls());
    }
}
