//! `cargo kdev doctor`: a setup without problems, and one problem each.

use std::fs;

use serde_json::Value;

use crate::project::Project;

/// A project with one node, which is reached over SSH.
pub(crate) fn project() -> Project {
    project_of(&[("n1", "10.0.0.1", "amd64")])
}

/// A project with these nodes.
fn project_of(nodes: &[(&str, &str, &str)]) -> Project {
    let project = Project::new();
    project.nodes(nodes);
    let ssh = nodes.iter().map(|(name, address, _)| format!("nodes.{name}.ssh = \"{address}\"\n"));
    project.config(&ssh.collect::<String>());
    project.edit_nodes("\"bootID\":\"b\"", "\"bootID\":\"b\",\"kubeletVersion\":\"v1.34.4\"");
    project.edit_nodes(
        "\"addresses\"",
        "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}],\"addresses\"",
    );
    project
        .script("df", "printf 'Filesystem 1024-blocks Used Available\\nx 104857600 1 52428800\\n'");
    project.script("zstd", "exit 0");
    project.write("fake/buildx", "github.com/docker/buildx v0.12.1 30feaa1\n");
    project.write("fake/docker-context", "unix:///var/run/docker.sock\n");
    project
}

/// Checks the problems that `doctor` reports.
#[track_caller]
fn assert_problems(project: &Project, code: i32, expected: &str) {
    project.run(&["doctor", "-q"]).code(code).stdout(expected).stderr("");
}

#[test]
fn healthy_setup_has_no_problems() {
    project().run(&["doctor"]).code(0).stderr("").stdout(
        "tools
  ok       docker                20.10.24 at [ROOT]/bin/docker
  ok       kubectl               1.32.0 at [ROOT]/bin/kubectl
  ok       ssh                   9.2p1 at [ROOT]/bin/ssh
  skipped  helm                  not installed; required only for charts
docker
  ok       daemon                20.10.24 for linux/amd64
  ok       image-store           classic (overlay2)
  ok       builder               BuildKit with buildx v0.12.1
  ok       layers                Docker pushes only the changed layers
project
  ok       project               package `app` in [ROOT]
  ok       dockerfile            [ROOT]/Dockerfile
  ok       manifests             1 object; the image is used by `deployment/app`
cluster
  ok       context               `kind-test` at https://127.0.0.1:6443
  ok       context-allowed       allowed: a local Kubernetes distribution created it
  ok       api-server            reachable, 1 node
  ok       namespace             `default` exists
  ok       permissions-nodes     list `nodes`
  ok       permissions-apply     create/get/patch `deployments.apps` in `default`
  ok       permissions-applyset  create/get/patch `configmaps` in `default`
  ok       permissions-wait      list/watch `deployments.apps`, list `pods` and `replicasets.apps` in `default`
  ok       permissions-delete    delete/list `deployments.apps` in `default`
  ok       permissions-logs      get/list/watch `pods`, get `pods/log` in `default`
  ok       permissions-forward   get/list/watch `pods`, create/get `pods/portforward` in `default`
  ok       permissions-explain   list `events`, get `pods/log` in `default`
node n1
  ok       ready                 kubelet v1.34.4, kind
  ok       platform              linux/amd64, matches Docker
  ok       connection            10.0.0.1 over SSH with a verified host key, as `dev`
  [..]  identity              [..]
  ok       access                without sudo, `[ROOT]/bin/ctr`
  ok       runtime               containerd 1.6.20 at /run/containerd/containerd.sock
  ok       ctr                   1.6.20, matches containerd
  ok       cri                   the CRI plugin is running
  ok       namespace             k8s.io
  skipped  snapshotter           no container uses a snapshotter yet; using the default of `ctr`
  ok       prune                 older builds are removed; containerd before 1.7 ignores the pin of the newest one
  ok       disk                  50.0 GiB of 100.0 GiB free at /var/lib/containerd
  ok       clock                 in sync with this machine
  ok       compression           zstd and patches
no problems found
",
    );
}

#[test]
fn doctor_is_read_only_and_quiet_prints_nothing() {
    let project = project();
    assert_problems(&project, 0, "");
    project.run(&["doctor", "--fix", "-q"]).code(0).stdout("");
    project.run(&["doctor", "--fix"]).code(0).stderr("        Note nothing to fix\n");
    assert_eq!(project.applied(), None);
    let calls = project.calls();
    let changes = ["apply", "import", "docker build ", "docker tag", " rm "];
    assert!(!changes.iter().any(|change| calls.contains(change)), "{calls}");
    // Each run checks all permissions with one `kubectl`.
    assert_eq!(calls.matches(" create ").count(), 3, "{calls}");
}

#[test]
fn cluster_and_nodes_are_checked_without_project() {
    let project = project();
    project.remove("Cargo.toml").machine("10.0.0.1", "other", "b");
    let output = project.run(&["doctor"]).code(93).out().to_owned();
    assert!(
        output.contains("  skipped  project               no package found in this folder\n"),
        "{output}"
    );
    let fault = "  error    identity              10.0.0.1 is not node `n1` of this cluster: its machine ID is `other`, but the node has `n1`\n";
    assert!(output.contains(fault), "{output}");
}

#[test]
fn summary_mentions_missing_project() {
    let project = project();
    project.remove("Cargo.toml");
    let output = project.run(&["doctor"]).code(0).out().to_owned();
    let end = "\nno problems found, but no project was checked; run the command in a project\n";
    assert!(output.ends_with(end), "{output}");
}

#[test]
fn stopped_docker_does_not_hide_other_problems() {
    let project = project();
    let down =
        "Cannot connect to the Docker daemon at tcp://10.0.0.3:2375. Is the docker daemon running?";
    project.write("fake/docker-down", down).write("fake/denied", "patch\ndelete\n");
    assert_problems(&project, 91, &format!("docker
  error    daemon                cannot connect to the Docker daemon
    caused by: `docker version --format '{{{{json .}}}}'` exited with code 1: {down}
    help: run `sudo systemctl start docker`, or set DOCKER_HOST to a running daemon
cluster
  error    permissions-apply     not allowed to patch `deployments.apps` in `default`, to apply the manifests
    help: ask a cluster administrator to run `kubectl --namespace default create role kdev-apply --verb=create,get,patch --resource=deployments.apps && kubectl --namespace default create rolebinding kdev-apply --role=kdev-apply --user=jane`
  error    permissions-applyset  not allowed to patch `configmaps` in `default`, to record the applied objects for `down` and `--prune`
    help: ask a cluster administrator to run `kubectl --namespace default create role kdev-applyset --verb=create,get,patch --resource=configmaps && kubectl --namespace default create rolebinding kdev-applyset --role=kdev-applyset --user=jane`
  warning  permissions-delete    not allowed to delete `deployments.apps` in `default`, for `--prune`, `--recreate`, and `cargo kdev down`
    help: ask a cluster administrator to run `kubectl --namespace default create role kdev-delete --verb=delete,list --resource=deployments.apps && kubectl --namespace default create rolebinding kdev-delete --role=kdev-delete --user=jane`
"));
}

#[test]
fn missing_tool_is_reported_once() {
    let project = project();
    project.remove("bin/kubectl");
    assert_problems(
        &project,
        91,
        "tools
  error    kubectl               `kubectl` not found on PATH
    help: follow https://kubernetes.io/docs/tasks/tools to install it\n",
    );
}

#[test]
fn missing_ssh_fails_only_ssh_nodes() {
    let project = project();
    project.remove("bin/ssh");
    assert_problems(
        &project,
        91,
        "node n1
  error    connection            `ssh` not found on PATH
    help: install it with `sudo apt-get install openssh-client`\n",
    );
}

#[test]
fn outdated_docker_is_reported_once() {
    let project = project();
    project.write("fake/docker-version", "19.03.15");
    assert_problems(
        &project,
        91,
        "tools
  error    docker                `docker` 19.03.15 is too old; 20.10 or newer is required
    help: install it with `sudo apt-get install docker.io`, or follow https://docs.docker.com/engine/install\n",
    );
}

#[test]
fn invalid_configuration_does_not_skip_cluster_checks() {
    let project = project();
    project.write("kdev.local.toml", "dockerfil = \"x\"\n");
    assert_problems(
        &project,
        90,
        "project
  error    configuration         unknown key `dockerfil` in `[ROOT]/kdev.local.toml`
    help: did you mean `dockerfile`?\n",
    );
}

#[test]
fn unlisted_context_is_warning_and_missing_namespace_is_error() {
    let project = project();
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let contexts = contexts.replace("kind-test", "team").replace("127.0.0.1", "10.0.0.9");
    project.write("fake/contexts.json", &contexts);
    project.write("fake/no-namespace", "");
    assert_problems(&project, 92, "cluster
  warning  context-allowed       kdev asks for confirmation before each change to this cluster, and fails if it cannot ask
    help: pass `--context team` to allow it once, or add it to `contexts` in `[package.metadata.kdev]`
  error    namespace             `default` not found
    help: run `kubectl --context team create namespace default`\n");
    // The summary offers fixes with the same flags.
    let output = project.run(&["doctor", "--node", "n1"]).code(92).out().to_owned();
    let end = "\n1 error and 1 warning\nrun `cargo kdev doctor --node n1 --fix` to fix 1 of these (asks before each change)\n";
    assert!(output.ends_with(end), "{output}");
    // Without a terminal, nothing is written.
    let output = project.run(&["doctor", "--fix"]).code(92).err().to_owned();
    let note = "        Note cannot ask for confirmation without a terminal; skipped: write `contexts = [\"team\"]` to ";
    assert!(output.starts_with(note), "{output}");
    assert!(!project.path("kdev.local.toml").exists());
}

#[test]
fn sudo_rule_without_import_is_error() {
    let project = project();
    project.write("fake/uid", "1000");
    project.write(
        "fake/sudo-refuses-import",
        "Sorry, user dev is not allowed to execute it as root\n",
    );
    assert_problems(&project, 93, "node n1
  error    access                sudo on node `n1` (10.0.0.1) does not allow `ctr`: Sorry, user dev is not allowed to execute it as root
    help: add this rule on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n");
}

#[test]
fn sudo_rule_without_removal_is_warning() {
    let project = project();
    project.write("fake/uid", "1000");
    project.write("fake/sudo-refuses-removal", "Sorry, user dev is not allowed to execute it\n");
    assert_problems(&project, 0, "node n1
  warning  prune                 sudo does not allow `[ROOT]/bin/ctr` to pin or remove images: Sorry, user dev is not allowed to execute it
    help: add this rule on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n");
}

#[test]
fn node_without_lock_is_warning() {
    let project = project();
    for dir in ["bin", "tools"] {
        let _ = std::fs::remove_file(project.path(&format!("{dir}/flock")));
    }
    assert_problems(&project, 0, "node n1
  warning  prune                 older builds stay on the node: without `flock`, a removal could affect a load
    help: install `flock` (util-linux) on node `n1`\n");
}

#[test]
fn cordoned_node_is_warning_and_not_visited() {
    let project = project();
    project.edit_nodes(
        "\"spec\":{",
        "\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unschedulable\",\"effect\":\"NoSchedule\"}],",
    );
    assert_problems(
        &project,
        92,
        "cluster
  error    placement             no node can run the pods
    help: run `kubectl --context kind-test uncordon n1` to allow new pods on the node
node n1
  warning  placement             cannot run the pods: it is cordoned
    help: run `kubectl --context kind-test uncordon n1` to allow new pods on the node\n",
    );
    assert!(!project.calls().contains("kdev-"), "{}", project.calls());
}

#[test]
fn json_output_has_line_per_check() {
    let project = project();
    project
        .write("fake/ssh-10.0.0.1", "ssh: connect to host 10.0.0.1 port 22: Connection refused\n");
    let output = project.run(&["doctor", "--message-format", "json"]).code(93).out().to_owned();
    let lines: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
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
fn platform_mismatch_is_warning_until_docker_builds_for_node() {
    let project = project_of(&[("n1", "10.0.0.1", "arm64"), ("n2", "10.0.0.2", "amd64")]);
    assert_problems(&project, 0, "node n1
  warning  platform              linux/arm64, but Docker builds for linux/amd64 unless the Dockerfile sets a platform
    help: set DOCKER_DEFAULT_PLATFORM=linux/arm64 to build for the node\n");
    let platform = [("DOCKER_DEFAULT_PLATFORM", "linux/arm64")];
    let ran = project.run_with(&platform, &["doctor"]);
    assert!(ran.out().contains("linux/arm64, matches Docker\n"), "{}", ran.out());
}

#[test]
fn unresponsive_node_fails_only_if_no_other_node_is_loadable() {
    const REFUSED: &str = "ssh: connect to host 10.0.0.2 port 22: Connection refused\n";
    let unresponsive = |nodes: &[(&str, &str, &str)]| {
        let project = project_of(nodes);
        let taints = "\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unreachable\",\"effect\":\"NoSchedule\"}],";
        let all = fs::read_to_string(project.path("fake/nodes.json")).unwrap();
        let (rest, last) = all.rsplit_once("\"spec\":{").unwrap();
        let last = last.replace("\"True\"", "\"Unknown\",\"message\":\"gone\"");
        project.write("fake/nodes.json", &format!("{rest}{taints}{last}"));
        project.write("fake/ssh-10.0.0.2", REFUSED);
        project
    };
    let problems = |state: &str| {
        format!(
            "node n2
  {state:<7}  ready                 not ready: gone
    help: run `kubectl --context kind-test describe node n2` to find the cause
  {state:<7}  connection            cannot reach node `n2` (10.0.0.2): [..]
    help: run `ssh 10.0.0.2` to check the connection; [..]\n"
        )
    };
    let two = [("n1", "10.0.0.1", "amd64"), ("n2", "10.0.0.2", "amd64")];
    assert_problems(&unresponsive(&two), 0, &problems("warning"));
    assert_problems(&unresponsive(&two[1..]), 93, &problems("error"));
}

#[test]
fn disabled_cri_plugin_is_error() {
    let project = project();
    project.write("fake/cri-is-disabled", "");
    assert_problems(
        &project,
        93,
        "node n1
  error    cri                   a kubelet cannot use this containerd: its CRI plugin is disabled[..]
    help: [..]\n",
    );
}

#[test]
fn missing_ctr_does_not_hide_other_checks() {
    let project = project();
    project.edit_nodes("containerd://1.6.20", "containerd://2.1.5-k3s1");
    let output = project.run(&["doctor"]).code(93).out().to_owned();
    let node = output.split("node n1\n").nth(1).unwrap();
    let states: Vec<(&str, &str)> = node
        .lines()
        .filter(|line| !line.starts_with("    "))
        .filter_map(|line| Some((line.split_whitespace().next()?, line.split_whitespace().nth(1)?)))
        .filter(|(state, _)| state.parse::<u32>().is_err())
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
fn buildkit_dockerfile_requires_buildx() {
    let project = project();
    project.write("Dockerfile", "FROM scratch\nRUN --mount=type=cache,target=/c true\n");
    assert_problems(&project, 0, "");
    project.remove("fake/buildx");
    let evidence =
        "line 2 of the Dockerfile requires BuildKit, but buildx is not installed: `RUN --mount`";
    assert_problems(
        &project,
        0,
        &format!(
            "docker
  warning  builder               {evidence}
    help: set DOCKER_BUILDKIT=1\n"
        ),
    );
    project.write("fake/docker-version", "28.2.2");
    assert_problems(
        &project,
        91,
        &format!(
            "docker
  error    builder               {evidence}
    help: follow https://github.com/docker/buildx to install buildx\n"
        ),
    );
}

#[test]
fn fix_starts_docker_after_confirmation() {
    let project = project();
    project.write("fake/docker-down", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n");
    project.script(
        "systemctl",
        "echo \"systemctl $*\" >>\"$FAKE/log\"\n[ \"$*\" = 'start docker' ] && rm \"$FAKE/docker-down\"",
    );
    let output = project.run_in_terminal(&["doctor", "-q", "--fix"], "n");
    assert!(output.contains("Run `sudo -n systemctl start docker`? [y/N] "), "{output}");
    assert!(!project.calls().contains("systemctl"), "{}", project.calls());
    let output = project.run_in_terminal(&["doctor", "--color", "never", "--fix"], "y");
    assert!(
        output.contains("  error    daemon ") && output.contains("  ok       daemon "),
        "{output}"
    );
    assert!(output.trim_end().ends_with("no problems found"), "{output}");
    assert!(project.calls().contains("sudo -n systemctl start docker"), "{}", project.calls());
}
