//! The schema of the JSON output. Each line that a test makes the program print must satisfy it.

use std::sync::LazyLock;

use serde_json::Value;

use crate::repository::read;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&read("docs/json-messages.schema.json")).unwrap());

/// The fields of every message.
const COMMON: [&str; 3] = ["version", "reason", "package"];

/// Returns the names of the fields of a message; `None` if the schema does not have it.
pub(crate) fn fields(reason: &str) -> Option<Vec<String>> {
    let definition = SCHEMA["$defs"].get(reason)?;
    let reference = format!("#/$defs/{reason}");
    let is_message =
        SCHEMA["oneOf"].as_array()?.iter().any(|one| one["$ref"] == reference.as_str());
    let names = definition["properties"].as_object()?.keys();
    let names = names.filter(|name| *name != "reason").cloned();
    is_message.then(|| names.collect())
}

/// Checks the lines of an output of `--message-format json`.
#[track_caller]
pub(crate) fn check_lines(stdout: &str) {
    for line in stdout.lines() {
        let result = serde_json::from_str(line).map_err(|error| error.to_string());
        let result = result.and_then(|message: Value| check_message(&message));
        assert_eq!(result, Ok(()), "docs/json-messages.schema.json: {line}");
    }
}

fn check_message(message: &Value) -> Result<(), String> {
    for field in ["version", "package"] {
        let schema = &SCHEMA["properties"][field];
        message.get(field).map_or(Ok(()), |value| check(value, schema, field))?;
    }
    let required = SCHEMA["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut missing = required.filter(|name| message.get(name).is_none());
    missing.next().map_or(Ok(()), |name| Err(format!("{name} is missing")))?;
    let reason = message["reason"].as_str().unwrap_or_default();
    fields(reason).ok_or_else(|| format!("unknown reason {reason}"))?;
    check(message, &SCHEMA["$defs"][reason], reason)
}

/// Checks a value by the keywords that the schema uses. Unknown fields are errors, so that the
/// schema is complete; for others, the schema permits more fields.
fn check(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let fail = |problem: &str| Err(format!("{at}: {problem}: {value}"));
    let Some(keywords) = schema.as_object() else { return Ok(()) };
    for (keyword, argument) in keywords {
        let list = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        match keyword.as_str() {
            "$ref" => {
                let name = argument.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                check(value, SCHEMA["$defs"].get(name).expect(name), at)?;
            }
            "const" if value != argument => return fail("another constant"),
            "enum" if !list.contains(value) => return fail("not in the list"),
            "minimum" if value.as_f64() < argument.as_f64() && !value.is_null() => {
                return fail("too small");
            }
            "const" | "enum" | "minimum" => {}
            "type" => {
                let mut types = list.iter().chain([argument]).filter_map(Value::as_str);
                if !types.any(|name| has_type(value, name)) {
                    return fail("another type");
                }
            }
            "anyOf" => {
                if !list.iter().any(|one| check(value, one, at).is_ok()) {
                    return fail("no alternative");
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(item, argument, at)?;
                }
            }
            "required" => {
                for name in list.iter().filter_map(Value::as_str) {
                    value
                        .get(name)
                        .map_or_else(|| fail(&format!("{name} is missing")), |_| Ok(()))?;
                }
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    match argument.get(name) {
                        Some(schema) => check(field, schema, &format!("{at}.{name}"))?,
                        None if COMMON.contains(&name.as_str()) => {}
                        None => return fail(&format!("unknown field {name}")),
                    }
                }
            }
            unknown => panic!("keyword {unknown}"),
        }
    }
    Ok(())
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("type {name}"),
    }
}

#[test]
fn schema_rejects_invalid_messages() {
    let check = |json: &str| check_message(&serde_json::from_str(json).unwrap());
    let valid = [
        r#"{"version":1,"reason":"note","text":"a"}"#,
        r#"{"version":1,"reason":"note","text":"a","package":"p"}"#,
        r#"{"version":1,"reason":"setting","key":"k","value":["x"],"origin":"o"}"#,
        r#"{"version":1,"reason":"waiting","workload":"w","ready":0,"desired":1,"pods":[{"pod":"p","node":null,"state":"s"}]}"#,
    ];
    for json in valid {
        assert_eq!(check(json), Ok(()), "{json}");
    }
    let invalid = [
        r#"{"version":2,"reason":"note","text":"a"}"#,
        r#"{"reason":"note","text":"a"}"#,
        r#"{"version":1,"reason":"pod-state","pod":"p","node":null,"state":"s"}"#,
        r#"{"version":1,"reason":"note"}"#,
        r#"{"version":1,"reason":"note","text":null}"#,
        r#"{"version":1,"reason":"note","text":"a","more":1}"#,
        r#"{"version":1,"reason":"ready","workload":"w","pods":-1,"seconds":1}"#,
        r#"{"version":1,"reason":"waiting","workload":"w","ready":0,"desired":1,"pods":[{"pod":"p"}]}"#,
        r#"{"version":1,"reason":"check-result","group":"other","node":null,"check":"c","state":"ok","evidence":"","causes":[],"help":null}"#,
    ];
    for json in invalid {
        assert!(check(json).is_err(), "{json}");
    }
}
