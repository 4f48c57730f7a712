//! Pods that cannot be scheduled.

use serde_json::Value;

use super::Scenario;
use crate::api;
use crate::exclusive::{Claim, Part};
use crate::lab::{get, kubectl, run, wait_for};
use crate::test_service::NODES;
use crate::undo::Undo;

const REQUESTS: &str = "resources: {requests: {cpu: AMOUNT}}";
const ANTI_AFFINITY: &str = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}";
const POD_AFFINITY: &str = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}}]}}";

/// Both nodes, with an unchanged list of nodes, because the scheduler's messages count them.
fn all_nodes_claim() -> Claim {
    Claim::both_nodes().uses(Part::NodeList)
}

/// Both nodes, without pods of other tests.
fn tainted_nodes_claim() -> Claim {
    NODES.into_iter().fold(all_nodes_claim().breaks(Part::NodeList), |claim, node| {
        claim.breaks(Part::Pods(node))
    })
}

/// Runs `kubectl VERB nodes NODE ARGS` for each node when dropped.
fn undo_on_nodes(verb: &str, args: &[&str]) -> Undo {
    Undo::new(NODES.map(|node| kubectl("default", &[&[verb, "nodes", node], args].concat())))
}

impl Scenario {
    fn image(&self) -> String {
        format!("{}:dev", self.name)
    }

    /// Builds the scenario's image, and loads it onto both nodes.
    fn build_and_load(&self) {
        self.build(&self.image());
        self.load(&self.image());
    }

    /// Creates a Deployment `web` without a fixed node; `spec` is a line of the pod spec, and
    /// `line` of the container.
    fn schedule_deployment(&self, replicas: usize, spec: &str, line: &str) {
        let image = self.image();
        self.apply(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      {spec}\n      terminationGracePeriodSeconds: 0\n      containers:\n      - name: web\n        image: {image:?}\n        imagePullPolicy: Never\n        {line}\n"
        ));
    }

    /// Creates a bare pod like those of `schedule_deployment`.
    fn schedule_pod(&self, spec: &str, line: &str) {
        let image = self.image();
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  {spec}\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: web\n    image: {image:?}\n    imagePullPolicy: Never\n    {line}\n"
        ));
    }

    /// Waits until the kubelet of the node with this label has seen it. Before that, it rejects
    /// pods that select the label.
    fn wait_until_label_is_seen(&self, key: &str, value: &str) {
        let selector = format!("{key}={value}");
        let name = "--output=jsonpath={.items[0].metadata.name}";
        let node = run(&mut kubectl("default", &["get", "nodes", "--selector", &selector, name]));
        let image = self.image();
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: probe}}\nspec:\n  nodeName: {node}\n  nodeSelector: {{{key}: {value}}}\n  tolerations: [{{operator: Exists}}]\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: probe, image: {image:?}, imagePullPolicy: Never}}]\n"
        );
        let phase = || get(self.name, &["pod", "probe"])["status"]["phase"].clone();
        wait_for("the kubelet to see the label", || {
            self.apply(&pod);
            wait_for("the probe", || (phase() != "Pending").then_some(()));
            let is_accepted = phase() != "Failed";
            run(&mut self.kubectl(&["delete", "pod", "probe", "--now"]));
            is_accepted.then_some(())
        });
    }

    /// Waits until the rollout is complete and all pods are ready.
    fn wait_until_rolled_out(&self) {
        run(&mut self.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
        self.wait_until_ready();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn cpu_request_over_node_size_reports_insufficient_resources() {
    let scenario = Scenario::with_claim("cpu-too-high", all_nodes_claim().breaks(Part::Capacity));
    scenario.build_and_load();
    scenario.schedule_deployment(1, "", &REQUESTS.replace("AMOUNT", "\"3\""));
    scenario.wait_for_event("Insufficient cpu");
    scenario.assert_causes(&["insufficient-resources"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn memory_request_over_node_size_reports_insufficient_resources() {
    let scenario =
        Scenario::with_claim("memory-too-high", all_nodes_claim().breaks(Part::Capacity));
    scenario.build_and_load();
    scenario.schedule_pod("", "resources: {requests: {memory: 500Gi}}");
    scenario.wait_for_event("Insufficient memory");
    scenario.assert_causes(&["insufficient-resources"]).follow_help(0);
    scenario.wait_until_ready();
}

/// Returns the running and pending pods of all namespaces that have requests.
fn pods_with_requests() -> Vec<Value> {
    let is_over = |pod: &Value| {
        ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())
    };
    let requests = |pod: &Value| {
        let containers = pod["spec"]["containers"].as_array().unwrap();
        containers.iter().any(|container| !container["resources"]["requests"].is_null())
    };
    let mut pods = api::get_raw("/api/v1/pods").unwrap();
    let mut pods = std::mem::take(pods["items"].as_array_mut().unwrap());
    pods.retain(|pod| requests(pod) && !is_over(pod));
    pods
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn cpu_requests_of_other_pods_report_insufficient_resources() {
    let scenario = Scenario::with_claim("cpu-in-use", all_nodes_claim().breaks(Part::Capacity));
    // Pods of earlier tests may still exist. Those of the demo remain.
    let is_demo = |pod: &Value| pod["metadata"]["namespace"] == "default";
    wait_for("nodes without requests", || pods_with_requests().iter().all(is_demo).then_some(()));
    let others = pods_with_requests();
    let requested = |node: &str| -> u64 {
        let of_node = others.iter().filter(|pod| pod["spec"]["nodeName"] == node);
        let cpu = of_node
            .map(|pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str());
        cpu.map(|cpu| cpu.unwrap().trim_end_matches('m').parse::<u64>().unwrap()).sum()
    };
    let requested = NODES.map(requested);
    scenario.build_and_load();
    scenario.schedule_deployment(2, ANTI_AFFINITY, &REQUESTS.replace("AMOUNT", "1500m"));
    scenario.wait_until_rolled_out();
    // A pod and a Deployment can have the same name.
    scenario.schedule_pod("", &REQUESTS.replace("AMOUNT", "\"1\""));
    scenario.wait_for_event("Insufficient cpu");
    let report = scenario.assert_causes(&["insufficient-resources"]);
    let seen =
        requested.map(|requested| format!("of which its pods request {}m", 1500 + requested));
    assert!(seen.iter().any(|seen| report.evidence(0).contains(seen)), "{}", report.evidence(0));
    let left = requested.map(|requested| format!("--requests=cpu={}m", 500 - requested));
    assert!(left.iter().any(|left| report.help(0).contains(left)), "{}", report.help(0));
    report.follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn cordoned_node_reports_untolerated_taints() {
    let scenario = Scenario::with_claim(
        "cordoned",
        all_nodes_claim().breaks(Part::NodeList).breaks(Part::Pods("node-1")),
    );
    scenario.build_and_load();
    let _undo = Undo::new([kubectl("default", &["uncordon", "node-1"])]);
    run(&mut kubectl("default", &["cordon", "node-1"]));
    scenario.schedule_deployment(1, "nodeSelector: {kubernetes.io/hostname: node-1}", "");
    scenario.wait_for_event("were unschedulable");
    scenario.assert_causes(&["untolerated-taints"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn tainted_nodes_report_taints_and_node_with_image() {
    let scenario = Scenario::with_claim("tainted-nodes", tainted_nodes_claim());
    scenario.build(&scenario.image());
    scenario.import("node-2", "k8s.io", &scenario.image());
    let _undo = undo_on_nodes("taint", &["team-"]);
    for node in NODES {
        run(&mut kubectl("default", &["taint", "nodes", node, "team=data:NoSchedule"]));
    }
    scenario.schedule_deployment(1, "", "");
    scenario.wait_for_event("untolerated taint");
    let report = scenario.assert_causes(&["untolerated-taints"]);
    assert!(report.evidence(0).contains("only `node-2` has the image"), "{}", report.evidence(0));
    assert!(report.message(0).contains("`team=data:NoSchedule`"), "{}", report.message(0));
    report.follow_help(0);
    // Both nodes are now possible.
    scenario.import("node-1", "k8s.io", &scenario.image());
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_label_reports_node_selector() {
    let scenario = Scenario::with_claim("node-selector", all_nodes_claim().breaks(Part::NodeList));
    scenario.build_and_load();
    let _undo = undo_on_nodes("label", &["node-selector-"]);
    scenario.schedule_deployment(1, "nodeSelector: {node-selector: ssd}", "");
    scenario.wait_for_event("affinity/selector");
    scenario.assert_causes(&["node-selector"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn mistyped_node_name_reports_node_selector() {
    let scenario = Scenario::with_claim("node-name-typo", all_nodes_claim());
    scenario.build_and_load();
    scenario.schedule_deployment(1, "nodeSelector: {kubernetes.io/hostname: node2}", "");
    scenario.wait_for_event("affinity/selector");
    scenario.assert_causes(&["node-selector"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unmatched_node_affinity_reports_node_selector() {
    let scenario = Scenario::with_claim("node-affinity", all_nodes_claim().breaks(Part::NodeList));
    scenario.build_and_load();
    let _undo = undo_on_nodes("label", &["disk-speed-"]);
    // A kubelet that has not seen the new label yet rejects the pod; a Deployment replaces it.
    scenario.schedule_deployment(
        1,
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk-speed, operator: In, values: [fast, faster]}]}]}}}",
        "",
    );
    scenario.wait_for_event("affinity/selector");
    scenario.assert_causes(&["node-selector"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn daemon_set_without_matching_node_reports_inactive() {
    let scenario =
        Scenario::with_claim("no-matching-node", all_nodes_claim().breaks(Part::NodeList));
    let image = "no-matching-node:dev";
    scenario.build(image);
    scenario.import("node-1", "k8s.io", image);
    let _undo = undo_on_nodes("label", &["no-matching-node-"]);
    scenario.apply(&format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: web}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      nodeSelector: {{no-matching-node: here}}\n      terminationGracePeriodSeconds: 0\n      containers: [{{name: web, image: {image:?}, imagePullPolicy: Never}}]\n"
    ));
    wait_for("the controller to process the DaemonSet", || {
        let status = &get(scenario.name, &["daemonset", "web"])["status"];
        (status["observedGeneration"] == 1).then_some(())
    });
    // Not an error without a query for the workload, because it is probably intended.
    assert!(
        scenario
            .check_namespace()
            .starts_with("daemonset/web has no pods: no node can run the pod; ")
    );
    scenario.assert_causes(&["inactive"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn taint_and_missing_label_report_both_causes() {
    let scenario = Scenario::with_claim("taint-and-label", tainted_nodes_claim());
    scenario.build_and_load();
    let _undo = (undo_on_nodes("taint", &["team-"]), undo_on_nodes("label", &["taint-and-label-"]));
    for node in NODES {
        run(&mut kubectl("default", &["taint", "nodes", node, "team=data:NoExecute"]));
    }
    // A bare pod: of its placement, only tolerations can be added.
    scenario.schedule_pod("nodeSelector: {taint-and-label: ssd}", "");
    scenario.wait_for_event("0/2 nodes are available");
    let report = scenario.assert_causes(&["untolerated-taints", "node-selector"]);
    report.follow_help(1);
    scenario.wait_until_label_is_seen("taint-and-label", "ssd");
    report.follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn more_pods_than_nodes_with_anti_affinity_report_pod_affinity() {
    let scenario = Scenario::with_claim("anti-affinity", all_nodes_claim());
    scenario.build_and_load();
    scenario.schedule_deployment(3, ANTI_AFFINITY, "");
    scenario.wait_for_event("anti-affinity rules");
    scenario.assert_causes(&["pod-affinity"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn update_with_anti_affinity_reports_pod_affinity() {
    let scenario = Scenario::with_claim("anti-affinity-update", all_nodes_claim());
    scenario.build_and_load();
    scenario.schedule_deployment(2, ANTI_AFFINITY, "");
    scenario.wait_until_rolled_out();
    scenario.schedule_deployment(2, ANTI_AFFINITY, "env: [{name: COLOR, value: blue}]");
    scenario.wait_for_event("anti-affinity rules");
    scenario.assert_causes(&["pod-affinity"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn affinity_to_missing_pods_reports_pod_affinity() {
    let scenario = Scenario::with_claim("pod-affinity", all_nodes_claim());
    scenario.build_and_load();
    scenario.schedule_deployment(1, POD_AFFINITY, "");
    scenario.wait_for_event("pod affinity rules");
    scenario.assert_causes(&["pod-affinity"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn spread_over_missing_zones_reports_pod_affinity() {
    let scenario =
        Scenario::with_claim("topology-spread", all_nodes_claim().breaks(Part::NodeList));
    scenario.build_and_load();
    let _undo = undo_on_nodes("label", &["topology-spread-"]);
    scenario.schedule_deployment(
        1,
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology-spread, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]",
        "",
    );
    scenario.wait_for_event("topology spread constraints");
    scenario.assert_causes(&["pod-affinity"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn update_with_host_port_reports_host_port_in_use() {
    let scenario = Scenario::with_claim("port-taken", all_nodes_claim());
    scenario.build_and_load();
    let port = |color: &str| {
        format!(
            "ports: [{{containerPort: 80, hostPort: 34567}}]\n        env: [{{name: COLOR, value: {color}}}]"
        )
    };
    let selector = "nodeSelector: {kubernetes.io/hostname: node-1}";
    scenario.schedule_deployment(1, selector, &port("red"));
    scenario.wait_until_rolled_out();
    scenario.schedule_deployment(1, selector, &port("blue"));
    scenario.wait_for_event("free ports");
    scenario.assert_causes(&["host-port-in-use"]).follow_help(0);
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_node_name_reports_node_not_found() {
    let scenario = Scenario::with_claim("no-such-node", all_nodes_claim());
    scenario.build_and_load();
    scenario.schedule_deployment(1, "nodeName: node-22", "");
    wait_for("a pod", || {
        let pods = get(scenario.name, &["pods"]);
        pods["items"].as_array().is_some_and(|pods| !pods.is_empty()).then_some(())
    });
    scenario.assert_causes(&["node-not-found"]).follow_help(0);
    run(&mut scenario.kubectl(&[
        "delete",
        "pods",
        "--field-selector=spec.nodeName=node-22",
        "--force",
    ]));
    scenario.wait_until_rolled_out();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn node_name_against_selector_reports_node_selector() {
    let scenario = Scenario::with_claim("node-rejects-pod", all_nodes_claim());
    scenario.build_and_load();
    let spec = "nodeName: node-1\n  nodeSelector: {kubernetes.io/hostname: node-2}";
    scenario.schedule_pod(spec, "");
    wait_for("rejection by the kubelet", || {
        (get(scenario.name, &["pod", "web"])["status"]["reason"] == "NodeAffinity").then_some(())
    });
    let report = scenario.assert_causes(&["node-selector"]);
    assert!(report.help(0).starts_with("remove `nodeName`"), "{}", report.help(0));
    run(&mut scenario.kubectl(&["delete", "pod", "web", "--now"]));
    scenario.schedule_pod("nodeSelector: {kubernetes.io/hostname: node-2}", "");
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_scheduler_reports_not_scheduled() {
    let scenario = Scenario::with_claim("scheduler-missing", all_nodes_claim());
    scenario.build_and_load();
    scenario.schedule_pod("schedulerName: mine", "");
    // Before that, the pod counts as about to be scheduled.
    std::thread::sleep(std::time::Duration::from_secs(6));
    scenario.assert_causes(&["not-scheduled"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn scheduling_gate_reports_not_scheduled() {
    let scenario = Scenario::with_claim("scheduling-gate", all_nodes_claim());
    scenario.build_and_load();
    scenario.schedule_pod("schedulingGates: [{name: example.com/quota}]", "");
    scenario.assert_causes(&["not-scheduled"]).follow_last_command(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn starting_pod_reports_in_progress() {
    let scenario = Scenario::with_claim("starting", all_nodes_claim());
    scenario.build_and_load();
    scenario.create_pod("node-1", &scenario.image(), "imagePullPolicy: Never\nreadinessProbe: {initialDelaySeconds: 600, exec: {command: [\"/busybox\", \"true\"]}}");
    wait_for("a container", || {
        let pod = get(scenario.name, &["pod", "web"]);
        pod.pointer("/status/containerStatuses/0/state/running").is_some().then_some(())
    });
    let report = scenario.assert_causes(&["in-progress"]);
    assert!(report.help(0).starts_with("wait: `kubectl "), "{}", report.help(0));
}
