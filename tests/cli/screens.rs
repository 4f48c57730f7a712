//! What a user sees at the end of a command, in terminals of 80 and 120 columns. The files in
//! `screens/` have the expected screens; `SNAPSHOTS=overwrite` writes them.

use std::fs;
use std::num::NonZero;
use std::path::Path;

use snapbox::Data;
use snapbox::data::DataFormat;

use crate::doctor;
use crate::project::{IMAGE, Project, pod};
use crate::watch::make_whole_context_input;

/// More lines than any of the screens has.
const ROWS: NonZero<u16> = NonZero::new(60).unwrap();

/// Checks the screen after a command.
#[track_caller]
fn assert_screen(name: &str, args: &[&str], project: impl Fn() -> Project) {
    assert_screen_after(name, args, "\0", "", project);
}

/// Checks the screen after a command during which `typed` is typed after each output of `seen`.
#[track_caller]
fn assert_screen_after(
    name: &str,
    args: &[&str],
    seen: &str,
    typed: &str,
    project: impl Fn() -> Project,
) {
    for columns in [80, 120] {
        let project = project();
        let env = [("TERM", "xterm"), ("NO_COLOR", "1")];
        let output = project.type_in_terminal(columns.into(), &env, args, seen, typed);
        let mut terminal = vt100::Parser::new(ROWS, NonZero::new(columns).unwrap(), 0);
        terminal.process(output.as_bytes());
        let screen = without_times(terminal.screen().contents().trim_end());
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../../tests/cli/screens/{name}-{columns}.txt"));
        let expected = Data::read_from(&path, Some(DataFormat::Text)).raw();
        snapbox::Assert::new()
            .action_env("SNAPSHOTS")
            .eq(format!("$ cargo kdev {}\n{screen}\n", args.join(" ")), expected);
    }
}

/// Replaces each duration with a short one.
fn without_times(text: &str) -> String {
    // The times of the stages of a cycle have no unit.
    let is_stage = |word: &str| word.len() == 3 && word.as_bytes()[1] == b'.';
    let is_time = |word: &str| {
        let word = word.trim_end_matches([',', ':']);
        word.strip_suffix('s')
            .or_else(|| is_stage(word).then_some(word))
            .is_some_and(|number| number.contains('.') && number.parse::<f32>().is_ok())
    };
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    let word = |word: &str| {
        if is_time(word.trim()) {
            format!("0.0{}", word.trim_start_matches(is_digit))
        } else {
            word.to_owned()
        }
    };
    text.split_inclusive([' ', '\n']).map(word).collect()
}

#[test]
fn deployment_shows_each_stage() {
    assert_screen("up", &["up", "--node", "n1"], Project::new);
}

#[test]
fn watch_shows_status_and_keys() {
    let args = ["up", "--watch", "--no-logs", "--no-forward", "--node", "n1"];
    assert_screen_after("watch", &args, "`q` ends the", "q", || {
        let project = Project::new();
        make_whole_context_input(&project, "Dockerfile");
        project
    });
}

#[test]
fn failed_rollout_shows_cause() {
    let status = r#"{"name":"app","state":{"waiting":{"reason":"RunContainerError","message":"failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/srv/app\": stat /srv/app: no such file or directory: unknown"}}}"#;
    assert_screen("up-failed", &["up", "--node", "n1"], || {
        let project = Project::new();
        project.write(
            "fake/deployment.json",
            r#"{"kind":"Deployment","metadata":{"name":"app","generation":1,"uid":"u","annotations":{"deployment.kubernetes.io/revision":"1"}},
            "spec":{"replicas":1},"status":{"observedGeneration":1,"updatedReplicas":1,"replicas":1}}"#,
        );
        project.pods(&[pod("app-1", "n1", "app", IMAGE, status)]);
        project
    });
}

#[test]
fn status_shows_pods_and_builds() {
    let waits = r#"{"name":"app","imageID":"","state":{"waiting":{"reason":"CreateContainerConfigError"}}}"#;
    assert_screen("status", &["status"], || {
        let project = Project::new();
        project.pods(&[
            pod("app-5b8c9d7f6-abcde", "n1", "app", IMAGE, waits),
            pod("app-5b8c9d7f6-fghij", "n2", "app", "app:kdev-ba9876543210", waits),
        ]);
        project
    });
}

#[test]
fn doctor_shows_problems() {
    assert_screen("doctor", &["doctor", "-q"], || {
        let project = doctor::project();
        let down = "Cannot connect to the Docker daemon at tcp://10.0.0.3:2375. Is the docker daemon running?";
        project.write("fake/docker-down", down).write("fake/denied", "patch\ndelete\n");
        project.machine("10.0.0.1", "other", "b");
        project
    });
}

#[test]
fn cause_of_failed_pull_is_shown() {
    let scenarios =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/kdev-diagnosis/tests/scenarios");
    assert_screen("why", &["why", "--replay", "web.json"], || {
        let project = Project::new();
        fs::copy(scenarios.join("docker-pulled.json"), project.path("web.json")).unwrap();
        project
    });
}
