//! The Kubernetes objects in a text.

use kdev_core::image::reference::{Name, has_digest, matches_name};
use kdev_core::kube::object::format_id;
use kdev_core::kube::placement::PodSpec;
use serde_yaml::Value;

use crate::error::Error;
use crate::image_fields::{self, ImagePath};
use crate::values::values;
use crate::yaml;

/// A Kubernetes object in a manifest.
#[derive(Clone, Debug)]
pub struct Object {
    pub kind: String,
    pub name: String,
    pub namespace: Option<String>,
    /// The spec of its pods, if it runs any.
    pub pod: Option<PodSpec>,
    /// The images of its containers, as written.
    pub images: Vec<String>,
}

impl Object {
    /// Whether it uses the project's image.
    pub fn uses(&self, name: &Name) -> bool {
        self.images.iter().any(|image| matches_name(image, name) && !has_digest(image))
    }

    /// Returns kind and name as kubectl accepts them.
    pub fn id(&self) -> String {
        format_id(&self.kind, &self.name)
    }
}

/// Returns the objects of a text, and the items of a `List` one by one.
pub fn objects(text: &str, paths: &[ImagePath]) -> Result<Vec<Object>, Error> {
    // This parser rejects texts on which the other one would fail.
    yaml::documents(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut objects = Vec::new();
    for mut document in values(text)? {
        collect_objects(&mut document, paths, &mut objects);
    }
    Ok(objects)
}

/// Returns the namespace of the first object of a document.
pub fn namespace(document: &str) -> Option<String> {
    let mut objects = Vec::new();
    for mut value in values(document).ok()? {
        collect_objects(&mut value, &[], &mut objects);
    }
    objects.into_iter().next()?.namespace
}

/// Collects the objects of a document, and the items of a `List` one by one.
fn collect_objects(document: &mut Value, paths: &[ImagePath], objects: &mut Vec<Object>) {
    image_fields::each_value(document, &mut |kind, object| {
        let mut images = Vec::new();
        for field_path in kind.field_paths(paths) {
            field_path.values(object, &mut |holder| {
                let image = holder.get(field_path.image.as_str()).and_then(Value::as_str);
                images.extend(image.map(str::to_owned));
            });
        }
        let text = |path: &[&str]| at(object, path).and_then(Value::as_str).map(str::to_owned);
        let pod = kind.pod_specs().iter().find_map(|path| at(object, path));
        objects.push(Object {
            kind: kind.kind.to_owned(),
            name: text(&["metadata", "name"]).unwrap_or_default(),
            namespace: text(&["metadata", "namespace"]),
            pod: pod.and_then(|spec| serde_yaml::from_value(spec.clone()).ok()),
            images,
        });
    });
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(*key))
}
