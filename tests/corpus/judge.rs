//! kubectl is the judge: what it reads differs in images and pull policies only.
//!
//! `--local` is the one form of it that asks no cluster which kinds there are.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{corpus, rendered};

/// Every object of a folder, as kubectl reads it.
#[expect(clippy::disallowed_methods, reason = "a test runs kubectl itself")]
fn read(folder: &Path) -> Vec<Value> {
    let mut kubectl = Command::new("kubectl");
    // No configuration, and so no cluster.
    kubectl.args(["--kubeconfig", "/dev/null", "label", "--local", "--output=json", "kdev=read"]);
    let output = kubectl.arg("--filename").arg(folder).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect()
}

#[test]
#[ignore = "needs kubectl"]
fn kubectl_reads_a_difference_in_image_and_policy_only() {
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
