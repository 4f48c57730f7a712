//! The help for a pod that no node can run.

use serde_json::{Value, json};

use super::*;

/// A node with these labels and this taint.
fn labeled(name: &str, labels: &Value, taint: &str) -> Value {
    let taints: Vec<Value> = if taint.is_empty() {
        Vec::new()
    } else {
        vec![json!({"key": taint, "effect": "NoSchedule"})]
    };
    let mut labels = labels.clone();
    labels["kubernetes.io/hostname"] = name.into();
    json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}})
}

#[test]
fn help_keeps_facts_about_nodes_and_intended_nodes() {
    let in_zone =
        |zone: &str, disk: &str| json!({"topology.kubernetes.io/zone": zone, "disk": disk});
    let two = |taint: &str| vec![labeled("n1", &json!({}), ""), labeled("n2", &json!({}), taint)];
    let zones =
        vec![labeled("n1", &in_zone("b", "ssd"), ""), labeled("n2", &in_zone("a", "hdd"), "")];
    let affinity = |field: &str, key: &str| {
        let name = json!({"key": key, "operator": "In", "values": ["n2"]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{field: [name]}]}}}})
    };
    let select = |key: &str, value: &str| json!({"nodeSelector": {key: value}});
    let hostname = "kubernetes.io/hostname";
    let pressure = "node.kubernetes.io/disk-pressure";
    let labels =
        "change `nodeAffinity` to labels that a node has, in the manifest of deployment/web";
    let deleted = "wait until the program that set `ToBeDeletedByClusterAutoscaler` on node `n2`";
    let selector = "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":";
    let to_n1 = format!("{selector}{{\"{hostname}\":\"n1\"}}");
    let to_b = format!("{selector}{{\"topology.kubernetes.io/zone\":\"b\"}}");
    let table = [
        // The pod selects a node that another taint or a program keeps free.
        (select(hostname, "n2"), two(pressure), "free disk space on node `n2`"),
        (affinity("matchExpressions", hostname), two(pressure), "free disk space on node `n2`"),
        (affinity("matchFields", "metadata.name"), two(pressure), "free disk space on node `n2`"),
        (select(hostname, "n2"), two("ToBeDeletedByClusterAutoscaler"), deleted),
        (
            select(hostname, "n2"),
            two("team"),
            "run `kubectl patch deployment/web --patch '{\"spec\":{\"template\":{\"spec\":{\"tolerations\":",
        ),
        // It selects a node that does not exist.
        (select(hostname, "n0"), two(""), &to_n1),
        (affinity("matchFields", "metadata.name"), vec![two("").remove(0)], labels),
        (affinity("matchExpressions", hostname), vec![two("").remove(0)], labels),
        // No node has the label.
        (select("disk", "ssd"), two(""), "run `kubectl label node n1 'disk=ssd'`"),
        (
            select("topology.kubernetes.io/zone", "a"),
            two(""),
            "remove `topology.kubernetes.io/zone: a` from the `nodeSelector` in the manifest of deployment/web",
        ),
        // Each label exists, but not on one node.
        (json!({"nodeSelector": in_zone("a", "ssd")}), zones, &to_b),
    ];
    for (spec, nodes, expected) in table {
        let message = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: x";
        let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec,
            "status": {"conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": message}]}});
        let facts = Facts {
            kubectl: "kubectl".into(),
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "web"},
                "spec": {"template": {"spec": spec}}})],
            pod,
            nodes,
            ..Facts::default()
        };
        let found = diagnose(&facts);
        assert!(found[0].help.starts_with(expected), "{spec}: {}", found[0].help);
    }
}
