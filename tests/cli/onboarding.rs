//! The first contact of a new user: the root of a workspace, the help, and the confirmation
//! before a cluster is modified.

use std::fs;

use crate::project::Project;

#[test]
fn doctor_fails_for_ambiguous_package() {
    let project = Project::new();
    project.write("fake/docker-context", "unix:///var/run/docker.sock\n");
    project.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"3\"\n");
    for name in ["a", "b"] {
        fs::create_dir_all(project.path(name).join("src")).unwrap();
        project.write(&format!("{name}/src/main.rs"), "fn main() {}\n");
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        project.write(&format!("{name}/Cargo.toml"), &package);
    }
    project.run(&["doctor", "-q"]).code(90).stdout(
        "project
  error    project               the workspace has several packages: `a` and `b`
    help: select one with `--package NAME`, or all services with `--workspace`\n",
    );
    // The help fixes it.
    let output = project.run(&["doctor", "--package", "a"]).code(90).out().to_owned();
    assert!(
        output.contains("  ok       project               package `a` in [ROOT]/a\n"),
        "{output}"
    );
    // An image needs no package.
    project.run(&["load", "tool:1"]).code(0);
}

#[test]
fn context_help_of_read_only_commands_has_no_permission() {
    let project = Project::new();
    let help = |command: &str| {
        let help = project.run(&[command, "--help"]).code(0).out().to_owned();
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for command in ["why", "status", "doctor"] {
        let help = help(command);
        assert!(help.contains("Kube context to use [default: current context]"), "{help}");
    }
    // `prune` loads nothing.
    assert!(help("prune").contains("--node <NAME> Remove builds from this node only (repeatable)"));
    assert!(help("load").contains("--node <NAME> Load onto this node only (repeatable)"));
    for command in ["up", "down", "load"] {
        let help = help(command);
        let text = "Kube context to use; naming a context also allows changes to it";
        assert!(help.contains(text), "{help}");
    }
}

#[test]
fn question_names_context_and_server() {
    let project = Project::new();
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let other =
        contexts.replace("\"current-context\":\"kind-test\"", "\"current-context\":\"prod\"");
    project.write("fake/contexts.json", &other);
    let output = project.run_in_terminal(&["up", "--color", "never"], "n");
    let output = output.split_whitespace().collect::<Vec<_>>().join(" ");
    let question =
        "Question Modify the cluster of context `prod` (https://10.0.0.9:6443)? [y/N] n ";
    assert!(output.starts_with(question), "{output}");
    assert_eq!(project.applied(), None);
    project.run_in_terminal(&["up", "--color", "never"], "y");
    assert!(project.applied().is_some());
}
