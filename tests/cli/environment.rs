//! The environment of the tools that kdev runs: the user's wishes are passed on, but no
//! preference changes the result of a command.

use std::fs;

use crate::project::Project;

/// Variables of a user.
const USER: [(&str, &str); 19] = [
    ("BUILDKIT_PROGRESS", "plain"),
    ("BUILDX_BUILDER", "default"),
    ("BUILDX_NO_DEFAULT_ATTESTATIONS", "0"),
    ("BUILDX_NO_DEFAULT_LOAD", "1"),
    ("CARGO_TERM_COLOR", "always"),
    ("CONTAINERD_ADDRESS", "/run/docker/containerd/containerd.sock"),
    ("CONTAINERD_SNAPSHOTTER", "native"),
    ("DOCKER_BUILDKIT", "1"),
    ("DOCKER_CLI_HINTS", "true"),
    ("DOCKER_CONTENT_TRUST", "1"),
    ("DOCKER_DEFAULT_PLATFORM", "linux/amd64"),
    ("GREP_OPTIONS", "--color=always"),
    ("HELM_DEBUG", "1"),
    ("KUBECTL_EXTERNAL_DIFF", "meld"),
    ("KUBECTL_KUBERC", "true"),
    ("KUBERC", "/home/u/kuberc"),
    ("LANGUAGE", "de"),
    ("LC_ALL", "de_DE.UTF-8"),
    ("SSH_AUTH_SOCK", "/run/agent"),
];

/// Records a call. An earlier process may have had the same ID.
const RECORD: &str = r#"call="$FAKE/call-$$"
while [ -e "$call" ]; do call=$call-; done
{ printf 'NAME %s\n' "$*"; env; } >"$call""#;

/// Creates a project whose tools record their command lines and variables.
fn recording_project() -> Project {
    let project = Project::new();
    project.write("fake/records-env", "");
    // A daemon with the containerd image store, which requires a push.
    project.write("fake/docker-version", "29.0.0");
    project.write("fake/docker-info", r#"[["driver-type","io.containerd.snapshotter.v1"]]"#);
    project.write("fake/docker-context", "unix:///run/docker.sock");
    let record = |name: &str, rest: &str| {
        project.script(name, &format!("{}\n{rest}", RECORD.replace("NAME", name)));
    };
    record("cargo", &format!("[ \"$1\" = build ] || exec {} \"$@\"", env!("CARGO")));
    record("helm", "cat \"$FAKE/chart.yaml\"");
    for name in ["ctr", "kubectl", "ssh"] {
        let fake = fs::canonicalize(project.path(&format!("bin/{name}"))).unwrap();
        project.remove(&format!("bin/{name}"));
        record(name, &format!("exec {} \"$@\"", fake.display()));
    }
    project
}

/// Returns the recorded calls: a line with the command, and its variables.
fn recorded_calls(project: &Project) -> Vec<String> {
    let files = fs::read_dir(project.path("fake")).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|file| file.file_name().to_str().unwrap().starts_with("call-"));
    files.map(|file| fs::read_to_string(file.path()).unwrap()).collect()
}

/// Returns the value of a variable in each call that begins with `call`.
fn values(calls: &[String], call: &str, variable: &str) -> Vec<Option<String>> {
    let calls = calls.iter().filter(|text| text.starts_with(call));
    let value = |text: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == variable).map(|(_, value)| value.to_owned())
    };
    calls.map(|text| value(text)).collect()
}

#[test]
fn tools_get_wishes_but_no_preference_that_changes_result() {
    let project = recording_project();
    project.config("cargo-build = []\nmanifests = [\"k8s/app.yaml\", \"chart\"]");
    fs::create_dir(project.path("chart")).unwrap();
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n");
    project.write("fake/chart.yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: app}\n");
    let cargo = project.path("bin/cargo").display().to_string();
    let env = [&USER[..], &[("CARGO", cargo.as_str())]].concat();
    project.run_with(&env, &["up"]);
    // The containerd image store has no image in this project; the classic store does.
    project.remove("fake/docker-info");
    project.run_with(&env, &["up"]).code(0);
    let calls = recorded_calls(&project);
    let table = [
        ("cargo build", "CARGO_TERM_COLOR", Some("always")),
        ("cargo build", "LC_ALL", Some("de_DE.UTF-8")),
        ("cargo metadata", "CARGO_TERM_COLOR", Some("never")),
        ("ctr ", "CONTAINERD_ADDRESS", None),
        ("ctr ", "CONTAINERD_SNAPSHOTTER", None),
        ("docker ", "DOCKER_CLI_HINTS", Some("false")),
        ("docker build ", "BUILDKIT_PROGRESS", Some("plain")),
        ("docker build ", "BUILDX_BUILDER", Some("default")),
        ("docker build ", "BUILDX_NO_DEFAULT_ATTESTATIONS", Some("1")),
        ("docker build ", "BUILDX_NO_DEFAULT_LOAD", None),
        ("docker build ", "DOCKER_BUILDKIT", Some("1")),
        ("docker build ", "DOCKER_CONTENT_TRUST", Some("1")),
        ("docker build ", "DOCKER_DEFAULT_PLATFORM", Some("linux/amd64")),
        ("docker build ", "LC_ALL", Some("de_DE.UTF-8")),
        ("docker image", "LC_ALL", Some("C")),
        ("docker push", "DOCKER_CONTENT_TRUST", None),
        ("helm template", "HELM_DEBUG", None),
        ("helm template", "LC_ALL", Some("C")),
        ("kubectl ", "GREP_OPTIONS", None),
        ("kubectl ", "KUBECTL_KUBERC", Some("false")),
        ("kubectl ", "KUBERC", Some("off")),
        ("kubectl ", "LC_ALL", Some("C")),
        ("ssh ", "LC_ALL", Some("C")),
        ("ssh ", "SSH_AUTH_SOCK", Some("/run/agent")),
    ];
    for (call, variable, expected) in table {
        let found = values(&calls, call, variable);
        assert!(!found.is_empty(), "{call}");
        for value in found {
            assert_eq!(value.as_deref(), expected, "{call} {variable}");
        }
    }
}

#[test]
fn kubectl_ignores_preferences_and_prints_english() {
    let project = recording_project();
    project.remove("fake/docker-info");
    for args in [&["up"][..], &["status"], &["why"], &["doctor"], &["up", "--prune"], &["down"]] {
        project.run_with(&USER, args);
    }
    let calls = recorded_calls(&project).into_iter().filter(|call| call.starts_with("kubectl "));
    let calls: Vec<String> = calls.collect();
    assert!(calls.len() > 10, "{calls:?}");
    for call in calls {
        let has = |line: &str| call.lines().any(|one| one == line);
        assert!(has("KUBERC=off") && has("KUBECTL_KUBERC=false") && has("LC_ALL=C"), "{call}");
        let is_diff = call.lines().next().unwrap().contains(" diff ");
        assert!(!is_diff || !has("KUBECTL_EXTERNAL_DIFF=meld"), "{call}");
    }
}

#[test]
fn errors_of_cargo_are_read_without_colors() {
    let project = Project::new();
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &format!("{cargo}[[\n"));
    let ran = project.run_with(&[("CARGO_TERM_COLOR", "always")], &["up"]);
    let line = cargo.lines().count() + 1;
    let help = format!("  help: fix line {line} of `Cargo.toml`\n");
    assert!(ran.code(90).err().ends_with(&help), "{}", ran.err());
    assert!(!ran.err().contains("[0m"), "{}", ran.err());
}
