//! Costs of a load that do not depend on the machine: programs, round trips, and bytes.

use std::fs;

use crate::project::Project;

/// The layers of the image.
const LAYERS: [&str; 3] = ["sha256:1111", "sha256:2222", "sha256:3333"];
/// The largest command lines for the check and for the load; most of them are the scripts.
const MAX_COMMAND_BYTES: [usize; 2] = [2_400, 6_500];

/// The programs that a load starts.
struct Starts {
    /// Those on this machine, sorted.
    local: String,
    /// The subcommands of `ctr` on the node, in their order.
    ctr: String,
}

/// Loads an image with three layers onto node `n2`.
fn load(project: &Project) -> Starts {
    run_load(project, &["load", "tool:1", "--node", "n2"])
}

fn run_load(project: &Project, args: &[&str]) -> Starts {
    let _ = fs::remove_file(project.path("fake/log"));
    project.run(args).code(0);
    let calls = project.calls();
    let (ctr, local): (Vec<&str>, Vec<&str>) =
        calls.lines().partition(|line| line.starts_with("ctr "));
    let mut local: Vec<&str> = local.iter().filter_map(|line| line.split(' ').next()).collect();
    local.sort_unstable();
    // The first words are `ctr -n k8s.io`.
    let subcommand = |line: &&str| line.split(' ').skip(3).take(2).collect::<Vec<_>>().join(" ");
    let ctr: Vec<String> = ctr.iter().map(subcommand).collect();
    Starts { local: local.join(" "), ctr: ctr.join(", ") }
}

fn project_with_layers() -> Project {
    let project = Project::new();
    project.write("fake/layers", &format!("{LAYERS:?}"));
    // The first load also checks the version of kubectl.
    load(&project);
    project
}

#[test]
fn unchanged_load_starts_few_programs() {
    let starts = load(&project_with_layers());
    // ssh: its version, two round trips, and the end of the connection.
    assert_eq!(starts.local, "docker docker docker kubectl kubectl ssh ssh ssh ssh");
    assert_eq!(starts.ctr, "version, containers ls, images check");
}

#[test]
fn changed_load_requests_only_layers_of_image() {
    let project = project_with_layers();
    project.remove("fake/node-10.0.0.2/images");
    project.write("fake/node-10.0.0.2/blobs", &LAYERS[..2].join("\n"));
    let starts = load(&project);
    assert_eq!(starts.local.matches("ssh").count(), 4);
    // A list of all blobs or snapshots would take longer, the more the node has.
    assert_eq!(
        starts.ctr,
        "version, containers ls, \
         images check, content ls, snapshots info, image import, images check",
    );
    let calls = project.calls();
    let list = calls.lines().find(|call| call.contains(" content ls ")).unwrap_or_default();
    assert!(LAYERS.iter().all(|layer| list.contains(layer)), "{list}");
}

#[test]
fn load_of_build_pins_it_with_few_calls() {
    let project = project_with_layers();
    let load = || run_load(&project, &["load", "--node", "n2"]).ctr;
    // The first check is for a pinned build.
    assert_eq!(
        load(),
        "version, containers ls, images check, images check, content ls, snapshots info, \
         image import, images check, images label, images ls",
    );
    assert_eq!(load(), "version, containers ls, images check");
}

#[test]
fn unchanged_load_sends_few_bytes() {
    let project = project_with_layers();
    project.remove("fake/ssh-command-bytes");
    load(&project);
    let sent = fs::read_to_string(project.path("fake/ssh-command-bytes")).unwrap();
    let sent: Vec<usize> = sent.lines().map(|bytes| bytes.parse().unwrap()).collect();
    assert_eq!(sent.len(), 2);
    let is_small = sent.iter().zip(MAX_COMMAND_BYTES).all(|(sent, limit)| *sent <= limit);
    assert!(is_small, "{sent:?}");
}

#[test]
fn manifests_are_compared_during_load() {
    let project = Project::new();
    project.write("fake/diff-waits-for-import", "");
    project.run(&["up"]).code(0);
}

#[test]
fn nodes_are_listed_while_docker_is_asked() {
    let project = Project::new();
    project.write("fake/docker-waits-for-nodes", "");
    project.run(&["up"]).code(0);
}
