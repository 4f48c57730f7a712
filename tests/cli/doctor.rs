//! `cargo kdev doctor`: what is told where all is well, and of one fault each.

use std::fs;

use serde_json::Value;

use crate::project::Project;

/// A node that is this machine, as far as the cluster knows, but reached by ssh.
fn project() -> Project {
    project_of(&[("n1", "10.0.0.1", "amd64")])
}

/// The same with these nodes, which are one machine.
fn project_of(nodes: &[(&str, &str, &str)]) -> Project {
    let project = Project::new();
    project.nodes(nodes);
    let ssh = nodes.iter().map(|(name, address, _)| format!("nodes.{name}.ssh = \"{address}\"\n"));
    project.config(&ssh.collect::<String>());
    let id = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    for (name, _, _) in nodes {
        let machine = format!("\"machineID\":\"{}\"", id("/etc/machine-id"));
        project.nodes_are(&format!("\"machineID\":\"{name}\""), &machine);
    }
    let boot = id("/proc/sys/kernel/random/boot_id");
    project.nodes_are(
        "\"bootID\":\"b\"",
        &format!("\"bootID\":\"{boot}\",\"kubeletVersion\":\"v1.34.4\""),
    );
    project.nodes_are(
        "\"addresses\"",
        "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}],\"addresses\"",
    );
    project
        .script("df", "printf 'Filesystem 1024-blocks Used Available\\nx 104857600 1 52428800\\n'");
    project.script("zstd", "exit 0");
    project.write("fake/buildx", "github.com/docker/buildx v0.12.1 30feaa1\n");
    project
}

/// What is not well.
#[track_caller]
fn tells(project: &Project, code: i32, expected: &str) {
    project.run(&["doctor", "-q"]).code(code).stdout(expected).stderr("");
}

#[test]
fn all_is_well() {
    project().run(&["doctor"]).code(0).stderr("").stdout(
        "tools
  ok       docker                20.10.24 at [ROOT]/bin/docker
  ok       kubectl               1.32.0 at [ROOT]/bin/kubectl
  ok       ssh                   9.2p1 at [ROOT]/bin/ssh
  skipped  helm                  not installed, and needed only for charts
docker
  ok       daemon                20.10.24 for linux/amd64
  ok       image-store           classic (overlay2)
  ok       builder               BuildKit, by buildx v0.12.1
project
  ok       project               package `app` in [ROOT]
  ok       dockerfile            [ROOT]/Dockerfile
  ok       manifests             1 object; the image is run by `deployment/app`
cluster
  ok       context               `kind-test` at https://127.0.0.1:6443
  ok       context-allowed       may be changed: a local product has made it
  ok       api-server            it answers, and lists 1 node
  ok       namespace             `default` exists
  ok       permissions-nodes     list `nodes`
  ok       permissions-apply     create/get/patch `deployments.apps` in `default`
  ok       permissions-applyset  create/get/patch `configmaps` in `default`
  ok       permissions-wait      list/watch `deployments.apps`, list `pods` and `replicasets.apps` in `default`
  ok       permissions-delete    delete/list `deployments.apps` in `default`
  ok       permissions-explain   list `events`, get `pods/log` in `default`
node n1
  ok       ready                 kubelet v1.34.4, made by kind
  ok       platform              linux/amd64, as docker builds
  ok       connection            10.0.0.1 by ssh, which knows its host key, as `dev`
  [..]  identity              [..]
  ok       access                without sudo, with `[ROOT]/bin/ctr`
  ok       runtime               containerd 1.6.20 at /run/containerd/containerd.sock
  ok       ctr                   1.6.20, as its containerd
  ok       cri                   its plugin runs
  ok       namespace             k8s.io
  skipped  snapshotter           no container tells what unpacks the kubelet's images; what `ctr` takes by itself is used
  ok       disk                  50.0 GiB of 100.0 GiB are free at /var/lib/containerd
  ok       clock                 as this machine's
  ok       compression           zstd, and patches
all is well
",
    );
}

#[test]
fn nothing_is_changed_and_a_quiet_run_says_nothing() {
    let project = project();
    tells(&project, 0, "");
    project.run(&["doctor", "--fix", "-q"]).code(0).stdout("");
    project.run(&["doctor", "--fix"]).code(0).stderr("        Note nothing to fix\n");
    assert_eq!(project.applied(), None);
    let calls = project.calls();
    let changes = ["apply", "import", "docker build ", "docker tag", " rm "];
    assert!(!changes.iter().any(|change| calls.contains(change)), "{calls}");
    // All rights are asked for in one start of each run.
    assert_eq!(calls.matches(" create ").count(), 3, "{calls}");
}

#[test]
fn outside_of_a_project_the_rest_is_checked() {
    let project = project();
    project.remove("Cargo.toml").nodes(&[("n1", "10.0.0.1", "amd64")]);
    let said = project.run(&["doctor"]).code(93).out().to_owned();
    assert!(
        said.contains("  skipped  project               no package is in this folder\n"),
        "{said}"
    );
    // The IDs that the cluster knows are not this machine's.
    let fault = "  error    identity              10.0.0.1 is not the node `n1` of this cluster: ";
    assert!(said.contains(fault), "{said}");
}

#[test]
fn where_all_is_well_without_a_project_that_is_said() {
    let project = project();
    project.remove("Cargo.toml");
    let said = project.run(&["doctor"]).code(0).out().to_owned();
    let end = "\nall is well, but no project was checked: run it in its folder\n";
    assert!(said.ends_with(end), "{said}");
}

#[test]
fn a_docker_that_is_down_does_not_hide_the_rest() {
    let project = project();
    let down =
        "Cannot connect to the Docker daemon at tcp://10.0.0.3:2375. Is the docker daemon running?";
    project.write("fake/docker-down", down).write("fake/denied", "patch\ndelete\n");
    tells(&project, 91, &format!("docker
  error    daemon                cannot connect to the Docker daemon
    caused by: `docker version --format '{{{{json .}}}}'` exited with code 1: {down}
    help: run `sudo systemctl start docker`, or set DOCKER_HOST to a running daemon
cluster
  error    permissions-apply     you may not patch `deployments.apps` in `default`, to apply the manifests
    help: let an administrator of the cluster run `kubectl --namespace default create role kdev-apply --verb=create,get,patch --resource=deployments.apps && kubectl --namespace default create rolebinding kdev-apply --role=kdev-apply --user=jane`
  error    permissions-applyset  you may not patch `configmaps` in `default`, to note down what was applied, for `down` and `--prune`
    help: let an administrator of the cluster run `kubectl --namespace default create role kdev-applyset --verb=create,get,patch --resource=configmaps && kubectl --namespace default create rolebinding kdev-applyset --role=kdev-applyset --user=jane`
  warning  permissions-delete    you may not delete `deployments.apps` in `default`, for `--prune`, `--recreate` and `cargo kdev down`
    help: let an administrator of the cluster run `kubectl --namespace default create role kdev-delete --verb=delete,list --resource=deployments.apps && kubectl --namespace default create rolebinding kdev-delete --role=kdev-delete --user=jane`
"));
}

#[test]
fn a_tool_that_is_missing_is_told_once() {
    let project = project();
    project.remove("bin/kubectl");
    tells(
        &project,
        91,
        "tools
  error    kubectl               `kubectl` not found on PATH
    help: follow https://kubernetes.io/docs/tasks/tools to install it\n",
    );
}

#[test]
fn ssh_is_needed_only_where_a_node_is_reached_by_it() {
    let project = project();
    project.remove("bin/ssh");
    tells(
        &project,
        91,
        "node n1
  error    connection            `ssh` not found on PATH
    help: install it with `sudo apt-get install openssh-client`\n",
    );
}

#[test]
fn a_docker_that_is_too_old_is_told_once() {
    let project = project();
    project.write("fake/docker-version", "19.03.15");
    tells(
        &project,
        91,
        "tools
  error    docker                `docker` 19.03.15 is too old; 20.10 or newer is required
    help: install it with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install\n",
    );
}

#[test]
fn a_broken_configuration_leaves_the_cluster_to_be_checked() {
    let project = project();
    project.write("kdev.local.toml", "dockerfil = \"x\"\n");
    tells(
        &project,
        90,
        "project
  error    configuration         unknown key `dockerfil` in `[ROOT]/kdev.local.toml`
    help: did you mean `dockerfile`?\n",
    );
}

#[test]
fn a_context_that_is_nobodys_leave_is_a_warning_and_a_namespace_must_exist() {
    let project = project();
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let contexts = contexts.replace("kind-test", "team").replace("127.0.0.1", "10.0.0.9");
    project.write("fake/contexts.json", &contexts);
    project.write("fake/no-namespace", "");
    tells(&project, 92, "cluster
  warning  context-allowed       kdev asks each time before it changes this cluster, and refuses where nobody can be asked
    help: pass `--context team` to allow it once, or add it to `contexts` in `[package.metadata.kdev]`
  error    namespace             `default` does not exist
    help: run `kubectl --context team create namespace default`\n");
    // What can be cured from here is offered, with the flags that were given.
    let said = project.run(&["doctor", "--node", "n1"]).code(92).out().to_owned();
    let end = "\n1 error and 1 warning\n`cargo kdev doctor --node n1 --fix` can cure 1 of these, and asks first\n";
    assert!(said.ends_with(end), "{said}");
    // Without a terminal nobody is asked, and nothing is written.
    let said = project.run(&["doctor", "--fix"]).code(92).err().to_owned();
    let note = "        Note not done, for nobody can be asked: write `contexts = [\"team\"]` to ";
    assert!(said.starts_with(note), "{said}");
    assert!(!project.path("kdev.local.toml").exists());
}

#[test]
fn a_sudo_rule_without_the_import_is_found() {
    let project = project();
    project.write("fake/uid", "1000");
    project.write(
        "fake/sudo-refuses-import",
        "Sorry, user dev is not allowed to execute it as root\n",
    );
    tells(&project, 93, "node n1
  error    access                sudo on node `n1` (10.0.0.1) does not allow `ctr`: Sorry, user dev is not allowed to execute it as root
    help: add this rule on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n");
}

#[test]
fn a_node_that_takes_no_pods_is_told_and_not_asked() {
    let project = project();
    project.nodes_are(
        "\"spec\":{",
        "\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unschedulable\",\"effect\":\"NoSchedule\"}],",
    );
    tells(&project, 92, "cluster
  error    placement             no node may run the pods
    help: run `kubectl --context kind-test uncordon n1` to allow new pods on the node
node n1
  warning  placement             no pod goes there: it is cordoned
    help: let pods go there again with `kubectl --context kind-test --namespace default uncordon n1`\n");
    assert!(!project.calls().contains("kdev-"), "{}", project.calls());
}

#[test]
fn scripts_get_a_line_for_each_check() {
    let project = project();
    project
        .write("fake/ssh-10.0.0.1", "ssh: connect to host 10.0.0.1 port 22: Connection refused\n");
    let said = project.run(&["doctor", "--message-format", "json"]).code(93).out().to_owned();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.len() > 15
            && lines.iter().all(|line| line["reason"] == "check-result" && line["version"] == 1)
    );
    let fault = lines.iter().find(|line| line["state"] == "error").unwrap();
    assert_eq!(
        (&fault["group"], &fault["node"], &fault["check"]),
        (&"node".into(), &"n1".into(), &"connection".into())
    );
    assert!(fault["help"].as_str().unwrap().starts_with("run `ssh"), "{fault}");
}

#[test]
fn a_node_of_another_platform_is_told_until_docker_builds_for_it() {
    let project = project_of(&[("n1", "10.0.0.1", "arm64")]);
    tells(&project, 0, "node n1
  warning  platform              it runs linux/arm64, and docker builds for linux/amd64, unless the Dockerfile tells otherwise
    help: build for the node: set DOCKER_DEFAULT_PLATFORM=linux/arm64\n");
    let told = [("DOCKER_DEFAULT_PLATFORM", "linux/arm64")];
    project.run_with(&told, &["doctor", "-q"]).code(0).stdout("");
}

#[test]
fn a_node_that_the_cluster_does_not_hear_of_holds_up_nobody_but_alone() {
    const REFUSED: &str = "ssh: connect to host 10.0.0.2 port 22: Connection refused\n";
    let silent = |nodes: &[(&str, &str, &str)]| {
        let project = project_of(nodes);
        let taints = "\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unreachable\",\"effect\":\"NoSchedule\"}],";
        let all = fs::read_to_string(project.path("fake/nodes.json")).unwrap();
        let (rest, last) = all.rsplit_once("\"spec\":{").unwrap();
        let last = last.replace("\"True\"", "\"Unknown\",\"message\":\"gone\"");
        project.write("fake/nodes.json", &format!("{rest}{taints}{last}"));
        project.write("fake/ssh-10.0.0.2", REFUSED);
        project
    };
    let told = |state: &str| {
        format!(
            "node n2
  {state:<7}  ready                 it is not ready: gone
    help: see `kubectl --context kind-test --namespace default describe node n2`
  {state:<7}  connection            cannot reach node `n2` (10.0.0.2): [..]
    help: run `ssh 10.0.0.2` to check the connection; [..]\n"
        )
    };
    let two = [("n1", "10.0.0.1", "amd64"), ("n2", "10.0.0.2", "amd64")];
    tells(&silent(&two), 0, &told("warning"));
    tells(&silent(&two[1..]), 93, &told("error"));
}

#[test]
fn a_containerd_without_the_cri_is_found() {
    let project = project();
    project.write("fake/cri-is-off", "");
    tells(
        &project,
        93,
        "node n1
  error    cri                   no kubelet can ask this containerd: its CRI plugin is switched off[..]
    help: [..]\n",
    );
}

#[test]
fn a_node_without_ctr_hides_nothing_else() {
    let project = project();
    project.nodes_are("containerd://1.6.20", "containerd://2.1.5-k3s1");
    let said = project.run(&["doctor"]).code(93).out().to_owned();
    let node = said.split("node n1\n").nth(1).unwrap();
    let states: Vec<(&str, &str)> = node
        .lines()
        .filter(|line| !line.starts_with("    "))
        .filter_map(|line| Some((line.split_whitespace().next()?, line.split_whitespace().nth(1)?)))
        .filter(|(state, _)| *state != "all")
        .collect();
    for (state, check) in [
        ("ok", "connection"),
        ("error", "access"),
        ("skipped", "runtime"),
        ("skipped", "cri"),
        ("ok", "clock"),
        ("ok", "compression"),
    ] {
        assert!(states.contains(&(state, check)), "{state} {check}: {node}");
    }
}

#[test]
fn a_dockerfile_that_is_for_buildkit_needs_it() {
    let project = project();
    project.write("Dockerfile", "FROM scratch\nRUN --mount=type=cache,target=/c true\n");
    tells(&project, 0, "");
    project.remove("fake/buildx");
    let words = "line 2 of the Dockerfile is for BuildKit, and docker has no buildx: `RUN --mount`";
    tells(
        &project,
        0,
        &format!(
            "docker
  warning  builder               {words}
    help: set DOCKER_BUILDKIT=1\n"
        ),
    );
    project.write("fake/docker-version", "28.2.2");
    tells(
        &project,
        91,
        &format!(
            "docker
  error    builder               {words}
    help: install buildx as https://github.com/docker/buildx says\n"
        ),
    );
}

#[test]
fn docker_is_started_once_that_is_allowed() {
    let project = project();
    project.write("fake/docker-down", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n");
    project.script(
        "systemctl",
        "echo \"systemctl $*\" >>\"$FAKE/log\"\n[ \"$*\" = 'start docker' ] && rm \"$FAKE/docker-down\"",
    );
    let said = project.run_on_a_terminal(&["doctor", "-q", "--fix"], "n");
    assert!(said.contains("Run `sudo -n systemctl start docker`? [y/N] "), "{said}");
    assert!(!project.calls().contains("systemctl"), "{}", project.calls());
    let said = project.run_on_a_terminal(&["doctor", "--color", "never", "--fix"], "y");
    assert!(said.contains("  error    daemon ") && said.contains("  ok       daemon "), "{said}");
    assert!(said.trim_end().ends_with("all is well"), "{said}");
    assert!(project.calls().contains("sudo -n systemctl start docker"), "{}", project.calls());
}
