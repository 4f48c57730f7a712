//! The images and pull policies that were applied, and their difference from the live
//! objects, which admission may have changed.

use std::path::Path;

use kdev_core::image::reference::{Name, Reference};
use kdev_core::kube::kinds;
use serde_json::Value;

use crate::documents;

/// Usual paths of the pod spec in custom resources.
const CUSTOM_POD_SPECS: [&[&str]; 3] =
    [&["spec", "template", "spec"], &["spec", "template", "spec", "template", "spec"], &["spec"]];
const LISTS: [&str; 2] = ["initContainers", "containers"];

/// A workload in the rendered manifests that uses the project's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedWorkload {
    pub kind: String,
    pub name: String,
    pub namespace: Option<String>,
    pub containers: Vec<Container>,
}

/// A container with the project's image, as applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub policy: String,
    /// The program that runs instead of that of the image, if no volume is mounted over it.
    pub program: Option<String>,
}

/// A field of a container that differs from what was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDrift {
    /// The container's name.
    pub container: String,
    /// `image` or `imagePullPolicy`.
    pub field: &'static str,
    /// The applied value.
    pub applied: String,
    /// The live value.
    pub live: String,
}

/// Returns every workload in the rendered texts with a container that uses the image.
pub fn all(texts: &[String], image: &Name) -> Vec<ExpectedWorkload> {
    let documents = texts.iter().flat_map(|text| documents::split(text));
    let values = documents.filter_map(read);
    values
        .flat_map(|value| objects(&value))
        .filter_map(|object| expected_from(&object, image))
        .collect()
}

/// Finds the workload that a live object was applied from.
pub fn find<'a>(expected: &'a [ExpectedWorkload], live: &Value) -> Option<&'a ExpectedWorkload> {
    let is = |value: &Value, text: &str| value.as_str() == Some(text);
    expected.iter().find(|expected| {
        let namespace = expected.namespace.as_deref();
        is(&live["kind"], &expected.kind)
            && is(&live["metadata"]["name"], &expected.name)
            && namespace.is_none_or(|namespace| is(&live["metadata"]["namespace"], namespace))
    })
}

/// Returns the objects of a document.
pub fn objects_in(document: &str) -> Vec<Value> {
    read(document).iter().flat_map(objects).collect()
}

/// A document that cannot be read was rejected before.
fn read(text: &str) -> Option<Value> {
    let mut value: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    value.apply_merge().ok()?;
    serde_json::to_value(value).ok()
}

/// Returns the object itself, or the items of a list.
fn objects(value: &Value) -> Vec<Value> {
    match value["items"].as_array() {
        Some(items) => items.iter().flat_map(objects).collect(),
        None => vec![value.clone()],
    }
}

fn expected_from(object: &Value, image: &Name) -> Option<ExpectedWorkload> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let is_ours = |container: &Container| {
        Reference::parse(&container.image).is_ok_and(|reference| reference.name() == image)
    };
    let containers: Vec<_> = containers(object).into_iter().filter(is_ours).collect();
    (!containers.is_empty()).then_some(ExpectedWorkload {
        kind: text("/kind")?,
        name: text("/metadata/name")?,
        namespace: text("/metadata/namespace"),
        containers,
    })
}

/// Returns the containers of an object's pods.
pub fn containers(object: &Value) -> Vec<Container> {
    let at = |path: &&[&str]| path.iter().try_fold(object, |value, key| value.get(*key));
    let has_containers = |spec: &&Value| spec["containers"].is_array();
    let specs: Vec<&Value> = match kinds::BUILT_IN.find(object["kind"].as_str().unwrap_or_default())
    {
        Some(kind) => kind.pod_specs.iter().filter_map(at).filter(has_containers).collect(),
        None => CUSTOM_POD_SPECS.iter().filter_map(at).find(has_containers).into_iter().collect(),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lists = specs
        .iter()
        .flat_map(|spec| LISTS.iter().filter_map(|list| spec[list].as_array()))
        .flatten();
    let container = |value: &Value| Container {
        name: text(&value["name"]),
        image: text(&value["image"]),
        policy: text(&value["imagePullPolicy"]),
        program: program(value).map(str::to_owned),
    };
    lists.map(container).collect()
}

fn program(container: &Value) -> Option<&str> {
    let program = container["command"].get(0)?.as_str()?;
    let hides = |mount: &Value| {
        mount["mountPath"].as_str().is_some_and(|path| Path::new(program).starts_with(path))
    };
    let mounts = container["volumeMounts"].as_array();
    let is_hidden = mounts.into_iter().flatten().any(hides);
    Some(program).filter(|_| !is_hidden)
}

impl ExpectedWorkload {
    /// Returns the fields of a live object, either the workload or one of its pods, that
    /// differ from what was applied.
    pub fn drift(&self, live: &Value) -> Vec<FieldDrift> {
        let live = containers(live);
        let mut changes = Vec::new();
        for applied in &self.containers {
            let Some(found) = live.iter().find(|found| found.name == applied.name) else {
                continue;
            };
            let fields = [
                ("image", &applied.image, &found.image),
                ("imagePullPolicy", &applied.policy, &found.policy),
            ];
            // A field that was not applied has a default value.
            for (field, applied, live) in fields {
                if !applied.is_empty() && applied != live {
                    changes.push(FieldDrift {
                        container: found.name.clone(),
                        field,
                        applied: applied.clone(),
                        live: live.clone(),
                    });
                }
            }
        }
        changes
    }

    /// Returns the change of the image if another build of the same image has replaced this
    /// one.
    pub fn superseded(&self, live: &Value) -> Option<FieldDrift> {
        let name = |image: &str| Reference::parse(image).ok().map(|image| image.name().clone());
        let is_build = |change: &FieldDrift| {
            change.field == "image" && name(&change.applied) == name(&change.live)
        };
        self.drift(live).into_iter().find(is_build)
    }
}

impl std::fmt::Display for FieldDrift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { container, field, applied, live } = self;
        write!(f, "`{field}` of container `{container}` was changed from `{applied}` to `{live}`")
    }
}

/// Describes the changed fields and the likely cause.
pub fn describe(changes: &[FieldDrift], is_pod: bool) -> String {
    let list: Vec<String> = changes.iter().map(ToString::to_string).collect();
    format!("{}; {}", list.join(", "), likely_cause(changes, is_pod))
}

/// Returns the probable cause of the changes. The plugin `AlwaysPullImages` changes only
/// pods, and only in this way.
fn likely_cause(changes: &[FieldDrift], is_pod: bool) -> &'static str {
    let pulls = |change: &FieldDrift| change.field == "imagePullPolicy" && change.live == "Always";
    if is_pod && changes.iter().all(pulls) {
        "the API server's admission plugin `AlwaysPullImages` does this"
    } else {
        "a mutating admission webhook or policy does this"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "kind: Deployment\nmetadata: {name: d}\nspec:\n  template:\n    spec:\n      initContainers:\n      - {name: i, image: 'app:kdev-1', imagePullPolicy: Never}\n      containers:\n      - {name: c, image: 'app:kdev-1', imagePullPolicy: Never}\n      - {name: other, image: redis}\n---\nkind: List\nitems:\n- kind: CronJob\n  metadata: {name: j, namespace: n}\n  spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: 'app:kdev-1'}]}}}}}\n---\nkind: Service\nmetadata: {name: s}\nspec: {}\n";

    fn expected() -> Vec<ExpectedWorkload> {
        let image = Reference::parse("app").unwrap();
        all(&[TEXT.to_owned()], image.name())
    }

    #[test]
    fn containers_are_found_in_every_kind() {
        let found: Vec<_> = expected().into_iter().map(|w| (w.kind, w.containers.len())).collect();
        assert_eq!(found, [("Deployment".to_owned(), 2), ("CronJob".to_owned(), 1)]);
    }

    #[test]
    fn changes_by_admission_are_reported() {
        let pod = |image: &str, policy: &str| {
            json!({"spec": {"containers": [{"name": "injected", "image": "x", "imagePullPolicy": "Always"},
                {"name": "c", "image": image, "imagePullPolicy": policy}]}})
        };
        let expected = &expected()[0];
        assert_eq!(expected.drift(&pod("app:kdev-1", "Never")), []);
        let pulls = expected.drift(&pod("app:kdev-1", "Always"));
        let message = "`imagePullPolicy` of container `c` was changed from `Never` to `Always`";
        assert_eq!(pulls.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
        assert!(likely_cause(&pulls, true).contains("AlwaysPullImages"));
        assert!(likely_cause(&pulls, false).contains("webhook"));
        let moved = expected.drift(&pod("mirror/app:kdev-1", "Always"));
        assert_eq!(moved.len(), 2);
        assert!(likely_cause(&moved, true).contains("webhook"));
    }

    #[test]
    fn program_is_that_of_command_unless_volume_hides_it() {
        let table = [
            ("{}", None),
            ("{args: [/app/a]}", None),
            ("{command: [/app/a, /app/b]}", Some("/app/a")),
            ("{command: [/app/a], volumeMounts: [{mountPath: /app}]}", None),
            ("{command: [/app/a], volumeMounts: [{mountPath: /app/a, subPath: a}]}", None),
            (
                "{command: [/app/a], volumeMounts: [{mountPath: /app/b}, {mountPath: /ap}]}",
                Some("/app/a"),
            ),
        ];
        for (container, expected) in table {
            let container: Value = serde_yaml::from_str(container).unwrap();
            assert_eq!(program(&container), expected, "{container}");
        }
    }
}
