//! The base of an image without Docker: `base` in the table `container`.

use std::fs;

use kdev_core::image::digest::sha256;
use serde_json::{Value, json};

use crate::assemble::{self, STATIC, run, tag};
use crate::build::sh;
use crate::project::Project;

/// The settings of the base's containers.
const SETTINGS: &str = r#"{"User":"1000","Env":["PATH=/bin","A=1"],"WorkingDir":"/srv","Cmd":["sh"],"Healthcheck":{"Test":["CMD"]},"Labels":null}"#;
/// Writes `base.tar`, an archive of Docker. Its image has the libraries of this machine.
const ARCHIVE: &str = r#"mkdir -p root/lib64 root/usr/lib saved
cp -L /lib64/ld-linux-x86-64.so.2 root/lib64/ld-2.so.1 && ln -sf ld-2.so.1 root/lib64/ld-linux-x86-64.so.2
cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 /lib/x86_64-linux-gnu/libc.so.6 root/usr/lib
sed -i "$EDIT" root/usr/lib/libc.so.6
rm -f root/$REMOVED
tar --sort=name --mtime=@0 -C root -cf saved/layer.tar .
id=$(sha256sum <saved/layer.tar | cut -d ' ' -f 1)
printf '{"os":"linux","architecture":"%s","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$ARCH" "$SETTINGS" "$id" >saved/config.json
echo '[{"Config":"config.json","RepoTags":["base:1"],"Layers":["layer.tar"]}]' >saved/manifest.json
tar -C saved -cf base.tar manifest.json config.json layer.tar"#;

/// Creates a project with a dynamic program on this base.
fn project(base: &str) -> Project {
    let project =
        assemble::project(&format!("[package.metadata.kdev.container]\nbase = \"{base}\"\n"));
    project.write(".cargo/config.toml", "");
    project
}

/// A base with another architecture, a C library that `sed` has edited, or without a file.
fn write_archive(project: &Project, architecture: &str, edit: &str, removed: &str) -> String {
    let variables =
        format!("ARCH={architecture} EDIT='{edit}' REMOVED={removed} SETTINGS='{SETTINGS}'");
    sh(project, &format!("{variables}\n{ARCHIVE}"));
    sha256(&fs::read(project.path("saved/layer.tar")).unwrap())
}

/// Puts the image of `base.tar` into Docker.
fn put_into_docker(project: &Project, diff_id: &str) {
    let docker = format!(
        "{}/tests/cli/fakes/docker",
        env!("CARGO_MANIFEST_DIR").replace("/crates/cargo-kdev", "")
    );
    fs::copy(docker, project.path("bin/docker")).unwrap();
    project.write("fake/image-config", SETTINGS).write("fake/layers", &format!("[\"{diff_id}\"]"));
    fs::copy(project.path("base.tar"), project.path("fake/saved.tar")).unwrap();
}

fn blobs(project: &Project, address: &str) -> String {
    fs::read_to_string(project.path(&format!("fake/node-{address}/blobs"))).unwrap_or_default()
}

/// Returns the configuration of the only image in a layout.
fn config(project: &Project, layout: &str) -> Value {
    let json = |path: &str| -> Value {
        let path = project.path(layout).join(path);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let blob =
        |entry: &Value| entry["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let manifest = json(&blob(&json("index.json")["manifests"][0]));
    for layer in manifest["layers"].as_array().unwrap() {
        let content = fs::read(project.path(layout).join(blob(layer))).unwrap();
        assert_eq!(sha256(&content), layer["digest"]);
    }
    json(&blob(&manifest["config"]))
}

#[test]
fn base_of_docker_is_sent_only_to_nodes_that_lack_it() {
    let project = project("base:1");
    let diff_id = write_archive(&project, "amd64", "", "none");
    put_into_docker(&project, &diff_id);
    fs::create_dir_all(project.path("fake/node-10.0.0.1")).unwrap();
    project.write("fake/node-10.0.0.1/blobs", &format!("{diff_id}\n"));
    let first = tag(&run(&project, &["up", "--timeout", "1"]));
    assert_eq!(blobs(&project, "10.0.0.1").matches(&diff_id).count(), 1);
    assert!(blobs(&project, "10.0.0.2").contains(&diff_id), "{}", blobs(&project, "10.0.0.2"));
    // The libraries of the base were read, and the nodes have its layer.
    project.remove("fake/saved.tar");
    sh(&project, "rm -r .cache/kdev/layers/blobs");
    assert_eq!(tag(&run(&project, &["up", "--timeout", "1"])), first);
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    assert_ne!(tag(&run(&project, &["up", "--timeout", "1"])), first);
    assert_eq!(project.calls().matches("docker save").count(), 1, "{}", project.calls());
}

#[test]
fn base_of_podman_stays_on_nodes() {
    let project = project("base:1");
    project.write(".cargo/config.toml", &format!("[build]\n{STATIC}\n")).install_podman();
    let diff_id = format!("sha256:{}", "0".repeat(64));
    for address in ["10.0.0.1", "10.0.0.2"] {
        fs::create_dir_all(project.path(&format!("fake/node-{address}"))).unwrap();
        project.write(&format!("fake/node-{address}/blobs"), &diff_id);
    }
    project.write("fake/image-config", SETTINGS).write("fake/layers", &format!("[\"{diff_id}\"]"));
    let error = "error: base `base:1` not found in Podman\n  help: run `podman pull base:1`\n";
    run(&project, &["up", "--timeout", "1"]).code(90).stderr(error);
    project.write("fake/podman-names", "docker.io/library/base:1\n");
    tag(&run(&project, &["up", "--timeout", "1"]));
    assert!(!project.calls().contains("podman save"), "{}", project.calls());
}

/// Without `--target` and without musl, the program has the shared libraries of the base.
#[test]
fn default_target_with_base_is_dynamic() {
    let project = project("base.tar");
    write_archive(&project, "amd64", "", "none");
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let lines = cargo.lines().filter(|line| !line.starts_with("cargo-build"));
    project.write("Cargo.toml", &lines.collect::<Vec<_>>().join("\n"));
    let rustc = std::path::Path::new(env!("CARGO")).with_file_name("rustc").display().to_string();
    let rustc = format!("case \"$*\" in *musl*) echo /absent ;; *) exec {rustc} \"$@\" ;; esac");
    project.script("rustc", &rustc);
    tag(&run(&project, &["up", "--timeout", "1"]));
    let program = fs::read(project.path("target/x86_64-unknown-linux-gnu/debug/app")).unwrap();
    let loader = b"/lib64/ld-linux-x86-64.so.2\0";
    assert!(program.windows(loader.len()).any(|part| part == loader));
    // The same target without a base is static.
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &cargo.replace("base = \"base.tar\"", ""));
    tag(&run(&project, &["up", "--timeout", "1"]));
    let program = fs::read(project.path("target/x86_64-unknown-linux-gnu/debug/app")).unwrap();
    assert!(!program.windows(loader.len()).any(|part| part == loader));
}

/// Creates a project whose base is `base:1` on the nodes.
fn project_with_base_on_nodes() -> Project {
    let project = project("x");
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &cargo.replace("\"x\"", "{ node = \"base:1\" }"));
    project
}

/// Puts an image `base:1` with one layer on a node.
fn put_base_on_node(project: &Project, address: &str, user: &str, diff_id: &str) {
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {"User": user},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let dir = format!("fake/node-{address}");
    let images = "docker.io/library/base:1 sha256:m\nsha256:config sha256:m\n";
    fs::create_dir_all(project.path(&dir)).unwrap();
    project.write(&format!("{dir}/images"), images).write(&format!("{dir}/blobs"), diff_id);
    let text = serde_json::to_string_pretty(&config).unwrap();
    project.write(&format!("{dir}/content-sha256:config"), &text);
}

#[test]
fn different_bases_on_nodes_are_rejected_before_build() {
    let digests = ["0", "1"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let [first, other] = digests.each_ref().map(String::as_str);
    for (user, diff_id) in [("1000", other), ("1001", first)] {
        let project = project_with_base_on_nodes();
        put_base_on_node(&project, "10.0.0.1", "1000", first);
        put_base_on_node(&project, "10.0.0.2", user, diff_id);
        let before = ["10.0.0.1", "10.0.0.2"].map(|address| project.images_on(address));
        run(&project, &["up"]).code(90).stderr(
            "error: base `base:1` on nodes `n1` and `n2` is not the same image
  help: run `cargo kdev load base:1`, or set `base` to an image on this machine\n",
        );
        assert!(!project.path("target").exists());
        assert_eq!(["10.0.0.1", "10.0.0.2"].map(|address| project.images_on(address)), before);
        // A node that the pods cannot use does not count.
        run(&project, &["up", "--node", "n1", "--timeout", "1"]);
        assert!(project.images_on("10.0.0.1").len() > before[0].len());
    }
}

#[test]
fn base_on_nodes_is_not_sent() {
    let project = project_with_base_on_nodes();
    run(&project, &["build"]).code(90).stderr(
        "error: base `base:1` is on the nodes, so only `up` can build this image
  help: run `cargo kdev up`, or set `base` to an image on this machine\n",
    );
    run(&project, &["up"]).code(90).stderr(
        "error: base `base:1` not found on nodes `n1` and `n2`
  help: run `cargo kdev load base:1`, or set `base` to an image on this machine\n",
    );
    assert!(!project.path("target").exists());
    let diff_id = format!("sha256:{}", "0".repeat(64));
    put_base_on_node(&project, "10.0.0.1", "1000", &diff_id);
    let ran = run(&project, &["up"]);
    let error = "error: failed to get the layers that node `n2` is missing: base `base:1` is not on this node\n  help: run `cargo kdev load base:1`, or set `base` to an image on this machine\n";
    assert!(ran.err().ends_with(error), "{}", ran.err());
    put_base_on_node(&project, "10.0.0.2", "1000", &diff_id);
    let ran = run(&project, &["up", "--timeout", "1"]);
    let note =
        "needs libraries of base `base:1`, which are not checked, because they are on the nodes";
    assert!(ran.err().contains(note), "{}", ran.err());
    let name = format!("docker.io/library/app:{}", tag(&ran));
    for address in ["10.0.0.1", "10.0.0.2"] {
        assert!(project.images_on(address).contains(&name), "{address}: {}", ran.err());
    }
}

#[test]
fn same_base_gives_same_image_from_everywhere() {
    let project = project("base.tar");
    let diff_id = write_archive(&project, "amd64", "", "none");
    let archived = tag(run(&project, &["build", "--output", "one"]).code(0));
    let config = config(&project, "one");
    let mut layers = config["rootfs"]["diff_ids"].as_array().unwrap().clone();
    assert_eq!((layers.len(), layers.remove(0)), (2, json!(diff_id)));
    let expected = json!({
        "User": "1000", "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/srv",
        "Entrypoint": ["/usr/local/bin/app"], "Cmd": [],
    });
    assert_eq!(config["config"], expected);
    put_into_docker(&project, &diff_id);
    let set = |base: &str| {
        let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
        let (before, _) = cargo.split_once("base = ").unwrap();
        project.write("Cargo.toml", &format!("{before}base = \"{base}\"\n"));
    };
    set("base:1");
    assert_eq!(tag(run(&project, &["build"]).code(0)), archived);
    // An image of kdev is a base, too: a layout.
    set("./one");
    let layered = tag(run(&project, &["build", "--output", "two"]).code(0));
    assert_ne!(layered, archived);
    assert_eq!(self::config(&project, "two")["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
    // The other settings have precedence over those of the base.
    sh(
        &project,
        "sed -i 's,^base = .*,base = \"./one\"\\nuser = \"7\"\\nworking-dir = \"/x\"\\nenv = { A = \"2\" },' Cargo.toml",
    );
    run(&project, &["build", "--output", "three"]).code(0);
    let config = &self::config(&project, "three")["config"];
    assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("7"), &json!("/x")));
    assert_eq!(config["Env"], json!(["PATH=/bin", "A=2"]));
}

#[test]
fn program_that_does_not_run_on_base_is_rejected() {
    let app = "`[ROOT]/target/x86_64-unknown-linux-gnu/debug/app`";
    let missing = "or build a static program for a musl target";
    let table = [
        // No version above 2.09.
        (
            "s/ABI_DT_RELR/ABI_DT_XXXX/g;s/GLIBC_2[.][1-9]\\([0-9]\\)/GLIBC_2.0\\1/g",
            "none",
            format!(
                "error: {app} needs version 2.34 of the GNU C library, but base `base.tar` has version 2.9\n  help: set `base` to a newer image, {missing}\n"
            ),
        ),
        (
            "",
            "usr/lib/libgcc_s.so.1",
            format!(
                "error: {app} needs files that base `base.tar` does not have: `libgcc_s.so.1`\n  help: set `base` to an image that has them, {missing}\n"
            ),
        ),
        (
            "",
            "lib64/ld-2.so.1",
            format!(
                "error: {app} needs files that base `base.tar` does not have: `/lib64/ld-linux-x86-64.so.2`\n  help: set `base` to an image that has them, {missing}\n"
            ),
        ),
    ];
    for (edit, removed, error) in table {
        let project = project("base.tar");
        write_archive(&project, "amd64", edit, removed);
        for _ in 0..2 {
            let ran = run(&project, &["up"]);
            assert!(ran.code(90).err().ends_with(&error), "{}", ran.err());
        }
        assert!(project.images_on("10.0.0.1").is_empty());
    }
}

#[test]
fn unusable_base_is_rejected_before_build() {
    let docker = project("nosuch:1");
    put_into_docker_without_archive(&docker);
    let other = project("base:1");
    put_into_docker_without_archive(&other);
    other.write("fake/image-arch", "arm64");
    let archive = project("base.tar");
    write_archive(&archive, "arm64", "", "none");
    let garbage = project("base.tar");
    garbage.write("base.tar", "no archive at all");
    let table = [
        (
            docker,
            "error: base `nosuch:1` not found in Docker\n  help: run `docker pull nosuch:1`\n",
        ),
        (
            other,
            "error: base `base:1` is for linux/arm64, but the image is for linux/amd64\n  help: run `docker pull --platform linux/amd64 base:1`\n",
        ),
        (
            project("./absent"),
            "error: `[ROOT]/./absent` of `base` not found\n  help: correct `base` in `[package.metadata.kdev.container]`, which is relative to the package's folder\n",
        ),
        (
            archive,
            "error: base `base.tar` is for linux/arm64, but the image is for linux/amd64\n  help: set `base` to an image for linux/amd64\n",
        ),
        (
            garbage,
            "error: cannot read base `base.tar`\n  caused by: failed to read the archive: failed to read entire block\n  help: set `base` to an archive of `docker save`, or to an OCI image layout\n",
        ),
    ];
    for (project, error) in table {
        run(&project, &["build"]).code(90).stderr(error);
        assert!(!project.path("target").exists());
    }
}

fn put_into_docker_without_archive(project: &Project) {
    project.write("base.tar", "");
    put_into_docker(project, &format!("sha256:{}", "0".repeat(64)));
}
