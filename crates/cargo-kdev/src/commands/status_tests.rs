//! The table, on terminals of different widths.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-11-25T02:42:30Z".parse().unwrap()
}

/// A status with these rows.
fn status(rows: &[Value]) -> Status {
    serde_json::from_value(json!({"package": "app", "context": "c", "namespace": "n",
        "flags": " --context c", "engine": "docker", "latest": "kdev-1", "docker_error": null, "rows": rows}))
    .unwrap()
}

fn row(more: &Value) -> Value {
    let mut row = json!({"workload": "deployment/app", "namespace": "n", "ready": 1, "desired": 2,
        "pod": "app-5c9-abcde", "node": "node-1", "state": "Ready",
        "image": "app:kdev-0123456789ab", "build": "latest", "pull_policy": "Never", "restarts": 0,
        "created": "2026-11-25T02:42:00Z"});
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

fn drawn(rows: &[Value], width: Option<usize>) -> String {
    let mut stripped = anstream::StripStream::new(Vec::new());
    write!(stripped, "{}", format_table(&status(rows), now(), width)).unwrap();
    String::from_utf8(stripped.into_inner()).unwrap()
}

#[test]
fn table_has_all_columns() {
    let rows = [
        row(&json!({})),
        row(
            &json!({"pod": "app-1", "build": "missing", "state": "ErrImageNeverPull", "restarts": 12}),
        ),
        row(
            &json!({"build": "not-this-project", "image": "docker.io/library/redis:7", "pull_policy": "Always"}),
        ),
        row(&json!({"workload": "cronjob/x", "ready": null, "desired": null, "pod": null,
            "node": null, "state": "no run yet", "build": "outdated", "pull_policy": null})),
    ];
    assert_eq!(
        drawn(&rows, None),
        "\
WORKLOAD        READY  POD            NODE    STATUS             TAG                BUILD        POLICY  RESTARTS  AGE
deployment/app  1/2    app-5c9-abcde  node-1  Ready              kdev-0123456789ab  latest       Never   0         30s
deployment/app  1/2    app-1          node-1  ErrImageNeverPull  kdev-0123456789ab  not on node  Never   12        30s
deployment/app  1/2    app-5c9-abcde  node-1  Ready              redis:7            other image  Always  0         30s
cronjob/x       -      -              -       no run yet         kdev-0123456789ab  outdated     -       -         30s
"
    );
}

#[test]
fn narrow_terminal_removes_and_shortens_columns() {
    let plain = [row(&json!({}))];
    let heads = |rows: &[Value], width: usize| {
        let text = drawn(rows, Some(width));
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        text.lines()
            .next()
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let table = [
        (200, "WORKLOAD READY POD NODE STATUS TAG BUILD POLICY RESTARTS AGE"),
        (100, "WORKLOAD READY POD NODE STATUS TAG BUILD POLICY AGE"),
        (90, "WORKLOAD READY POD NODE STATUS TAG BUILD AGE"),
        (70, "WORKLOAD READY POD NODE STATUS BUILD AGE"),
        (60, "WORKLOAD READY POD NODE STATUS BUILD"),
        (48, "WORKLOAD READY POD STATUS BUILD"),
        (40, "READY POD STATUS BUILD"),
    ];
    for (width, expected) in table {
        assert_eq!(heads(&plain, width), expected, "{width}");
    }
    let long = [
        row(&json!({"workload": "deployment/hello-world", "state": "CreateContainerConfigError",
            "build": "missing"})),
        row(&json!({"namespace": "other", "pod": null})),
    ];
    assert_eq!(heads(&long[..1], 51), "WORKLOAD READY POD STATUS BUILD");
    assert_eq!(heads(&long[..1], 40), "READY POD STATUS BUILD");
    assert_eq!(heads(&long, 51), "NAMESPACE WORKLOAD READY STATUS BUILD");
    assert_eq!(heads(&long, 40), "WORKLOAD READY STATUS BUILD");
    let short = drawn(&long, Some(40));
    assert!(short.contains("…lo-world  1/2    CreateCont…  not on n…\n"), "{short}");
    // A column with an unusual value is kept longer.
    let restarted = [row(&json!({"restarts": 3}))];
    assert!(heads(&restarted, 90).contains("RESTARTS"));
    let shortened = drawn(&[row(&json!({"pod": "app-5c9-abcde-of-much-length"}))], Some(60));
    assert!(shortened.contains("…abcde-of-much-length"), "{shortened}");
}

#[test]
fn several_namespaces_add_column() {
    let rows = [row(&json!({})), row(&json!({"namespace": "other"}))];
    assert!(drawn(&rows, None).starts_with("NAMESPACE  WORKLOAD"));
}

#[test]
fn notes_repeat_flags() {
    let notes_of = |more: Value| notes(&status(&[row(&more)]));
    assert_eq!(notes_of(json!({"ready": 2})), Vec::<String>::new());
    let up =
        ["some pods use an outdated build; run `cargo kdev up --context c` to deploy the latest"];
    assert_eq!(notes_of(json!({"ready": 2, "build": "outdated", "applied": "outdated"})), up);
    let why = ["some pods have problems; run `cargo kdev why --context c` to find the cause"];
    let table = [
        json!({"ready": 2, "build": "missing"}),
        json!({"state": "Running"}),
        json!({"ready": 2, "state": "CrashLoopBackOff"}),
        json!({"pod": null, "state": "no pod yet"}),
        // The latest build is applied, but the old pod still exists.
        json!({"ready": 2, "build": "outdated", "applied": "latest"}),
    ];
    for more in table {
        assert_eq!(notes_of(more.clone()), why, "{more}");
    }
    let job = json!({"workload": "job/app", "ready": 0, "desired": 1, "state": "Running"});
    assert_eq!(notes_of(job), Vec::<String>::new());
    let job = json!({"workload": "job/app", "ready": 0, "desired": 1, "state": "Error"});
    assert_eq!(notes_of(job), why);
    let absent = json!({"created": null, "pod": null, "state": "not applied", "build": null});
    let note = "`app` is not applied to namespace `n` of context `c`; run `cargo kdev up --context c` to apply it";
    assert_eq!(notes_of(absent.clone()), [note]);
    assert_eq!(drawn(&[row(&absent)], None), "");
    let mut status = status(&[row(&json!({}))]);
    status.latest = None;
    assert!(notes(&status)[0].ends_with("Docker has no image of this project"));
    status.docker_error = Some("`docker` not found on PATH".into());
    assert!(notes(&status)[0].ends_with("is unknown: `docker` not found on PATH"));
}

#[test]
fn only_build_column_has_color() {
    let text = format_table(&status(&[row(&json!({"build": "outdated"}))]), now(), None);
    assert_eq!(text.matches("outdated").count(), 1);
    assert!(text.contains(&format!("{OUTDATED}outdated{OUTDATED:#}")), "{text:?}");
}

#[test]
fn age_matches_kubectl_format() {
    let table = [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (700_000, "8d"),
    ];
    for (seconds, expected) in table {
        assert_eq!(format_age(SignedDuration::from_secs(seconds)), expected);
    }
}

#[test]
fn low_terminal_truncates_table() {
    let rows: Vec<Value> =
        (0..10).map(|_| row(&json!({"ready": 2, "build": "outdated"}))).collect();
    let page = |height| Screen { width: 40, height }.format_page(&status(&rows), now());
    // The note has three lines at this width.
    assert_eq!(page(20).lines().count(), 14);
    let low = page(8);
    assert_eq!(low.lines().count(), 7, "{low}");
    assert!(low.contains("\n… 8 more\nsome pods use"), "{low}");
}
