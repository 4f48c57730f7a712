//! Loads archives written by Docker, containerd and skopeo.

use std::fs::File;
use std::process::Stdio;

use crate::lab::{docker, images_on, in_node, run};
use crate::partial_load::sent_bytes;
use crate::test_service::{NODES, Service};

/// Builds the service's image with this tag, and returns its name.
fn build_image(service: &Service, tag: &str) -> String {
    let image = format!("{}:{tag}", service.name);
    run(docker(&["build", "--tag", &image, "."]).current_dir(service.dir()));
    image
}

#[track_caller]
fn load_archive(service: &Service, archive: &str, stdin: Stdio) -> Vec<u64> {
    let mut load = service.kdev(&["load", archive, "--message-format", "json"]);
    let output = load.stdin(stdin).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    sent_bytes(&stdout)
}

#[track_caller]
fn assert_loaded(image: &str) {
    for node in NODES {
        assert_eq!(images_on(node, image), [format!("docker.io/library/{image}")]);
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn docker_archive_is_loaded_from_file_and_stdin() {
    let service = Service::new("saved");
    let image = build_image(&service, "1");
    run(docker(&["save", "--output", "saved.tar", &image]).current_dir(service.dir()));
    load_archive(&service, "saved.tar", Stdio::null());
    assert_loaded(&image);

    service.set_page("second");
    let image = build_image(&service, "2");
    let mut save = docker(&["save", &image]).stdout(Stdio::piped()).spawn().unwrap();
    let sent = load_archive(&service, "-", save.stdout.take().unwrap().into());
    assert!(save.wait().unwrap().success());
    assert_loaded(&image);
    // The layer of the program is already on the nodes.
    assert!(sent.len() == NODES.len() && sent.iter().all(|bytes| *bytes < 64 << 10), "{sent:?}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_with_two_names_is_loaded_under_both() {
    let service = Service::new("two-names");
    let images = ["1", "2"].map(|tag| build_image(&service, tag));
    let mut save = docker(&["save", "--output", "two.tar"]);
    run(save.args(&images).current_dir(service.dir()));
    let sent = load_archive(&service, "two.tar", Stdio::null());
    for image in &images {
        assert_loaded(image);
    }
    // The second name needs no layers.
    let renamed = &sent[NODES.len()..];
    assert!(
        renamed.len() == NODES.len() && renamed.iter().all(|bytes| *bytes < 4 << 10),
        "{sent:?}"
    );
    // Nothing is left to do.
    assert_eq!(load_archive(&service, "two.tar", Stdio::null()), [0; 0]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn compressed_containerd_export_is_loaded() {
    let service = Service::new("exported");
    let image = build_image(&service, "1");
    run(&mut service.kdev(&["load", &image, "--node", "node-1"]));
    let name = format!("docker.io/library/{image}");
    let export = ["ctr", "-n", "k8s.io", "images", "export", "-", &name];
    let archive = service.path("exported.tar");
    let file = File::create(&archive).unwrap();
    assert!(in_node("node-1", &export).stdout(file).status().unwrap().success());
    run(crate::lab::command("gzip").arg(&archive));
    for node in NODES {
        run(&mut in_node(node, &["ctr", "-n", "k8s.io", "images", "rm", &name]));
    }
    load_archive(&service, "./exported.tar.gz", Stdio::null());
    assert_loaded(&image);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn skopeo_archives_are_loaded_in_both_formats() {
    let service = Service::new("copied");
    let image = build_image(&service, "1");
    let (saved, name) = (service.path("saved.tar"), service.name);
    run(docker(&["save", "--output"]).arg(&saved).arg(image));
    // buildah and podman use the same library to write archives.
    for form in ["docker-archive", "oci-archive"] {
        let from = format!("docker-archive:{}", saved.display());
        let archive = service.path(&format!("{form}.tar")).display().to_string();
        let to = format!("{form}:{archive}:{name}:{form}");
        run(crate::lab::command("skopeo").args([
            "--insecure-policy",
            "copy",
            "--quiet",
            &from,
            &to,
        ]));
        load_archive(&service, &archive, Stdio::null());
        assert_loaded(&format!("{name}:{form}"));
    }
}
