//! Docker 29 at a TCP address, which cannot push to kdev's endpoint: `BuildKit` exports the new
//! layers.

use std::fs;

use crate::daemons::create_docker_config;
use crate::docker_variants::{Daemon, start_docker_29, start_remote_docker};
use crate::far_docker::CountingClient;
use crate::lab::{in_node, kubectl, run, stderr_text, wait_for};
use crate::partial_load::{BASE, assert_small_load, sent_bytes, service_with_large_base};
use crate::test_service::{NODES, Service};

struct FarDocker {
    service: Service,
    client: CountingClient,
    _daemons: [Daemon; 2],
}

impl FarDocker {
    fn start(name: &'static str) -> Self {
        let mut service = service_with_large_base(name);
        let docker = start_docker_29(&mut service);
        let address = start_remote_docker(&mut service);
        let config = service.path("docker/config");
        create_docker_config(&config);
        service.variables.push(("DOCKER_CONFIG", config.display().to_string()));
        Self { client: CountingClient::new(&service), service, _daemons: [address, docker] }
    }

    /// Builds and deploys a page without `docker save`. Returns the number of bytes sent to each
    /// node.
    #[track_caller]
    fn up(&self, page: &str) -> Vec<u64> {
        self.service.set_page(page);
        let mut up = self.service.up(&["--message-format", "json"]);
        let (output, saves) = self.client.run(&mut up);
        assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
        assert_eq!(self.service.pages(), NODES.map(|node| (node.to_owned(), page.to_owned())));
        assert_eq!(saves, 0, "{}", stderr_text(&output));
        sent_bytes(&String::from_utf8(output.stdout).unwrap())
    }
}

/// Removes all images of a service from a node, with their layers.
pub(crate) fn remove_images(service: &Service, node: &str) {
    let name = service.name;
    run(&mut kubectl(name, &["delete", "deployment", "--all"]));
    run(&mut kubectl(name, &["wait", "--for=delete", "pod", "--all"]));
    // The kubelet removes containers after the pod, and their snapshots keep the layers.
    let of_namespace = format!("labels.\"io.kubernetes.pod.namespace\"=={name}");
    wait_for("the removal of the containers", || {
        let list = ["ctr", "-n", "k8s.io", "containers", "ls", "--quiet", &of_namespace];
        run(&mut in_node(node, &list)).trim().is_empty().then_some(())
    });
    let list = run(&mut in_node(node, &["ctr", "-n", "k8s.io", "images", "ls"]));
    let lines = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lines: Vec<Vec<&str>> = lines.filter(|line| line.len() > 2).collect();
    let own = lines.iter().filter(|line| line[0].contains(&format!("/{name}:")));
    // The CRI has recorded each image a second time.
    let digests: Vec<&str> = own.map(|line| line[2]).collect();
    let images = lines.iter().filter(|line| digests.contains(&line[2])).map(|line| line[0]);
    let mut rm = in_node(node, &["ctr", "-n", "k8s.io", "images", "rm", "--sync"]);
    run(rm.args(images));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unreachable_docker_29_exports_changed_layers() {
    let docker = FarDocker::start("layout");
    let first = docker.up("one");
    assert!(first.iter().all(|bytes| *bytes > BASE as u64), "sent {first:?}");
    assert_small_load(&docker.up("two"));
    assert_small_load(&docker.up("three"));
    let layouts = fs::read_dir(docker.service.path("cache/kdev")).unwrap().flatten();
    let left = layouts.filter(|entry| entry.file_name().to_string_lossy().starts_with("layout-"));
    assert_eq!(left.count(), 0);

    // A placeholder stands for a layer that this node does not have any more.
    let cache = docker.service.path("cache/kdev/layers");
    fs::remove_dir_all(&cache).unwrap();
    remove_images(&docker.service, NODES[1]);
    let sent = docker.up("four");
    assert_eq!(sent.iter().filter(|bytes| **bytes > BASE as u64).count(), 1, "sent {sent:?}");
}
