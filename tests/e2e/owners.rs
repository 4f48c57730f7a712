//! Projects that share a package name or objects, and clones of one project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use kdev_core::kube::applyset::Parent;

use crate::lab::{apply, command, get, kubectl, run, run_help, state, stderr_text};
use crate::namespace;
use crate::test_service::Service;

/// Returns a workload that is never started, so that nothing has to be waited for.
pub(crate) fn workload(image: &str, name: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}}}
spec:
  schedule: 0 0 1 1 *
  suspend: true
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          nodeSelector: {{kubernetes.io/hostname: node-1}}
          containers: [{{name: web, image: {image}}}]
"
    )
}

pub(crate) fn config_map(name: &str, namespace: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
    )
}

/// A project with the service's package and image, in another folder.
pub(crate) struct Copy<'a> {
    pub(crate) service: &'a Service,
    pub(crate) dir: PathBuf,
}

impl<'a> Copy<'a> {
    pub(crate) fn in_folder(service: &'a Service, name: &str) -> Self {
        let dir = service.path("copies").join(name);
        fs::create_dir_all(&dir).unwrap();
        for file in ["Cargo.toml", "Dockerfile", "src", "www", "busybox"] {
            run(command("cp").arg("-r").arg(service.path(file)).arg(&dir));
        }
        fs::create_dir(dir.join("k8s")).unwrap();
        fs::write(dir.join(".gitignore"), "/target\n").unwrap();
        Self { service, dir }
    }

    pub(crate) fn write(&self, manifest: &str) -> &Self {
        fs::write(self.dir.join("k8s/all.yaml"), manifest).unwrap();
        self
    }

    /// Makes the folder a repository.
    pub(crate) fn commit(self) -> Self {
        git(&self.dir, &["init", "--quiet"]);
        git(&self.dir, &["add", "."]);
        git(&self.dir, &["commit", "--quiet", "--message", "first"]);
        self
    }

    fn run(&self, args: &[&str]) -> Output {
        let namespace = ["--namespace", self.service.name];
        let mut kdev = self.service.kdev(&[args, &namespace].concat());
        kdev.current_dir(&self.dir).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{}", stderr_text(&output));
        stderr_text(&output)
    }

    pub(crate) fn down(&self) -> String {
        self.ok(&["down", "--delete-data", "--yes"])
    }
}

fn git(dir: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=kdev", "-c", "user.email=kdev@example.com"];
    run(command("git").arg("-C").arg(dir).args(identity).args(args));
}

/// Returns the objects of the tests in a namespace.
pub(crate) fn objects(namespace: &str) -> Vec<String> {
    let list = run(&mut kubectl(namespace, &["get", "cronjobs,configmaps", "--output=name"]));
    let is_ours = |name: &&str| !name.ends_with("/kube-root-ca.crt");
    let mut names: Vec<String> = list.lines().filter(is_ours).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn projects_of_same_package_name_keep_objects_of_each_other() {
    let service = Service::on_node("node-1", "owners");
    let shared = namespace::DeleteOnDrop::new("owners-shared");
    let project = |name: &str| {
        let copy = Copy::in_folder(&service, name);
        let namespace =
            format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n", shared.0);
        let manifest =
            format!("{}{namespace}{}", workload("owners", name), config_map(name, shared.0));
        copy.write(&manifest);
        copy.commit()
    };
    let (first, second) = (project("first"), project("second"));
    for [one, other] in [[&first, &second], [&second, &first]] {
        one.ok(&["up"]);
        let stderr = other.ok(&["up"]);
        assert!(!stderr.contains("no longer in the manifests"), "{stderr}");
        assert!(other.ok(&["up"]).contains("Unchanged"));
        assert!(one.ok(&["up", "--prune"]).contains("Unchanged"));
        let stderr = one.down();
        let note = format!("Note `namespace/{}` stays because package `owners` (`", shared.0);
        assert!(stderr.contains(&note) && stderr.contains("also applies it"), "{stderr}");
        let name = other.dir.file_name().unwrap().to_str().unwrap();
        assert_eq!(objects(shared.0), [format!("configmap/{name}")]);
        assert_eq!(objects("owners").len(), 2, "{:?}", objects("owners"));
        // One of both remains in the label of the specification.
        let labels = get("owners", &["namespace", shared.0])["metadata"]["labels"].clone();
        let parent = objects("owners").into_iter().find(|id| id.starts_with("configmap/"));
        let parent = get("owners", &[&parent.unwrap()]);
        let label = |name: &str| format!("applyset.kubernetes.io/{name}");
        assert_eq!(labels[label("part-of")], parent["metadata"]["labels"][label("id")]);
        let stderr = other.down();
        assert!(stderr.contains(&format!("Deleted namespace/{}", shared.0)), "{stderr}");
        assert!(!namespace::exists(shared.0) && objects("owners").is_empty());
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn clones_of_one_repository_are_one_project() {
    let service = Service::on_node("node-1", "clones");
    let manifest = |extra: &str| format!("{}{extra}", workload("clones", "clones"));
    let extra = config_map("extra", "clones");
    let first = Copy::in_folder(&service, "first");
    first.write(&manifest(&extra));
    let first = first.commit();
    let clone = service.path("copies/clone");
    git(&first.dir, &["clone", "--quiet", ".", clone.to_str().unwrap()]);
    let clone = Copy { service: &service, dir: clone };
    first.ok(&["up"]);
    assert!(clone.ok(&["up"]).contains("Unchanged"));
    clone.write(&manifest(""));
    let stderr = clone.ok(&["up", "--prune"]);
    assert!(stderr.contains("Deleted configmap/extra from kdev-lab"), "{stderr}");

    // A copy without the repository is another project, and deletes nothing.
    let copy = Copy::in_folder(&service, "copy");
    copy.write(&manifest(""));
    let stderr = copy.down();
    let expected = "Note nothing to delete: `up` has not applied `clones` to namespace `clones`\n";
    assert!(stderr.contains(expected), "{stderr}");
    assert!(stderr.contains("Note another project has applied package `clones` (`"), "{stderr}");
    assert!(stderr.contains("because the project is not in a git repository"), "{stderr}");
    copy.ok(&["up"]);
    let stderr = copy.down();
    assert!(stderr.contains("Note `cronjob.batch/clones` stays because package"), "{stderr}");
    let advice = "set the same `project-id` in `[package.metadata.kdev]` of both";
    assert!(stderr.contains(advice), "{stderr}");
    // One object existed before, and both leave the manifests with the next run.
    run(&mut kubectl("clones", &["create", "configmap", "existed"]));
    let left = config_map("left", "clones") + &config_map("existed", "clones");
    copy.write(&manifest(&left)).ok(&["up"]);
    copy.write(&manifest(""));
    // Follow the advice. Each folder takes over the record that it has written, and prunes it.
    for project in [&copy, &clone] {
        let cargo = project.dir.join("Cargo.toml");
        let text = fs::read_to_string(&cargo).unwrap();
        let key = "[package.metadata.kdev]\nproject-id = \"clones\"\n";
        fs::write(&cargo, format!("{text}{key}")).unwrap();
        let stderr = project.ok(&["up", "--prune"]);
        let is_copy = project.dir == copy.dir;
        assert_eq!(stderr.contains("Deleted configmap/left from kdev-lab"), is_copy, "{stderr}");
        let note = "Note `configmap/existed` stays, because it existed before `up` applied it";
        assert_eq!(stderr.contains(note), is_copy, "{stderr}");
    }
    assert_eq!(objects("clones").len(), 3, "{:?}", objects("clones"));
    let stderr = copy.down();
    assert!(stderr.contains("Deleted cronjob.batch/clones from kdev-lab"), "{stderr}");
    assert_eq!(objects("clones"), ["configmap/existed"]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn objects_of_older_kdev_are_taken_over() {
    let name = "older";
    let service = Service::on_node("node-1", name);
    let project = Copy::in_folder(&service, "project");
    project.write(&workload(name, name));
    project.ok(&["up"]);
    // What an older kdev would have left.
    let id = Parent::without_identity(name, name).id();
    let label = format!("applyset.kubernetes.io/part-of={id}");
    let records = ["get", "configmaps", "--selector=applyset.kubernetes.io/id", "--output=name"];
    let record = run(&mut kubectl(name, &records)).trim().to_owned();
    run(&mut kubectl(name, &["delete", &record]));
    let owner = format!("owner.kdev/{}-", record.trim_start_matches("configmap/"));
    let workload_id = format!("cronjob/{name}");
    run(&mut kubectl(name, &["label", "--overwrite", &workload_id, &label, &owner]));
    run(&mut kubectl(name, &["create", "configmap", "extra"]));
    run(&mut kubectl(name, &["label", "configmap/extra", &label]));
    let metadata = format!(
        "{{name: kdev-{name}, labels: {{applyset.kubernetes.io/id: {id}}}, annotations: {{applyset.kubernetes.io/tooling: kdev/v1, applyset.kubernetes.io/contains-group-kinds: 'CronJob.batch,ConfigMap'}}}}"
    );
    let members = format!("{name} cronjob.batch/{name}\\n{name} configmap/extra");
    apply(
        name,
        &format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\ndata: {{members: \"{members}\"}}\n"
        ),
    );

    let stderr = project.down();
    assert!(stderr.contains("run `cargo kdev up` to take over its objects"), "{stderr}");
    let stderr = project.ok(&["up", "--prune"]);
    let note = "Note `configmap/extra` is not in the manifests, and an older kdev recorded it";
    assert!(stderr.contains(note) && !stderr.contains("Deleted"), "{stderr}");
    run_help(&stderr.replace("without the project; run `", "  help: run `"));
    let stderr = project.ok(&["up"]);
    assert!(stderr.contains("Deleted configmap/kdev-older from kdev-lab"), "{stderr}");
    let stderr = project.down();
    assert!(stderr.contains("Deleted cronjob.batch/older from kdev-lab"), "{stderr}");
    assert!(objects(name).is_empty(), "{:?}", objects(name));
}

/// The cluster-scoped permissions of a user.
struct NodeReader(&'static str);

impl Drop for NodeReader {
    fn drop(&mut self) {
        let objects =
            ["clusterrole", "clusterrolebinding"].map(|kind| format!("{kind}/{}", self.0));
        let mut delete = kubectl("default", &["delete", "--ignore-not-found"]);
        let _ = delete.args(objects).output();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn nothing_is_applied_without_permission_to_record_it() {
    let name = "unrecorded";
    let service = Service::on_node("node-1", name);
    service.write("k8s/all.yaml", &workload(name, name));
    let user = NodeReader("kdev-unrecorded");
    drop(NodeReader(user.0));
    let (to_user, role) = (format!("--user={}", user.0), format!("--role={}", user.0));
    let cluster_role = format!("--clusterrole={}", user.0);
    let verbs = "--verb=get,list,create,patch,update,watch";
    for args in [
        vec!["clusterrole", user.0, "--verb=list", "--resource=nodes,namespaces"],
        vec!["clusterrolebinding", user.0, &cluster_role, &to_user],
        vec!["role", user.0, verbs, "--resource=cronjobs.batch"],
        vec!["rolebinding", user.0, &role, &to_user],
        vec!["rolebinding", "view", "--clusterrole=view", &to_user],
    ] {
        run(kubectl(name, &["create"]).args(args));
    }
    let text = fs::read_to_string(state("kubeconfig")).unwrap();
    let text = text.replace("\n    user:\n", &format!("\n    user:\n      as: {}\n", user.0));
    service.write("kubeconfig", &text);
    let output = service.up(&[]).env("KUBECONFIG", service.path("kubeconfig")).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(92), "{stderr}");
    assert!(
        stderr.contains("cannot create resource \"configmaps\"")
            || stderr.contains("cannot patch resource \"configmaps\""),
        "{stderr}"
    );
    assert_eq!(objects(name), [""; 0]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn shared_object_in_deleted_namespace_does_not_fail_down() {
    let service = Service::on_node("node-1", "owners-inner");
    let inner = namespace::DeleteOnDrop::new("owners-inner-other");
    let shared = config_map("shared", inner.0);
    let namespace =
        format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n", inner.0);
    let workload = |name: &str| workload(service.name, name);
    let first = Copy::in_folder(&service, "first").commit();
    first.write(&format!("{}{namespace}{shared}", workload("first"))).ok(&["up"]);
    let second = Copy::in_folder(&service, "second").commit();
    second.write(&format!("{}{shared}", workload("second"))).ok(&["up"]);
    // The namespace is only in the manifests of the first project.
    let stderr = first.down();
    assert!(stderr.contains("Deleted namespace/owners-inner-other"), "{stderr}");
    assert!(!stderr.contains("configmap/shared stays"), "{stderr}");
    let stderr = second.down();
    assert!(stderr.contains("Deleted cronjob.batch/second"), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn immutable_object_of_other_project_is_not_recreated() {
    let name = "owners-immutable";
    let service = Service::on_node("node-1", name);
    let manifest = |owner: &str, role: &str| {
        let role =
            format!("roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}\n");
        let kind = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n";
        format!("{}{kind}metadata: {{name: readers}}\n{role}", workload(name, owner))
    };
    let uid = || get(name, &["rolebinding/readers"])["metadata"]["uid"].clone();
    let first = Copy::in_folder(&service, "first");
    first.write(&manifest("first", "reader")).ok(&["up"]);
    let old = uid();
    let second = Copy::in_folder(&service, "second");
    second.write(&manifest("second", "reader")).ok(&["up"]);
    let output = second.write(&manifest("second", "writer")).run(&["up", "--recreate"]);
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(92), "{stderr}");
    assert!(
        stderr.contains(") also applies `rolebinding.rbac.authorization.k8s.io/readers`"),
        "{stderr}"
    );
    assert_eq!(uid(), old);
    // Follow the advice.
    second.ok(&["up", "--recreate", "--force-conflicts"]);
    assert_ne!(uid(), old);
    // The new object belongs to both projects.
    let stderr = second.down();
    assert!(
        stderr.contains("`rolebinding.rbac.authorization.k8s.io/readers` stays because"),
        "{stderr}"
    );
    let stderr = first.down();
    assert!(stderr.contains("rolebinding.rbac.authorization.k8s.io/readers from"), "{stderr}");
}

/// A kind, and an object of that kind.
const KIND: &str = r"---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.owners-keys.example.com}
spec:
  group: owners-keys.example.com
  names: {kind: Gauge, plural: gauges}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
---
apiVersion: owners-keys.example.com/v1
kind: Gauge
metadata: {name: gauge}
";

/// Returns the keys of the shared ConfigMap.
fn keys(namespace: &str) -> Vec<String> {
    let data = get(namespace, &["configmap/settings"])["data"].clone();
    data.as_object().unwrap().keys().cloned().collect()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn key_of_other_project_in_shared_object_is_not_removed() {
    let name = "owners-keys";
    let service = Service::on_node("node-1", name);
    let settings = |keys: &[&str]| {
        let object = config_map("settings", name);
        let data = keys.iter().map(|key| format!("  {key}: a\n")).collect::<Vec<_>>().concat();
        format!("{}{object}data:\n{data}", workload(name, "web"))
    };
    let first = Copy::in_folder(&service, "first");
    first.write(&settings(&["color", "size"])).ok(&["up"]);
    let second = Copy::in_folder(&service, "second");
    // The manifests also create a kind, so the objects of that kind cannot be compared.
    let with_kind = format!("{}{KIND}", settings(&["size", "weight"]));
    let output = second.write(&with_kind).run(&["up"]);
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(92), "{stderr}");
    let cause = "`.data.color` of `configmap/settings` is not in the manifests, and package `owners-keys` (`";
    assert!(stderr.contains(cause) && stderr.contains(") also applies the object"), "{stderr}");
    assert!(stderr.contains("help: add the fields to the manifests, or pass `--force-conflicts`"));
    // Nothing is applied.
    assert_eq!(keys(name), ["color", "size"]);
    assert_eq!(objects(name).len(), 3, "{:?}", objects(name));
    // Follow the first advice.
    second.write(&settings(&["color", "size", "weight"])).ok(&["up"]);
    // Another value is applied, with a note.
    second.write(&settings(&["color", "size", "weight"]).replace("size: a", "size: b"));
    let stderr = stderr_text(&second.run(&["up"]));
    assert!(stderr.contains("Note `.data.size` of `configmap/settings` changes, and"), "{stderr}");
    assert_eq!(first.run(&["up"]).status.code(), Some(92));
    assert_eq!(keys(name), ["color", "size", "weight"]);
    // Follow the second advice.
    first.ok(&["up", "--force-conflicts"]);
    assert_eq!(keys(name), ["color", "size"]);
    let stderr = second.down();
    assert!(
        stderr.contains("`configmap/settings` and `cronjob.batch/web` stay because"),
        "{stderr}"
    );
    assert_eq!(keys(name), ["color", "size"]);
    // The object belongs to one project now.
    first.write(&settings(&["size"])).ok(&["up"]);
    assert_eq!(keys(name), ["size"]);

    // Both packages apply the same files, so no key is that of the other one.
    second.write(&settings(&["size"])).ok(&["up"]);
    for copy in [&first, &second] {
        let cargo = copy.dir.join("Cargo.toml");
        let text = fs::read_to_string(&cargo).unwrap();
        let key = "[package.metadata.kdev]\nmanifests = [\"../first/k8s/all.yaml\"]\n";
        fs::write(&cargo, format!("{text}{key}")).unwrap();
    }
    for (copy, keys_now) in [
        (&first, &["hue", "size"][..]),
        (&second, &["hue", "size"]),
        (&first, &["size"]),
        (&second, &["size"]),
    ] {
        first.write(&settings(keys_now));
        copy.ok(&["up"]);
        assert_eq!(keys(name), keys_now);
    }
}
