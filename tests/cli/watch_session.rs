//! `up --watch`: what stays open between the cycles.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::assemble;
use crate::project::Project;
use crate::services::workspace;
use crate::watch::{Watch, save};

/// Returns the calls of ssh with this argument.
fn ssh_calls<'a>(calls: &'a str, argument: &str) -> Vec<&'a str> {
    let is_call = |call: &&str| call.starts_with("ssh ") && call.contains(argument);
    calls.lines().filter(is_call).collect()
}

/// Returns the directories of the control sockets of these calls.
fn control_paths<'a>(calls: &[&'a str]) -> BTreeSet<&'a str> {
    let path = |call: &&'a str| call.split(' ').find(|word| word.starts_with("ControlPath="));
    calls.iter().filter_map(path).collect()
}

#[test]
fn cycles_share_ssh_connections() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let first = project.calls();
    for text in ["fn main() { }\n", "fn main() {  }\n"] {
        save(&project, "src/main.rs", text);
        watch.wait_for("Watching");
    }
    let calls = project.calls();
    assert_eq!(control_paths(&ssh_calls(&calls, "ControlPath=")).len(), 1, "{calls}");
    assert!(ssh_calls(&calls, "-O exit").is_empty(), "{calls}");
    let later = calls.strip_prefix(&first).unwrap();
    assert!(ssh_calls(later, "-V").is_empty(), "{later}");
    watch.signal(Signal::SIGINT);
    watch.end();
    let calls = project.calls();
    // One for each node.
    assert_eq!(ssh_calls(&calls, "-O exit").len(), 2, "{calls}");
}

#[test]
fn lost_connection_is_opened_again() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    project.write("fake/ssh-lost-10.0.0.1", "");
    // Changed settings make the load necessary.
    save(&project, "kdev.local.toml", "keep = 4\n");
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("  Ready in "), "{lines}");
    assert!(!project.path("fake/ssh-lost-10.0.0.1").exists());
    let calls = project.calls();
    assert_eq!(ssh_calls(&calls, "-O exit").len(), 1, "{calls}");
}

/// A project with the real cargo, whose builds wait before their start as many seconds as
/// `fake/cargo-time` has lines.
fn project_with_cargo() -> Project {
    // The log of the fakes is not in the package, all of whose files are inputs during a build.
    let project = workspace();
    let package = "[package]\nname = \"app\"\nedition = \"2024\"\n";
    let kdev = "[package.metadata.kdev]\ncargo-build = []\n";
    project.write("app/Cargo.toml", &format!("{package}{kdev}")).write("fake/cargo-time", "");
    let cargo = env!("CARGO");
    let script = [
        "export PATH=\"$PATH:/usr/bin:/bin\"".to_owned(),
        format!("[ $1 = build ] || exec '{cargo}' \"$@\""),
        "printf 'cargo %s\\n' \"$*\" >>\"$FAKE/log\"".to_owned(),
        "while read -r _; do sleep 1; done <\"$FAKE/cargo-time\"".to_owned(),
        "printf 'cargo has waited\\n' >>\"$FAKE/log\"".to_owned(),
        format!("exec '{cargo}' \"$@\""),
    ];
    project.script("cargo", &script.join("\n"));
    project
}

#[test]
fn cargo_of_later_cycle_starts_before_nodes_are_listed() {
    let project = project_with_cargo();
    let mut watch = Watch::start(&project, &["-p", "app"]);
    project.remove("fake/log").write("fake/nodes-wait-for-cargo", "");
    save(&project, "app/src/main.rs", "fn main() { }\n");
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("   Unchanged in "), "{lines}");
    let calls = project.calls();
    assert_eq!(calls.matches("cargo build ").count(), 1, "{calls}");
    assert_eq!(calls.matches("docker build ").count(), 1, "{calls}");
}

#[test]
fn early_cargo_is_stopped_if_check_fails() {
    let project = project_with_cargo();
    let mut watch = Watch::start(&project, &["-p", "app"]);
    project.remove("fake/log").write("fake/nodes-wait-for-cargo", "");
    project.write("fake/cargo-time", &"\n".repeat(60)).write("fake/nodes.json", "[");
    save(&project, "app/src/main.rs", "fn main() { }\n");
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("error: "), "{lines}");
    let calls = project.calls();
    assert!(calls.contains("cargo build ") && !calls.contains("cargo has waited"), "{calls}");
}

#[test]
fn lock_file_of_first_build_starts_no_cycle() {
    let project = Project::new();
    let lock = project.path("Cargo.lock");
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/cli/fakes/docker");
    let docker = format!("[ $1 != build ] || touch '{}'\nexec {fake} \"$@\"\n", lock.display());
    project.script("docker", &docker);
    assert!(!lock.exists());
    let mut watch = Watch::start(&project, &[]);
    assert!(lock.exists());
    save(&project, "src/main.rs", "fn main() { }\n");
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("Changed src/main.rs\n"), "{lines}");
    assert_eq!(project.calls().matches("docker build ").count(), 2);
}

#[test]
fn unchanged_program_of_cargo_needs_no_connection() {
    let project = assemble::project("[profile.dev]\ndebug = false\n");
    project.script("cc", "PATH=/usr/bin:/bin exec /usr/bin/cc \"$@\"");
    assemble::deploy(&project, &assemble::tag(&assemble::run(&project, &["up", "--timeout", "1"])));
    // The fakes write there, and until cargo has built a change, each file can be a source.
    project.write("fake/CACHEDIR.TAG", "");
    let mut watch = Watch::start(&project, &[]);
    let before = project.calls();
    save(&project, "src/main.rs", "// A comment.\nfn main() {}\n");
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("  Unchanged ") && lines.contains("Compiling app"), "{lines}");
    let calls = project.calls();
    let new = calls.strip_prefix(&before).unwrap();
    assert!(ssh_calls(new, "").is_empty(), "{new}");
    // Another program is loaded in the same session.
    save(&project, "src/main.rs", "fn main() { println!(\"changed\"); }\n");
    watch.wait_for("Loaded");
    assert!(!ssh_calls(project.calls().strip_prefix(&calls).unwrap(), "").is_empty());
}
