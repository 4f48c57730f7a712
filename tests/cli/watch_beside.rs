//! What runs beside the cycles of `up --watch`: logs, forwarded ports, and commands.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::json_schema;
use crate::project::{IMAGE, Project};
use crate::services::workspace;
use crate::watch::{Watch, make_whole_context_input, save};

const ALONE: [&str; 2] = ["--no-logs", "--no-forward"];

fn start(project: &Project, args: &[&str]) -> Watch {
    Watch::start_beside(project, &[&ALONE, args].concat())
}

#[test]
fn command_runs_after_each_cycle() {
    let project = Project::new();
    let command = "echo then $KDEV_CYCLE_CONTEXT $KDEV_CYCLE_IMAGE; echo >> fake/runs; exit 3";
    let mut watch = start(&project, &["--then", command]);
    let lines = watch.wait_for("Failed `echo then").join("\n");
    assert!(lines.contains(&format!("\nthen kind-test {IMAGE}\n")), "{lines}");
    assert!(lines.ends_with("exited with code 3"), "{lines}");
    save(&project, "src/main.rs", "fn main() { }\n");
    watch.wait_for("Changed src/main.rs");
    watch.wait_for("then kind-test");
    // Not after a failed cycle.
    project.write("fake/build-fails", "");
    save(&project, "src/main.rs", "fn main() {  }\n");
    watch.wait_for("Changed src/main.rs");
    watch.wait_for("error: failed");
    watch.wait_for("Watching");
    watch.signal(Signal::SIGINT);
    assert_eq!(watch.end().0, Some(130));
    assert_eq!(fs::read_to_string(project.path("fake/runs")).unwrap(), "\n\n");
}

#[test]
fn next_cycle_stops_command() {
    let project = Project::new();
    let command = "trap 'echo stopped; exit' TERM; echo begun; while :; do sleep 0.1; done";
    let mut watch = start(&project, &["--then", command]);
    watch.wait_for("begun");
    save(&project, "src/main.rs", "fn main() { }\n");
    watch.wait_for("stopped");
    watch.wait_for("begun");
    watch.signal(Signal::SIGINT);
    let (code, output) = watch.end();
    assert_eq!(code, Some(130));
    assert!(output.contains("stopped") && !output.contains("Failed"), "{output}");
}

/// Waits until a file has this number of lines.
#[track_caller]
fn wait_for_lines(project: &Project, file: &str, count: usize) {
    let started = Instant::now();
    let lines = || fs::read_to_string(project.path(file)).unwrap_or_default().lines().count();
    while lines() < count {
        assert!(started.elapsed() < Duration::from_secs(120), "`{file}` has {} lines", lines());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn next_cycle_stops_processes_in_background() {
    let server = "(trap 'echo >> fake/stopped; exit' TERM; echo >> fake/begun; while :; do echo ping; sleep 0.1; done) &";
    for mode in [&[][..], &["--quiet"], &["--message-format", "json"]] {
        let project = Project::new();
        let mut watch = start(&project, &[&["--then", server], mode].concat());
        // Nothing else reads it.
        let stdout = watch.child.stdout.take().unwrap();
        let reading = thread::spawn(move || std::io::read_to_string(stdout).unwrap());
        wait_for_lines(&project, "fake/begun", 1);
        save(&project, "src/main.rs", "fn main() { }\n");
        wait_for_lines(&project, "fake/stopped", 1);
        wait_for_lines(&project, "fake/begun", 2);
        watch.signal(Signal::SIGINT);
        assert_eq!(watch.end().0, Some(130));
        wait_for_lines(&project, "fake/stopped", 2);
        let stdout = reading.join().unwrap();
        if mode.contains(&"json") {
            json_schema::check_lines(&stdout);
            assert!(stdout.contains(r#""reason":"cycle-ended""#), "{stdout}");
        }
    }
}

#[test]
fn command_gets_one_image_of_each_package() {
    let project = workspace();
    make_whole_context_input(&project, "app/Dockerfile");
    let command = "echo $KDEV_CYCLE_IMAGE >> fake/images";
    // The first cycle builds both, and fails, because `api` has no manifest.
    let mut watch = start(&project, &["-p", "api", "-p", "app", "--then", command]);
    watch.wait_for("Watching");
    save(&project, "app/src/main.rs", "fn main() { }\n");
    wait_for_lines(&project, "fake/images", 1);
    assert_eq!(fs::read_to_string(project.path("fake/images")).unwrap(), format!("{IMAGE}\n"));
}

#[test]
fn end_deletes_only_packages_of_this_watch() {
    let project = Project::new();
    project.write("fake/members", "");
    let mut watch = start(&project, &["--down-on-exit"]);
    watch.wait_for("Watching");
    watch.signal(Signal::SIGINT);
    let (code, output) = watch.end();
    assert_eq!(code, Some(130), "{output}");
    assert!(!output.contains("the pods keep running"), "{output}");
    assert!(project.calls().contains(" delete "), "{}", project.calls());

    let project = Project::new();
    project.run(&["up"]).code(0);
    let mut watch = start(&project, &["--down-on-exit"]);
    watch.wait_for("Watching");
    watch.signal(Signal::SIGINT);
    let (code, output) = watch.end();
    assert_eq!(code, Some(130), "{output}");
    let note = "`app` was applied before this watch, so it stays; run `cargo kdev down --context kind-test --package app` to delete it";
    assert!(output.contains(note), "{output}");
    assert!(!project.calls().contains(" delete "), "{}", project.calls());
    // The advice.
    project.write("fake/members", "");
    project.run(&["down", "--context", "kind-test", "--package", "app"]).code(0);
    assert!(project.calls().contains(" delete "), "{}", project.calls());
}

#[test]
fn failed_deletion_at_end_decides_exit_code() {
    let project = Project::new();
    project.write("fake/members", "");
    let mut watch = start(&project, &["--down-on-exit"]);
    watch.wait_for("Watching");
    let refused = "Error from server (InternalError): the API server is down\n";
    project.write("fake/kubectl-delete-fails", refused);
    watch.signal(Signal::SIGINT);
    let (code, output) = watch.end();
    assert_eq!(code, Some(92), "{output}");
    assert!(output.contains("the API server is down"), "{output}");
}

#[test]
fn invalid_port_is_rejected_before_build() {
    let project = Project::new();
    let ran = project.run(&["up", "--watch", "--forward", "web:x"]);
    assert!(ran.code(90).err().starts_with("error: cannot forward `web:x`: "), "{}", ran.err());
    assert_eq!(project.calls(), "");
}

#[test]
fn terminal_is_notified_after_cycle() {
    let project = Project::new();
    make_whole_context_input(&project, "Dockerfile");
    let env = [("TERM", "xterm"), ("NO_COLOR", "1")];
    let args = ["up", "--watch", "--no-logs", "--no-forward", "--notify"];
    // The last bytes of the notification, after the watch has begun.
    let output = project.type_in_terminal(80, &env, &args, "\x1b\\\x07", "\x03");
    let text = output.split("\x1b]9;").nth(1).unwrap_or_else(|| panic!("{output:?}"));
    assert!(text.starts_with("cargo kdev: ready in "), "{output:?}");
    assert!(text.split_once("\x1b\\").unwrap().1.starts_with('\x07'), "{output:?}");
}

/// A pod of the Deployment that runs the project's image.
fn running_pod(name: &str) -> String {
    format!(
        r#"{{"kind":"Pod","metadata":{{"name":"{name}","namespace":"default","uid":"uid-{name}","creationTimestamp":"2026-11-28T08:00:00Z","ownerReferences":[{{"kind":"ReplicaSet","name":"app-7c","uid":"r"}}]}},"spec":{{"nodeName":"n1","containers":[{{"name":"app","image":"{IMAGE}","ports":[{{"containerPort":8080}}]}}]}},"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True"}}],"containerStatuses":[{{"name":"app","containerID":"containerd://{name}","restartCount":0,"state":{{"running":{{}}}}}}]}}}}"#
    )
}

/// Returns a line of `kubectl get pods --watch`.
fn added(name: &str) -> String {
    format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", running_pod(name))
}

/// A project whose pods are reported after the apply.
fn project() -> Project {
    let project = Project::new();
    let template = r#""metadata":{"name":"app","namespace":"default","#;
    let deployment = fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    let deployment = deployment.replace(r#""metadata":{"name":"app","#, template);
    let ports = r#""spec":{"template":{"spec":{"containers":[{"name":"app","ports":[{"containerPort":8080}]}]}},"#;
    project.write("fake/deployment.json", &deployment.replacen(r#""spec":{"#, ports, 1));
    let pods = fs::read_to_string(project.path("fake/pods.json")).unwrap();
    let replica_set = r#"{"kind":"ReplicaSet","metadata":{"name":"app-7c","namespace":"default","uid":"r","ownerReferences":[{"kind":"Deployment","name":"app","uid":"u"}]}}"#;
    project.write("fake/pods.json", &format!("{pods},{replica_set}"));
    project.write("fake/watch", &added("app-7c-a"));
    project.write(
        "fake/kubectl-logs",
        "set -- $rest\necho \"2026-11-28T08:00:01Z first of $1\"\nexec sleep 60\n",
    );
    project
}

/// Returns the line of stdout that contains this text.
fn read_until(child: &mut Child, text: &str) -> String {
    let stdout = BufReader::new(child.stdout.as_mut().unwrap());
    stdout.lines().map(Result::unwrap).find(|line| line.contains(text)).unwrap()
}

#[test]
fn logs_of_new_pods_are_shown_once() {
    let project = project();
    let mut watch = Watch::start_beside(&project, &["--no-forward"]);
    watch.wait_for("Watching");
    let line = read_until(&mut watch.child, "first of");
    assert!(line.ends_with("7c-a first of app-7c-a"), "{line}");
    project.write("fake/watch", &(added("app-7c-a") + &added("app-7c-b")));
    save(&project, "src/main.rs", "fn main() { }\n");
    watch.wait_for("Watching");
    let line = read_until(&mut watch.child, "first of");
    assert!(line.ends_with("7c-b first of app-7c-b"), "{line}");
}

#[test]
fn local_port_stays_open_during_cycles() {
    let project = project();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut connection in server.incoming().map(Result::unwrap) {
            connection.write_all(b"hello").unwrap();
        }
    });
    let forward = format!("echo 'Forwarding from 127.0.0.1:{port} -> 8080'\nexec sleep 60\n");
    project.write("fake/kubectl-port-forward", &forward);
    let mut watch = Watch::start_beside(&project, &["--no-logs", "--forward", ":8080"]);
    let line = watch.wait_for("Forwarding 127.0.0.1:").pop().unwrap();
    assert!(line.ends_with(" to port 8080 of pod `app-7c-a` (deployment/app)"), "{line}");
    let address = line.trim().split(' ').nth(1).unwrap().to_owned();
    let ask = || {
        let mut answer = String::new();
        TcpStream::connect(&address).unwrap().read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(ask(), "hello");
    project.write("fake/build-hangs", "");
    save(&project, "src/main.rs", "fn main() { }\n");
    watch.wait_for("Step 1/1");
    assert_eq!(ask(), "hello");
}
