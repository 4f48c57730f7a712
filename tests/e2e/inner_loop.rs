//! The main workflow: an image that exists only in Docker does not run in the cluster, and
//! `up` runs it, again after each change.

use std::fs;

use serde_json::Value;

use crate::lab::{
    self, apply, count_registry_requests, docker, free_port, get, images_on, in_node, run, wait_for,
};
use crate::test_service::{NODES, Service, deployment, fetch};

/// Returns the reason why a pod's container is waiting.
fn waiting_reason(namespace: &str, pod: &str) -> Option<String> {
    let pod = get(namespace, &["pod", pod]);
    pod.pointer("/status/containerStatuses/0/state/waiting/reason")?.as_str().map(str::to_owned)
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_only_in_docker_does_not_run() {
    let service = Service::new("only-docker");
    run(docker(&["build", "--tag", "only-docker:latest", "."]).current_dir(service.dir()));
    let before = count_registry_requests("/library/only-docker/");
    let table = [
        ("always", ":latest", "imagePullPolicy: Always", true),
        ("latest", ":latest", "", true),
        ("untagged", "", "", true),
        ("if-not-present", ":latest", "imagePullPolicy: IfNotPresent", true),
        ("never", ":latest", "imagePullPolicy: Never", false),
    ];
    for (name, tag, policy, _) in table {
        apply(
            service.name,
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    image: only-docker{tag}\n    {policy}\n"
            ),
        );
    }
    for (name, _, _, is_pulled) in table {
        let expected: &[&str] =
            if is_pulled { &["ErrImagePull", "ImagePullBackOff"] } else { &["ErrImageNeverPull"] };
        let reason = wait_for(name, || {
            waiting_reason(service.name, name).filter(|reason| reason != "ContainerCreating")
        });
        assert!(expected.contains(&reason.as_str()), "{name}: {reason}");
    }
    assert!(
        count_registry_requests("/library/only-docker/") > before,
        "no pull reached the registry"
    );
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn failing_manifest_runs_without_pull_after_up() {
    let service = Service::new("story");
    // First with `kubectl apply`: the pull fails, and `kubectl` owns the fields.
    run(docker(&["build", "--tag", "story:latest", "."]).current_dir(service.dir()));
    apply(service.name, &deployment("story", "imagePullPolicy: Always"));
    wait_for("the failing pull", || {
        let failing = |pod: &Value| {
            let reason = pod.pointer("/status/containerStatuses/0/state/waiting/reason");
            reason.is_some_and(|r| r == "ErrImagePull" || r == "ImagePullBackOff")
        };
        service.pods().iter().all(failing).then_some(())
    });
    lab::run(&mut lab::kubectl(service.name, &["delete", "events", "--all"]));
    let source = fs::read(service.path("k8s/all.yaml")).unwrap();
    // Only for content tags: the first pods still retry the pull of `latest`.
    let registry_pulls = || count_registry_requests("/library/story/manifests/kdev-");

    let first = service.up_ok();
    assert!(first.contains("Loaded node-1") && first.contains("Loaded node-2"), "{first}");
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), "first".to_owned())));
    assert_eq!(registry_pulls(), 0, "an image was requested from the registry");
    let new_pods: Vec<String> =
        service.pods().iter().map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    let events = get(service.name, &["events"]);
    for event in events["items"].as_array().unwrap() {
        let of_new = new_pods.iter().any(|pod| event["involvedObject"]["name"] == **pod);
        assert!(!(of_new && event["reason"] == "Pulling"), "{event}");
    }
    assert_eq!(
        fs::read(service.path("k8s/all.yaml")).unwrap(),
        source,
        "the user's file was written"
    );

    assert_second_up_changes_nothing(&service);
    assert_changed_source_rolls_out(&service);
    assert_eq!(registry_pulls(), 0, "an image was requested from the registry");
}

fn assert_second_up_changes_nothing(service: &Service) {
    let version = || {
        let live = get(service.name, &["deployment", service.name]);
        (live["metadata"]["resourceVersion"].clone(), live["metadata"]["generation"].clone())
    };
    let uids =
        || service.pods().iter().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>();
    // The status still changes for a moment after the pods are ready.
    let before = wait_for("a settled deployment", || {
        let first = version();
        std::thread::sleep(std::time::Duration::from_secs(1));
        (version() == first).then_some(first)
    });
    let (pods, names) = (uids(), NODES.map(|node| images_on(node, service.name)));
    let second = service.up_ok();
    assert!(second.contains("Unchanged") && !second.contains("Loaded"), "{second}");
    assert_eq!((version(), uids()), (before, pods));
    assert_eq!(NODES.map(|node| images_on(node, service.name)), names);
}

fn assert_changed_source_rolls_out(service: &Service) {
    let image = || {
        get(service.name, &["deployment", service.name])["spec"]["template"]["spec"]["containers"]
            [0]
        .clone()
    };
    let old = image();
    assert_eq!(old["imagePullPolicy"], "Never");
    service.set_page("second");
    service.up_ok();
    assert_ne!(image()["image"], old["image"]);
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), "second".to_owned())));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn registry_image_with_same_tag_is_not_run() {
    let service = Service::new("impostor");
    // The content tag of the next build, under which another image is pushed.
    run(docker(&["build", "--tag", "impostor:mine", "."]).current_dir(service.dir()));
    let id = run(&mut docker(&["image", "inspect", "--format", "{{.Id}}", "impostor:mine"]));
    let tag = format!("kdev-{}", &id.trim().trim_start_matches("sha256:")[..12]);
    service.set_page("an impostor");
    run(docker(&["build", "--tag", "impostor:latest", "."]).current_dir(service.dir()));
    for tag in ["latest", tag.as_str()] {
        push_to_registry("impostor:latest", tag);
    }
    // With `kubectl apply`, the cluster runs the image from the registry.
    apply(service.name, &deployment("impostor", "imagePullPolicy: Always"));
    wait_for("the image from the registry", || {
        let pages = service.pages();
        let all = pages.iter().all(|(_, page)| page == "an impostor");
        (pages.len() == NODES.len() && all).then_some(())
    });
    let requests = count_registry_requests("/library/impostor/");

    service.set_page("first");
    let stderr = service.up_ok();
    assert!(stderr.contains(&tag), "{stderr}");
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), "first".to_owned())));
    assert_eq!(
        count_registry_requests("/library/impostor/"),
        requests,
        "an image was requested from the registry"
    );
}

/// Pushes an image from Docker to the lab's registry, through a containerd namespace that no
/// kubelet uses.
fn push_to_registry(image: &str, tag: &str) {
    let archive = tempfile::NamedTempFile::new_in(lab::state("")).unwrap();
    run(docker(&["save", "--output"]).arg(archive.path()).arg(image));
    let path = archive.path().to_str().unwrap();
    let ctr = ["ctr", "-n", "elsewhere"];
    run(&mut in_node("node-1", &[&ctr[..], &["image", "import", path]].concat()));
    let target = format!("{}/library/impostor:{tag}", lab::registry_address());
    let from = format!("docker.io/library/{image}");
    run(&mut in_node(
        "node-1",
        &[&ctr[..], &["image", "push", "--plain-http", &target, &from]].concat(),
    ));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn service_responds_and_pods_can_be_inspected() {
    let service = Service::new("look");
    let manifest = deployment("look", "");
    let service_yaml = "---\napiVersion: v1\nkind: Service\nmetadata: {name: look}\nspec: {selector: {app: look}, ports: [{port: 80, targetPort: 8080}]}\n";
    service.write("k8s/all.yaml", &format!("{manifest}{service_yaml}"));
    service.up_ok();
    let address =
        get(service.name, &["service", "look"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
    wait_for("a response of the service", || {
        (fetch(&format!("http://{address}/")) == "first").then_some(())
    });
    for node in NODES {
        // The kube-proxy of each node is updated separately.
        wait_for(&format!("a response of the service on {node}"), || {
            let url = format!("http://{address}/");
            let output = in_node(node, &["curl", "--silent", "--max-time", "5", &url]).output();
            (output.ok()?.stdout == b"first\n").then_some(())
        });
    }
    for pod in service.pods() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        run(&mut lab::kubectl(service.name, &["logs", name]));
        let page = run(&mut lab::kubectl(
            service.name,
            &["exec", name, "--", "/busybox", "cat", "/www/index.html"],
        ));
        assert_eq!(page, "first\n");
        let port = free_port("127.0.0.1", 18080);
        let ports = format!("{port}:8080");
        let mut forward =
            lab::kubectl(service.name, &["port-forward", name, &ports]).spawn().unwrap();
        wait_for("a forwarded page", || {
            (fetch(&format!("http://127.0.0.1:{port}/")) == "first").then_some(())
        });
        forward.kill().unwrap();
        forward.wait().unwrap();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn changed_hard_linked_binary_is_deployed() {
    let service = Service::new("twice-linked");
    let first = "COPY target/release/page /www/index.html\nENTRYPOINT";
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    service.write("Dockerfile", &dockerfile.replace("ENTRYPOINT", first));
    fs::create_dir_all(service.path("target/release/deps")).unwrap();
    // Like cargo: the program is a hard link to the file in `deps`.
    for content in ["one", "two"] {
        service.write("target/release/deps/page-1", &format!("{content}\n"));
        let _ = fs::remove_file(service.path("target/release/page"));
        let (from, to) = ("target/release/deps/page-1", "target/release/page");
        fs::hard_link(service.path(from), service.path(to)).unwrap();
        service.up_ok();
        for (node, page) in service.pages() {
            assert_eq!(page.trim(), content, "{node}");
        }
    }
}
