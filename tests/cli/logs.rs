//! `cargo kdev logs`: the lines, their labels, and the requests with which they are read.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::{IMAGE, Project};

/// A pod of the Deployment whose container `app` is in this run.
fn live_pod(name: &str, run: u64, state: &str) -> String {
    format!(
        r#"{{"kind":"Pod","metadata":{{"name":"{name}","namespace":"default","uid":"uid-{name}","creationTimestamp":"2026-11-28T08:00:00Z","ownerReferences":[{{"kind":"ReplicaSet","name":"app-7c","uid":"r"}}]}},"spec":{{"nodeName":"n1","containers":[{{"name":"app","image":"{IMAGE}"}},{{"name":"other","image":"redis:7"}}]}},"status":{{"phase":"Running","containerStatuses":[{{"name":"app","containerID":"containerd://{name}-{run}","restartCount":{run},"state":{{{state}}}}},{{"name":"other","containerID":"containerd://o","restartCount":0,"state":{{"running":{{}}}}}}]}}}}"#
    )
}

const RUNNING: &str = r#""running":{}"#;
const REPLICA_SET: &str = r#"{"kind":"ReplicaSet","metadata":{"name":"app-7c","namespace":"default","uid":"r","ownerReferences":[{"kind":"Deployment","name":"app","uid":"u"}]}}"#;

/// A project whose Deployment has these pods. `script` is what `kubectl logs` runs; it has `$rest`
/// (the pod and the container), `$flags`, and `$count`, the number of calls with the same pod.
fn project(pods: &[String], script: &str) -> Project {
    let project = Project::new();
    let deployment = fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    let deployment =
        deployment.replace("\"name\":\"app\"", "\"name\":\"app\",\"namespace\":\"default\"");
    project.write("fake/deployment.json", &deployment);
    project.write("fake/pods.json", &format!("{REPLICA_SET},{}", pods.join(",")));
    let count = "set -- $rest\necho x >>\"$FAKE/count-$1\"\ncount=$(grep -c x \"$FAKE/count-$1\")\nat() { printf '2026-11-28T08:00:%sZ %s\\n' \"$1\" \"$2\"; }\n";
    project.write("fake/kubectl-logs", &format!("{count}{script}\nexit 0\n"));
    project
}

/// Returns the requests for logs, without the flags that select the cluster.
fn requests(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let calls = calls.lines().filter_map(|call| call.split_once("--request-timeout=15s logs "));
    calls.map(|(_, rest)| rest.to_owned()).collect()
}

#[test]
fn containers_with_project_image_are_shown() {
    let pods = ["app-7c-a", "app-7c-b"].map(|name| live_pod(name, 0, RUNNING));
    let project = project(&pods, "at 01.5 \"first of $1\"; at 02.5 second");
    let lines = "a first of app-7c-a\na second\nb first of app-7c-b\nb second\n";
    project.run(&["logs"]).code(0).stdout(lines).stderr("");
    let expected =
        ["app-7c-a --container app --timestamps", "app-7c-b --container app --timestamps"];
    assert_eq!(requests(&project), expected);
    // One pod needs no label.
    project.run(&["logs", "app-7c-b"]).stdout("first of app-7c-b\nsecond\n").stderr("");
    let args = ["logs", "pod/app-7c-b", "--timestamps", "--since", "5m", "--tail", "9"];
    project
        .run(&args)
        .stdout("2026-11-28T08:00:01.5Z first of app-7c-b\n2026-11-28T08:00:02.5Z second\n");
    let last = "app-7c-b --container app --timestamps --since=300s --tail=9";
    assert_eq!(requests(&project).last().unwrap(), last);
    project.run(&["logs", "deploy/app", "-c", "other"]).code(0);
    assert!(requests(&project).last().unwrap().starts_with("app-7c-b --container other"));
    let json = project.run(&["logs", "app-7c-a", "--message-format", "json"]);
    let line = r#"{"version":1,"reason":"log","namespace":"default","pod":"app-7c-a","container":"app","time":"2026-11-28T08:00:01.5Z","line":"first of app-7c-a"}"#;
    assert_eq!(json.code(0).out().lines().next(), Some(line));
}

#[test]
fn control_characters_are_shown() {
    let script = r"printf '2026-11-28T08:00:01Z \033[2J\033]0;x\007 a\377b\r\n2026-11-28T08:00:02Z \033[31mred\n2026-11-28T08:00:03Z \n2026-11-28T08:00:04Z no newline'";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    let lines = "^[[2J^[]0;x^G a\u{fffd}b\nred\n\nno newline\n";
    project.run(&["logs"]).code(0).stdout(lines).stderr("");
    let colored = project.run(&["logs", "--color", "always"]);
    assert!(colored.out().contains("\n\x1b[31mred\x1b[0m\n"), "{:?}", colored.out());
}

#[test]
fn line_of_kubelet_is_note() {
    let project = project(
        &[live_pod("app-7c-a", 0, RUNNING)],
        "echo 'unable to retrieve container logs for containerd://1'",
    );
    project.run(&["logs"]).code(0).stdout("").stderr(
        "        Note the kubelet reports for container `app` of pod `app-7c-a`: unable to retrieve container logs for containerd://1\n",
    );
}

#[test]
fn missing_targets_are_errors() {
    let starting = live_pod("app-7c-a", 0, RUNNING);
    let project = project(&[starting], "at 01 x");
    project.run(&["logs", "-c", "web"]).code(92).stdout("").stderr(
        "error: container `web` not found in pod `app-7c-a`
  help: pass `--container` with one of `app` and `other`
",
    );
    project.run(&["logs", "ap"]).code(92).stderr(
        "error: no pod or workload named `ap` in namespace `default`
  help: did you mean `deployment/app`? Others: `pod/app-7c-a`
",
    );
    project.run(&["logs", "--previous"]).code(92).stderr(
        "error: no container of pod `app-7c-a` has a previous run
  help: omit `--previous` to see the current run
",
    );
    project.write("fake/pods.json", REPLICA_SET);
    project.run(&["logs"]).code(0).stdout("").stderr(
        "        Note no pod runs the image of the project; run `cargo kdev status` to see the workloads\n",
    );
    project.write("fake/deployment.json", "{}");
    for args in [&["logs"][..], &["logs", "--follow"], &["forward"]] {
        project.run(args).code(92).stderr(
            "error: `deployment/app` not found in namespace `default` of context `kind-test`
  help: run `cargo kdev up` to apply the manifests
",
        );
    }
    project.run(&["logs", "--namespace", "shopp"]).code(92).stderr(
        "error: namespace `shopp` not found in context `kind-test`
  help: use `shop`
",
    );
}

#[test]
fn missing_permission_is_error() {
    let forbidden = "echo 'Error from server (Forbidden): pods \"app-7c-a\" is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"default\"' >&2; exit 1";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], forbidden);
    for args in [&["logs"][..], &["logs", "--follow"]] {
        project.run(args).code(92).stdout("").stderr(
            "error: the API server of context `kind-test` rejected the request to read logs
  caused by: `kubectl --context kind-test --namespace default [..]` exited with code 1: Error from server (Forbidden): pods \"app-7c-a\" is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"default\"
  help: ask an administrator to allow user `jane` to get `pods/app-7c-a`; run `kubectl --context kind-test auth can-i get pods/app-7c-a '--subresource=log' --namespace default` to check this
",
        );
    }
}

#[test]
fn container_without_log_is_note() {
    let waiting = r#""waiting":{"reason":"ErrImageNeverPull"}"#;
    let pod =
        live_pod("app-7c-a", 0, waiting).replace(r#""containerID":"containerd://app-7c-a-0","#, "");
    let project = project(&[pod], "exit 9");
    project.run(&["logs"]).code(0).stdout("").stderr(
        "        Note container `app` of pod `app-7c-a` has not started: ErrImageNeverPull\n",
    );
}

/// A running `logs --follow`.
struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    fn start(project: &Project, args: &[&str]) -> Self {
        let mut command = project.command(&[&["logs", "--follow"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads this number of lines.
    fn read(&mut self, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            assert!(self.lines.read_line(&mut text).unwrap() > 0, "ended after {text}");
        }
        text
    }

    /// Interrupts, and returns the exit code, the other lines, and standard error.
    fn end(mut self) -> (Option<i32>, String, String) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let mut rest = String::new();
        while self.lines.read_line(&mut rest).unwrap() > 0 {}
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), rest, String::from_utf8(output.stderr).unwrap())
    }
}

/// Adds a change to the watch.
fn change(project: &Project, kind: &str, pod: &str) {
    let mut file =
        OpenOptions::new().append(true).create(true).open(project.path("fake/watch")).unwrap();
    writeln!(file, r#"{{"type":"{kind}","object":{pod}}}"#).unwrap();
}

#[track_caller]
fn wait_for_request(project: &Project, expected: &str) {
    let started = Instant::now();
    while !requests(project).iter().any(|request| request.contains(expected)) {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", requests(project));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn connection_that_ends_is_continued_without_repetition() {
    // The first connection ends within a line.
    let script = "case $previous$count in
1) at 01.1 a; at 05.2 b; at 05.2 b; printf '2026-11-28T08:00:05.3Z unfin' ;;
-previous*) echo 'previous terminated container \"app\" in pod \"app-7c-a\" not found' >&2; exit 1 ;;
*) at 05.2 b; at 05.2 b; at 05.2 b; at 05.3 unfinished; at 06 d; exec sleep 60 ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    let mut follower = Follower::start(&project, &["--tail", "9"]);
    assert_eq!(follower.read(6), "a\nb\nb\nb\nunfinished\nd\n");
    assert_eq!(follower.end(), (Some(130), String::new(), String::new()));
    let expected = [
        "app-7c-a --container app --timestamps --request-timeout=0 --follow --tail=9",
        // The container may have started again.
        "app-7c-a --container app --timestamps --previous --since-time=2026-11-28T08:00:03Z",
        "app-7c-a --container app --timestamps --request-timeout=0 --follow --since-time=2026-11-28T08:00:03Z",
    ];
    assert_eq!(requests(&project), expected);
}

#[test]
fn removed_log_of_deleted_pod_is_not_reported() {
    // The log has ended before the API server has learned of the end of the pod.
    let script = "case $1$previous$count in
app-7c-a1) at 01 a ;;
app-7c-a-previous*) echo 'previous terminated container \"app\" in pod \"app-7c-a\" not found' >&2; exit 1 ;;
app-7c-a*) printf 'failed to try resolving symlinks in path \"/var/log/pods/a/app/0.log\": lstat /var/log/pods/a/app/0.log: no such file or directory' ;;
*) at 08 b; exec sleep 60 ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    project.write("fake/watch", "");
    let mut follower = Follower::start(&project, &[]);
    assert_eq!(follower.read(1), "a\n");
    let started = Instant::now();
    while requests(&project).len() < 4 {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", requests(&project));
        std::thread::sleep(Duration::from_millis(20));
    }
    change(&project, "DELETED", &live_pod("app-7c-a", 0, RUNNING));
    change(&project, "ADDED", &live_pod("app-7c-b", 0, RUNNING));
    assert!(follower.read(1).ends_with("b\n"));
    assert_eq!(follower.end(), (Some(130), String::new(), String::new()));
}

#[test]
fn rotated_lines_are_reported() {
    let script = "case $count in
1) at 01 a ;;
2) at 20 k; exec sleep 60 ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    let mut follower = Follower::start(&project, &[]);
    assert_eq!(follower.read(2), "a\nk\n");
    let gap = "         Gap lines of container `app` of pod `app-7c-a` between 2026-11-28T08:00:01Z and 2026-11-28T08:00:20Z may be missing\n";
    assert_eq!(follower.end(), (Some(130), String::new(), gap.to_owned()));
}

#[test]
fn restarted_container_and_new_pod_are_followed() {
    let script = "case $1$previous$count in
app-7c-a1) at 01 a ;;
app-7c-a-previous*) at 01 a; at 02 'end of a' ;;
app-7c-b*) at 08 b; exec sleep 60 ;;
*) [ ! -e \"$FAKE/restarted\" ] || { at 05 'a again'; exec sleep 60; } ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    project.write("fake/watch", "");
    let mut follower = Follower::start(&project, &[]);
    assert_eq!(follower.read(1), "a\n");
    project.write("fake/restarted", "");
    change(&project, "MODIFIED", &live_pod("app-7c-a", 1, RUNNING));
    assert_eq!(follower.read(2), "end of a\na again\n");
    change(&project, "ADDED", &live_pod("app-7c-b", 0, RUNNING));
    assert_eq!(follower.read(1), "b b\n");
    // A pod of another project.
    change(&project, "ADDED", &live_pod("web-0", 0, RUNNING).replace(IMAGE, "web"));
    change(&project, "DELETED", &live_pod("app-7c-b", 0, RUNNING));
    assert_eq!(follower.end(), (Some(130), String::new(), String::new()));
    assert!(!project.calls().contains("logs web-0"), "{}", project.calls());
}

#[test]
fn state_may_follow_restart_after_some_time() {
    // The second request returns the log of the next run, although its state is not known yet.
    let script = "case $previous$count in
1) at 01 a; printf '2026-11-28T08:00:02Z last' ;;
-previous*) at 01 a; printf '2026-11-28T08:00:02Z last' ;;
*) at 05 'a again'; exec sleep 60 ;;
esac";
    // The second time is longer than `logs` waits.
    for is_noticed in [true, false] {
        let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
        project.write("fake/watch", "");
        let mut follower = Follower::start(&project, &[]);
        assert_eq!(follower.read(1), "a\n");
        if is_noticed {
            // Longer than the pauses before the first repetitions.
            std::thread::sleep(Duration::from_millis(700));
            change(&project, "MODIFIED", &live_pod("app-7c-a", 1, RUNNING));
        }
        assert_eq!(follower.read(2), "last\na again\n");
        assert_eq!(follower.end(), (Some(130), String::new(), String::new()));
    }
}

#[test]
fn unfinished_line_is_shown_before_run_whose_state_is_late() {
    // The container has ended, and starts again only after the wait for its state.
    let script = "case $previous$count in
1) at 01 a; printf '2026-11-28T08:00:02Z last' ;;
-previous2) echo 'previous terminated container \"app\" in pod \"app-7c-a\" not found' >&2; exit 1 ;;
*) at 05 'a again'; exec sleep 60 ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    project.write("fake/watch", "");
    let mut follower = Follower::start(&project, &[]);
    assert_eq!(follower.read(3), "a\nlast\na again\n");
    change(&project, "MODIFIED", &live_pod("app-7c-a", 1, RUNNING));
    assert_eq!(follower.end(), (Some(130), String::new(), String::new()));
}

#[test]
fn lines_of_pod_that_is_deleted_are_dim() {
    let script = "at 01 a
[ $1 = app-7c-a ] || exec sleep 60
while [ ! -e $FAKE/deleted ]; do sleep 0.05; done
second=10; while [ $second -lt 60 ]; do at $second c; second=$((second + 1)); sleep 0.5; done";
    let pods = ["app-7c-a", "app-7c-b"].map(|name| live_pod(name, 0, RUNNING));
    let project = project(&pods, script);
    project.write("fake/watch", "");
    let mut follower = Follower::start(&project, &["--color", "always"]);
    let first = follower.read(2);
    assert!(first.contains("\u{1b}[0m a\n") && !first.contains("\u{1b}[2m"), "{first:?}");
    let terminating = r#""deletionTimestamp":"2026-11-28T08:00:09Z","uid":"#;
    change(&project, "MODIFIED", &pods[0].replace(r#""uid":"#, terminating));
    project.write("fake/deleted", "");
    // The log can be read before the state of the pod is.
    while !follower.read(1).ends_with("\u{1b}[0m \u{1b}[2mc\u{1b}[0m\n") {}
    follower.end();
}

#[test]
fn skipped_run_of_new_pod_is_gap() {
    let script = "[ -z \"$previous\" ] || { at 05 'run 1'; exit 0; }
at 08 'run 2'; exec sleep 60";
    let project = project(&[], script);
    project.write("fake/pods.json", REPLICA_SET);
    change(&project, "ADDED", &live_pod("app-7c-a", 2, RUNNING));
    let mut follower = Follower::start(&project, &[]);
    assert_eq!(follower.read(2), "run 1\nrun 2\n");
    let (code, rest, stderr) = follower.end();
    assert_eq!((code, rest.as_str()), (Some(130), ""));
    assert_eq!(
        stderr,
        "        Note no pod runs the image of the project; waiting for one\n         Gap lines of container `app` of pod `app-7c-a` before 2026-11-28T08:00:05Z may be missing\n"
    );
}

#[test]
fn named_pod_ends_with_its_last_line() {
    let script = "case $count in
1) at 01 a ;;
*) at 01 a; printf '2026-11-28T08:00:02Z last' ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    project.write("fake/watch", "");
    let mut follower = Follower::start(&project, &["app-7c-a"]);
    assert_eq!(follower.read(1), "a\n");
    let ended = live_pod("app-7c-a", 0, r#""terminated":{"exitCode":0}"#);
    change(&project, "MODIFIED", &ended.replace("\"Running\"", "\"Succeeded\""));
    assert_eq!(follower.read(1), "last\n");
    let output = follower.child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn deletion_while_watch_is_interrupted_is_noticed() {
    let pod = live_pod("app-7c-a", 0, RUNNING);
    let project = project(std::slice::from_ref(&pod), "at 01 a");
    project.write("fake/watch-ends", "");
    change(&project, "ADDED", &pod);
    let mut follower = Follower::start(&project, &["app-7c-a"]);
    assert_eq!(follower.read(1), "a\n");
    let output = follower.child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn closed_output_ends_quietly() {
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], "while :; do at 01 a; done");
    for args in [&[][..], &["--message-format", "json"]] {
        let Follower { mut child, lines } = Follower::start(&project, args);
        drop(lines);
        let status = child.wait().unwrap();
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr).unwrap();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn failed_connection_is_retried() {
    let script = "case $count in
1) at 01 a; echo 'error: unexpected EOF' >&2; exit 1 ;;
*) at 01 a; at 02 b; exec sleep 60 ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    project.write("fake/pod.json", &live_pod("app-7c-a", 0, RUNNING));
    let mut follower = Follower::start(&project, &[]);
    assert_eq!(follower.read(2), "a\nb\n");
    let (code, rest, stderr) = follower.end();
    assert_eq!((code, rest.as_str()), (Some(130), ""));
    let note = "        Note failed to read the log of pod `app-7c-a`: unexpected EOF; retrying\n";
    assert_eq!(stderr, note);
}

#[test]
fn log_of_recreated_pod_is_not_continued() {
    // A StatefulSet has created another pod with the same name during an outage.
    let script = "case $count in
1) at 01 a; echo 'error: unexpected EOF' >&2; exit 1 ;;
*) at 09 'of another pod' ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    project.write("fake/pod.json", &live_pod("app-7c-a", 0, RUNNING).replace("uid-", "other-"));
    let follower = Follower::start(&project, &["pod/app-7c-a"]);
    let output = follower.child.wait_with_output().unwrap();
    let mut follower = follower.lines;
    let mut lines = String::new();
    std::io::Read::read_to_string(&mut follower, &mut lines).unwrap();
    assert_eq!((output.status.code(), lines.as_str()), (Some(0), "a\n"));
    let gap = "Gap lines of container `app` of pod `app-7c-a` after 2026-11-28T08:00:01Z may be missing\n";
    assert!(String::from_utf8(output.stderr).unwrap().ends_with(gap));
}

#[test]
fn silent_log_of_old_kubelet_is_requested_again() {
    let script = "case $count in
1) at 01 a; exec sleep 60 ;;
*) at 01 a; at 02 b; exec sleep 60 ;;
esac";
    let project = project(&[live_pod("app-7c-a", 0, RUNNING)], script);
    project.edit_nodes("\"machineID\"", "\"kubeletVersion\":\"v1.28.4\",\"machineID\"");
    let started = Instant::now();
    let mut follower = Follower::start(&project, &[]);
    assert_eq!(follower.read(2), "a\nb\n");
    assert!(started.elapsed() >= Duration::from_secs(15));
    assert_eq!(follower.end(), (Some(130), String::new(), String::new()));
    wait_for_request(&project, "--since-time=2026-11-28T07:59:59Z");
}
