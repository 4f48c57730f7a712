//! `up --watch`: a change of an input starts a cycle, and failures do not end the watch.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::json_schema;
use crate::project::Project;
use crate::services::workspace;

/// A running watch. It is killed at the end of the test.
pub(crate) struct Watch {
    pub(crate) child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Watch {
    /// Starts the watch, and waits until it has deployed.
    pub(crate) fn start(project: &Project, args: &[&str]) -> Self {
        let mut watch = Self::start_only(project, args);
        watch.wait_for("Watching");
        watch
    }

    fn start_only(project: &Project, args: &[&str]) -> Self {
        Self::start_beside(project, &[&["--no-logs", "--no-forward"], args].concat())
    }

    /// Starts the watch with all that runs beside the cycles.
    pub(crate) fn start_beside(project: &Project, args: &[&str]) -> Self {
        make_whole_context_input(project, "Dockerfile");
        let mut child = project.start(&[&["up", "--watch"], args].concat());
        let (send, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line with this text. Returns the lines since the last call.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> Vec<String> {
        let mut new = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(120)) else {
                panic!("never saw `{text}`:\n{}\n{}", self.seen.join("\n"), new.join("\n"));
            };
            new.push(line.clone());
            if line.contains(text) {
                self.seen.extend(new.iter().cloned());
                return new;
            }
        }
    }

    /// Waits for the end of the process. Returns its exit code and its last lines.
    #[track_caller]
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.lines.iter().collect::<Vec<_>>().join("\n"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes all files of the context inputs of the image, without those that the fakes and kdev write.
pub(crate) fn make_whole_context_input(project: &Project, dockerfile: &str) {
    project.write(".dockerignore", "fake\nbin\ntools\ntarget\nk8s\n.*\n");
    project.write(dockerfile, "FROM scratch\nCOPY . /\n");
}

/// Saves a file as most editors do: writes another one, and renames it.
pub(crate) fn save(project: &Project, name: &str, text: &str) {
    project.write("fake/saved", text);
    fs::rename(project.path("fake/saved"), project.path(name)).unwrap();
}

fn count_builds(project: &Project) -> usize {
    project.calls().matches("docker build ").count()
}

/// Returns the line of the files that have started the cycle.
fn changed(lines: &[String]) -> &str {
    let line = lines.iter().find(|line| line.contains("Changed")).unwrap();
    line.trim()
}

#[test]
fn save_deploys_again() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let first = watch.seen.join("\n");
    assert!(first.contains("  Ready in ") && !first.contains("Changed"), "{first}");
    for text in ["fn main() { }\n", "fn main() {  }\n"] {
        save(&project, "src/main.rs", text);
        assert_eq!(changed(&watch.wait_for("Watching")), "Changed src/main.rs");
    }
    save(&project, "src/new.rs", "");
    assert_eq!(changed(&watch.wait_for("Watching")), "Changed src/new.rs");
    assert_eq!(count_builds(&project), 4);
}

#[test]
fn same_bytes_start_no_process() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let before = project.calls();
    save(&project, "src/main.rs", "fn main() {}\n");
    save(&project, "Dockerfile", "FROM scratch\nCOPY . /\n");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(project.calls(), before);
    save(&project, "src/main.rs", "fn main() { }\n");
    assert_eq!(changed(&watch.wait_for("Watching")), "Changed src/main.rs");
}

#[test]
fn manifest_change_starts_neither_build_nor_load() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let before = project.calls();
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    save(&project, "k8s/app.yaml", &format!("{manifest}# changed\n"));
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("Changed k8s/app.yaml\n") && lines.contains("  Ready in "), "{lines}");
    let calls = project.calls();
    let new = calls.strip_prefix(&before).unwrap();
    assert!(new.contains("apply"), "{new}");
    assert!(new.lines().all(|call| call.starts_with("kubectl ")), "{new}");
    assert!(project.applied().unwrap().contains("app:kdev-0123456789ab"));
}

#[test]
fn manifest_change_after_reboot_of_node_loads_again() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let nodes = fs::read_to_string(project.path("fake/nodes.json")).unwrap();
    project.write("fake/nodes.json", &nodes.replace(r#""bootID":"b""#, r#""bootID":"c""#));
    project.machine("10.0.0.1", "n1", "c").machine("10.0.0.2", "n2", "c");
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    save(&project, "k8s/app.yaml", &format!("{manifest}# changed\n"));
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("  Ready in "), "{lines}");
    assert_eq!(count_builds(&project), 2);
}

#[test]
fn manifest_change_after_failed_build_builds_again() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    project.write("fake/build-fails", "");
    save(&project, "src/main.rs", "fn main() { }\n");
    assert!(watch.wait_for("Watching").join("\n").contains("error: "));
    project.remove("fake/build-fails");
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    save(&project, "k8s/app.yaml", &format!("{manifest}# changed\n"));
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("Built app:kdev-") && lines.contains("  Ready in "), "{lines}");
    assert_eq!(count_builds(&project), 3);
}

#[test]
fn manifest_change_during_rollout_starts_no_build() {
    let project = Project::new();
    let ready = fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    project.remove_pods();
    let mut watch = Watch::start_only(&project, &[]);
    watch.wait_for("Waiting");
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    save(&project, "k8s/app.yaml", &format!("{manifest}# changed\n"));
    watch.wait_for("Stopped because of newer changes");
    project.write("fake/deployment.json", &ready);
    watch.wait_for("Ready in ");
    assert_eq!(count_builds(&project), 1);
}

#[test]
fn same_image_ends_cycle() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let before = project.calls();
    save(&project, "src/main.rs", "fn main() { }\n");
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("Unchanged in ") && !lines.contains("Ready"), "{lines}");
    let calls = project.calls();
    let new = calls.strip_prefix(&before).unwrap();
    assert!(new.contains("docker build "), "{new}");
    for call in ["docker save", "docker push", " diff ", " apply ", " import "] {
        assert!(!new.contains(call), "{call}: {new}");
    }
}

#[test]
fn manifest_that_matches_glob_later_is_applied() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    project.write("k8s/more.yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: more}\n");
    watch.wait_for("Watching");
    assert!(project.applied().unwrap().contains("name: more"));
}

#[test]
fn failed_build_keeps_watching() {
    let project = Project::new();
    project.write("fake/build-fails", "");
    let mut watch = Watch::start(&project, &[]);
    let output = watch.seen.join("\n");
    assert!(output.contains("non-zero code: 7") && output.contains("error: failed"), "{output}");
    assert_eq!(project.applied(), None);
    save(&project, "src/main.rs", "fn main() { }\n");
    let again = watch.wait_for("Watching").join("\n");
    assert!(again.contains("Failed with the same error as before"), "{again}");
    assert!(!again.contains("error:"), "{again}");
    project.remove("fake/build-fails");
    save(&project, "src/main.rs", "fn main() {  }\n");
    watch.wait_for("Ready in ");
    assert!(project.applied().is_some());
}

#[test]
fn invalid_settings_keep_watching() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let valid = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &format!("{valid}[package.metadata.kdev]\nnosuch = 1\n"));
    let output = watch.wait_for("Watching").join("\n");
    assert!(output.contains("nosuch") && !output.contains("Ready"), "{output}");
    let settings = "[package.metadata.kdev]\nmanifests = [\"k8s/app.yaml\"]\ntimeout = 9\n";
    project.write("Cargo.toml", &format!("{valid}{settings}"));
    watch.wait_for("Ready in ");
}

#[test]
fn save_during_build_starts_it_again() {
    let project = Project::new();
    project.write("fake/build-hangs", "");
    let mut watch = Watch::start_only(&project, &[]);
    watch.wait_for("Step 1/1");
    project.remove("fake/build-hangs");
    save(&project, "src/main.rs", "fn main() { }\n");
    let lines = watch.wait_for("Ready in ").join("\n");
    assert!(lines.contains("Stopped because of newer changes"), "{lines}");
    assert!(lines.contains("1 newer change\n"), "{lines}");
    assert!(lines.contains("Changed src/main.rs"), "{lines}");
    assert_eq!(count_builds(&project), 2);
}

#[test]
fn save_during_rollout_leaves_wait() {
    let project = Project::new();
    let ready = fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    project.remove_pods();
    let mut watch = Watch::start_only(&project, &[]);
    watch.wait_for("Waiting");
    save(&project, "src/main.rs", "fn main() { }\n");
    watch.wait_for("Stopped because of newer changes");
    project.write("fake/deployment.json", &ready);
    watch.wait_for("Ready in ");
    assert_eq!(count_builds(&project), 2);
}

#[test]
fn interrupt_leaves_pods_running() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &["--context", "kind-test"]);
    watch.signal(Signal::SIGINT);
    let (code, output) = watch.end();
    assert_eq!(code, Some(130));
    let note = "        Note the pods keep running; run `cargo kdev down --context kind-test` to delete them";
    assert_eq!(output, note);
    project.write("fake/members", "");
    project.run(&["down", "--context", "kind-test"]).code(0);
}

#[test]
fn interrupt_during_first_build_ends_watch() {
    let project = Project::new();
    project.write("fake/build-hangs", "");
    let mut watch = Watch::start_only(&project, &[]);
    watch.wait_for("Step 1/1");
    watch.signal(Signal::SIGINT);
    let (code, output) = watch.end();
    assert_eq!((code, output.contains("Note")), (Some(130), false), "{output}");
}

#[test]
fn unreachable_docker_ends_only_first_cycle() {
    let project = Project::new();
    let down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
    project.write("fake/docker-down", down);
    let (code, output) = Watch::start_only(&project, &[]).end();
    assert_eq!(code, Some(91), "{output}");
    project.remove("fake/docker-down");
    let mut watch = Watch::start(&project, &[]);
    project.write("fake/docker-down", down);
    save(&project, "src/main.rs", "fn main() { }\n");
    watch.wait_for("error: ");
    // The second attempt.
    let lines = watch.wait_for("Failed with the same error as before");
    assert!(!lines.join("\n").contains("error: "), "{lines:?}");
    project.remove("fake/docker-down");
    watch.wait_for("Ready in ");
}

#[test]
fn second_watch_is_rejected() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let id = watch.child.id();
    project.run(&["up", "--watch"]).code(90).error(&format!(
        "error: another `cargo kdev up --watch` already watches package `app` (process {id})\n  help: end the other one with Ctrl-C or `kill {id}`\n"
    ));
    // The advice.
    watch.signal(Signal::SIGTERM);
    watch.end();
    drop(Watch::start(&project, &[]));
}

#[test]
fn only_services_with_changes_are_deployed() {
    let project = workspace();
    make_whole_context_input(&project, "app/Dockerfile");
    // `api` has no manifest, so its part of the first cycle fails.
    let mut watch = Watch::start(&project, &["-p", "api", "-p", "app"]);
    assert!(watch.seen.join("\n").contains("error: api: no manifest matches"));
    save(&project, "app/src/main.rs", "fn main() { }\n");
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("Changed app/src/main.rs\n"), "{lines}");
    assert!(lines.contains("Unchanged in ") && !lines.contains("api"), "{lines}");
}

#[test]
fn new_package_of_workspace_is_deployed() {
    let project = workspace();
    make_whole_context_input(&project, "app/Dockerfile");
    let all = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &all.replace("\"*p*\"", "\"app\""));
    let mut watch = Watch::start(&project, &["--workspace"]);
    assert!(!watch.seen.join("\n").contains("api"));
    save(&project, "Cargo.toml", &all.replace("\"*p*\"", "\"app\", \"api\""));
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("error: api: no manifest matches"), "{lines}");
}

#[test]
fn current_context_does_not_change_cluster() {
    let project = Project::new();
    let mut watch = Watch::start(&project, &[]);
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let current = |name: &str| format!("\"current-context\":\"{name}\"");
    project.write("fake/contexts.json", &contexts.replace(&current("kind-test"), &current("prod")));
    // Settings, so that the cycle has all steps.
    let settings = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    save(&project, "Cargo.toml", &format!("{settings}# changed\n"));
    let lines = watch.wait_for("Watching").join("\n");
    assert!(lines.contains("Ready in "), "{lines}");
    assert!(!project.calls().contains("--context prod"), "{}", project.calls());
}

#[test]
fn saves_during_builds_are_no_writes_of_builds() {
    let project = Project::new();
    project.write("fake/build-hangs", "");
    let mut watch = Watch::start_only(&project, &[]);
    for number in 1..=3 {
        watch.wait_for("Step 1/1");
        if number == 3 {
            project.remove("fake/build-hangs");
        }
        save(&project, "src/main.rs", &format!("fn main() {{ {number}; }}\n"));
        watch.wait_for("Stopped because of newer changes");
    }
    watch.wait_for("Ready in ");
    watch.wait_for("Watching");
    save(&project, "src/main.rs", "fn main() { 4; }\n");
    watch.wait_for("Changed src/main.rs");
    watch.wait_for("Unchanged in ");
    assert!(!watch.seen.join("\n").contains("each build writes"), "{:?}", watch.seen);
}

#[test]
fn file_that_each_build_writes_is_left_out() {
    let project = Project::new();
    let docker = fs::read_link(project.path("bin/docker")).unwrap();
    let generate = r#"[ "$1" != build ] || date +%s%N >"$HOME/src/generated.rs""#;
    project.script("docker", &format!("{generate}\nexec {} \"$@\"", docker.display()));
    let mut watch = Watch::start_only(&project, &[]);
    watch.wait_for(
        "each build writes `src/generated.rs`, so its changes during a build are ignored",
    );
    watch.wait_for("Watching");
    let before = count_builds(&project);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(count_builds(&project), before);
    save(&project, "src/main.rs", "fn main() { }\n");
    watch.wait_for("Changed src/main.rs");
}

#[test]
fn cycles_are_json_messages() {
    let project = Project::new();
    make_whole_context_input(&project, "Dockerfile");
    let child =
        project.start(&["up", "--watch", "--no-logs", "--no-forward", "--message-format", "json"]);
    // Kills the child, also if the test fails.
    let mut watch = Watch { child, lines: mpsc::channel().1, seen: Vec::new() };
    let mut lines =
        BufReader::new(watch.child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let read_cycle = |lines: &mut dyn Iterator<Item = String>| {
        let mut cycle = String::new();
        while !cycle.contains(r#""reason":"watching""#) {
            cycle += &lines.next().unwrap();
            cycle.push('\n');
        }
        json_schema::check_lines(&cycle);
        cycle
    };
    let first = read_cycle(&mut lines);
    assert!(first.contains(r#""reason":"cycle-began","changed":[],"classes":[]}"#), "{first}");
    save(&project, "src/main.rs", "fn main() { }\n");
    let second = read_cycle(&mut lines);
    let began = r#""reason":"cycle-began","changed":["src/main.rs"],"classes":["docker"]}"#;
    assert!(second.contains(began), "{second}");
    assert!(
        second.contains(r#""reason":"cycle-ended","outcome":"unchanged","seconds":"#),
        "{second}"
    );
    // Without a reader, the next cycle is the last.
    drop(lines);
    save(&project, "src/main.rs", "fn main() {  }\n");
    assert_eq!(watch.end().0, Some(0));
}
