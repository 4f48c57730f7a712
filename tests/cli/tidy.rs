//! `prune`, `images`, and `down --images`: which builds are removed from nodes and from Docker,
//! and which stay.

use std::fs;

use crate::project::{IMAGE, Project};

/// The addresses of the nodes.
const NODES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];
/// The removals of the oldest three of five builds.
const REMOVED: &str = "app:kdev-000000000003, app:kdev-000000000002, app:kdev-000000000001";

fn build(number: usize) -> String {
    format!("docker.io/library/app:kdev-{number:012x}")
}

/// Sets the images of a node: a line `NAME DIGEST LABELS` for each.
fn write_images(project: &Project, address: &str, lines: &[String]) {
    fs::create_dir_all(project.path(&format!("fake/node-{address}"))).unwrap();
    project.write(&format!("fake/node-{address}/images"), &(lines.join("\n") + "\n"));
}

/// Returns a project with builds 1 to `count` on both nodes. The newest is pinned.
fn project_with_builds(count: usize) -> Project {
    let project = Project::new();
    for address in NODES {
        let lines = (1..=count).flat_map(|number| {
            let pin = if number == count { ",io.cri-containerd.pinned=pinned" } else { "" };
            let labels = format!("io.cri-containerd.image=managed,kdev.loaded={number}{pin}");
            let name = build(number);
            [
                format!("{name} sha256:m{number} {labels}"),
                format!("sha256:c{number} sha256:m{number}"),
            ]
        });
        write_images(&project, address, &lines.collect::<Vec<_>>());
    }
    project
}

/// The removals from nodes among the calls.
fn removals(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let removals = calls.lines().filter(|call| call.contains(" images rm "));
    let mut names: Vec<String> = removals.map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn prune_removes_both_names_of_older_builds() {
    let project = project_with_builds(5);
    let others = [
        "app:latest",
        "app:kdev-backup",
        "app2:kdev-000000000001",
        "ghcr.io/app:kdev-000000000001",
    ];
    let lines: Vec<String> =
        others.iter().map(|name| format!("docker.io/library/{name} sha256:x")).collect();
    let file = project.path("fake/node-10.0.0.1/images");
    let before = fs::read_to_string(&file).unwrap();
    write_images(&project, NODES[0], &[vec![before.trim().to_owned()], lines].concat());
    project.write("fake/tags", "app:kdev-000000000002\napp:kdev-000000000001\napp:kdev-mine\n");
    let ran = project.run(&["prune", "--keep", "2"]);
    let (nodes, mut lines) = (["n1", "n2"], ran.code(0).err().lines().collect::<Vec<_>>());
    lines.sort_unstable();
    let expected = nodes.map(|node| format!("     Removed {node}: {REMOVED} (6.00 KiB)"));
    assert_eq!(
        lines,
        [expected.to_vec(), vec!["   Unchanged Docker: no older builds".to_owned()]].concat()
    );
    let kept = |number: usize| [build(number), format!("sha256:c{number}")];
    let mut expected = [kept(4), kept(5)].concat();
    expected.sort();
    let mut names = project.images_on(NODES[1]);
    names.sort();
    assert_eq!(names, expected);
    let names = project.images_on(NODES[0]);
    assert!(others.iter().all(|other| names.iter().any(|name| name.ends_with(other))), "{names:?}");
    // Nothing is left to do.
    project.run(&["prune", "--keep", "2"]).code(0);
    assert_eq!(removals(&project).len(), 2);
}

#[test]
fn prune_keeps_builds_in_use() {
    let project = project_with_builds(5);
    // containerd records one of the names of the image.
    let containers = format!("a {}\nb sha256:c2\n", build(1));
    project.write("fake/node-10.0.0.1/containers", &containers);
    let named = build(3).replace("docker.io/library/", "");
    project.write(
        "fake/workloads.json",
        &format!(r#"{{"items":[{{"kind":"CronJob","spec":{{"template":{{"containers":[{{"image":"{named}"}}]}}}}}}]}}"#),
    );
    let ran = project.run(&["prune", "--keep", "1", "--node", "n1"]);
    let err = ran.code(0).err();
    assert!(err.contains("Removed n1: app:kdev-000000000004 ("), "{err}");
    let note = "containers on node `n1` use `app:kdev-000000000002` and `app:kdev-000000000001`";
    assert!(err.replace("\n             ", " ").contains(note), "{err}");
    assert_eq!(project.images_on(NODES[0]).len(), 8);
    assert_eq!(project.images_on(NODES[1]).len(), 10);
}

#[test]
fn prune_keeps_builds_of_older_revisions_in_other_namespaces() {
    // The Deployment now has another image.
    let project = project_with_builds(5);
    let workload = |namespace: &str| {
        format!(
            r#"{{"kind":"Deployment","metadata":{{"namespace":"{namespace}","uid":"{namespace}"}},"spec":{{"image":"other"}}}}"#
        )
    };
    let workloads = ["dev", "shop"].map(workload).join(",");
    project.write("fake/workloads.json", &format!("{{\"items\":[{workloads}]}}"));
    let set = |number: usize, owner: &str| {
        let image = build(number).replace("docker.io/library/", "");
        format!(
            r#"{{"kind":"ReplicaSet","metadata":{{"ownerReferences":[{{"uid":"{owner}"}}]}},"spec":{{"replicas":1,"image":"{image}"}}}}"#
        )
    };
    project.write("fake/created-dev.json", &format!("{{\"items\":[{}]}}", set(1, "dev")));
    project.write("fake/created-shop.json", &format!("{{\"items\":[{}]}}", set(2, "shop")));
    let ran = project.run(&["prune", "--keep", "1", "--node", "n1", "--dry-run"]);
    let stdout = ran.code(0).out();
    let is_removed = |number: usize| stdout.contains(&build(number));
    assert_eq!([1, 2, 3, 4].map(is_removed), [false, false, true, true], "{stdout}");
    // Without the permission in one of them, the templates there count.
    project.write("fake/created-shop-denied", "");
    let ran = project.run(&["prune", "--keep", "1", "--node", "n1", "--dry-run"]);
    let stdout = ran.code(0).out();
    let is_removed = |number: usize| stdout.contains(&build(number));
    assert_eq!([1, 2, 3, 4].map(is_removed), [false, true, true, true], "{stdout}");
}

#[test]
fn errors_of_nodes_are_shown_beside_that_of_list() {
    let project = project_with_builds(5);
    project
        .write("fake/ssh-10.0.0.1", "ssh: connect to host 10.0.0.1 port 22: Connection refused\n");
    project.write("fake/created-default-denied", "");
    let ran = project.run(&["prune"]);
    assert!(ran.code(93).err().contains("cannot reach node `n1`"), "{}", ran.err());
    assert!(ran.err().contains("Note older builds were not removed: "), "{}", ran.err());
    assert_eq!(project.images_on(NODES[1]).len(), 10);
}

#[test]
fn prune_of_other_nodes_continues_after_error() {
    let project = project_with_builds(5);
    project
        .write("fake/ssh-10.0.0.1", "ssh: connect to host 10.0.0.1 port 22: Connection refused\n");
    let ran = project.run(&["prune"]);
    assert!(ran.code(93).err().contains("Removed n2: "), "{}", ran.err());
    assert!(ran.err().contains("cannot reach node `n1`"), "{}", ran.err());
    assert_eq!(project.images_on(NODES[1]).len(), 6);
}

#[test]
fn docker_that_does_not_respond_does_not_prevent_prune_of_nodes() {
    let project = project_with_builds(5);
    project.write("fake/docker-down", "Cannot connect to the Docker daemon\n");
    let ran = project.run(&["prune"]);
    assert!(ran.code(91).err().contains("Removed n2: "), "{}", ran.err());
}

#[test]
fn prune_during_load_removes_nothing() {
    let project = project_with_builds(5);
    // The load takes longer than the removal waits.
    project.write("fake/node-is-busy", "");
    project.script("sleep", "");
    for is_busybox in [false, true] {
        if is_busybox {
            project.write("fake/flock-of-busybox", "");
        }
        let ran = project.run(&["prune", "--node", "n1"]);
        let stderr = ran.code(93).err();
        assert!(stderr.contains("a load onto node `n1` (10.0.0.1) is running"), "{stderr}");
        assert!(stderr.contains("help: run the command again after that load"), "{stderr}");
        assert_eq!(removals(&project), [""; 0]);
    }
}

#[test]
fn connection_that_ends_during_removal_is_an_error() {
    let project = project_with_builds(5);
    project.write("fake/removal-ends", "");
    let ran = project.run(&["prune", "--keep", "2"]);
    let stderr = ran.code(93).err();
    for node in ["n1", "n2"] {
        let error = format!("error: cannot reach node `{node}` ");
        assert!(
            stderr.contains(&error) && !stderr.contains(&format!("Removed {node}")),
            "{stderr}"
        );
    }
}

/// Only a missing permission is a reason to look into one namespace.
#[test]
fn failed_list_of_all_namespaces_keeps_builds() {
    let error = "Error from server (InternalError): etcdserver: request timed out";
    let project = project_with_builds(5);
    let kubectl = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/cli/fakes/kubectl");
    let fails = format!("case \"$*\" in *--all-namespaces*) echo '{error}' >&2; exit 1 ;; esac");
    project.script("kubectl", &format!("{fails}\nexec {kubectl} \"$@\""));
    let ran = project.run(&["prune", "--keep", "2"]);
    assert!(ran.code(92).err().contains("etcdserver: request timed out"), "{}", ran.err());
    assert!(removals(&project).is_empty());
}

/// The previous revision of a Deployment, and a pod of an older revision of a `StatefulSet`.
#[test]
fn prune_keeps_builds_of_a_rollback() {
    let project = project_with_builds(5);
    let object = |kind: &str, name: &str, owner: &str, rest: &str, build: u8| {
        format!(
            r#"{{"kind":"{kind}","metadata":{{"name":"{name}","namespace":"default","uid":"{name}","ownerReferences":[{{"uid":"{owner}"}}],"annotations":{{"deployment.kubernetes.io/revision":"{build}"}}}},"spec":{{{rest}"template":{{"spec":{{"containers":[{{"image":"app:kdev-00000000000{build}"}}]}}}}}}}}"#
        )
    };
    let workloads =
        [object("Deployment", "d", "", "", 5), object("StatefulSet", "s", "", "", 5)].join(",");
    project.write("fake/workloads.json", &format!("{{\"items\":[{workloads}]}}"));
    let created = [
        object("ReplicaSet", "d-5", "d", r#""replicas":2,"#, 5),
        object("ReplicaSet", "d-4", "d", r#""replicas":0,"#, 4),
        object("ReplicaSet", "d-1", "d", r#""replicas":0,"#, 1),
        object("Pod", "s-0", "s", "", 2),
    ];
    project.write("fake/created.json", &format!("{{\"items\":[{}]}}", created.join(",")));
    let ran = project.run(&["prune", "--node", "n1", "--keep", "1"]);
    let removed = removals(&project).join("\n");
    assert!(removed.contains(&build(3)) && removed.contains(&build(1)), "{}{removed}", ran.err());
    assert!(!removed.contains(&build(4)) && !removed.contains(&build(2)), "{removed}");
}

/// A load that ends before a node is locked can be applied before the workloads are listed.
#[test]
fn workloads_are_listed_after_builds() {
    let project = project_with_builds(5);
    project.run(&["prune", "--keep", "2"]).code(0);
    let calls = project.calls();
    let list = calls.find("get deployments,statefulsets").unwrap();
    assert!(calls.find(" containers ls").unwrap() < list, "{calls}");
    // Without builds to remove, nothing is listed.
    let project = project_with_builds(3);
    project.run(&["prune"]).code(0);
    assert!(!project.calls().contains("get deployments,statefulsets"), "{}", project.calls());
}

#[test]
fn node_without_lock_keeps_builds() {
    let project = project_with_builds(5);
    fs::remove_file(project.path("bin/flock"))
        .or_else(|_| fs::remove_file(project.path("tools/flock")))
        .unwrap();
    let _ = fs::remove_file(project.path("tools/flock"));
    let ran = project.run(&["prune", "--node", "n1"]);
    assert!(ran.code(93).err().contains("`flock` not found"), "{}", ran.err());
    assert_eq!(removals(&project), [""; 0]);
}

#[test]
fn sudo_that_denies_a_list_keeps_builds() {
    let project = project_with_builds(5);
    project.write("fake/ctr-denies-containers", "");
    let ran = project.run(&["prune", "--node", "n1"]);
    let message = "failed to remove images from node `n1` (10.0.0.1)";
    assert!(ran.code(93).err().contains(message), "{}", ran.err());
    assert!(ran.err().contains("not allowed to execute"), "{}", ran.err());
    assert_eq!(removals(&project), [""; 0]);
}

#[test]
fn workloads_that_cannot_be_listed_keep_builds() {
    let project = project_with_builds(5);
    project.write("fake/workloads.json", "no JSON");
    project.run(&["prune", "--node", "n1"]).code(91);
    assert_eq!(removals(&project), [""; 0]);
}

#[test]
fn dry_run_shows_removals() {
    let project = project_with_builds(5);
    project.write("fake/tags", "app:kdev-000000000002\napp:kdev-000000000001\n");
    let ran = project.run(&["prune", "--dry-run", "--keep", "1", "--node", "n2"]);
    let out = ran.code(0).out();
    assert!(out.contains("docker image rm --no-prune app:kdev-000000000001\n"), "{out}");
    let names: Vec<String> =
        (1..=4).rev().map(|number| format!("{} sha256:c{number}", build(number))).collect();
    assert!(out.contains(&format!(" -n k8s.io images rm {}\n", names.join(" "))), "{out}");
    assert_eq!(project.images_on(NODES[1]).len(), 10);
}

#[test]
fn invalid_keep_is_rejected() {
    let project = Project::new();
    let ran = project.run(&["prune", "--keep", "0"]);
    assert!(
        ran.code(2).err().contains("expected a number from 1 on, or `all`, found `0`"),
        "{}",
        ran.err()
    );
    project.config("keep = 0");
    let ran = project.run(&["prune"]);
    assert!(
        ran.code(90).err().contains("expected a number from 1 on, or `all`, found `0`"),
        "{}",
        ran.err()
    );
    let ran = Project::new().run(&["prune", "--keep", "all"]);
    assert!(ran.code(0).err().contains("nothing is removed: `keep` is `all`"), "{}", ran.err());
}

#[test]
fn config_shows_how_many_builds_are_kept() {
    let project = Project::new();
    let table = [
        (None, "keep", "3", "default"),
        (Some("5"), "keep", "5", "KDEV_KEEP"),
        (Some("all"), "keep", "\"all\"", "KDEV_KEEP"),
    ];
    for (variable, key, value, origin) in table {
        let variables: Vec<(&str, &str)> = variable.map(|v| ("KDEV_KEEP", v)).into_iter().collect();
        let ran = project.run_with(&variables, &["config"]);
        let lines = ran.code(0).out().lines().map(|line| line.split_whitespace().collect());
        let expected = vec![key, value, origin];
        assert!(lines.collect::<Vec<Vec<&str>>>().contains(&expected), "{}", ran.out());
    }
}

#[test]
fn up_prunes_only_nodes_that_it_has_changed() {
    let project = project_with_builds(5);
    project.write("fake/node-10.0.0.2/images", "");
    let ran = project.run(&["up"]);
    let err = ran.code(0).err();
    assert!(err.contains("Removed n1: app:kdev-000000000003"), "{err}");
    assert!(!err.contains("Removed n2"), "{err}");
    let names = project.images_on(NODES[0]);
    assert!(names.iter().any(|name| name.ends_with(IMAGE)), "{names:?}");
    // An unchanged cycle starts nothing for it.
    fs::remove_file(project.path("fake/log")).unwrap();
    project.run(&["up"]).code(0);
    let calls = project.calls();
    for call in
        ["images rm", "images ls", "images label", "image ls", "image rm", "get deployments,"]
    {
        assert!(!calls.lines().any(|line| line.contains(call)), "{call}: {calls}");
    }
}

#[test]
fn failed_prune_after_up_is_a_note() {
    let project = project_with_builds(5);
    project.write("fake/ctr-denies-rm", "");
    let ran = project.run(&["up"]);
    let err = ran.code(0).err().replace("\n             ", " ");
    assert!(
        err.contains("Note older builds were not removed: failed to remove images from node"),
        "{err}"
    );
    assert!(err.contains("Finished app:kdev-"), "{err}");
    let ran = project_with_builds(5);
    ran.config("keep = \"all\"");
    ran.run(&["up"]).code(0);
    assert_eq!(removals(&ran), [""; 0]);
}

#[test]
fn newest_build_is_pinned() {
    let project = project_with_builds(2);
    let file = project.path("fake/node-10.0.0.1/images");
    // `ctr images tag` copies the labels: this is a tag of the user, on the pinned build.
    let mine = "docker.io/library/app:kdev-mine";
    let lines = fs::read_to_string(&file).unwrap();
    let pin = "io.cri-containerd.pinned=pinned";
    fs::write(&file, format!("{lines}{mine} sha256:m2 {pin}\n")).unwrap();
    let pinned = || {
        let images = fs::read_to_string(&file).unwrap();
        let lines = images.lines().filter(|line| line.contains(pin));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let newest = format!("docker.io/library/{IMAGE}");
    project.run(&["load"]).code(0);
    assert_eq!(pinned(), [mine, &newest]);
    let images = fs::read_to_string(&file).unwrap();
    assert!(images.lines().any(|line| line.contains(&newest) && line.contains("kdev.loaded=")));
    // Another load takes the pin; a load without changes sets it again.
    fs::write(&file, images.replace(pin, "other=1")).unwrap();
    project.run(&["load"]).code(0);
    assert_eq!(pinned(), [newest]);
}

#[test]
fn image_of_the_user_is_not_pinned() {
    let project = Project::new();
    project.run(&["load", "tool:1", "--node", "n1"]).code(0);
    let calls = project.calls();
    assert!(!calls.contains("images label"), "{calls}");
}

#[test]
fn pin_that_sudo_denies_is_a_note() {
    let project = Project::new();
    project.write("fake/ctr-denies-label", "");
    project.write("fake/tags", "app:latest\n");
    let ran = project.run(&["up"]);
    let err = ran.code(0).err().replace("\n             ", " ");
    assert!(err.contains("the image on node `n1` could not be pinned"), "{err}");
}

#[test]
fn images_lists_nodes_and_docker() {
    let project = project_with_builds(2);
    project.write("fake/node-10.0.0.1/containers", &format!("a {}\n", build(2)));
    project.write(
        "fake/node-10.0.0.1/container-a.json",
        "{\n \"Labels\": {\n \"io.kubernetes.pod.name\": \"app-1\",\n \"io.kubernetes.pod.namespace\": \"default\"\n }\n}\n",
    );
    project.write(
        "fake/images.json",
        r#"{"Repository":"app","Tag":"kdev-000000000002","ID":"sha256:2","CreatedSince":"1 second ago","CreatedAt":"2026-01-31 12:00:00 +0000 UTC"}"#,
    );
    let ran = project.run(&["images", "--message-format", "json"]);
    let rows: Vec<serde_json::Value> =
        ran.code(0).out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 5, "{}", ran.out());
    assert_eq!(rows[0]["node"], "n1");
    assert_eq!(rows[0]["tag"], "kdev-000000000002");
    assert_eq!(rows[0]["pods"], serde_json::json!(["default/app-1"]));
    assert_eq!(
        (&rows[0]["bytes"], &rows[0]["shared_bytes"]),
        (&1_050_624.into(), &1_048_576.into())
    );
    assert_eq!((&rows[0]["pinned"], &rows[1]["pinned"]), (&true.into(), &false.into()));
    assert_eq!((&rows[4]["engine"], &rows[4]["bytes"]), (&"docker".into(), &4096.into()));
    let ran = project.run(&["images", "--node", "n1"]);
    assert!(
        ran.code(0).out().contains("n1      kdev-000000000002  1.00 MiB  1.00 MiB"),
        "{}",
        ran.out()
    );
    assert!(!project.calls().contains("images rm"));
}

#[test]
fn images_that_cannot_be_listed_everywhere_are_shown() {
    let project = project_with_builds(1);
    project
        .write("fake/ssh-10.0.0.1", "ssh: connect to host 10.0.0.1 port 22: Connection refused\n");
    let ran = project.run(&["images"]);
    assert!(ran.code(93).out().contains("n2 "), "{}", ran.out());
}

#[test]
fn down_removes_builds_from_nodes() {
    let project = project_with_builds(3);
    project.run(&["down", "--images"]).code(0);
    assert_eq!(project.images_on(NODES[0]), [""; 0]);
    let project = project_with_builds(3);
    project.run(&["down"]).code(0);
    assert_eq!(project.images_on(NODES[0]).len(), 6);
}
