//! Pods that no node takes.

use serde_json::Value;

use super::Scene;
use crate::api;
use crate::exclusive::{Claim, Part};
use crate::lab::{eventually, get, kubectl, run};
use crate::test_service::NODES;

const REQUESTS: &str = "resources: {requests: {cpu: AMOUNT}}";
const APART: &str = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}";
const NEAR: &str = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}}]}}";

/// Both nodes, and no others that the scheduler could name.
fn all_nodes() -> Claim {
    Claim::both_nodes().uses(Part::NodeList)
}

/// No pod of another test is scheduled for a while.
fn tainted_nodes() -> Claim {
    NODES
        .into_iter()
        .fold(all_nodes().breaks(Part::NodeList), |claim, node| claim.breaks(Part::Pods(node)))
}

/// Takes a change of the nodes back when it is dropped.
pub(super) struct Undo(Vec<Vec<String>>);

impl Undo {
    pub(super) fn by(commands: &[&[&str]]) -> Self {
        let owned = |words: &&[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self(commands.iter().map(owned).collect())
    }

    /// Does this with each node.
    fn on_nodes(verb: &str, args: &[&str]) -> Self {
        Self(
            NODES
                .map(|node| {
                    [&[verb, "nodes", node], args]
                        .concat()
                        .iter()
                        .map(|&word| word.to_owned())
                        .collect()
                })
                .into(),
        )
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for command in &self.0 {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            // What the cure has undone cannot be undone once more.
            let _ = kubectl("default", &words).output();
        }
    }
}

impl Scene {
    fn image(&self) -> String {
        format!("{}:dev", self.name)
    }

    /// Builds the scene's image and brings it to both nodes.
    fn is_everywhere(&self) {
        self.build(&self.image());
        self.load(&self.image());
    }

    /// A Deployment `web` on whichever node; `spec` is a line of the pods', and
    /// `line` of the container's.
    fn wants(&self, replicas: usize, spec: &str, line: &str) {
        let image = self.image();
        self.apply(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      {spec}\n      terminationGracePeriodSeconds: 0\n      containers:\n      - name: web\n        image: {image:?}\n        imagePullPolicy: Never\n        {line}\n"
        ));
    }

    /// The same as a bare pod.
    fn wants_pod(&self, spec: &str, line: &str) {
        let image = self.image();
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  {spec}\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: web\n    image: {image:?}\n    imagePullPolicy: Never\n    {line}\n"
        ));
    }

    /// Waits until all that is wanted runs, as the newest template says.
    fn settles(&self) {
        run(&mut self.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]));
        self.runs();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn cpu_request_over_node_size_reports_insufficient_resources() {
    let scene = Scene::claiming("greedy", all_nodes().breaks(Part::Capacity));
    scene.is_everywhere();
    scene.wants(1, "", &REQUESTS.replace("AMOUNT", "\"3\""));
    scene.reports("Insufficient cpu");
    scene.is_judged(&["insufficient-resources"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn memory_request_over_node_size_reports_insufficient_resources() {
    let scene = Scene::claiming("hungry", all_nodes().breaks(Part::Capacity));
    scene.is_everywhere();
    scene.wants_pod("", "resources: {requests: {memory: 500Gi}}");
    scene.reports("Insufficient memory");
    scene.is_judged(&["insufficient-resources"]).follow(0);
    scene.runs();
}

/// The pods of all namespaces that hold what they request.
fn with_requests() -> Vec<Value> {
    let is_over = |pod: &Value| {
        ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())
    };
    let requests = |pod: &Value| {
        let containers = pod["spec"]["containers"].as_array().unwrap();
        containers.iter().any(|container| !container["resources"]["requests"].is_null())
    };
    let mut pods = api::raw("/api/v1/pods").unwrap();
    let mut pods = std::mem::take(pods["items"].as_array_mut().unwrap());
    pods.retain(|pod| requests(pod) && !is_over(pod));
    pods
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn cpu_requests_of_other_pods_report_insufficient_resources() {
    let scene = Scene::claiming("crowded", all_nodes().breaks(Part::Capacity));
    // Pods of tests that have ended may still be there. Those of the demo stay.
    let is_demo = |pod: &Value| pod["metadata"]["namespace"] == "default";
    eventually("nodes without requests", || with_requests().iter().all(is_demo).then_some(()));
    let others = with_requests();
    let taken = |node: &str| -> u64 {
        let of_node = others.iter().filter(|pod| pod["spec"]["nodeName"] == node);
        let cpu = of_node
            .map(|pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str());
        cpu.map(|cpu| cpu.unwrap().trim_end_matches('m').parse::<u64>().unwrap()).sum()
    };
    let taken = NODES.map(taken);
    scene.is_everywhere();
    scene.wants(2, APART, &REQUESTS.replace("AMOUNT", "1500m"));
    scene.settles();
    // A pod and a Deployment may bear the same name.
    scene.wants_pod("", &REQUESTS.replace("AMOUNT", "\"1\""));
    scene.reports("Insufficient cpu");
    let found = scene.is_judged(&["insufficient-resources"]);
    let seen = taken.map(|taken| format!("of which its pods request {}m", 1500 + taken));
    assert!(seen.iter().any(|seen| found.evidence(0).contains(seen)), "{}", found.evidence(0));
    let left = taken.map(|taken| format!("--requests=cpu={}m", 500 - taken));
    assert!(left.iter().any(|left| found.help(0).contains(left)), "{}", found.help(0));
    found.follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn cordoned_node_reports_untolerated_taints() {
    let scene = Scene::claiming(
        "cordoned",
        all_nodes().breaks(Part::NodeList).breaks(Part::Pods("node-1")),
    );
    scene.is_everywhere();
    let _undo = Undo::by(&[&["uncordon", "node-1"]]);
    run(&mut kubectl("default", &["cordon", "node-1"]));
    scene.wants(1, "nodeSelector: {kubernetes.io/hostname: node-1}", "");
    scene.reports("were unschedulable");
    scene.is_judged(&["untolerated-taints"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn tainted_nodes_report_taints_and_node_with_image() {
    let scene = Scene::claiming("dedicated", tainted_nodes());
    scene.build(&scene.image());
    scene.import("node-2", "k8s.io", &scene.image());
    let _undo = Undo::on_nodes("taint", &["team-"]);
    for node in NODES {
        run(&mut kubectl("default", &["taint", "nodes", node, "team=data:NoSchedule"]));
    }
    scene.wants(1, "", "");
    scene.reports("untolerated taint");
    let found = scene.is_judged(&["untolerated-taints"]);
    assert!(found.evidence(0).contains("only `node-2` has the image"), "{}", found.evidence(0));
    assert!(found.words(0).contains("`team=data:NoSchedule`"), "{}", found.words(0));
    found.follow(0);
    // It may go to either node now.
    scene.import("node-1", "k8s.io", &scene.image());
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_label_reports_node_selector() {
    let scene = Scene::claiming("unlabelled", all_nodes().breaks(Part::NodeList));
    scene.is_everywhere();
    let _undo = Undo::on_nodes("label", &["unlabelled-"]);
    scene.wants(1, "nodeSelector: {unlabelled: ssd}", "");
    scene.reports("affinity/selector");
    scene.is_judged(&["node-selector"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn mistyped_node_name_reports_node_selector() {
    let scene = Scene::claiming("mistyped", all_nodes());
    scene.is_everywhere();
    scene.wants(1, "nodeSelector: {kubernetes.io/hostname: node2}", "");
    scene.reports("affinity/selector");
    scene.is_judged(&["node-selector"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unmatched_node_affinity_reports_node_selector() {
    let scene = Scene::claiming("unlike-nodes", all_nodes().breaks(Part::NodeList));
    scene.is_everywhere();
    let _undo = Undo::on_nodes("label", &["disk-speed-"]);
    scene.wants_pod(
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk-speed, operator: In, values: [fast, faster]}]}]}}}",
        "",
    );
    scene.reports("affinity/selector");
    scene.is_judged(&["node-selector"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn daemon_set_without_matching_node_reports_inactive() {
    let scene = Scene::claiming("no-place", all_nodes().breaks(Part::NodeList));
    let image = "no-place:dev";
    scene.build(image);
    scene.import("node-1", "k8s.io", image);
    let _undo = Undo::on_nodes("label", &["no-place-"]);
    scene.apply(&format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: web}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      nodeSelector: {{no-place: here}}\n      terminationGracePeriodSeconds: 0\n      containers: [{{name: web, image: {image:?}, imagePullPolicy: Never}}]\n"
    ));
    eventually("the controller's word", || {
        let status = &get(scene.name, &["daemonset", "web"])["status"];
        (status["observedGeneration"] == 1).then_some(())
    });
    // Whoever has not asked about it has likely meant it.
    assert!(scene.is_well().starts_with("daemonset/web has no pods: no node can run the pod; "));
    scene.is_judged(&["inactive"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn taint_and_missing_label_report_both_causes() {
    let scene = Scene::claiming("twice-kept", tainted_nodes());
    scene.is_everywhere();
    let _undo = (Undo::on_nodes("taint", &["team-"]), Undo::on_nodes("label", &["twice-kept-"]));
    for node in NODES {
        run(&mut kubectl("default", &["taint", "nodes", node, "team=data:NoExecute"]));
    }
    // A pod alone may be given more tolerations, but nothing else.
    scene.wants_pod("nodeSelector: {twice-kept: ssd}", "");
    scene.reports("0/2 nodes are available");
    let found = scene.is_judged(&["untolerated-taints", "node-selector"]);
    found.follow(0);
    found.follow(1);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn more_pods_than_nodes_with_anti_affinity_report_pod_affinity() {
    let scene = Scene::claiming("too-many-apart", all_nodes());
    scene.is_everywhere();
    scene.wants(3, APART, "");
    scene.reports("anti-affinity rules");
    scene.is_judged(&["pod-affinity"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn update_with_anti_affinity_reports_pod_affinity() {
    let scene = Scene::claiming("stuck-apart", all_nodes());
    scene.is_everywhere();
    scene.wants(2, APART, "");
    scene.settles();
    scene.wants(2, APART, "env: [{name: COLOR, value: blue}]");
    scene.reports("anti-affinity rules");
    scene.is_judged(&["pod-affinity"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn affinity_to_missing_pods_reports_pod_affinity() {
    let scene = Scene::claiming("lonely", all_nodes());
    scene.is_everywhere();
    scene.wants(1, NEAR, "");
    scene.reports("pod affinity rules");
    scene.is_judged(&["pod-affinity"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn spread_over_missing_zones_reports_pod_affinity() {
    let scene = Scene::claiming("zoneless", all_nodes().breaks(Part::NodeList));
    scene.is_everywhere();
    let _undo = Undo::on_nodes("label", &["zoneless-"]);
    scene.wants(
        1,
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zoneless, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]",
        "",
    );
    scene.reports("topology spread constraints");
    scene.is_judged(&["pod-affinity"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn update_with_host_port_reports_host_port_in_use() {
    let scene = Scene::claiming("port-taken", all_nodes());
    scene.is_everywhere();
    let port = |color: &str| {
        format!(
            "ports: [{{containerPort: 80, hostPort: 34567}}]\n        env: [{{name: COLOR, value: {color}}}]"
        )
    };
    let selector = "nodeSelector: {kubernetes.io/hostname: node-1}";
    scene.wants(1, selector, &port("red"));
    scene.settles();
    scene.wants(1, selector, &port("blue"));
    scene.reports("free ports");
    scene.is_judged(&["host-port-in-use"]).follow(0);
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_node_name_reports_node_not_found() {
    let scene = Scene::claiming("no-such-node", all_nodes());
    scene.is_everywhere();
    scene.wants(1, "nodeName: node-22", "");
    eventually("a pod", || {
        let pods = get(scene.name, &["pods"]);
        pods["items"].as_array().is_some_and(|pods| !pods.is_empty()).then_some(())
    });
    scene.is_judged(&["node-not-found"]).follow(0);
    run(&mut scene.kubectl(&[
        "delete",
        "pods",
        "--field-selector=spec.nodeName=node-22",
        "--force",
    ]));
    scene.settles();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn node_name_against_selector_reports_node_selector() {
    let scene = Scene::claiming("past-the-scheduler", all_nodes());
    scene.is_everywhere();
    let spec = "nodeName: node-1\n  nodeSelector: {kubernetes.io/hostname: node-2}";
    scene.wants_pod(spec, "");
    eventually("the kubelet's no", || {
        (get(scene.name, &["pod", "web"])["status"]["reason"] == "NodeAffinity").then_some(())
    });
    let found = scene.is_judged(&["node-selector"]);
    assert!(found.help(0).starts_with("remove `nodeName`"), "{}", found.help(0));
    run(&mut scene.kubectl(&["delete", "pod", "web", "--now"]));
    scene.wants_pod("nodeSelector: {kubernetes.io/hostname: node-2}", "");
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_scheduler_reports_not_scheduled() {
    let scene = Scene::claiming("own-scheduler", all_nodes());
    scene.is_everywhere();
    scene.wants_pod("schedulerName: mine", "");
    // Until then one might just be about to come.
    std::thread::sleep(std::time::Duration::from_secs(6));
    scene.is_judged(&["not-scheduled"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn scheduling_gate_reports_not_scheduled() {
    let scene = Scene::claiming("sched-gate", all_nodes());
    scene.is_everywhere();
    scene.wants_pod("schedulingGates: [{name: example.com/quota}]", "");
    scene.is_judged(&["not-scheduled"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn starting_pod_reports_in_progress() {
    let scene = Scene::claiming("on-its-way", all_nodes());
    scene.is_everywhere();
    scene.pod("node-1", &scene.image(), "imagePullPolicy: Never\nreadinessProbe: {initialDelaySeconds: 600, exec: {command: [\"/busybox\", \"true\"]}}");
    eventually("a container", || {
        let pod = get(scene.name, &["pod", "web"]);
        pod.pointer("/status/containerStatuses/0/state/running").is_some().then_some(())
    });
    let found = scene.is_judged(&["in-progress"]);
    assert!(found.help(0).starts_with("wait: `kubectl "), "{}", found.help(0));
}
