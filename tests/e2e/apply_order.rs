//! Manifests in another order than the one in which the cluster must create their objects.

use std::fs;

use crate::lab::{get, kubectl, run};
use crate::test_service::Service;

/// Deletes objects outside of the namespace of the test, which a failed test may have left.
fn delete(objects: &[&str]) {
    run(kubectl("default", &["delete", "--ignore-not-found"]).args(objects));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn namespace_and_definition_are_applied_first() {
    let objects = ["namespace/order-other", "customresourcedefinition/gadgets.order.example.com"];
    delete(&objects);
    let service = Service::new("order");
    let other = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: order-other}}";
    let gadget = "{apiVersion: order.example.com/v1, kind: Gadget, metadata: {name: g}}";
    let definition = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition,
  metadata: {name: gadgets.order.example.com}, spec: {group: order.example.com, scope: Namespaced,
  names: {kind: Gadget, plural: gadgets}, versions: [{name: v1, served: true, storage: true,
  schema: {openAPIV3Schema: {type: object}}}]}}";
    // The items of a list need different phases and namespaces.
    let list =
        format!("apiVersion: v1\nkind: List\nitems:\n- {other}\n- {gadget}\n- {definition}\n");
    service.write("k8s/a.yaml", &list);
    fs::rename(service.path("k8s/all.yaml"), service.path("k8s/b.yaml")).unwrap();
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: order-other}\n";
    service.write("k8s/c.yaml", namespace);
    service.up_ok();
    assert_eq!(get("order-other", &["configmap", "a"])["metadata"]["name"], "a");
    run(&mut kubectl("order", &["get", "gadgets.order.example.com", "g"]));
    let stderr = service.up_ok();
    assert!(stderr.contains("Unchanged"), "{stderr}");
    delete(&["gadgets.order.example.com/g", "--namespace=order"]);
    delete(&objects);
}
