//! Checks that `docs/diagnoses.md` shows the output of `why` for each recorded scenario.
//! `cargo xtask record` writes the page.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::project::Project;

const INTRODUCTION: &str = "\
# Diagnoses of `cargo kdev why`

A test produced each of these failures in a real cluster, recorded the facts, and then
applied the fix. The workload is always named `web`.

";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Returns the name and title of each scenario.
fn scenarios() -> Vec<(String, String)> {
    let list =
        fs::read_to_string(root().join("crates/kdev-diagnosis/tests/scenarios/index.tsv")).unwrap();
    let scenario = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
    list.lines().map(|line| scenario(line).unwrap()).collect()
}

fn record(name: &str) -> PathBuf {
    root().join(format!("crates/kdev-diagnosis/tests/scenarios/{name}.json"))
}

fn replay(project: &Project, name: &str, more: &[&str]) -> String {
    let record = record(name).display().to_string();
    let args = [&["why", "--replay", &record], more].concat();
    project.run(&args).code(0).out().to_owned()
}

/// Returns the causes in the JSON output.
fn causes(project: &Project, name: &str) -> String {
    let json = replay(project, name, &["--message-format", "json"]);
    let report: Value = serde_json::from_str(json.trim()).unwrap();
    let causes = report["diagnoses"].as_array().unwrap().iter();
    let causes: Vec<String> =
        causes.map(|one| format!("`{}`", one["cause"].as_str().unwrap())).collect();
    assert!(!causes.is_empty(), "{name}");
    causes.join(", ")
}

#[test]
fn docs_page_shows_output_of_each_scenario() {
    let project = Project::new();
    let mut page = format!("{INTRODUCTION}| | Failure | Causes |\n|---|---|---|\n");
    let scenarios = scenarios();
    for (number, (name, title)) in scenarios.iter().enumerate() {
        let row = format!("| [{}](#{name}) | {title} | {} |\n", number + 1, causes(&project, name));
        page.push_str(&row);
    }
    for (number, (name, title)) in scenarios.iter().enumerate() {
        let heading = format!("\n<a id=\"{name}\"></a>\n\n## {}. {title}\n\n", number + 1);
        let output = replay(&project, name, &[]);
        let _ = write!(page, "{heading}```text\n$ cargo kdev why web\n{output}```\n");
    }
    let docs = root().join("docs/diagnoses.md");
    let assert = snapbox::Assert::new().action_env("SNAPSHOTS");
    assert.eq(page, snapbox::Data::read_from(&docs, Some(snapbox::data::DataFormat::Text)).raw());
}

#[test]
fn each_scenario_has_e2e_test_and_record() {
    let folder = root().join("tests/e2e/why");
    let sources: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let tested: Vec<&str> = sources
        .iter()
        .flat_map(|text| text.split("Scenario::").skip(1))
        .filter(|call| !call.starts_with("without_record"))
        // The node may come before the name.
        .filter_map(|call| {
            let mut words = call.split('"').skip(1).step_by(2);
            words.find(|word| !["node-1", "node-2"].contains(word))
        })
        .collect();
    let listed: Vec<String> = scenarios().into_iter().map(|(name, _)| name).collect();
    for name in &listed {
        assert!(tested.contains(&name.as_str()), "no test produces `{name}`");
        assert!(record(name).exists(), "`{name}` is not recorded: run `cargo xtask record`");
    }
    for name in &tested {
        assert!(
            listed.iter().any(|one| one == name),
            "`{name}` is missing from crates/kdev-diagnosis/tests/scenarios/index.tsv"
        );
    }
}

#[test]
fn invalid_record_is_rejected() {
    let project = Project::new();
    let table = [
        ("[]", "the record has no `version`"),
        ("{}", "the record has no `version`"),
        (
            r#"{"version": 2, "facts": []}"#,
            "the record has version 2, but this version of kdev reads only version 1",
        ),
        (
            r#"{"version": 1, "facts": {}}"#,
            "invalid type: map, expected a sequence at line 1 column 24",
        ),
    ];
    for (record, cause) in table {
        project.write("record.json", record);
        let stderr = project.run(&["why", "--replay", "record.json"]).code(90).err().to_owned();
        let expected = format!(
            "error: cannot read recorded facts from `record.json`\n  caused by: {cause}\n  help: run `cargo kdev why --record FILE` to record them again\n"
        );
        assert_eq!(stderr, expected);
    }
    let stderr = project.run(&["why", "--replay", "absent.json"]).code(90).err().to_owned();
    assert!(stderr.starts_with("error: failed to read `absent.json`\n"), "{stderr}");
}
