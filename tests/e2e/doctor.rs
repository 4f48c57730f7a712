//! `cargo kdev doctor` on what is really wrong: each fault is made in the lab, it
//! must be found, and its cure, followed, must work.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::distributions::{Listed, NEW, Second};
use crate::docker_variants::docker_29;
use crate::exclusive::{Claim, Part};
use crate::lab::{command, in_node, kubectl, on_a_terminal, run, state, stderr};
use crate::test_service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cargo-kdev");

/// All nodes that the cluster lists, because `doctor` checks each.
fn every_node() -> Claim {
    Claim::both_nodes().uses(Part::NodeList)
}

/// `doctor` in the project, with these arguments.
fn doctor(service: &Service, args: &[&str]) -> Command {
    let base = ["doctor", "--message-format", "json", "--namespace", service.name];
    service.kdev(&[&base[..], args].concat())
}

/// What it finds, which must end with this code.
#[track_caller]
fn findings(command: &mut Command, code: i32) -> Vec<Value> {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}\n{}", stderr(&output));
    lines(&said)
}

fn lines(said: &str) -> Vec<Value> {
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The checks that end in an error, each with its node if it is about one.
fn errors(findings: &[Value]) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding["state"] == "error");
    let name = |finding: &Value| {
        let node = finding["node"].as_str().map(|node| format!("{node} ")).unwrap_or_default();
        format!("{node}{}", finding["check"].as_str().unwrap())
    };
    errors.map(name).collect()
}

/// The command in the advice on a check.
#[track_caller]
fn advice(findings: &[Value], check: &str) -> String {
    let of_check = |finding: &&Value| finding["check"] == check && finding["help"].is_string();
    let help = findings.iter().find(of_check).unwrap()["help"].as_str().unwrap();
    help.rsplit('`').nth(1).unwrap_or_else(|| panic!("{help}")).to_owned()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn healthy_cluster_has_no_errors() {
    let service = Service::claiming("doctor-well", every_node());
    let found = findings(&mut doctor(&service, &[]), 0);
    let state = |node: &str, check: &str| {
        let mut all = found.iter();
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
    assert!(found.iter().all(|one| one["group"] != "cluster" || one["state"] == "ok"), "{found:?}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_host_key_is_fixed_by_help() {
    let service = Service::claiming("doctor-key", every_node());
    let known = service.path("known_hosts");
    fs::write(&known, "").unwrap();
    let config = fs::read_to_string(state("ssh/config")).unwrap();
    let config = format!("Host *\n  UserKnownHostsFile {}\n\n{config}", known.display());
    service.write("ssh_config", &config);
    let path = service.path("ssh_config");
    let args = ["--node", "node-1", "--ssh-config", path.to_str().unwrap()];
    let found = findings(&mut doctor(&service, &args), 93);
    assert_eq!(errors(&found), ["node-1 connection"]);
    let help =
        found.iter().find(|one| one["check"] == "connection").unwrap()["help"].as_str().unwrap();
    let ssh = help.split('`').nth(1).unwrap();
    on_a_terminal(&format!("{ssh} true"), &command("sh"), "? ", "yes");
    findings(&mut doctor(&service, &args), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unreachable_docker_is_only_error() {
    let service = Service::claiming("doctor-docker", every_node());
    let mut down = doctor(&service, &[]);
    let found = findings(down.env("DOCKER_HOST", "unix:///nonexistent.sock"), 91);
    assert_eq!(errors(&found), ["daemon"]);
    let help = &found.iter().find(|one| one["check"] == "daemon").unwrap()["help"];
    assert_eq!(help, "DOCKER_HOST is `unix:///nonexistent.sock`; unset or fix it");
    // The advice is the lab's own docker.
    findings(&mut doctor(&service, &[]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_store_of_docker_is_detected() {
    let mut service = Service::claiming("doctor-store", every_node());
    let store = |service: &Service| {
        let found = findings(&mut doctor(service, &[]), 0);
        found.iter().find(|one| one["check"] == "image-store").unwrap()["evidence"].clone()
    };
    assert_eq!(store(&service), "classic (overlay2)");
    let _docker = docker_29(&mut service);
    assert_eq!(store(&service), "containerd (overlayfs)");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_permissions_are_granted_by_help() {
    let service = Service::claiming("doctor-rights", every_node());
    let path = service.path("kubeconfig");
    let view = kubectl("default", &["config", "view", "--raw", "--output=json"]).output().unwrap();
    let mut config: Value = serde_json::from_slice(&view.stdout).unwrap();
    config["users"][0]["user"]["as"] = "doctor-rights-jane".into();
    fs::write(&path, config.to_string()).unwrap();
    let ask = || {
        let mut doctor = doctor(&service, &[]);
        doctor.env("KUBECONFIG", &path);
        doctor
    };
    // Whatever an earlier run that was cut off has left.
    let roles = "clusterrole/kdev-nodes,clusterrolebinding/kdev-nodes".split(',');
    let roles: Vec<&str> = roles.collect();
    let clean = || {
        let mut delete = kubectl("default", &["delete", "--ignore-not-found"]);
        run(delete.args(&roles));
    };
    clean();
    let found = findings(&mut ask(), 92);
    let needed = ["permissions-nodes", "permissions-apply", "permissions-applyset", "permissions-wait"];
    assert_eq!(errors(&found), needed);
    for check in needed.into_iter().chain(["permissions-delete", "permissions-explain"]) {
        let mut grant = command("sh");
        grant.args(["-ec", &advice(&found, check)]).env("KUBECONFIG", state("kubeconfig"));
        run(&mut grant);
    }
    let found = findings(&mut ask(), 0);
    let rights = found.iter().filter(|one| one["check"].as_str().unwrap().starts_with("permissions"));
    let rights: Vec<&Value> = rights.collect();
    assert!(rights.len() >= 6 && rights.iter().all(|one| one["state"] == "ok"), "{rights:?}");
    // And these are all that it takes.
    let up = service.up(&[]).env("KUBECONFIG", &path).output().unwrap();
    clean();
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn wrong_machine_at_node_address_is_reported() {
    let service = Service::claiming("doctor-other", every_node());
    let address = |node: &str| fs::read_to_string(state(&format!("nodes/{node}/address"))).unwrap();
    let (other, right) = (address("node-1"), address("node-2"));
    let tell = |target: String| {
        service.write("kdev.local.toml", &format!("nodes.node-2.ssh = \"{target}\"\n"));
    };
    tell(format!("root@{}", other.trim()));
    let found = findings(&mut doctor(&service, &[]), 93);
    assert_eq!(errors(&found), ["node-2 identity"]);
    let help = found.iter().find(|one| one["check"] == "identity" && one["state"] == "error");
    let help = help.unwrap()["help"].as_str().unwrap();
    assert!(help.starts_with("set `nodes.node-2.ssh = \"user@host\"`"), "{help}");
    tell(format!("dev@{}", right.trim()));
    findings(&mut doctor(&service, &[]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_sudo_rule_is_added_by_help() {
    let claim = every_node().breaks(Part::Access("node-2"));
    let service = Service::claiming("doctor-sudo", claim);
    let rule = "/etc/sudoers.d/dev";
    let write = |text: &str| {
        let script = "printf '%s\\n' \"$1\" >\"$0\" && chmod 440 \"$0\"";
        run(&mut in_node("node-2", &["sh", "-ec", script, rule, text]));
    };
    let before = run(&mut in_node("node-2", &["cat", rule]));
    let judged = std::panic::catch_unwind(|| {
        write("# none");
        let found = findings(&mut doctor(&service, &[]), 93);
        assert_eq!(errors(&found), ["node-2 access"]);
        write(&advice(&found, "access"));
        findings(&mut doctor(&service, &[]), 0);
        // A rule for less than a load needs.
        let less = advice(&found, "access").replace('*', "version");
        write(&less);
        let found = findings(&mut doctor(&service, &[]), 93);
        assert_eq!(errors(&found), ["node-2 access"]);
    });
    write(before.trim_end());
    judged.unwrap();
    findings(&mut doctor(&service, &[]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_containerd_socket_keeps_independent_checks() {
    let claim = every_node().breaks_node("node-1");
    let service = Service::claiming("doctor-socket", claim);
    let socket = "/run/containerd/containerd.sock";
    let away = format!("{socket}.away");
    run(&mut in_node("node-1", &["mv", socket, &away]));
    let output = doctor(&service, &[]).output();
    run(&mut in_node("node-1", &["mv", &away, socket]));
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    let found: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(errors(&found).contains(&"node-1 access".to_owned()), "{said}");
    assert!(said.contains("containerd on node `node-1` ("), "{said}");
    // What needs no containerd is told all the same.
    for (check, state) in [("identity", "ok"), ("clock", "ok"), ("cri", "skipped")] {
        let is_told = |one: &&Value| one["node"] == "node-1" && one["check"] == check;
        assert_eq!(found.iter().find(is_told).unwrap()["state"], state, "{said}");
    }
    // What the advice runs tells the same on the node, and that it is well again.
    let fault = found.iter().find(|one| one["node"] == "node-1" && one["check"] == "access");
    let advised = fault.unwrap()["help"].as_str().unwrap().split('`').nth(1).unwrap();
    run(&mut in_node("node-1", &["sh", "-c", advised]));
    findings(&mut doctor(&service, &["--node", "node-1"]), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn fix_adds_context_to_local_config() {
    let service = Service::claiming("doctor-fix", every_node());
    let mut setting = service.kdev(&[]);
    setting.env_remove("KDEV_CONTEXT");
    let line = format!("{PROGRAM} kdev doctor --fix --color never --namespace {}", service.name);
    let said = on_a_terminal(&line, &setting, "[y/N] ", "y");
    assert!(said.contains("Write `contexts = [\"kdev-lab\"]` to `"), "{said}");
    assert!(said.contains("may be changed: the configuration lists it"), "{said}");
    let file = fs::read_to_string(service.path("kdev.local.toml")).unwrap();
    assert_eq!(file, "contexts = [\"kdev-lab\"]\n");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn fix_adds_host_key_only_if_accepted() {
    let service = Service::claiming("doctor-known", every_node());
    let known = service.path("ssh/known_hosts");
    let config = fs::read_to_string(state("ssh/config")).unwrap();
    let config = format!("Host *\n  UserKnownHostsFile {}\n\n{config}", known.display());
    service.write("ssh_config", &config);
    let mut setting = service.kdev(&[]);
    setting.env("KDEV_SSH_CONFIG", service.path("ssh_config"));
    let line = format!("{PROGRAM} kdev doctor --fix --color never --namespace {}", service.name);
    let fix = |answer: &str| on_a_terminal(&line, &setting, "[y/N] ", answer);
    // What the lab itself has written down when it made the nodes.
    let shown = |node: &str| {
        let address = fs::read_to_string(state(&format!("nodes/{node}/address"))).unwrap();
        let mut find = command("ssh-keygen");
        find.args(["-l", "-F", address.trim(), "-f"]).arg(state("ssh/known_hosts"));
        let line = run(&mut find);
        line.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
    };
    let said = fix("n");
    for node in ["node-1", "node-2"] {
        let question = format!("Add the host key `{}` of node `{node}` at ", shown(node));
        assert!(said.contains(&question), "{question}: {said}");
    }
    assert!(!known.exists(), "{said}");
    let said = fix("y");
    let again = said.rsplit("tools\n").next().unwrap();
    assert!(!again.contains("the SSH host key of node"), "{said}");
    assert_eq!(fs::read_to_string(&known).unwrap().lines().count(), 2);
    let mut after = doctor(&service, &[]);
    findings(after.env("KDEV_SSH_CONFIG", service.path("ssh_config")), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn containerd_not_used_by_kubelet_is_fixed_by_help() {
    let service = Service::claiming("doctor-second", Claim::second_containerd());
    let socket = "/run/k3s/containerd/containerd.sock";
    let _second = Second::start(&service, NEW, socket, "second");
    // As if the kubelet of this node asked the second one.
    let node = Listed::new("own-second", "{}", "", "containerd://2.2.3");
    // A node without a kubelet is reported as not ready after a minute, which decides
    // the exit code on a slow machine.
    let ask = || {
        let output = doctor(&service, &["--node", node.0]).output().unwrap();
        lines(&String::from_utf8(output.stdout).unwrap())
    };
    let runtime = |found: &[Value]| {
        let mut all = found.iter().filter(|one| one["node"] == node.0);
        all.find(|one| one["check"] == "runtime").unwrap().clone()
    };
    let told = runtime(&ask());
    assert_eq!(told["state"], "warning", "{told}");
    let evidence = told["evidence"].as_str().unwrap();
    assert!(evidence.contains("talks to containerd 1.6.20"), "{evidence}");
    assert!(evidence.ends_with(&format!("; others listen at `{socket}`")), "{evidence}");
    let setting = told["help"].as_str().unwrap().split('`').nth(1).unwrap();
    service.write("kdev.local.toml", &format!("{setting}\n"));
    let told = runtime(&ask());
    assert_eq!(told["state"], "ok", "{told}");
}
