//! Older builds: which ones leave the nodes and Docker, and which ones survive the kubelet's
//! image garbage collection.

use serde_json::Value;

use crate::exclusive::{Claim, Part};
use crate::kubelet::ReconfiguredKubelet;
use crate::lab::{docker, images_on, in_node, kubectl, run, stderr_text, wait_for};
use crate::test_service::{NODES, Service, deployment};

/// Returns the rows of `images` in one place; this machine has no node.
fn rows(service: &Service, node: Option<&str>) -> Vec<Value> {
    let output = service.kdev(&["images", "--message-format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["node"].as_str() == node).collect()
}

/// Returns the lines of `ctr images ls` with this text.
fn records(node: &str, text: &str) -> Vec<String> {
    let list = run(&mut in_node(node, &["ctr", "-n", "k8s.io", "images", "ls"]));
    list.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Returns the digest of the manifest in a line of `ctr images ls`.
fn target(record: &str) -> &str {
    record
        .split_whitespace()
        .find(|word| word.starts_with("sha256:") && !record.starts_with(word))
        .unwrap()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn each_up_leaves_the_newest_builds() {
    let service = Service::new("tidy");
    let first = service.up_ok();
    assert!(!first.contains("Removed"), "{first}");
    let build = |page: &str| {
        service.set_page(page);
        service.up_ok()
    };
    let before = NODES.map(|node| records(node, "/tidy:kdev-").remove(0));
    build("second");
    let last = build("third");
    assert!(!last.contains("Removed"), "{last}");
    // A tag of the user on the first build, and one that only resembles a build.
    let name = before[0].split_whitespace().next().unwrap();
    for tag in ["docker.io/library/tidy:mine", "docker.io/library/tidy:kdev-mine"] {
        run(&mut in_node("node-1", &["ctr", "-n", "k8s.io", "images", "tag", name, tag]));
    }
    let mut last = build("fourth");
    if last.contains("older builds were not removed: a load onto node") {
        // `up` does not wait for the loads of other tests, but `prune` does.
        last.push_str(&stderr_text(&service.kdev(&["prune"]).output().unwrap()));
    }
    for place in ["node-1", "node-2", "Docker"] {
        assert!(last.contains(&format!("Removed {place}: tidy:kdev-")), "{last}");
    }
    for (node, first) in NODES.into_iter().zip(&before) {
        let names = records(node, "/tidy:kdev-");
        let builds = names.iter().filter(|line| !line.contains("kdev-mine"));
        assert_eq!(builds.clone().count(), 3, "{names:?}");
        let pinned = builds.filter(|line| line.contains("io.cri-containerd.pinned=pinned"));
        assert_eq!(pinned.count(), 1, "{names:?}");
        // The name of the CRI goes with the last name of the image.
        let remaining = records(node, target(first));
        let expected = if node == "node-1" { 3 } else { 0 };
        assert_eq!(remaining.len(), expected, "{node}: {remaining:?}");
    }
    let tags = run(&mut docker(&["image", "ls", "--format", "{{.Tag}}", "tidy"]));
    assert_eq!(tags.lines().filter(|tag| tag.starts_with("kdev-")).count(), 3, "{tags}");

    // What a container uses stays, whatever its age: containerd records one of its names.
    let rows_of_node = rows(&service, Some("node-2"));
    assert_eq!(rows_of_node.len(), 3, "{rows_of_node:?}");
    assert!(rows_of_node[0]["pods"][0].as_str().unwrap().starts_with("tidy/tidy-"));
    assert!(rows_of_node[0]["shared_bytes"].as_u64().unwrap() > 1_000_000, "{rows_of_node:?}");
    run(&mut kubectl("tidy", &["rollout", "undo", "deployment/tidy"]));
    run(&mut kubectl("tidy", &["rollout", "status", "deployment/tidy", "--timeout=60s"]));
    wait_for("the pods of the fourth build to end", || {
        (rows(&service, Some("node-2"))[0]["containers"] == 0).then_some(())
    });
    let ran = service.kdev(&["prune", "--keep", "1"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", stderr_text(&ran));
    let left = rows(&service, Some("node-2"));
    let pods: Vec<usize> = left.iter().map(|row| row["pods"].as_array().unwrap().len()).collect();
    assert_eq!(pods, [0, 1], "{left:?}");

    let output = service.kdev(&["down", "--namespace", "tidy", "--images"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    let left = images_on("node-1", "/tidy:");
    assert_eq!(left, ["docker.io/library/tidy:kdev-mine", "docker.io/library/tidy:mine"]);
    assert_eq!(images_on("node-2", "/tidy:"), [""; 0]);
    assert_eq!(rows(&service, None).len(), 1);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn newest_build_survives_image_garbage_collection() {
    // Only containerd 1.7 and newer report pins to the kubelet.
    let node = "node-2";
    let service = Service::with_claim("pinned", Claim::access().breaks(Part::Pods(node)));
    service.pin_to(node);
    service.up_ok();
    service.set_page("second");
    service.up_ok();
    // Without pods, a build is removed unless it is pinned.
    let idle = deployment("pinned", "").replace("replicas: 2", "replicas: 0");
    service.write("k8s/all.yaml", &idle);
    service.up_ok();
    wait_for("the pods to end", || service.pods().is_empty().then_some(()));
    let all = images_on(node, "/pinned:kdev-");
    assert_eq!(all.len(), 2, "{all:?}");
    let newest: Vec<String> = records(node, "/pinned:kdev-")
        .iter()
        .filter(|line| line.contains("io.cri-containerd.pinned=pinned"))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    // The disk is always fuller than this, so that the kubelet removes all images that it may.
    let keys =
        "imageMinimumGCAge: 1ms\nevictionHard:\n  memory.available: 50Mi\n  imagefs.available: 99%";
    let kubelet = ReconfiguredKubelet::start(&service.permit, service.dir(), node, keys);
    wait_for("the collection", || (images_on(node, "/pinned:kdev-").len() < 2).then_some(()));
    assert_eq!(images_on(node, "/pinned:kdev-"), newest);
    drop(kubelet);
    wait_for("the node to accept pods", || {
        let taints =
            run(&mut kubectl("pinned", &["get", "node", node, "--output=jsonpath={.spec.taints}"]));
        (!taints.contains("disk-pressure")).then_some(())
    });

    // An image that was removed nevertheless is loaded again, without a build.
    run(&mut in_node(node, &["ctr", "-n", "k8s.io", "images", "rm", "--sync", &newest[0]]));
    let stderr = service.up_ok();
    assert!(stderr.contains("Loaded node-2"), "{stderr}");
    assert_eq!(images_on(node, "/pinned:kdev-"), newest);
}
