//! What `why` tells of each recorded scene: `docs/diagnoses.md` shows just that.
//! `cargo xtask record` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::project::Project;

const INTRODUCTION: &str = "\
# What `cargo kdev why` tells

Each of these was made in a real cluster, and its facts were recorded. The cure was
followed there until the pod ran. `web` is the name of the workload in all of them.

";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The scenes by their records' names, with what was done in each.
fn scenes() -> Vec<(String, String)> {
    let list =
        fs::read_to_string(root().join("crates/kdev-diagnosis/tests/scenarios/index.tsv")).unwrap();
    let scene = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
    list.lines().map(|line| scene(line).unwrap()).collect()
}

fn record(name: &str) -> PathBuf {
    root().join(format!("crates/kdev-diagnosis/tests/scenarios/{name}.json"))
}

fn replay(project: &Project, name: &str, more: &[&str]) -> String {
    let record = record(name).display().to_string();
    let args = [&["why", "--replay", &record], more].concat();
    project.run(&args).code(0).out().to_owned()
}

/// The causes, as scripts get them.
fn causes(project: &Project, name: &str) -> String {
    let json = replay(project, name, &["--message-format", "json"]);
    let verdict: Value = serde_json::from_str(json.trim()).unwrap();
    let causes = verdict["diagnoses"].as_array().unwrap().iter();
    let causes: Vec<String> =
        causes.map(|one| format!("`{}`", one["cause"].as_str().unwrap())).collect();
    assert!(!causes.is_empty(), "{name}");
    causes.join(", ")
}

#[test]
fn each_scene_is_explained_as_the_docs_say() {
    let project = Project::new();
    let mut page = format!("{INTRODUCTION}| | what is wrong | causes |\n|---|---|---|\n");
    let scenes = scenes();
    for (number, (name, title)) in scenes.iter().enumerate() {
        let row = format!("| [{}](#{name}) | {title} | {} |\n", number + 1, causes(&project, name));
        page.push_str(&row);
    }
    for (number, (name, title)) in scenes.iter().enumerate() {
        let heading = format!("\n<a id=\"{name}\"></a>\n\n## {}. {title}\n\n", number + 1);
        let said = replay(&project, name, &[]);
        let _ = write!(page, "{heading}```text\n$ cargo kdev why web\n{said}```\n");
    }
    let docs = root().join("docs/diagnoses.md");
    let assert = snapbox::Assert::new().action_env("SNAPSHOTS");
    assert.eq(page, snapbox::Data::read_from(&docs, Some(snapbox::data::DataFormat::Text)).raw());
}

#[test]
fn each_scene_that_is_explained_is_made_in_the_lab() {
    let folder = root().join("tests/e2e/why");
    let sources: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let made: Vec<&str> = sources
        .iter()
        .flat_map(|text| text.split("Scene::").skip(1))
        .filter(|call| !call.starts_with("of_nothing_wrong"))
        // The node may come before the name.
        .filter_map(|call| {
            call.split('"').skip(1).step_by(2).find(|word| !word.starts_with("node-"))
        })
        .collect();
    let listed: Vec<String> = scenes().into_iter().map(|(name, _)| name).collect();
    for name in &listed {
        assert!(made.contains(&name.as_str()), "no test makes `{name}`");
        assert!(record(name).exists(), "`{name}` is not recorded: run `cargo xtask record`");
    }
    for name in &made {
        assert!(
            listed.iter().any(|one| one == name),
            "crates/kdev-diagnosis/tests/scenarios/index.tsv lacks `{name}`"
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
        let said = project.run(&["why", "--replay", "record.json"]).code(90).err().to_owned();
        let expected = format!(
            "error: cannot read the facts in `record.json`\n  caused by: {cause}\n  help: record the facts again with `cargo kdev why --record FILE`\n"
        );
        assert_eq!(said, expected);
    }
    let said = project.run(&["why", "--replay", "absent.json"]).code(90).err().to_owned();
    assert!(said.starts_with("error: failed to read `absent.json`\n"), "{said}");
}
