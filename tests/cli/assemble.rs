//! Images without Docker: `builder = "cargo"`, with the real cargo.

use std::fs;
use std::path::Path;

use crate::project::{Project, Ran, pod};

/// The target of cargo for this machine.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// A program for this machine without shared libraries.
pub(crate) const STATIC: &str = r#"rustflags = ["-Ctarget-feature=+crt-static"]"#;

/// Creates a project on a machine without Docker, whose cargo writes static programs for this
/// machine.
pub(crate) fn project(lines: &str) -> Project {
    let project = Project::new();
    let args = format!("cargo-build = [\"--target={TARGET}\"]");
    project.config(&format!("builder = \"cargo\"\n{args}\n{lines}"));
    fs::create_dir(project.path(".cargo")).unwrap();
    project.write(".cargo/config.toml", &format!("[build]\n{STATIC}\n"));
    project.remove("Dockerfile").remove("bin/docker");
    project
}

pub(crate) fn run(project: &Project, args: &[&str]) -> Ran {
    run_with(project, &[], args)
}

pub(crate) fn run_with(project: &Project, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let fakes = ["bin", "tools"].map(|dir| project.path(dir).display().to_string()).join(":");
    let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
    let path = format!("{fakes}:{cargo}:/usr/bin:/bin");
    project.run_with(&[env, &[("PATH", path.as_str())]].concat(), args)
}

/// Returns the tag of the image that a run has built.
#[track_caller]
pub(crate) fn tag(ran: &Ran) -> String {
    let stderr = ran.err();
    let built = stderr.lines().find_map(|line| line.strip_prefix("       Built app:"));
    built.unwrap_or_else(|| panic!("{stderr}")).split(' ').next().unwrap().to_owned()
}

/// Makes a build the one that runs in the cluster.
pub(crate) fn deploy(project: &Project, tag: &str) {
    let digest = project.images_on("10.0.0.1").into_iter().find(|name| name.starts_with("sha256"));
    let digest = digest.unwrap();
    project.pods(&["n1", "n2"].map(|node| {
        let status = format!(r#"{{"name":"app","imageID":"{digest}"}}"#);
        pod(&format!("app-{node}"), node, "app", &format!("app:{tag}"), &status)
    }));
}

#[test]
fn program_of_cargo_is_deployed_without_docker() {
    let project = project("[package.metadata.kdev.container]\nports = [8080]\n");
    let first = tag(&run(&project, &["up", "--timeout", "1"]));
    let images = project.images_on("10.0.0.1");
    assert!(images.contains(&format!("docker.io/library/app:{first}")), "{images:?}");
    deploy(&project, &first);
    let ran = run(&project, &["up"]);
    ran.code(0).stdout("");
    assert!(ran.err().contains("Ready deployment/app: 2 pods in "), "{}", ran.err());
    assert_eq!(tag(&ran), first, "the same program has another image");
    // The image has no debug information. It is beside the build.
    let debug = project.path("target/kdev/debug/app").join(&first).join("app");
    let built = project.path("target").join(TARGET).join("debug/app");
    assert_eq!(fs::read(debug).unwrap(), fs::read(built).unwrap());
    // Other commands know the build.
    let status = run(&project, &["status"]);
    assert!(status.out().contains(&first), "{}{}", status.out(), status.err());
    run(&project, &["load", &format!("app:{first}")]).code(0);
    let rendered = run(&project, &["render"]);
    assert!(rendered.code(0).out().contains(&format!("app:{first}")), "{}", rendered.err());
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    assert_ne!(tag(&run(&project, &["up", "--timeout", "1"])), first);
    let is_docker = |line: &str| line.starts_with("docker ");
    assert!(!project.calls().lines().any(is_docker), "{}", project.calls());
}

#[test]
fn program_that_cannot_run_in_image_is_rejected() {
    let flags = format!("[build]\n{STATIC}\n");
    // The setting of cargo, the architecture of the nodes, and the beginning of the error.
    let table = [
        (
            "[build]\n",
            "amd64",
            "error: `[ROOT]/target/x86_64-unknown-linux-gnu/debug/app` needs files that the image does not have: `/lib64/ld-linux-x86-64.so.2`, `libgcc_s.so.1`",
        ),
        (
            flags.as_str(),
            "arm64",
            "error: `[ROOT]/target/x86_64-unknown-linux-gnu/debug/app` is a program for linux/amd64, but the image is for linux/arm64\n  help: remove `--target` from `cargo-build`",
        ),
    ];
    for (setting, architecture, error) in table {
        let project = project("");
        project.write(".cargo/config.toml", setting);
        project.nodes(&[("n1", "10.0.0.1", architecture), ("n2", "10.0.0.2", architecture)]);
        let ran = run(&project, &["up"]);
        assert!(ran.code(90).err().contains(error), "{}", ran.err());
        assert!(project.images_on("10.0.0.1").is_empty());
    }
}

#[test]
fn package_without_single_program_is_rejected() {
    let library = project("");
    fs::rename(library.path("src/main.rs"), library.path("src/lib.rs")).unwrap();
    let ran = run(&library, &["up"]);
    assert!(
        ran.code(90).err().ends_with(
            "error: cargo has not built a program of package `app`, so no image can be assembled
  help: add `src/main.rs`, remove flags such as `--lib` from `cargo-build`, or pass `--package NAME`\n"
        ),
        "{}",
        ran.err()
    );
    let several = project("");
    fs::create_dir(several.path("src/bin")).unwrap();
    several.write("src/bin/other.rs", "fn main() {}\n");
    let ran = run(&several, &["up"]);
    let error = "error: package `app` has several programs: `app` and `other`\n  help: pass `--bin app`, or set `default-run = \"app\"` in `[package]` of its Cargo.toml\n";
    assert!(ran.code(90).err().ends_with(error), "{}", ran.err());
    // Follow the help.
    let cargo = fs::read_to_string(several.path("Cargo.toml")).unwrap();
    several
        .write("Cargo.toml", &cargo.replace("[package]\n", "[package]\ndefault-run = \"app\"\n"));
    let default = tag(&run(&several, &["up", "--timeout", "1"]));
    // The flag selects a program, and has precedence over the default.
    several.write("src/bin/other.rs", "fn main() { println!(\"other\"); }\n");
    let selected = tag(&run(&several, &["up", "--timeout", "1", "--bin", "a*"]));
    assert_eq!(selected, default);
    assert_ne!(tag(&run(&several, &["up", "--timeout", "1", "--bin", "other"])), default);
    let ran = run(&several, &["up", "--bin", "app", "--bin", "other"]);
    assert!(ran.code(90).err().ends_with(error), "{}", ran.err());
}

#[test]
fn missing_target_of_nodes_is_reported_before_build() {
    let project = Project::new();
    project.config("builder = \"cargo\"").remove("Dockerfile").remove("bin/docker");
    project.script("rustc", "echo /absent/lib");
    project.nodes(&[("n1", "10.0.0.1", "arm64"), ("n2", "10.0.0.2", "arm64")]);
    let error = "error: the Rust target `aarch64-unknown-linux-musl`, which gives static programs for linux/arm64, is not installed
  help: run `rustup target add aarch64-unknown-linux-musl`\n";
    run(&project, &["up"]).code(90).stderr(error);
    let doctor = run(&project, &["doctor"]);
    assert!(
        doctor.out().contains("rustup target add aarch64-unknown-linux-musl"),
        "{}",
        doctor.out()
    );
    project.nodes(&[("n1", "10.0.0.1", "sparc"), ("n2", "10.0.0.2", "sparc")]);
    let error = "error: kdev cannot assemble images for linux/sparc
  help: build the image with a Dockerfile and `builder = \"docker\"`\n";
    run(&project, &["up"]).code(90).stderr(error);
}

/// The user's flags still count.
#[test]
fn gnu_target_is_used_without_musl() {
    let project = Project::new();
    project.config("builder = \"cargo\"").remove("Dockerfile").remove("bin/docker");
    let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
    let rustc = format!("exec {} \"$@\"", rustc.display());
    project.script("rustc", &format!("case \"$*\" in *musl*) echo /absent ;; *) {rustc} ;; esac"));
    project.write("src/main.rs", "#[cfg(not(mark))]\ncompile_error!(\"no mark\");\nfn main() {}\n");
    fs::create_dir(project.path(".cargo")).unwrap();
    let settings = [
        "[build]\nrustflags = [\"--cfg\", \"mark\"]\n",
        "[build]\nrustflags = \"--cfg mark\"\n",
        "[target.x86_64-unknown-linux-gnu]\nrustflags = \"--cfg mark\"\n",
        "[target.'cfg(unix)']\nrustflags = [\"--cfg\", \"mark\"]\n",
    ];
    for text in settings {
        project.write(".cargo/config.toml", text);
        tag(&run(&project, &["up", "--timeout", "1"]));
    }
    // The variable replaces all other flags.
    project.write(".cargo/config.toml", "");
    let ran = run_with(&project, &[("RUSTFLAGS", "--cfg mark")], &["up", "--timeout", "1"]);
    let error = "needs files that the image does not have: `/lib64/ld-linux-x86-64.so.2`";
    assert!(ran.code(90).err().contains(error), "{}", ran.err());
}

#[test]
fn dry_run_shows_build_of_cargo() {
    let project = project("");
    let ran = run(&project, &["up", "--dry-run"]);
    let command = format!("cargo build --package app '--target={TARGET}'");
    assert!(ran.code(0).out().contains(&command), "{}", ran.out());
    assert!(!project.path("target").join(TARGET).exists());
}

#[test]
fn assets_are_part_of_image() {
    let project = project("[package.metadata.kdev.container]\nassets = [\"static:/srv\"]\n");
    let ran = run(&project, &["up", "--timeout", "1"]);
    let error = "error: `[ROOT]/static` in `assets` not found\n  help: correct the path, which is relative to the package's folder\n";
    assert!(ran.code(90).err().ends_with(error), "{}", ran.err());
    fs::create_dir(project.path("static")).unwrap();
    project.write("static/page", "one");
    let first = tag(&run(&project, &["up", "--timeout", "1"]));
    // Only the content counts.
    project.remove("static/page").write("static/page", "one");
    assert_eq!(tag(&run(&project, &["up", "--timeout", "1"])), first);
    project.write("static/page", "two");
    assert_ne!(tag(&run(&project, &["up", "--timeout", "1"])), first);
}

/// The linker changes names of a static program, so that it looks like one with a C library before
/// version 2.34: no other version is installed here.
#[test]
fn program_that_loads_libraries_for_host_names_is_noted() {
    const LOOKUP: &str = "fn main() {\n    let _ = std::net::TcpStream::connect(\"db:5432\");\n}\n";
    let hides = r"sed -i -e 's/_nss_dns_/_nss_dnt_/g' -e 's/in-addr[.]arpa/in-addr.apra/g'";
    let linker = |more: &str| {
        format!(
            "cc \"$@\" || exit\nwhile test \"$1\" != -o; do shift; done\n{hides} \"$2\"\n{more}\n"
        )
    };
    let note = "        Note `app` cannot look up host names in the image, because its GNU C library is older than 2.34 and loads `libnss_dns.so` for that; if it needs names, set `--target=x86_64-unknown-linux-musl` in `cargo-build`";
    for (program, linker, is_noted) in [
        (LOOKUP, linker(""), true),
        (LOOKUP, linker("strip \"$2\""), true),
        (LOOKUP, "exec cc \"$@\"".to_owned(), false),
        ("fn main() {}\n", linker(""), false),
        ("fn main() {}\n", linker("strip \"$2\""), false),
    ] {
        let project = project("");
        project.script("linker", &linker);
        let path = project.path("bin/linker").display().to_string();
        let config = format!("[target.{TARGET}]\nlinker = \"{path}\"\n[build]\n{STATIC}\n");
        project.write(".cargo/config.toml", &config).write("src/main.rs", program);
        let ran = run(&project, &["up", "--timeout", "1"]);
        tag(&ran);
        assert_eq!(ran.err().contains(note), is_noted, "{linker}: {}", ran.err());
    }
}

#[test]
fn several_targets_are_rejected_before_build() {
    let project = Project::new();
    let targets = format!("[\"--target={TARGET}\", \"--target\", \"x86_64-unknown-linux-musl\"]");
    project.config(&format!("builder = \"cargo\"\ncargo-build = {targets}"));
    let error = "error: `cargo-build` has several targets, but an image contains the program of one
  help: keep one `--target` in `cargo-build` in `[package.metadata.kdev]`\n";
    run(&project, &["up"]).code(90).stderr(error);
    assert!(!project.path("target").exists());
}
