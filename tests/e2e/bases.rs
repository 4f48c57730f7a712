//! Images without Docker on a base, and their archives and layouts.

use std::fs;
use std::path::{Path, PathBuf};

use crate::images::OtherImages;
use crate::init::{Place, SERVER};
use crate::lab::{command, docker, images_on, in_node, run, stderr_text};

/// The files of this machine that a dynamic program needs.
const LIBRARIES: &str = "mkdir -p root/lib64 root/lib/x86_64-linux-gnu
cp -L /lib64/ld-linux-x86-64.so.2 root/lib64
cp -L /lib/x86_64-linux-gnu/libc.so.6 /lib/x86_64-linux-gnu/libgcc_s.so.1 root/lib/x86_64-linux-gnu
printf 'FROM scratch\\nCOPY root /\\nENV FROM_BASE=1\\nUSER 1000\\n' >Dockerfile";
const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      securityContext: {runAsNonRoot: true}
      containers:
      - name: app
        image: NAME
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports: [{port: 80, targetPort: 8080}]
";

/// Creates a package whose program has shared libraries.
fn create_package(place: &Place, name: &str, container: &str) -> PathBuf {
    let dir = place.dir.path().join(name);
    run(command("cargo").args(["new", "--quiet", "--vcs", "none", "--name", name]).arg(&dir));
    fs::write(dir.join("src/main.rs"), SERVER).unwrap();
    let cargo = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    let settings = "contexts = [\"kdev-lab\"]\nbuilder = \"cargo\"\ncargo-build = [\"--target=x86_64-unknown-linux-gnu\"]\n";
    let kdev = format!("[package.metadata.kdev]\n{settings}[package.metadata.kdev.container]\n");
    fs::write(dir.join("Cargo.toml"), format!("{cargo}{kdev}{container}\n")).unwrap();
    fs::create_dir(dir.join("k8s")).unwrap();
    fs::write(dir.join("k8s/app.yaml"), MANIFEST.replace("NAME", name)).unwrap();
    dir
}

/// Builds the image of a base in Docker.
fn build_base(place: &Place, name: &str) {
    let dir = place.dir.path().join("base");
    fs::create_dir_all(&dir).unwrap();
    run(command("sh").args(["-euc", LIBRARIES]).current_dir(&dir));
    run(docker(&["build", "--tag", name, "."]).current_dir(&dir));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn dynamic_program_is_deployed_on_base_of_docker() {
    let place = Place::new("based");
    let _images = OtherImages(&["based", "based-base"]);
    build_base(&place, "based-base:1");
    let dir = create_package(&place, "based", "base = \"based-base:1\"");
    place.run("based", &["up", "--context", "kdev-lab"]);
    place.wait_for_page("based", "first");
    fs::write(dir.join("src/main.rs"), SERVER.replace("first", "later")).unwrap();
    let changed = place.run("based", &["up", "--context", "kdev-lab"]);
    // The libraries are not sent again.
    assert!(changed.contains(" already present"), "{changed}");
    place.wait_for_page("based", "later");
    place.run("based", &["down", "--images"]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn dynamic_program_is_deployed_on_base_of_nodes() {
    let place = Place::new("noded");
    let _images = OtherImages(&["noded", "noded-base"]);
    build_base(&place, "noded-base:1");
    create_package(&place, "noded", "base = { node = \"noded-base:1\" }");
    place.run("noded", &["load", "noded-base:1", "--context", "kdev-lab"]);
    let mut up = place.kdev("noded", &["up", "--context", "kdev-lab"]);
    // No daemon listens there.
    let output = up.env("DOCKER_HOST", "unix:///absent/docker.sock").output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("which are not checked, because they are on the nodes"), "{stderr}");
    place.wait_for_page("noded", "first");
    place.run("noded", &["down", "--images"]);
}

#[track_caller]
fn skopeo_config(image: &str) -> String {
    run(command("skopeo").args(["inspect", "--config", image]))
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn other_programs_read_output_of_build() {
    let place = Place::new("output");
    let _images = OtherImages(&["output", "output-base"]);
    build_base(&place, "output-base:1");
    let dir = create_package(&place, "output", "base = \"output-base:1\"");
    place.run("output", &["build", "--output", "image.tar"]);
    place.run("output", &["build", "--output", "layout"]);
    let at = |path: &str| dir.join(path).display().to_string();

    let listed = run(docker(&["load", "--input", &at("image.tar")]).current_dir(&dir));
    let name = listed.trim().strip_prefix("Loaded image: ").unwrap().to_owned();
    let tag = name.strip_prefix("output:").unwrap();
    let user = run(&mut docker(&["image", "inspect", "--format", "{{.Config.User}}", &name]));
    assert_eq!(user.trim(), "1000");
    // Docker has the same configuration.
    let id = run(&mut docker(&["image", "inspect", "--format", "{{.Id}}", &name]));
    assert!(id.starts_with(&format!("sha256:{}", tag.strip_prefix("kdev-").unwrap())), "{id}");

    let from_archive = skopeo_config(&format!("oci-archive:{}", at("image.tar")));
    assert!(from_archive.contains("FROM_BASE=1"), "{from_archive}");
    assert_eq!(skopeo_config(&format!("oci:{}:{tag}", at("layout"))), from_archive);
    assert_eq!(skopeo_config(&format!("docker-archive:{}", at("image.tar"))), from_archive);
    let layout = format!("{}:{tag}", at("layout"));
    run(command("umoci").args(["unpack", "--image", &layout, &at("bundle")]));
    let bundle = fs::read_to_string(at("bundle/config.json")).unwrap();
    assert!(bundle.contains("/usr/local/bin/output"), "{bundle}");
    for file in ["usr/local/bin/output", "lib64/ld-linux-x86-64.so.2"] {
        assert!(dir.join("bundle/rootfs").join(file).is_file(), "{file}");
    }

    for node in ["node-1", "node-2"] {
        let import = ["ctr", "-n", "k8s.io", "images", "import", &at("image.tar")];
        run(&mut in_node(node, &import));
        let full = format!("docker.io/library/{name}");
        assert_eq!(images_on(node, "/output:"), std::slice::from_ref(&full), "{node}");
        check_unpacked(node, &full);
    }
    assert!(Path::new(&at("layout/oci-layout")).is_file());
}

/// Checks that containerd has all layers, and has unpacked them.
#[track_caller]
fn check_unpacked(node: &str, name: &str) {
    let filter = format!("name==\"{name}\"");
    let checked = run(&mut in_node(node, &["ctr", "-n", "k8s.io", "images", "check", &filter]));
    let line = checked.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line.contains("complete") && line.trim().ends_with("true"), "{checked}");
}
