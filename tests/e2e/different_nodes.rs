//! Nodes that are missing different layers of one image.

use std::fs;

use crate::docker_variants::{docker_at, start_remote_docker};
use crate::far_docker::CountingClient;
use crate::lab::{images_on, run, stderr_text};
use crate::partial_load::{assert_small_load, sent_bytes};
use crate::test_service::{NODES, Service};

/// Builds an image with these files, each in a layer, and returns its name.
fn build(service: &Service, host: &str, files: &[&str]) -> String {
    let image = format!("{}:{}", service.name, files.join("-"));
    let copies: Vec<String> = files.iter().map(|file| format!("COPY {file} /{file}\n")).collect();
    let dockerfile = format!("FROM scratch\nCOPY busybox /busybox\n{}", copies.concat());
    service.write("Dockerfile", &dockerfile);
    run(docker_at(host, &["build", "--tag", &image, "."]).current_dir(service.dir()));
    image
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_is_read_once_for_nodes_with_different_layers() {
    let mut service = Service::new("different");
    let _daemon = start_remote_docker(&mut service);
    let host = service.docker_host.clone().unwrap();
    for file in ["one", "two"] {
        // The folder is another one in each run, and so are the layers.
        service.write(file, &format!("{file} in {}", service.dir().display()));
    }
    for (node, files) in NODES.into_iter().zip([["one"], ["two"]]) {
        let image = build(&service, &host, &files);
        run(&mut service.kdev(&["load", &image, "--node", node]));
    }
    let image = build(&service, &host, &["one", "two"]);
    fs::remove_dir_all(service.path("cache/kdev/layers")).unwrap();
    let client = CountingClient::new(&service);
    let (output, saves) =
        client.run(&mut service.kdev(&["load", &image, "--message-format", "json"]));
    let (stderr, events) = (stderr_text(&output), String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(saves, 1, "{stderr}\n{events}");
    for node in NODES {
        assert_eq!(images_on(node, &image), [format!("docker.io/library/{image}")], "{stderr}");
    }
    assert_small_load(&sent_bytes(&events));
}
