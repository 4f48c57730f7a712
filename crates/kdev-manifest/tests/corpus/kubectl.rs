//! Compares results with kubectl: source and result may differ in images and pull policies
//! only.

use std::fs;
use std::path::Path;

use kdev_core::image::reference::Reference;
use kdev_manifest::image_fields::ImagePath;
use kdev_manifest::pull_policy::PullPolicy;
use kdev_manifest::update::ImageUpdate;
use serde_json::Value;

use crate::variants::{self, Form, TAG};

/// Returns the text with the new tag and pull policy `Never`, or an error as `LINE:COLUMN:
/// REASON`.
pub(crate) fn rendered(source: &str) -> Result<String, String> {
    let (image, paths) = (Reference::parse("app").unwrap(), [ImagePath::parse("Mine:spec.image")?]);
    let want =
        ImageUpdate { name: image.name(), tag: TAG, policy: PullPolicy::Never, paths: &paths };
    kdev_manifest::render(source, &want)
        .map(|rendered| rendered.text)
        .map_err(|error| format!("{}:{}: {}", error.line, error.column, error.reason))
}

/// Returns four hundred of all variants. The step is prime, so that each kind, layout and
/// extra field is combined with all others.
pub(crate) fn corpus() -> Vec<Form> {
    variants::all().into_iter().step_by(271).collect()
}

/// Checks the corpus with `read`, which returns all objects of a folder in the order of the
/// files.
pub(crate) fn check(read: impl Fn(&Path) -> Vec<Value>) {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let corpus = corpus();
    for (number, form) in corpus.iter().enumerate() {
        let name = format!("{number:04}.{}", form.extension());
        let source = form.source();
        fs::write(before.path().join(&name), &source).unwrap();
        fs::write(after.path().join(&name), rendered(&source).unwrap()).unwrap();
    }
    let (before, after) = (read(before.path()), read(after.path()));
    assert_eq!((before.len(), after.len()), (corpus.len(), corpus.len()));
    for (form, (before, after)) in corpus.iter().zip(before.iter().zip(&after)) {
        let mut changes = Vec::new();
        differences(before, after, "", &mut changes);
        assert!(!changes.is_empty(), "{form:?} reads the same");
        let field = |path: &String| path.rsplit('.').next().unwrap_or_default().to_owned();
        let allowed = |path: &String| ["image", "imagePullPolicy"].contains(&field(path).as_str());
        assert!(changes.iter().all(allowed), "{form:?} differs in {changes:?}");
    }
}

/// Parses the objects that kubectl prints one after the other.
pub(crate) fn objects(json: &[u8]) -> Vec<Value> {
    serde_json::Deserializer::from_slice(json).into_iter().map(Result::unwrap).collect()
}

fn differences(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            found.extend(added.map(|key| format!("{path}.{key}")));
            for (key, value) in one {
                let path = format!("{path}.{key}");
                differences(value, other.get(key).unwrap_or(&Value::Null), &path, found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                differences(one, other, &format!("{path}[{at}]"), found);
            }
        }
        _ if one == other => {}
        _ => found.push(path.to_owned()),
    }
}
