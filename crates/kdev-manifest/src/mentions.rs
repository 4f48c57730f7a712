//! Mentions of the project's image that are not edited: in custom resources, variables,
//! arguments and annotations.

use std::collections::HashSet;
use std::rc::Rc;

use kdev_core::image::reference::{self, Name, matches_name};
use kdev_core::kube::object::format_id;

use crate::image_fields::{self, ObjectType};
use crate::report::Mention;
use crate::yaml::{Kind, Node};

/// Finds the values that contain the name, except for those that were edited.
pub(crate) fn find(documents: &[Rc<Node>], edited: &HashSet<usize>, name: &Name) -> Vec<Mention> {
    let mut search =
        Search { edited, name, found: Vec::new(), object: String::new(), is_workload: false };
    for document in documents {
        image_fields::each_node(document, &mut |kind, object| search.object(kind, object));
    }
    search.found
}

struct Search<'a> {
    edited: &'a HashSet<usize>,
    name: &'a Name,
    found: Vec<Mention>,
    object: String,
    is_workload: bool,
}

impl Search<'_> {
    fn object(&mut self, kind: ObjectType, object: &Node) {
        let name = object.get("metadata").and_then(|metadata| metadata.get("name"));
        let name = name.and_then(Node::text).unwrap_or_default();
        self.object = format_id(kind.kind, name);
        self.is_workload = !kind.pod_specs().is_empty();
        self.node(object, &mut Vec::new(), false);
    }

    /// `about_images` is true if the names of the enclosing fields indicate an image.
    fn node(&mut self, node: &Node, path: &mut Vec<String>, about_images: bool) {
        match &node.kind {
            Kind::Scalar { text, .. } => self.scalar(node, text, path, about_images),
            Kind::Sequence(items) => {
                for item in items {
                    self.node(item, path, about_images);
                }
            }
            Kind::Mapping(entries) => {
                let variable = node.entry("name").and_then(|(_, name)| name.text());
                for (key, value) in entries {
                    let key = key.text().unwrap_or_default();
                    let variable = variable.filter(|_| key == "value").is_some_and(is_about_images);
                    path.push(key.to_owned());
                    self.node(value, path, variable || is_about_images(key));
                    path.pop();
                }
            }
            // The target of an alias is checked at its own position.
            Kind::Alias(_) => {}
        }
    }

    fn scalar(&mut self, node: &Node, text: &str, path: &[String], about_images: bool) {
        // `--image=app:1` contains the name, too.
        let image = text.rsplit_once('=').map_or(text, |(_, image)| image);
        let is_clear = about_images || is_about_images(text) || is_clearly_an_image(image);
        if self.edited.contains(&node.bytes.start) || !is_clear || !matches_name(image, self.name) {
            return;
        }
        self.found.push(Mention {
            line: node.line,
            column: node.column + 1,
            object: self.object.clone(),
            field: path.join("."),
            text: text.to_owned(),
            cause: self.why(path),
        });
    }

    fn why(&self, path: &[String]) -> &'static str {
        let has = |field: &str| path.iter().any(|known| known == field);
        if has("annotations") || has("labels") {
            "annotations and labels are not edited; if it is an image, add the field to `image-paths`"
        } else if !self.is_workload {
            "the kind is not a built-in workload; if it is an image, add the field to `image-paths`"
        } else if has("env") {
            "environment variables are not edited; if it is an image, add the field to `image-paths`"
        } else {
            "the API has no image field there; if it is an image, add the field to `image-paths`"
        }
    }
}

fn is_about_images(name: &str) -> bool {
    name.to_ascii_lowercase().contains("image")
}

/// A bare name is ambiguous, and `app:8080` can be a host and port.
fn is_clearly_an_image(text: &str) -> bool {
    let (name, tag) = reference::split_tag(text.split('@').next().unwrap_or(text));
    let is_port = |tag: &str| tag.chars().all(|c| c.is_ascii_digit());
    text.contains('@') || name.contains('/') || tag.is_some_and(|tag| !is_port(tag))
}
