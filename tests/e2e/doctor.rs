//! `cargo kdev doctor` with faults: each test creates one in the lab, expects the error, and
//! follows the help until the check succeeds.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::distributions::{CONTAINERD_2, ListedNode, SecondContainerd};
use crate::docker_variants::start_docker_29;
use crate::exclusive::{Claim, Part};
use crate::lab::{command, in_node, kubectl, run, run_on_terminal, state, stderr_text};
use crate::test_service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cargo-kdev");

/// Both nodes and the list of nodes, because `doctor` checks every listed node.
fn all_nodes_claim() -> Claim {
    Claim::both_nodes().uses(Part::NodeList)
}

/// Returns a `doctor` command in the project, with JSON output.
pub(crate) fn doctor(service: &Service, args: &[&str]) -> Command {
    let base = ["doctor", "--message-format", "json", "--namespace", service.name];
    service.kdev(&[&base[..], args].concat())
}

/// Returns the results of the checks; the command must exit with this code.
#[track_caller]
pub(crate) fn check_results(command: &mut Command, code: i32) -> Vec<Value> {
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{}", stderr_text(&output));
    parse_lines(&stdout)
}

fn parse_lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the names of the checks with an error, each with its node, if it has one.
fn failed_checks(findings: &[Value]) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding["state"] == "error");
    let name = |finding: &Value| {
        let node = finding["node"].as_str().map(|node| format!("{node} ")).unwrap_or_default();
        format!("{node}{}", finding["check"].as_str().unwrap())
    };
    errors.map(name).collect()
}

/// Returns the last command in the help of a check.
#[track_caller]
fn help_command(findings: &[Value], check: &str) -> String {
    let of_check = |finding: &&Value| finding["check"] == check && finding["help"].is_string();
    let help = findings.iter().find(of_check).unwrap()["help"].as_str().unwrap();
    help.rsplit('`').nth(1).unwrap_or_else(|| panic!("{help}")).to_owned()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn healthy_cluster_has_no_errors() {
    let service = Service::with_claim("doctor-well", all_nodes_claim());
    let results = check_results(&mut doctor(&service, &[]), 0);
    let state = |node: &str, check: &str| {
        let mut all = results.iter();
        let one = all.find(|one| one["node"] == node && one["check"] == check);
        one.unwrap_or_else(|| panic!("{check} of {node}"))["state"].clone()
    };
    for node in ["node-1", "node-2"] {
        for check in
            ["ready", "platform", "connection", "identity", "runtime", "ctr", "namespace", "clock"]
        {
            assert_eq!(state(node, check), "ok", "{check} of {node}");
        }
    }
    assert!(
        results.iter().all(|one| one["group"] != "cluster" || one["state"] == "ok"),
        "{results:?}"
    );
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_host_key_is_fixed_by_help() {
    let service = Service::with_claim("doctor-key", all_nodes_claim());
    let known = service.path("known_hosts");
    fs::write(&known, "").unwrap();
    let config = fs::read_to_string(state("ssh/config")).unwrap();
    let config = format!("Host *\n  UserKnownHostsFile {}\n\n{config}", known.display());
    service.write("ssh_config", &config);
    let path = service.path("ssh_config");
    let args = ["--node", "node-1", "--ssh-config", path.to_str().unwrap()];
    let results = check_results(&mut doctor(&service, &args), 93);
    assert_eq!(failed_checks(&results), ["node-1 connection"]);
    let help =
        results.iter().find(|one| one["check"] == "connection").unwrap()["help"].as_str().unwrap();
    let ssh = help.split('`').nth(1).unwrap();
    run_on_terminal(&format!("{ssh} true"), &command("sh"), "? ", "yes");
    check_results(&mut doctor(&service, &args), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unreachable_docker_is_only_error() {
    let service = Service::with_claim("doctor-docker", all_nodes_claim());
    let mut down = doctor(&service, &[]);
    let results = check_results(down.env("DOCKER_HOST", "unix:///nonexistent.sock"), 91);
    assert_eq!(failed_checks(&results), ["daemon"]);
    let help = &results.iter().find(|one| one["check"] == "daemon").unwrap()["help"];
    assert_eq!(help, "DOCKER_HOST is `unix:///nonexistent.sock`; unset or fix it");
    // Follow the help: use the lab's Docker.
    check_results(&mut doctor(&service, &[]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_store_of_docker_is_detected() {
    let mut service = Service::with_claim("doctor-store", all_nodes_claim());
    let store = |service: &Service| {
        let results = check_results(&mut doctor(service, &[]), 0);
        results.iter().find(|one| one["check"] == "image-store").unwrap()["evidence"].clone()
    };
    assert_eq!(store(&service), "classic (overlay2)");
    let _docker = start_docker_29(&mut service);
    assert_eq!(store(&service), "containerd (overlayfs)");
}

/// A StatefulSet without pods.
const EMPTY_SET: &str = "
kind: StatefulSet
apiVersion: apps/v1
metadata: {name: set}
spec:
  replicas: 0
  serviceName: set
  selector: {matchLabels: {app: set}}
  template: {metadata: {labels: {app: set}}, spec: {containers: [{name: c, image: redis:7}]}}
";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_permissions_are_granted_by_help() {
    let service = Service::with_claim("doctor-rights", all_nodes_claim());
    service.write("k8s/set.yaml", EMPTY_SET);
    let path = service.path("kubeconfig");
    let view = kubectl("default", &["config", "view", "--raw", "--output=json"]).output().unwrap();
    let mut config: Value = serde_json::from_slice(&view.stdout).unwrap();
    config["users"][0]["user"]["as"] = "doctor-rights-jane".into();
    fs::write(&path, config.to_string()).unwrap();
    let run_doctor = || {
        let mut doctor = doctor(&service, &[]);
        doctor.env("KUBECONFIG", &path);
        doctor
    };
    // An interrupted earlier run may have left these objects.
    let roles = "clusterrole/kdev-nodes,clusterrolebinding/kdev-nodes".split(',');
    let roles: Vec<&str> = roles.collect();
    let clean = || {
        let mut delete = kubectl("default", &["delete", "--ignore-not-found"]);
        run(delete.args(&roles));
    };
    clean();
    let results = check_results(&mut run_doctor(), 92);
    let needed =
        ["permissions-nodes", "permissions-apply", "permissions-applyset", "permissions-wait"];
    assert_eq!(failed_checks(&results), needed);
    let optional = ["delete", "explain", "forward", "logs", "rollback", "unblock"];
    let optional = optional.map(|purpose| format!("permissions-{purpose}"));
    for check in needed.into_iter().chain(optional.iter().map(String::as_str)) {
        let mut grant = command("sh");
        grant.args(["-ec", &help_command(&results, check)]).env("KUBECONFIG", state("kubeconfig"));
        run(&mut grant);
    }
    let results = check_results(&mut run_doctor(), 0);
    let permissions =
        results.iter().filter(|one| one["check"].as_str().unwrap().starts_with("permissions"));
    let permissions: Vec<&Value> = permissions.collect();
    assert!(
        permissions.len() >= 8 && permissions.iter().all(|one| one["state"] == "ok"),
        "{permissions:?}"
    );
    // These permissions are sufficient for `up`, `logs`, and `forward`.
    let up = service.up(&[]).env("KUBECONFIG", &path).output().unwrap();
    clean();
    assert_eq!(up.status.code(), Some(0), "{}", stderr_text(&up));
    let with_rights = |args: &[&str]| {
        let mut kdev = service.kdev(args);
        kdev.args(["--namespace", service.name]).env("KUBECONFIG", &path);
        kdev
    };
    run(&mut with_rights(&["logs"]));
    let mut forward = with_rights(&["forward", ":8080"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(forward.stderr.take().unwrap()).read_line(&mut line).unwrap();
    // Not SIGKILL, which would leave its children.
    kill(Pid::from_raw(forward.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    forward.wait().unwrap();
    assert!(line.contains("Forwarding 127.0.0.1:"), "{line}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn wrong_machine_at_node_address_is_reported() {
    let service = Service::with_claim("doctor-other", all_nodes_claim());
    let address = |node: &str| fs::read_to_string(state(&format!("nodes/{node}/address"))).unwrap();
    let (other, right) = (address("node-1"), address("node-2"));
    let set_target = |target: String| {
        service.write("kdev.local.toml", &format!("nodes.node-2.ssh = \"{target}\"\n"));
    };
    set_target(format!("root@{}", other.trim()));
    let results = check_results(&mut doctor(&service, &[]), 93);
    assert_eq!(failed_checks(&results), ["node-2 identity"]);
    let help = results.iter().find(|one| one["check"] == "identity" && one["state"] == "error");
    let help = help.unwrap()["help"].as_str().unwrap();
    assert!(help.starts_with("set `nodes.node-2.ssh = \"user@host\"`"), "{help}");
    set_target(format!("dev@{}", right.trim()));
    check_results(&mut doctor(&service, &[]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_sudo_rule_is_added_by_help() {
    let claim = all_nodes_claim().breaks(Part::Access("node-2"));
    let service = Service::with_claim("doctor-sudo", claim);
    let rule = "/etc/sudoers.d/dev";
    let write = |text: &str| {
        let script = "printf '%s\\n' \"$1\" >\"$0\" && chmod 440 \"$0\"";
        run(&mut in_node("node-2", &["sh", "-ec", script, rule, text]));
    };
    let before = run(&mut in_node("node-2", &["cat", rule]));
    let result = std::panic::catch_unwind(|| {
        write("# none");
        let results = check_results(&mut doctor(&service, &[]), 93);
        assert_eq!(failed_checks(&results), ["node-2 access"]);
        write(&help_command(&results, "access"));
        check_results(&mut doctor(&service, &[]), 0);
        // A rule that does not permit everything that a load needs.
        let less = help_command(&results, "access").replace('*', "version");
        write(&less);
        let results = check_results(&mut doctor(&service, &[]), 93);
        assert_eq!(failed_checks(&results), ["node-2 access"]);
    });
    write(before.trim_end());
    result.unwrap();
    check_results(&mut doctor(&service, &[]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_containerd_socket_keeps_independent_checks() {
    let claim = all_nodes_claim().breaks_node("node-1");
    let service = Service::with_claim("doctor-socket", claim);
    let socket = "/run/containerd/containerd.sock";
    let away = format!("{socket}.away");
    run(&mut in_node("node-1", &["mv", socket, &away]));
    let output = doctor(&service, &[]).output();
    run(&mut in_node("node-1", &["mv", &away, socket]));
    let stdout = String::from_utf8(output.unwrap().stdout).unwrap();
    let results: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(failed_checks(&results).contains(&"node-1 access".to_owned()), "{stdout}");
    assert!(stdout.contains("containerd on node `node-1` ("), "{stdout}");
    // Checks that do not need containerd still run.
    for (check, state) in [("identity", "ok"), ("clock", "ok"), ("cri", "skipped")] {
        let is_named = |one: &&Value| one["node"] == "node-1" && one["check"] == check;
        assert_eq!(results.iter().find(is_named).unwrap()["state"], state, "{stdout}");
    }
    // The command in the help succeeds on the node after the socket is back.
    let fault = results.iter().find(|one| one["node"] == "node-1" && one["check"] == "access");
    let help_command = fault.unwrap()["help"].as_str().unwrap().split('`').nth(1).unwrap();
    run(&mut in_node("node-1", &["sh", "-c", help_command]));
    check_results(&mut doctor(&service, &["--node", "node-1"]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn fix_adds_context_to_local_config() {
    let service = Service::with_claim("doctor-fix", all_nodes_claim());
    let mut setting = service.kdev(&[]);
    setting.env_remove("KDEV_CONTEXT");
    let line = format!("{PROGRAM} kdev doctor --fix --color never --namespace {}", service.name);
    let screen = run_on_terminal(&line, &setting, "[y/N] ", "y");
    assert!(screen.contains("Write `contexts = [\"kdev-lab\"]` to `"), "{screen}");
    assert!(screen.contains("allowed: the configuration lists it"), "{screen}");
    let file = fs::read_to_string(service.path("kdev.local.toml")).unwrap();
    assert_eq!(file, "contexts = [\"kdev-lab\"]\n");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn fix_adds_host_key_only_if_accepted() {
    let service = Service::with_claim("doctor-known", all_nodes_claim());
    let known = service.path("ssh/known_hosts");
    let config = fs::read_to_string(state("ssh/config")).unwrap();
    let config = format!("Host *\n  UserKnownHostsFile {}\n\n{config}", known.display());
    service.write("ssh_config", &config);
    let mut setting = service.kdev(&[]);
    setting.env("KDEV_SSH_CONFIG", service.path("ssh_config"));
    let line = format!("{PROGRAM} kdev doctor --fix --color never --namespace {}", service.name);
    let fix = |answer: &str| run_on_terminal(&line, &setting, "[y/N] ", answer);
    // The fingerprint that the lab recorded when it created the node.
    let shown = |node: &str| {
        let address = fs::read_to_string(state(&format!("nodes/{node}/address"))).unwrap();
        let mut find = command("ssh-keygen");
        find.args(["-l", "-F", address.trim(), "-f"]).arg(state("ssh/known_hosts"));
        let line = run(&mut find);
        line.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
    };
    let screen = fix("n");
    for node in ["node-1", "node-2"] {
        let question = format!("Add the host key `{}` of node `{node}` at ", shown(node));
        assert!(screen.contains(&question), "{question}: {screen}");
    }
    assert!(!known.exists(), "{screen}");
    let screen = fix("y");
    let again = screen.rsplit("tools\n").next().unwrap();
    assert!(!again.contains("the SSH host key of node"), "{screen}");
    assert_eq!(fs::read_to_string(&known).unwrap().lines().count(), 2);
    let mut after = doctor(&service, &[]);
    check_results(after.env("KDEV_SSH_CONFIG", service.path("ssh_config")), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn containerd_not_used_by_kubelet_is_fixed_by_help() {
    let service = Service::with_claim("doctor-second", Claim::second_containerd());
    let socket = "/run/k3s/containerd/containerd.sock";
    let _second = SecondContainerd::start(&service, CONTAINERD_2, socket, "second");
    // A Node object as if its kubelet used the second containerd.
    let node = ListedNode::new("own-second", "{}", "", "containerd://2.2.3");
    // The exit code is not checked: a node without a kubelet becomes not ready after a
    // minute, which changes the exit code on a slow machine.
    let run_doctor = || {
        let output = doctor(&service, &["--node", node.0]).output().unwrap();
        parse_lines(&String::from_utf8(output.stdout).unwrap())
    };
    let runtime = |results: &[Value]| {
        let mut all = results.iter().filter(|one| one["node"] == node.0);
        all.find(|one| one["check"] == "runtime").unwrap().clone()
    };
    let check = runtime(&run_doctor());
    assert_eq!(check["state"], "warning", "{check}");
    let evidence = check["evidence"].as_str().unwrap();
    assert!(evidence.contains("connects to containerd 1.6.20"), "{evidence}");
    assert!(evidence.ends_with(&format!("; other runtimes listen on `{socket}`")), "{evidence}");
    let setting = check["help"].as_str().unwrap().split('`').nth(1).unwrap();
    service.write("kdev.local.toml", &format!("{setting}\n"));
    let check = runtime(&run_doctor());
    assert_eq!(check["state"], "ok", "{check}");
}
