//! Accessors for objects of the API.

use serde_json::Value;

/// Returns the string at a path; empty if it is missing.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the items of a list; none if it is not a list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns kind and name as kubectl accepts them.
pub fn id(object: &Value) -> String {
    format_id(text(object, "/kind"), text(object, "/metadata/name"))
}

/// Returns kind and name as kubectl accepts them, such as `deployment/hello`.
pub fn format_id(kind: &str, name: &str) -> String {
    format!("{}/{name}", kind.to_lowercase())
}

/// Returns a condition of an object, regardless of its status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}
