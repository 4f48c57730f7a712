//! Nodes of distributions that bundle containerd or run nodes as containers.

use crate::project::{CONFIG, Project};

const LOADED: [&str; 2] = ["docker.io/library/app:kdev-0123456789ab", CONFIG];

#[test]
fn bundled_ctr_of_distribution_is_used() {
    let table = [
        ("containerd://1.6.20", "containerd://2.1.5-k3s1", "k3s"),
        (
            "\"name\":\"n1\"",
            "\"name\":\"n1\",\"labels\":{\"microk8s.io/cluster\":\"true\"}",
            "microk8s",
        ),
        (
            "\"containerRuntimeVersion\"",
            "\"kubeletVersion\":\"v1.34.1+k0s\",\"containerRuntimeVersion\"",
            "k0s",
        ),
    ];
    for (before, after, program) in table {
        let project = Project::new();
        project.edit_nodes(before, after);
        project.script(
            program,
            "printf 'bundled %s\\n' \"$*\" >>\"$FAKE/log\"; shift; exec ctr \"$@\"",
        );
        project.run(&["up", "--node", "n1"]).code(0);
        assert_eq!(project.images_on("10.0.0.1"), LOADED);
        let bundled = project
            .calls()
            .lines()
            .filter(|line| line.starts_with("bundled ctr -n k8s.io"))
            .count();
        let all = project.calls().lines().filter(|line| line.starts_with("ctr ")).count();
        assert!(bundled > 0 && bundled == all, "{}", project.calls());
    }
}

#[test]
fn sudo_help_has_exact_ctr_command() {
    let project = Project::new();
    project.edit_nodes("containerd://1.6.20", "containerd://2.1.5-k3s1");
    project.script("k3s", "shift; exec ctr \"$@\"");
    project.write("fake/uid", "1000").write("fake/sudo-refuses", "sudo: a password is required\n");
    project.run(&["up", "--node", "n1"]).code(93).error(
        "error: sudo on node `n1` (10.0.0.1) requires a password
  help: add this rule on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/k3s ctr -n k8s.io *`\n",
    );
}

#[test]
fn kind_node_is_reached_through_docker() {
    let project = Project::new();
    project.write("fake/containers", "n1\nother\n").remove("bin/ssh");
    project.run(&["up", "--node", "n1"]).code(0);
    assert_eq!(project.images_on("n1"), LOADED);
    // A dry run prints the same command.
    let import = "docker save 'app:kdev-<digest>' | docker exec -i n1 [ROOT]/bin/ctr -n k8s.io image import --platform linux/amd64 -\n";
    let shown = project.run(&["up", "--node", "n1", "--dry-run"]);
    assert!(shown.code(0).out().contains(import), "{}", shown.out());
}

#[test]
fn nodes_of_other_architecture_are_skipped() {
    let project = Project::new();
    project.nodes(&[("n1", "10.0.0.1", "amd64"), ("n2", "10.0.0.2", "arm64")]);
    project.run(&["load", "tool:1"]).code(0).stderr(
        "    Skipping n2: it is linux/arm64, but the image is built for linux/amd64
     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
    Finished tool:1 in [TIME]\n",
    );
    assert_eq!(project.images_on("10.0.0.2"), [""; 0]);
    project.run(&["up"]).code(0);
    assert_eq!(project.images_on("10.0.0.2"), [""; 0]);
    // A requested node is not skipped.
    let error = "error: image `tool:1` is built for linux/amd64, but node `n2` is linux/arm64
  help: build for the node: set DOCKER_DEFAULT_PLATFORM=linux/arm64\n";
    project.run(&["load", "tool:1", "--node", "n1", "--node", "n2"]).code(94).stderr(error);
    // It is an error if no node can run the image.
    project.nodes(&[("n2", "10.0.0.2", "arm64")]);
    project.run(&["load", "tool:1"]).code(94).stderr(error);
}

#[test]
fn unreachable_node_of_other_architecture_is_skipped() {
    let project = Project::new();
    project.nodes(&[("n1", "10.0.0.1", "amd64"), ("n2", "10.0.0.2", "arm64")]);
    let refused = |at: &str| format!("ssh: connect to host {at} port 22: Connection refused\n");
    project.write("fake/ssh-10.0.0.2", &refused("10.0.0.2"));
    project.run(&["load", "tool:1"]).code(0).stderr(
        "    Skipping n2: it is linux/arm64, but the image is built for linux/amd64
     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
    Finished tool:1 in [TIME]\n",
    );
    // A requested node is not skipped, and a node that can run the image must be reached.
    let named =
        project.run(&["load", "tool:1", "--node", "n1", "--node", "n2"]).code(93).err().to_owned();
    assert!(named.starts_with("error: cannot reach node `n2` (10.0.0.2): "), "{named}");
    project.write("fake/ssh-10.0.0.1", &refused("10.0.0.1")).remove("fake/ssh-10.0.0.2");
    let needed = project.run(&["load", "tool:1"]).code(93).err().to_owned();
    assert!(needed.starts_with("error: cannot reach node `n1` (10.0.0.1): "), "{needed}");
}

#[test]
fn docker_desktop_kubeadm_is_rejected_with_help() {
    let project = Project::new();
    project.nodes(&[("docker-desktop", "192.168.65.3", "amd64")]);
    project.edit_nodes("kind://docker/test/docker-desktop", "");
    project.edit_nodes("containerd://1.6.20", "docker://28.3.0");
    // Its node identifies Docker Desktop, so the context needs no permission.
    project.run(&["load", "tool:1"]).code(93).stderr(
        "error: node `docker-desktop` runs `docker://28.3.0`; only containerd is supported
  help: in Docker Desktop, select `kind` instead of `kubeadm` under Settings, Kubernetes\n",
    );
}
