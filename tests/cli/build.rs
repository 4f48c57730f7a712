//! `cargo kdev build`: the image, and its archive or layout.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::project::Project;
use crate::{assemble, services};

/// Settings with which git does not depend on the user.
const GIT: &str = "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a";

/// Runs a shell script in the project, with the tools of this machine.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test prepares its project")]
pub(crate) fn sh(project: &Project, script: &str) {
    let mut sh = Command::new("/bin/sh");
    sh.args(["-euc", script]).current_dir(project.path("")).env("PATH", "/usr/bin:/bin");
    assert!(sh.status().unwrap().success(), "{script}");
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns the only manifest of a layout, and the digest of its configuration.
fn manifest(layout: &Path) -> (Value, String) {
    let blob = |digest: &str| layout.join("blobs/sha256").join(digest.replace("sha256:", ""));
    let index = json(&layout.join("index.json"));
    let [entry] = index["manifests"].as_array().unwrap().as_slice() else { panic!("{index}") };
    let manifest = json(&blob(entry["digest"].as_str().unwrap()));
    for layer in manifest["layers"].as_array().unwrap() {
        let size = fs::metadata(blob(layer["digest"].as_str().unwrap())).unwrap().len();
        assert_eq!(Some(size), layer["size"].as_u64());
    }
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let text = fs::read_to_string(blob(&config)).unwrap();
    assert!(!text.contains("created") && !text.contains("revision"), "{text}");
    (manifest, config)
}

#[test]
fn layout_has_commit_in_manifest_and_not_in_configuration() {
    let project = assemble::project("");
    // Without a cluster.
    project.remove("bin/kubectl");
    sh(
        &project,
        &format!("{GIT}; echo target >.gitignore; git init -q && git add . && git commit -qm one"),
    );
    let ran = assemble::run(&project, &["build", "--output", "image"]);
    let tag = assemble::tag(ran.code(0));
    assert!(ran.err().ends_with(&format!("       Wrote app:{tag} to image\n")), "{}", ran.err());
    let (first, digest) = manifest(&project.path("image"));
    let revision = |manifest: &Value| {
        let annotations = &manifest["annotations"];
        assert!(annotations["org.opencontainers.image.created"].is_string(), "{annotations}");
        annotations["org.opencontainers.image.revision"].as_str().unwrap().to_owned()
    };
    assert_eq!(revision(&first).len(), 40);
    sh(&project, &format!("{GIT}; git commit -q --allow-empty -m two; echo '#' >>Cargo.toml"));
    assemble::run(&project, &["build", "--output", "image"]).code(0);
    let (second, same) = manifest(&project.path("image"));
    assert_eq!(same, digest);
    assert_ne!(revision(&first)[..40], revision(&second)[..40]);
    assert!(revision(&second).ends_with("-dirty"), "{second}");
}

#[test]
fn archive_replaces_earlier_one() {
    let project = assemble::project("");
    let build = || assemble::run(&project, &["build", "-o", "image.tar"]);
    assemble::tag(build().code(0));
    sh(&project, "mkdir one && tar -xf image.tar -C one");
    let (_, digest) = manifest(&project.path("one"));
    let docker = json(&project.path("one/manifest.json"));
    let config = docker[0]["Config"].as_str().unwrap();
    assert_eq!(config, format!("blobs/{}", digest.replace(':', "/")));
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    let json = ["--message-format", "json", "build", "-o", "image.tar"];
    let ran = assemble::run(&project, &json);
    assert!(ran.code(0).out().contains(r#""reason":"wrote""#), "{}", ran.out());
    sh(&project, "mkdir two && tar -xf image.tar -C two");
    assert_ne!(manifest(&project.path("two")).1, digest);
}

/// Changes bytes of a file, but not its size.
fn damage(path: &Path) {
    let content = fs::read(path).unwrap();
    fs::write(path, vec![b'x'; content.len()]).unwrap();
}

#[test]
fn damaged_layer_is_not_part_of_output() {
    let project = assemble::project("");
    let build = || assemble::run(&project, &["build", "-o", "image"]);
    build().code(0);
    let layer = || program_layers(&project, "usr/").remove(0).1;
    let name = layer().file_name().unwrap().to_owned();
    let written = project.path("image/blobs/sha256").join(&name);
    let content = fs::read(&written).unwrap();
    damage(&written);
    build().code(0);
    assert!(fs::read(&written).unwrap() == content);
    // The second build recognizes the program, whose layer it does not read.
    damage(&project.path(".cache/kdev/layers/blobs/sha256").join(&name));
    fs::remove_dir_all(project.path("image")).unwrap();
    let ran = build();
    let error = "error: the layer cache no longer has all layers of the image, or one of them was damaged\n  help: run the command again\n";
    assert!(ran.code(90).err().ends_with(error), "{}", ran.err());
    build().code(0);
    assert!(fs::read(&written).unwrap() == content);
}

#[test]
fn layout_has_one_build_of_an_image() {
    let project = assemble::project("");
    let build = |flags: &[&str]| {
        assemble::run(&project, &[&["build", "-o", "image"], flags].concat()).code(0);
    };
    build(&[]);
    let (_, first) = manifest(&project.path("image"));
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    build(&[]);
    assert_ne!(manifest(&project.path("image")).1, first);
    build(&["--image", "other"]);
    let index = json(&project.path("image/index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2, "{index}");
    // A file that cannot be read is not replaced.
    let path = project.path("image/index.json");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assemble::run(&project, &["build", "-o", "image"]).code(90).stderr(
        "error: failed to read `image/index.json`\n  caused by: Is a directory (os error 21)\n",
    );
    fs::remove_dir(&path).unwrap();
    build(&[]);
}

#[test]
fn files_of_replaced_build_are_removed_unless_used() {
    let project = assemble::project("");
    let blobs = || -> BTreeSet<String> {
        let files = fs::read_dir(project.path("image/blobs/sha256")).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    let build = |text: &str| {
        project.write("src/main.rs", &format!("fn main() {{ println!(\"{text}\"); }}\n"));
        assemble::run(&project, &["build", "-o", "image"]).code(0);
        blobs()
    };
    let index = || json(&project.path("image/index.json"));
    let first = build("first");
    // The manifest, the configuration, and the layer of the program. The other layer is the same.
    let second = build("second");
    assert_eq!((first.len(), second.len()), (4, 4));
    assert_eq!(first.intersection(&second).count(), 1);
    // An image of another program uses the layers, and one file belongs to no image.
    let mut changed = index();
    let manifest = changed["manifests"][0].clone();
    let entry = serde_json::json!({"digest": manifest["digest"]});
    changed["manifests"].as_array_mut().unwrap().push(entry);
    project.write("image/index.json", &changed.to_string());
    project.write("image/blobs/sha256/other", "");
    let third = build("third");
    assert!(second.is_subset(&third) && third.contains("other"), "{third:?}");
    assert_eq!(third.len(), 4 + 3 + 1);
    let fourth = build("fourth");
    assert!(second.is_subset(&fourth), "{fourth:?}");
    assert_eq!(fourth.len(), third.len());
    // What an image that cannot be read uses is unknown.
    let path = manifest["digest"].as_str().unwrap().replace("sha256:", "image/blobs/sha256/");
    project.write(&path, "damaged");
    assert!(fourth.is_subset(&build("fifth")));
    let entries = index()["manifests"].as_array().unwrap().len();
    assert_eq!(entries, 2);
}

#[test]
fn output_that_cannot_be_written_is_rejected_before_build() {
    let project = assemble::project("");
    let ran = assemble::run(&project, &["build", "-o", "out/image.tar"]);
    ran.code(90)
        .stderr("error: folder `out` of `--output` not found\n  help: run `mkdir -p out`\n");
    // Follow the help, with a path that is not an archive.
    sh(&project, "mkdir -p out; touch out/file");
    sh(&project, "mkdir damaged; echo '{}' >damaged/oci-layout; echo '{}' >damaged/index.json");
    for path in ["out", "out/file", "src/main.rs", "damaged"] {
        let ran = assemble::run(&project, &["build", "-o", path]);
        ran.code(90).stderr(&format!(
            "error: `{path}` exists, and is not an image that can be replaced\n  help: pass a file that ends with `.tar`, or a new directory\n"
        ));
    }
    for path in ["image.tar.gz", "out/image.tgz", "-"] {
        let ran = assemble::run(&project, &["build", "-o", path]);
        ran.code(90).stderr(&format!(
            "error: cannot write an image to `{path}`\n  help: pass a file that ends with `.tar`, or a directory\n"
        ));
    }
    assert!(!project.path("target").exists());
    for path in ["out/image.tar", "out/new"] {
        assemble::run(&project, &["build", "-o", path]).code(0);
    }
}

#[test]
fn image_is_written_to_docker() {
    let project = assemble::project("");
    let build = || assemble::run(&project, &["build", "--output", "docker"]);
    // Before the build.
    project.script("docker", "echo 'Cannot connect to the Docker daemon.' >&2; exit 1");
    build().code(91).error(
        "error: cannot connect to the Docker daemon
  caused by: `docker version --format '{{json .}}'` exited with code 1: Cannot connect to the Docker daemon.
  help: run `sudo systemctl start docker`, or set DOCKER_HOST to a running daemon\n",
    );
    assert!(!project.path("target").exists());
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/fakes/docker");
    project.script("docker", &format!("exec '{}' \"$@\"", fake.display()));
    let ran = build();
    let tag = assemble::tag(ran.code(0));
    assert!(ran.err().ends_with(&format!("       Wrote app:{tag} to docker\n")), "{}", ran.err());
    sh(&project, "mkdir loaded && tar -xf fake/loaded.tar -C loaded");
    manifest(&project.path("loaded"));
    let docker = json(&project.path("loaded/manifest.json"));
    assert_eq!(docker[0]["RepoTags"][0], format!("app:{tag}"));
    // Docker does not read the archive.
    project.write("fake/load-fails", "no space left on device\n");
    build().code(91).error(&format!("error: failed to load image `app:{tag}` into Docker\n  caused by: `docker load` exited with code 1: no space left on device\n  help: free space on the disk of the Docker daemon; run `docker system df` to see what uses it\n"));
    // A directory of this name.
    assemble::run(&project, &["build", "--output", "./docker"]).code(0);
    manifest(&project.path("docker"));
}

#[test]
fn image_of_docker_or_podman_is_only_built() {
    let project = Project::new();
    let unsupported = |engine: &str, save: &str| {
        format!(
            "error: `--output` is only for the builder cargo, but {engine} builds this image
  help: run `cargo kdev build`, and then `{save}`\n"
        )
    };
    project
        .run(&["build", "-o", "image.tar"])
        .code(90)
        .stderr(&unsupported("Docker", "docker save --output FILE app:latest"));
    for args in [["build"].as_slice(), &["build", "--output", "docker"]] {
        let ran = project.run(args);
        assert!(ran.code(0).err().contains("       Built app:"), "{}", ran.err());
        assert!(!ran.err().contains("Wrote"), "{}", ran.err());
    }
    assert_eq!(project.calls().matches("docker build ").count(), 2);
    let ran = project.run(&["build", "--dry-run"]);
    assert!(ran.code(0).out().contains("docker build "), "{}", ran.out());

    project.install_podman();
    for (output, save) in [
        ("image.tar", "podman save --output FILE localhost/app:latest"),
        ("docker", "podman save localhost/app:latest | docker load"),
    ] {
        let ran = project.run(&["build", "--builder", "podman", "-o", output]);
        ran.code(90).stderr(&unsupported("Podman", save));
    }
}

#[test]
fn several_images_need_directory() {
    let project = services::workspace();
    let args = ["build", "--workspace", "--builder", "cargo", "-o"];
    let build = |path| assemble::run(&project, &[args.as_slice(), &[path]].concat());
    build("all.tar").code(90).stderr(
        "error: cannot write several images to one archive\n  help: pass a directory instead of a `.tar` file\n",
    );
    build("all").code(0);
    let index = json(&project.path("all/index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 3, "{index}");
}

/// Returns the inode of each layer in the cache that has the program, and the path of one.
fn program_layers(project: &Project, program: &str) -> Vec<(u64, PathBuf)> {
    let blobs = fs::read_dir(project.path(".cache/kdev/layers/blobs/sha256")).unwrap();
    let blobs = blobs.map(|blob| blob.unwrap().path());
    let has_program = |path: &PathBuf| fs::read(path).unwrap().starts_with(program.as_bytes());
    blobs.filter(has_program).map(|path| (fs::metadata(&path).unwrap().ino(), path)).collect()
}

#[test]
fn layer_of_unchanged_program_is_written_once() {
    let project = assemble::project("");
    let build = |args: &[&str]| assemble::tag(assemble::run(&project, args).code(0));
    let first = build(&["build"]);
    let layer = || {
        let layers = program_layers(&project, "usr/");
        let [layer] = layers.as_slice() else { panic!("{layers:?}") };
        layer.clone()
    };
    // The first build recognizes nothing if it has read the program within a clock tick.
    assert_eq!(build(&["build"]), first);
    let (inode, path) = layer();
    assert_eq!(build(&["build"]), first);
    assert_eq!(layer().0, inode);
    // Another image with the same program, whose debug information is kept, too.
    project.write(
        "Cargo.toml",
        &format!(
            "{}[package.metadata.kdev.container]\nports = [1]\n",
            fs::read_to_string(project.path("Cargo.toml")).unwrap()
        ),
    );
    let second = build(&["build"]);
    assert_ne!(second, first);
    assert_eq!(layer().0, inode);
    let debug = |tag: &str| project.path("target/kdev/debug/app").join(tag).join("app");
    assert_eq!(fs::read(debug(&first)).unwrap(), fs::read(debug(&second)).unwrap());
    // Another run has trimmed the cache.
    fs::remove_file(&path).unwrap();
    assert_eq!(build(&["build", "--output", "image.tar"]), second);
    assert_eq!(layer().1, path);
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    assert_ne!(build(&["build"]), second);
    assert_eq!(program_layers(&project, "usr/").len(), 2);
}

#[test]
fn programs_of_one_name_are_those_of_their_packages() {
    let project = assemble::project("");
    project.write("Cargo.toml", "[workspace]\nmembers = [\"one\", \"two\"]\nresolver = \"3\"\n");
    for name in ["one", "two"] {
        fs::create_dir_all(project.path(&format!("{name}/src"))).unwrap();
        let bin = "[[bin]]\nname = \"server\"\npath = \"src/main.rs\"\n";
        let kdev = "[package.metadata.kdev]\nbuilder = \"cargo\"\ncargo-build = [\"--target=x86_64-unknown-linux-gnu\"]\n";
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{bin}{kdev}");
        project.write(&format!("{name}/Cargo.toml"), &package);
        let main = format!("fn main() {{ println!(\"program of {name}\"); }}\n");
        project.write(&format!("{name}/src/main.rs"), &main);
    }
    // The second time, cargo only links the programs to the path that they share.
    for output in ["first", "second"] {
        assemble::run(&project, &["build", "--workspace", "--output", output]).code(0);
        let index = json(&project.path(output).join("index.json"));
        for entry in index["manifests"].as_array().unwrap() {
            let blob = |digest: &Value| {
                let name = digest.as_str().unwrap().replace("sha256:", "");
                project.path(output).join("blobs/sha256").join(name)
            };
            let image = entry["annotations"]["io.containerd.image.name"].as_str().unwrap();
            let package = if image.contains("/one:") { "one" } else { "two" };
            let layers = json(&blob(&entry["digest"]))["layers"].as_array().unwrap().clone();
            let program = fs::read(blob(&layers.last().unwrap()["digest"])).unwrap();
            let text = format!("program of {package}");
            let has_text = program.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(has_text, "{image}");
        }
        assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    }
}
