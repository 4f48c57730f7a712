//! Rejected texts with position and reason.

use std::fmt::Write;

use kdev_core::image::reference::Reference;

use crate::pull_policy::PullPolicy;
use crate::render;
use crate::update::ImageUpdate;

#[track_caller]
fn refused(text: &str, line: usize, column: usize, reason: &str) {
    let image = Reference::parse("app").unwrap();
    let update =
        ImageUpdate { name: image.name(), tag: "kdev-1", policy: PullPolicy::Never, paths: &[] };
    let error = render(text, &update).unwrap_err();
    assert_eq!((error.line, error.column), (line, column), "{error:?} of\n{text}");
    assert!(error.reason.contains(reason), "{error:?}");
}

fn pod(spec: &str) -> String {
    format!("kind: Pod\nspec:\n{spec}")
}

#[test]
fn templates() {
    refused(&pod("  containers:\n  - image: {{ .Values.image }}\n"), 4, 12, "templates");
    refused("# {{ a comment }}\n{{- if .x }}\nkind: Pod\n{{- end }}\n", 2, 1, "templates");
    refused(&pod("  containers:\n  - image: \"{{ .Values.image }}\"\n"), 4, 12, "templates");
    refused("é: {{ x }}\n", 1, 4, "templates");
}

#[test]
fn duplicate_keys() {
    refused("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key `a`");
    refused("{\"a\": {\"x\": 1, \"y\": 2, \"x\": 3}}", 1, 24, "duplicate key `x`");
}

#[test]
fn tabs() {
    refused("kind: Pod\nspec:\n\tcontainers: []\n", 3, 1, "a tab");
    refused(&pod("  containers:\n  \t- image: app\n"), 4, 3, "a tab");
}

#[test]
fn alias_shared_with_other_fields() {
    // The anchor is on the project's image, and a variable uses it.
    refused(
        &pod("  containers:\n  - image: &i app:1\n    env: [{name: X, value: *i}]\n"),
        5,
        28,
        "shares",
    );
    // Another container would get the pull policy.
    refused(
        &pod("  containers:\n  - &c\n    image: app\n  - <<: *c\n    image: redis\n"),
        6,
        5,
        "shares",
    );
    // A value outside of a container would be edited.
    refused(&pod("  base: &b {image: app}\n  containers:\n  - *b\n"), 3, 20, "shares");
}

#[test]
fn unsupported_styles() {
    refused(&pod("  containers:\n  - image: >-\n      app\n"), 5, 7, "one line");
    refused(&pod("  containers: [image: app]\n"), 3, 23, "on separate lines");
}

#[test]
fn resource_exhaustion() {
    let mut bomb = "a: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 10].join(",");
        let _ = writeln!(bomb, "b{level}: &a{level} [{items}]");
    }
    refused(&bomb, 5, 38, "aliases expand to more than");
    refused("a: &a [*a]\n", 1, 8, "contains it");
    refused(&"[".repeat(200), 1, 102, "nested deeper");
    let large = format!("a: 1\n---\nb: {}\n", "x".repeat(3 * 1024 * 1024));
    refused(&large, 3, 1, "more than the API's limit");
}
