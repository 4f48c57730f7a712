//! Where a workload can be reached: the address of its Service, and the port of its pods.

use kdev_core::kube::forward_spec::{ContainerPort, container_ports};
use kdev_core::kube::kinds;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::expected::ExpectedWorkload;

/// Where a workload can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name of the Service, and its port.
    pub service: Option<(String, u16)>,
    /// The port of the pods.
    pub port: u16,
}

/// Finds the first TCP port of a Service that selects the pods of the workload or, without a
/// Service, the first TCP port of its containers.
pub fn find(workload: &ExpectedWorkload, objects: &[Value]) -> Option<Endpoint> {
    let is_in_namespace = |object: &&Value| {
        object.pointer("/metadata/namespace").and_then(Value::as_str)
            == workload.namespace.as_deref()
    };
    let objects = || objects.iter().filter(is_in_namespace);
    let object = objects().find(|object| {
        object["kind"] == *workload.kind && object["metadata"]["name"] == *workload.name
    })?;
    let template = pod_template(object)?;
    let ports = container_ports(&template["spec"]);
    let services = objects().filter(|object| object["kind"] == "Service");
    let mut selecting = services.filter(|service| selects(service, template));
    let served = selecting.find_map(|service| endpoint(service, &ports));
    let direct = || ports.iter().find(|port| port.is_tcp());
    served.or_else(|| Some(Endpoint { service: None, port: direct()?.number }))
}

/// Returns the object that has the metadata and the spec of the pods.
fn pod_template(object: &Value) -> Option<&Value> {
    let kind = kinds::BUILT_IN.find(text(object, "/kind"))?;
    let (_, path) = kind.pod_specs.first()?.split_last()?;
    path.iter().try_fold(object, |value, key| value.get(*key))
}

fn selects(service: &Value, template: &Value) -> bool {
    let labels = &template["metadata"]["labels"];
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
    })
}

/// Returns the first TCP port of a Service whose target exists.
fn endpoint(service: &Value, ports: &[ContainerPort]) -> Option<Endpoint> {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    list(&service["spec"]["ports"])
        .filter(|port| ["", "TCP"].contains(&text(port, "/protocol")))
        .find_map(|port| {
            let own = number(&port["port"])?;
            let target = match &port["targetPort"] {
                Value::Null => own,
                Value::String(name) => ports.iter().find(|one| one.name == *name)?.number,
                target => number(target)?,
            };
            let name = text(service, "/metadata/name").to_owned();
            Some(Endpoint { service: Some((name, own)), port: target })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(service: &Value) -> Option<Endpoint> {
        let deployment = json!({"kind": "Deployment", "metadata": {"name": "app"}, "spec":
            {"template": {"metadata": {"labels": {"app": "a", "tier": "web"}}, "spec": {"containers":
                [{"ports": [{"containerPort": 53, "protocol": "UDP"},
                    {"containerPort": 8080, "name": "http"}]}]}}}});
        let workload = ExpectedWorkload {
            kind: "Deployment".to_owned(),
            name: "app".to_owned(),
            namespace: None,
            containers: Vec::new(),
        };
        find(&workload, &[deployment, service.clone()])
    }

    #[test]
    fn endpoint_is_port_of_service_or_container() {
        let service = |selector: &Value, ports: &Value| {
            json!({"kind": "Service", "metadata": {"name": "web"},
                "spec": {"selector": selector, "ports": ports}})
        };
        let ours = json!({"app": "a"});
        let direct = || Some(Endpoint { service: None, port: 8080 });
        let served = |own, port| Some(Endpoint { service: Some(("web".to_owned(), own)), port });
        let table = [
            (service(&ours, &json!([{"port": 80, "targetPort": "http"}])), served(80, 8080)),
            (service(&ours, &json!([{"port": 80, "targetPort": 9000}])), served(80, 9000)),
            (service(&ours, &json!([{"port": 8080}])), served(8080, 8080)),
            (
                service(&ours, &json!([{"port": 53, "protocol": "UDP"}, {"port": 80}])),
                served(80, 80),
            ),
            (service(&ours, &json!([{"port": 80, "targetPort": "other"}])), direct()),
            (service(&json!({"app": "b"}), &json!([{"port": 80}])), direct()),
            (service(&json!({}), &json!([{"port": 80}])), direct()),
            (service(&Value::Null, &json!([{"port": 80}])), direct()),
        ];
        for (service, expected) in table {
            assert_eq!(found(&service), expected, "{service}");
        }
        let elsewhere = json!({"kind": "Service", "metadata": {"name": "web", "namespace": "n"},
            "spec": {"selector": ours, "ports": [{"port": 80}]}});
        assert_eq!(found(&elsewhere), direct());
    }

    #[test]
    fn workload_without_port_has_no_endpoint() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "app"}, "spec": {"containers": [{}]}});
        let workload = ExpectedWorkload {
            kind: "Pod".to_owned(),
            name: "app".to_owned(),
            namespace: None,
            containers: Vec::new(),
        };
        assert_eq!(find(&workload, &[pod]), None);
    }
}
