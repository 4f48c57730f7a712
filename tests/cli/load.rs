//! `cargo kdev load`.

use std::fs;

use crate::project::{CONFIG, Project};

#[test]
fn image_is_loaded_under_own_name_without_apply() {
    let project = Project::new();
    project.run(&["load", "tool:1", "--node", "n2"]).code(0).stderr(
        "     Loading n2 (4.00 KiB)
      Loaded n2: sent [..] in [TIME]
    Finished tool:1 in [TIME]\n",
    );
    assert_eq!(project.images_on("10.0.0.2"), ["docker.io/library/tool:1", CONFIG]);
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
    assert_eq!(project.applied(), None);
}

#[test]
fn load_waits_for_other_load_onto_node() {
    let project = Project::new();
    project.write("fake/node-is-busy", "");
    project.run(&["load", "tool:1", "--node", "n2"]).code(0).stderr(
        "        Note waiting for another load onto node `n2`
     Loading n2 (4.00 KiB)
      Loaded n2: sent [..] in [TIME]
    Finished tool:1 in [TIME]\n",
    );
}

#[test]
fn present_image_does_not_wait_for_another_load() {
    let project = Project::new();
    project.run(&["load", "tool:1", "--node", "n2"]).code(0);
    project.write("fake/node-is-busy", "");
    project.run(&["load", "tool:1", "--node", "n2"]).code(0).stderr(
        "     Present n2: image is already loaded
    Finished tool:1 in [TIME]\n",
    );
}

#[test]
fn load_waits_until_booted_node_reports_boot_id() {
    let project = Project::new();
    project.machine("10.0.0.2", "n2", "c");
    let nodes = fs::read_to_string(project.path("fake/nodes.json")).unwrap();
    let old = "\"machineID\":\"n2\",\"bootID\":\"b\"";
    let booted = nodes.replace(old, "\"machineID\":\"n2\",\"bootID\":\"c\"");
    assert_ne!(booted, nodes);
    project.write("fake/nodes-next.json", &booted);
    project.run(&["load", "tool:1", "--node", "n2"]).code(0);
}

#[test]
fn missing_machine_id_is_no_error() {
    let project = Project::new();
    // k3d: neither the container nor the node object has a machine ID.
    project.machine("10.0.0.2", "", "b").edit_nodes("\"machineID\":\"n2\",", "");
    project.run(&["load", "tool:1", "--node", "n2"]).code(0);
    project.machine("10.0.0.2", "", "c");
    project.run(&["load", "tool:1", "--node", "n2"]).code(0).stderr(
        "        Note cannot verify that 10.0.0.2 is node `n2`: its boot ID is `c`, but the node has `b`, and a machine ID is missing
     Present n2: image is already loaded
    Finished tool:1 in [TIME]\n",
    );
    // Nothing is known about the machine.
    project.machine("10.0.0.2", "", "");
    project.run(&["load", "tool:1", "--node", "n2"]).code(0).stderr(
        "     Present n2: image is already loaded
    Finished tool:1 in [TIME]\n",
    );
}

#[test]
fn last_build_is_loaded_by_default() {
    let project = Project::new();
    project.run(&["load"]).code(0);
    for node in ["10.0.0.1", "10.0.0.2"] {
        let expected = ["docker.io/library/app:kdev-0123456789ab", CONFIG];
        assert_eq!(project.images_on(node), expected);
    }
}

#[test]
fn image_is_required_outside_project() {
    let project = Project::new();
    project.remove("Cargo.toml");
    project.run(&["load", "tool:1"]).code(0);
    project.run(&["load"]).code(90);
}

#[test]
fn missing_build_suggests_up() {
    let project = Project::new();
    project.config("image = \"nosuch\"");
    project.run(&["load", "--package", "app"]).code(90).stderr(
        "error: image `nosuch:latest` has not been built yet
  help: run `cargo kdev up --package app` to build it\n",
    );
}

#[test]
fn unsuitable_reference_is_rejected() {
    let project = Project::new();
    let help = "  help: pass an image that `docker image ls` lists, as `NAME:TAG`\n";
    project.run(&["load", &format!("tool@{CONFIG}")]).code(90).stderr(&format!(
        "error: cannot load `tool@{CONFIG}`
  caused by: a reference with a digest cannot be loaded; use a tag\n{help}"
    ));
    project.run(&["load", "Tool:1"]).code(90).stderr(&format!(
        "error: cannot load `Tool:1`
  caused by: `Tool:1` is not a valid image reference: an image name must be lower case\n{help}"
    ));
    project
        .run(&["load", "nosuch:1"])
        .code(90)
        .stderr(&format!("error: image `nosuch:1` not found in Docker\n{help}"));
}

#[test]
fn archive_without_image_is_rejected() {
    let project = Project::new();
    let help = "  help: create an archive with `docker save --output FILE.tar NAME:TAG`\n";
    project.run(&["load", "absent.tar"]).code(90).stderr(&format!(
        "error: cannot read image archive `absent.tar`
  caused by: No such file or directory (os error 2)\n{help}"
    ));
    project.write("garbage.tar", "no archive at all");
    project.run(&["load", "garbage.tar"]).code(90).stderr(&format!(
        "error: cannot read image archive `garbage.tar`
  caused by: failed to read the archive: [..]\n{help}"
    ));
    project.write("empty.tar", &"\0".repeat(1024));
    project.run(&["load", "./empty.tar"]).code(90).stderr(&format!(
        "error: cannot read image archive `./empty.tar`
  caused by: it has no manifest\n{help}"
    ));
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
}

#[test]
fn dry_run_changes_nothing() {
    let project = Project::new();
    let ran = project.run(&["load", "--dry-run", "--node", "n1"]);
    ran.code(0).stdout(&format!(
        "docker tag {CONFIG} app:kdev-0123456789ab
docker save app:kdev-0123456789ab | ssh 10.0.0.1 [..] -n k8s.io image import --platform linux/amd64 -\n"
    ));
    assert!(!project.calls().contains("docker tag"));
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
}

#[test]
fn invalid_project_is_error() {
    let project = Project::new();
    project.write("Cargo.toml", "[package\n");
    project.run(&["load", "tool:1"]).code(90);
}

#[test]
fn full_disk_of_docker_is_not_fixed_by_a_build() {
    let project = Project::new();
    let message = "Error response from daemon: write /var/lib/docker/tmp/docker-export-1/layer.tar: no space left on device\n";
    project.write("fake/save-fails", message);
    let ran = project.run(&["load", "app:latest", "--node", "n1"]);
    let err = ran.code(94).err();
    assert!(err.contains("error: failed to export the image for node `n1`\n"), "{err}");
    let help = "  help: free space on the disk of the Docker daemon; run `docker system df` to see what uses it\n";
    assert!(err.ends_with(help), "{err}");
}
