//! Programs for another platform than that of this machine: `builder = "cargo"`.

use std::fs;
use std::path::Path;

use crate::assemble::{STATIC, run, run_with, tag};
use crate::project::Project;

/// The target of this machine.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// The target that kdev chooses for the nodes.
const TARGET: &str = "aarch64-unknown-linux-musl";
/// A cargo-zigbuild that builds for this machine, and changes the architecture of the program.
const ZIGBUILD: &str = r#"echo "$@" >>"$FAKE/log"
shift
cargo build $(echo "$@" | sed s/TARGET/HOST/) | sed s/HOST/TARGET/g
mkdir -p target/TARGET/debug
cp target/HOST/debug/app target/TARGET/debug/app
printf '\267' | dd of=target/TARGET/debug/app bs=1 seek=18 conv=notrunc status=none"#;

/// Creates a project whose nodes have another architecture, on a machine without Docker on which
/// all targets of Rust seem to be installed.
fn project() -> Project {
    let project = Project::new();
    project.config("builder = \"cargo\"").remove("Dockerfile").remove("bin/docker");
    let rustc = Path::new(env!("CARGO")).with_file_name("rustc").display().to_string();
    project.script(
        "rustc",
        &format!("case \"$*\" in *target-libdir*) echo / ;; *) exec {rustc} \"$@\" ;; esac"),
    );
    project.nodes(&[("n1", "10.0.0.1", "arm64"), ("n2", "10.0.0.2", "arm64")]);
    fs::create_dir(project.path(".cargo")).unwrap();
    project.write(".cargo/config.toml", &format!("[build]\n{STATIC}\n"));
    project
}

#[test]
fn zigbuild_links_for_another_platform() {
    let project = project();
    let zigbuild = ZIGBUILD.replace("TARGET", TARGET).replace("HOST", HOST);
    project.script("cargo-zigbuild", &zigbuild);
    let dry = run(&project, &["up", "--dry-run"]);
    let command = format!("cargo zigbuild --package app --target {TARGET}");
    assert!(dry.code(0).out().contains(&command), "{}", dry.out());
    let ran = run(&project, &["up", "--timeout", "1"]);
    let name = format!("docker.io/library/app:{}", tag(&ran));
    for address in ["10.0.0.1", "10.0.0.2"] {
        assert!(project.images_on(address).contains(&name), "{address}: {}", ran.err());
    }
    let call = format!(
        "zigbuild --package app --message-format=json-render-diagnostics --target {TARGET}"
    );
    assert!(project.calls().contains(&call), "{}", project.calls());
}

#[test]
fn failed_build_for_another_platform_names_linker() {
    let project = project();
    let note = format!(
        "        Note no linker for linux/arm64 is configured; if linking has failed, run `cargo install --locked cargo-zigbuild`, or set `linker` in `[target.{TARGET}]` of `.cargo/config.toml`\n"
    );
    // The target is not really installed.
    let ran = run(&project, &["up"]);
    assert!(ran.code(101).err().contains(&note), "{}", ran.err());
    assert!(ran.err().contains("error: failed to build `app`\n"), "{}", ran.err());
    // A linker of the user has precedence, also over cargo-zigbuild.
    project.script("cargo-zigbuild", "exit 1");
    let linker = format!("[target.{TARGET}]\nlinker = \"aarch64-linux-gnu-gcc\"\n");
    project.write(".cargo/config.toml", &linker);
    let ran = run(&project, &["up"]);
    assert!(!ran.code(101).err().contains("no linker"), "{}", ran.err());
    assert!(
        ran.err().contains(&format!("cargo build --package app --target {TARGET}")),
        "{}",
        ran.err()
    );
    assert!(project.images_on("10.0.0.1").is_empty());
}

/// The nodes decide, and not a setting that is for other builds.
#[test]
fn default_target_of_cargo_does_not_apply() {
    let project = project();
    let host = project.path("bin/rustc");
    let rustc = fs::read_to_string(&host).unwrap();
    let rustc = rustc.replace("case \"$*\" in", "case \"$*\" in *musl*) echo /absent ;;");
    fs::write(&host, rustc).unwrap();
    project.nodes(&[("n1", "10.0.0.1", "amd64"), ("n2", "10.0.0.2", "amd64")]);
    let other = "aarch64-unknown-linux-gnu";
    let ran = run_with(&project, &[("CARGO_BUILD_TARGET", other)], &["up", "--timeout", "1"]);
    let built = tag(&ran);
    let config = format!("[build]\ntarget = \"{other}\"\n{STATIC}\n");
    project.write(".cargo/config.toml", &config);
    assert_eq!(tag(&run(&project, &["up", "--timeout", "1"])), built);
    assert!(
        project.path("target").join(HOST).is_dir() && !project.path("target").join(other).exists()
    );
}
