//! `cargo build` before `docker build`, with the real cargo.

use std::fs;
use std::path::Path;

use crate::project::{Project, Ran};

/// A program with a warning.
const SOURCE: &str = "fn main() {\n    let unused = 1;\n}\n";
/// Another program.
const CHANGED: &str = "fn main() {\n    println!(\"changed\");\n}\n";

/// Creates a project whose image has the release build.
fn release_project() -> Project {
    let project = Project::new();
    project.write("src/main.rs", SOURCE).config("cargo-build = [\"--release\"]");
    project.write("Dockerfile", "FROM scratch\nCOPY target/release/app /app\n");
    project
}

fn path_with_linker(project: &Project) -> String {
    let fakes = ["bin", "tools"].map(|dir| project.path(dir).display().to_string()).join(":");
    let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
    format!("{fakes}:{cargo}:/usr/bin:/bin")
}

/// Runs `up` with a linker on PATH.
fn up(project: &Project, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let path = path_with_linker(project);
    let env = [&[("PATH", path.as_str())], env].concat();
    project.run_with(&env, &[&["up"], args].concat())
}

#[track_caller]
fn stale_copy(ran: &Ran, copied: &str, built: &str, help: &str) {
    ran.code(90).error(&format!(
        "error: the Dockerfile copies `{copied}` (line 2), but cargo built `{built}`\n  help: {help}\n"
    ));
}

#[test]
fn output_of_cargo_is_shown() {
    let project = release_project();
    let ran = up(&project, &[], &[]);
    let stderr = ran.code(0).stdout("").err();
    assert!(stderr.contains("\nwarning: unused variable: `unused`\n"), "{stderr}");
    assert!(stderr.contains("    Finished `release` profile"), "{stderr}");
    assert!(!stderr.contains("compiler-artifact"), "{stderr}");
    project.write("src/main.rs", "fn main() {\n    let other = 1;\n}\n");
    let ran = up(&project, &[], &["--message-format", "json"]);
    let stdout = ran.code(0).out();
    let line =
        r#""reason":"tool-output","tool":"cargo","line":"warning: unused variable: `other`"}"#;
    assert!(stdout.contains(line), "{stdout}");
    assert!(!stdout.contains("compiler-artifact"), "{stdout}");
}

#[test]
fn output_of_cargo_has_colors_in_terminal() {
    let project = release_project();
    let path = path_with_linker(&project);
    let env = [("PATH", path.as_str()), ("TERM", "xterm")];
    let screen = project.type_in_terminal(80, &env, &["up"], "[y/N] ", "");
    assert!(screen.contains("\u{1b}[33mwarning\u{1b}[0m"), "{screen}");
    assert!(screen.contains("\u{1b}[92m   Compiling\u{1b}[0m app"), "{screen}");
    assert!(screen.contains(" Finished\u{1b}[0m"), "{screen}");
}

#[test]
fn message_format_of_user_is_kept() {
    let project = release_project();
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let short = "\"--release\", \"--message-format\", \"short\"";
    project.write("Cargo.toml", &cargo.replace("\"--release\"", short));
    let ran = up(&project, &[], &[]);
    let stderr = ran.code(0).err();
    assert!(stderr.contains("src/main.rs:2:9: warning: unused variable: `unused`"), "{stderr}");
}

#[test]
fn failed_cargo_build_shows_command_of_configuration() {
    let project = release_project();
    project.write("src/main.rs", "fn main() { x }\n");
    let ran = up(&project, &[], &[]);
    assert!(ran.code(101).err().contains("error[E0425]"), "{}", ran.err());
    assert!(ran.err().ends_with(
        "error: failed to build `app`
  caused by: `cd [ROOT] && cargo build --package app --release` exited with code 101
  help: check the build output above\n"
    ));
}

#[test]
fn program_of_earlier_build_is_not_copied() {
    let project = release_project();
    up(&project, &[], &[]).code(0);
    project.remove("fake/log");
    project.write("src/main.rs", CHANGED);
    // A setting of cargo, a variable and a profile move the program.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    fs::create_dir_all(project.path(".cargo")).unwrap();
    project.write(".cargo/config.toml", &format!("build.target = \"{host}\"\n"));
    let built = format!("target/{host}/release/app");
    let help = format!("copy `{built}` in line 2 of `[ROOT]/Dockerfile`");
    stale_copy(&up(&project, &[], &[]), "target/release/app", &built, &help);
    project.remove(".cargo/config.toml");
    let moved = project.path("build").display().to_string();
    let help = "copy `build/release/app` in line 2 of `[ROOT]/Dockerfile`";
    let ran = up(&project, &[("CARGO_TARGET_DIR", &moved)], &[]);
    stale_copy(&ran, "target/release/app", "build/release/app", help);
    let dockerfile = fs::read_to_string(project.path("Dockerfile")).unwrap();
    project.write("Dockerfile", &dockerfile.replace("target/release/app", "build/release/app"));
    assert!(!project.calls().contains("docker build"), "{}", project.calls());
    up(&project, &[("CARGO_TARGET_DIR", &moved)], &[]).code(0);
    // Without a copy of the release build, that of the debug build is not used.
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Dockerfile", &dockerfile);
    project.write("Cargo.toml", &cargo.replace("\"--release\"", ""));
    let help =
        "pass `--release`, or add `\"--release\"` to `cargo-build` in `[package.metadata.kdev]`";
    stale_copy(&up(&project, &[], &[]), "target/release/app", "target/debug/app", help);
    project.write("Cargo.toml", &cargo);
    up(&project, &[], &[]).code(0);
}

#[test]
fn flags_of_cargo_are_passed_to_build() {
    let project = release_project();
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let features = "[features]\none = []\n[profile.small]\ninherits = \"release\"\n";
    let cargo = cargo.replace("\"--release\"", "") + features;
    project.write("Cargo.toml", &cargo);
    up(&project, &[], &["--release"]).code(0);
    // The program is in the folder of the profile.
    project.write("src/main.rs", CHANGED);
    let built = "target/small/app";
    let help = format!("copy `{built}` in line 2 of `[ROOT]/Dockerfile`");
    let ran = up(&project, &[], &["--profile", "small"]);
    stale_copy(&ran, "target/release/app", built, &help);
    let ran = up(&project, &[], &["--profile", "dev"]);
    let help = "copy `target/debug/app` in line 2 of `[ROOT]/Dockerfile`";
    stale_copy(&ran, "target/release/app", "target/debug/app", help);
    let ran = up(&project, &[], &["-r", "-F", "one", "--locked", "--offline", "--dry-run"]);
    let command = "cargo build --package app --release --locked --offline --features one";
    assert!(ran.code(0).out().contains(command), "{}", ran.out());
    // A setting that already has the flag is no error, because cargo gets it once.
    project.write("Cargo.toml", &cargo.replace("cargo-build = [", "cargo-build = [\"--release\""));
    up(&project, &[], &["--release"]).code(0);
    up(&project, &[], &["--profile", "small"]).code(90).stderr(
        "error: the command line selects the profile `small`, but `cargo-build` of package `app` selects `release`
  help: remove the profile from `cargo-build` in `[package.metadata.kdev]`, or from the command line\n",
    );
    // Both helps work.
    up(&project, &[], &[]).code(0);
    project.write("Cargo.toml", &cargo);
    project.write("Dockerfile", "FROM scratch\nCOPY target/small/app /app\n");
    up(&project, &[], &["--profile", "small"]).code(0);
}

#[test]
fn flags_of_cargo_are_rejected_if_dockerfile_builds() {
    let project = release_project();
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &cargo.replace("cargo-build = [\"--release\"]", ""));
    up(&project, &[], &["--release", "--features", "a", "--features", "b"]).code(90).stderr(
        "error: cannot pass `--release` and `--features` to cargo: `cargo-build` is not set, so the Dockerfile of package `app` builds the program
  help: set `cargo-build = []` in `[package.metadata.kdev]` if the Dockerfile copies the program from `target/`\n",
    );
    assert!(!project.calls().contains("kubectl"), "{}", project.calls());
    // The help works.
    project.write("Cargo.toml", &cargo.replace("[\"--release\"]", "[]"));
    up(&project, &[], &["--release"]).code(0);
    up(&project, &[], &["--release", "--profile", "dev"]).code(2);
}

#[test]
fn program_outside_context_is_not_replaced_by_earlier_one() {
    let project = release_project();
    up(&project, &[], &[]).code(0);
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().canonicalize().unwrap().display().to_string();
    let env = [("CARGO_TARGET_DIR", moved.as_str())];
    // The same program is in both places.
    let ran = up(&project, &env, &[]);
    assert!(!ran.code(0).err().contains(" Note "), "{}", ran.err());
    project.write("src/main.rs", CHANGED);
    let help = "add `\"--target-dir=target\"` to `cargo-build` in `[package.metadata.kdev]`";
    let built = format!("{moved}/release/app");
    stale_copy(&up(&project, &env, &[]), "target/release/app", &built, help);
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let advised = cargo.replace("\"--release\"", "\"--release\", \"--target-dir=target\"");
    project.write("Cargo.toml", &advised);
    let ran = up(&project, &env, &[]);
    assert!(!ran.code(0).err().contains(" Note "), "{}", ran.err());
}

#[test]
fn program_of_workspace_is_not_replaced_by_earlier_one() {
    let project = release_project();
    up(&project, &[], &[]).code(0);
    // The package becomes the member of a workspace, which has the target directory.
    fs::create_dir(project.path("member")).unwrap();
    for name in ["Cargo.toml", "Dockerfile", "src", "k8s", "target"] {
        fs::rename(project.path(name), project.path(&format!("member/{name}"))).unwrap();
    }
    project.write("Cargo.toml", "[workspace]\nmembers = [\"member\"]\n");
    let cargo = fs::read_to_string(project.path("member/Cargo.toml")).unwrap();
    project.write("member/Cargo.toml", &cargo.replace("[workspace]\n", ""));
    let built = project.path("target/release/app").canonicalize();
    let help = "set `context = \"..\"` in `[package.metadata.kdev]`";
    stale_copy(&up(&project, &[], &[]), "target/release/app", "[ROOT]/target/release/app", help);
    assert!(built.is_err(), "the program existed before");
    let cargo = fs::read_to_string(project.path("member/Cargo.toml")).unwrap();
    project.write("member/Cargo.toml", &format!("{cargo}context = \"..\"\n"));
    up(&project, &[], &[]).code(0);
}

#[test]
fn program_older_than_source_is_noted_without_cargo_build() {
    let project = release_project();
    up(&project, &[], &[]).code(0);
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &cargo.replace("cargo-build", "#"));
    let ran = up(&project, &[], &[]);
    assert!(!ran.code(0).err().contains(" Note "), "{}", ran.err());
    std::thread::sleep(std::time::Duration::from_millis(20));
    project.write("src/main.rs", "fn main() {}\n");
    let ran = up(&project, &[], &[]);
    let note = "        Note `target/release/app` is older than its source `src/main.rs`, so the image does not contain the latest changes\n";
    assert!(ran.code(0).err().contains(note), "{}", ran.err());
}
