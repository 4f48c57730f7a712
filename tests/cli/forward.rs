//! `cargo kdev forward`: which pod receives a connection, and what happens while none is ready.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::json_schema;
use crate::project::Project;
use crate::shared::{live, workspace};

const REPLICA_SET: &str = r#"{"kind":"ReplicaSet","metadata":{"name":"app-7c","namespace":"default","uid":"r","ownerReferences":[{"kind":"Deployment","name":"app","uid":"u"}]}}"#;
const PORTS: &str = r#""ports":[{"containerPort":8080,"name":"http"},{"containerPort":53,"protocol":"UDP","name":"dns"}]"#;

/// Returns a pod; `time` orders pods by their age.
fn live_pod(name: &str, time: u8, is_ready: bool) -> String {
    let ready = if is_ready { "True" } else { "False" };
    format!(
        r#"{{"kind":"Pod","metadata":{{"name":"{name}","namespace":"default","uid":"uid-{name}","creationTimestamp":"2026-11-28T08:00:0{time}Z","ownerReferences":[{{"kind":"ReplicaSet","name":"app-7c","uid":"r"}}]}},"spec":{{"containers":[{{"name":"app","image":"app",{PORTS}}}]}},"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
    )
}

fn project(pods: &[String]) -> Project {
    let project = Project::new();
    let template = r#""metadata":{"name":"app","namespace":"default","#;
    let deployment = fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    let deployment = deployment.replace(r#""metadata":{"name":"app","#, template);
    let spec =
        format!(r#""spec":{{"template":{{"spec":{{"containers":[{{"name":"app",{PORTS}}}]}}}},"#);
    project.write("fake/deployment.json", &deployment.replacen(r#""spec":{"#, &spec, 1));
    let items = [&[REPLICA_SET.to_owned()], pods].concat().join(",");
    project.write("fake/pods.json", &items).write("fake/watch", "");
    // Prints the port of the server in $FAKE/server-POD.
    project.write(
        "fake/kubectl-port-forward",
        "set -- $rest\nif ! read -r port <\"$FAKE/server-${1#pod/}\"; then echo 'error: lost connection to pod' >&2; exit 1; fi\necho \"Forwarding from 127.0.0.1:$port -> ${2#:}\"\nwhile [ -e \"$FAKE/server-${1#pod/}\" ]; do sleep 0.05; done\necho 'error: lost connection to pod' >&2\nexit 1\n",
    );
    project
}

/// Starts a server for a pod that answers each request with the name and the request.
fn serve(project: &Project, pod: &'static str) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    project.write(&format!("fake/server-{pod}"), &format!("{port}\n"));
    thread::spawn(move || {
        for mut connection in server.incoming().map(Result::unwrap) {
            thread::spawn(move || {
                let mut request = Vec::new();
                connection.read_to_end(&mut request).unwrap();
                connection.write_all(&[pod.as_bytes(), b" ", &request].concat()).unwrap();
            });
        }
    });
}

/// A running `forward`.
struct Forwarder {
    child: Child,
    stderr: BufReader<ChildStderr>,
    port: u16,
}

impl Forwarder {
    fn start(project: &Project, args: &[&str]) -> Self {
        let mut command = project.command(&[&["forward"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, port: 0 }
    }

    /// Reads one line, in which the local port is replaced.
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stderr.read_line(&mut line).unwrap() > 0, "ended");
        if let Some((_, rest)) = line.split_once("127.0.0.1:") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            self.port = digits.parse().unwrap();
            line = line.replace(&digits, "LOCAL");
        }
        line.trim().to_owned()
    }

    /// Sends a request whose end is the end of the direction, and returns the response.
    fn ask(&self, text: &str) -> String {
        request(self.port, text)
    }

    /// Interrupts, and returns the exit code and the rest of standard error.
    fn end(mut self) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

fn request(port: u16, text: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(text.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    response
}

fn change(project: &Project, kind: &str, pod: &str) {
    let mut file = OpenOptions::new().append(true).open(project.path("fake/watch")).unwrap();
    writeln!(file, r#"{{"type":"{kind}","object":{pod}}}"#).unwrap();
}

#[track_caller]
fn wait_for_call(project: &Project, text: &str) {
    let started = Instant::now();
    while !project.calls().contains(text) {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", project.calls());
        thread::sleep(Duration::from_millis(20));
    }
}

const TO_A: &str = "Forwarding 127.0.0.1:LOCAL to port 8080 of pod `app-7c-a` (deployment/app)";
const TO_B: &str = "Forwarding 127.0.0.1:LOCAL to port 8080 of pod `app-7c-b` (deployment/app)";
const WAITING: &str = "Waiting 127.0.0.1:LOCAL waits, because no pod of deployment/app is ready";

#[test]
fn connections_go_to_newest_ready_pod() {
    let project = project(&[live_pod("app-7c-a", 1, true)]);
    serve(&project, "app-7c-a");
    let mut forwarder = Forwarder::start(&project, &[":8080"]);
    assert_eq!(forwarder.line(), TO_A);
    assert_eq!(forwarder.ask("hello"), "app-7c-a hello");
    // The child of the new pod starts before the pod is ready.
    serve(&project, "app-7c-b");
    change(&project, "ADDED", &live_pod("app-7c-b", 2, false));
    wait_for_call(&project, "port-forward pod/app-7c-b :8080 --address=127.0.0.1");
    assert_eq!(forwarder.ask("still"), "app-7c-a still");
    change(&project, "MODIFIED", &live_pod("app-7c-b", 2, true));
    assert_eq!(forwarder.line(), TO_B);
    assert_eq!(forwarder.ask("hello"), "app-7c-b hello");
    assert_eq!(forwarder.end(), (Some(0), String::new()));
}

#[test]
fn connections_wait_while_no_pod_is_ready() {
    let project = project(&[live_pod("app-7c-a", 1, false)]);
    serve(&project, "app-7c-a");
    let mut forwarder = Forwarder::start(&project, &["0:http"]);
    assert_eq!(forwarder.line(), WAITING);
    let port = forwarder.port;
    let waiting: Vec<_> =
        (0..100).map(|at| thread::spawn(move || request(port, &at.to_string()))).collect();
    thread::sleep(Duration::from_millis(300));
    change(&project, "MODIFIED", &live_pod("app-7c-a", 1, true));
    for (at, thread) in waiting.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), format!("app-7c-a {at}"));
    }
    assert_eq!(forwarder.line(), TO_A.replace("8080", "http"));
    assert_eq!(forwarder.end(), (Some(0), String::new()));
}

#[test]
fn child_that_ends_is_started_again() {
    let project = project(&[live_pod("app-7c-a", 1, true)]);
    serve(&project, "app-7c-a");
    let mut forwarder = Forwarder::start(&project, &[":8080"]);
    assert_eq!(forwarder.line(), TO_A);
    fs::remove_file(project.path("fake/server-app-7c-a")).unwrap();
    // Until the child is gone, it could still be connected.
    thread::sleep(Duration::from_millis(300));
    serve(&project, "app-7c-a");
    assert_eq!(forwarder.ask("again"), "app-7c-a again");
    assert_eq!(forwarder.end(), (Some(0), String::new()));
    assert!(project.calls().matches("port-forward pod/app-7c-a").count() >= 2);
}

#[test]
fn safe_request_is_repeated_if_its_pod_ends() {
    let project = project(&[live_pod("app-7c-a", 1, true)]);
    // A server that ends with its first connection, after it has read the request.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    project.write("fake/server-app-7c-a", &format!("{port}\n"));
    let file = project.path("fake/server-app-7c-a");
    thread::spawn(move || {
        for mut connection in server.incoming().map(Result::unwrap) {
            let _ = connection.read(&mut [0; 100]);
            let _ = fs::remove_file(&file);
        }
    });
    let mut forwarder = Forwarder::start(&project, &[":8080"]);
    assert_eq!(forwarder.line(), TO_A);
    assert_eq!(forwarder.ask("POST /"), "");
    let port = forwarder.port;
    let waiting = thread::spawn(move || request(port, "GET /"));
    thread::sleep(Duration::from_millis(300));
    serve(&project, "app-7c-b");
    change(&project, "ADDED", &live_pod("app-7c-b", 2, true));
    assert_eq!(forwarder.line(), TO_B);
    assert_eq!(waiting.join().unwrap(), "app-7c-b GET /");
    forwarder.end();
}

#[test]
fn invalid_ports_are_errors() {
    let project = project(&[]);
    let invalid = |args: &[&str], error: &str| {
        project.run(&[&["forward"], args].concat()).code(90).stdout("").stderr(error);
    };
    let syntax = "  help: use `PORT`, `LOCAL:PORT`, or `LOCAL:PORT/WORKLOAD`, such as `9000:8080/deployment/hello`\n";
    invalid(&["99999"], &format!("error: cannot forward `99999`: `99999` is not a port\n{syntax}"));
    let help = "  help: use the number of a TCP port on which the program listens\n";
    for port in ["53", "dns"] {
        let reason =
            format!("port `{port}` of deployment/app is a UDP port; only TCP can be forwarded");
        invalid(&[port], &format!("error: cannot forward `{port}`: {reason}\n{help}"));
    }
    let reason = "deployment/app has no port `web`, but `http` and `dns`";
    invalid(&["web"], &format!("error: cannot forward `web`: {reason}\n{help}"));
    project.run(&["forward", "8080/web"]).code(92).stderr(
        "error: no pod or workload named `web` in namespace `default`
  help: use one of `deployment/app`, or pass `--namespace NAME`
",
    );
    project.config("forward = [8080, \"a:b:c\"]");
    project.run(&["forward"]).code(90).stdout("").stderr(
        "error: invalid value for `forward` in `[package.metadata.kdev]` of `[ROOT]/Cargo.toml`
  caused by: `a` is not a port
  help: see `docs/configuration.md` for valid values
",
    );
}

#[test]
fn port_in_use_is_error_with_free_one() {
    let project = project(&[live_pod("app-7c-a", 1, true)]);
    serve(&project, "app-7c-a");
    // Below the ports that the system selects for other tests.
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let server = (first..).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
    let port = server.local_addr().unwrap().port();
    let ran = project.run(&["forward", &format!("{port}:8080")]);
    ran.code(91).stdout("").stderr(&format!(
        "error: cannot listen on port {port} of this machine
  caused by: Address already in use (os error 98)
  help: run `cargo kdev forward [..]:8080` to use another port
"
    ));
    // Follow the advice, in the configuration.
    let advice = ran.err().split("forward ").nth(1).unwrap().split('`').next().unwrap();
    project.config(&format!("forward = [\"{advice}\"]"));
    let mut forwarder = Forwarder::start(&project, &[]);
    assert_eq!(forwarder.line(), TO_A);
    assert_eq!(advice, format!("{}:8080", forwarder.port));
    forwarder.end();
}

#[test]
fn container_ports_are_forwarded_by_default() {
    let project = project(&[live_pod("app-7c-a", 1, true)]);
    serve(&project, "app-7c-a");
    let mut forwarder = Forwarder::start(&project, &[]);
    let mut line = forwarder.line();
    assert_eq!(line, "Note UDP port 53 is not forwarded, because only TCP can be");
    line = forwarder.line();
    // Another program of this machine may use the port.
    if line.starts_with("Note ") {
        line = forwarder.line();
    }
    assert_eq!(
        line,
        TO_A.replace(
            "port 8080",
            &format!("port {}", if forwarder.port == 8080 { "LOCAL" } else { "8080" })
        )
    );
    forwarder.end();
}

#[test]
fn json_has_event_for_each_target() {
    let project = project(&[live_pod("app-7c-a", 1, true)]);
    serve(&project, "app-7c-a");
    let mut command = project.command(&["forward", ":8080", "--message-format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    json_schema::check_lines(&line);
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["reason"], "forward");
    assert_eq!(
        (&event["workload"], &event["port"], &event["pod"]),
        (&"deployment/app".into(), &"8080".into(), &"app-7c-a".into())
    );
    assert!(event["addresses"][0].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn up_prints_address_of_service() {
    let project = Project::new();
    let manifest = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let manifest = manifest
        .replace("  template:\n", "  template:\n    metadata: {labels: {app: app}}\n")
        .replace(
            "image: app\n",
            "image: app\n        ports: [{containerPort: 8080, name: http}]\n",
        );
    project.write("k8s/app.yaml", &manifest);
    let line = |ran: &str| {
        let line = ran.lines().find(|line| line.trim_start().starts_with("Address "));
        line.unwrap_or_default().trim().to_owned()
    };
    let up = project.run(&["up"]);
    let direct = "Address port 8080 of deployment/app; run `cargo kdev forward 8080` to reach it from this machine";
    assert_eq!(line(up.code(0).err()), direct);
    let service = "---\nkind: Service\napiVersion: v1\nmetadata: {name: web}\nspec: {selector: {app: app}, ports: [{port: 80, targetPort: http}]}\n";
    project.write("k8s/app.yaml", &format!("{manifest}{service}"));
    let up = project.run(&["up", "--context", "kind-test", "-n", "dev"]);
    let served = "Address web.dev.svc:80 in the cluster; run `cargo kdev forward 8080 --context kind-test --namespace dev` to reach it from this machine";
    assert_eq!(line(up.code(0).err()), served);
}

#[test]
fn settings_of_several_packages_forward_own_workloads() {
    let project = workspace();
    let root = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.write("Cargo.toml", &format!("{root}forward = [\"0:80\"]\n"));
    project.write("fake/deployment.json", &live("app", 80));
    project.write("fake/pods.json", &live("api", 80)).write("fake/watch", "");
    let connected = "echo 'Forwarding from 127.0.0.1:1 -> 80'\nexec sleep 60\n";
    project.write("fake/kubectl-port-forward", connected);
    let mut forwarder = Forwarder::start(&project, &["--workspace"]);
    // A pod is ready before or after its first line.
    let mut missing = vec!["deployment/api", "deployment/app"];
    while !missing.is_empty() {
        let line = forwarder.line();
        assert!(!line.contains("Note"), "{line}");
        missing.retain(|workload| !line.contains(workload));
    }
    forwarder.end();
}

#[test]
fn port_in_use_does_not_stop_other_ports_of_package() {
    let project = workspace();
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = used.local_addr().unwrap().port();
    let ports = format!("forward = [\"{port}:80\", \"0:80\"]\n");
    project.write("api/kdev.local.toml", &ports);
    project.write("fake/deployment.json", &live("app", 80));
    project.write("fake/pods.json", &live("api", 80)).write("fake/watch", "");
    let connected = "echo 'Forwarding from 127.0.0.1:1 -> 80'\nexec sleep 60\n";
    project.write("fake/kubectl-port-forward", connected);
    let mut forwarder = Forwarder::start(&project, &["-p", "api", "-p", "app"]);
    let note =
        format!("Note api: a port is not forwarded: cannot listen on port {port} of this machine");
    let mut missing = vec![note.as_str(), "deployment/api", "deployment/app"];
    while !missing.is_empty() {
        let line = forwarder.line();
        missing.retain(|text| !line.contains(text));
    }
    forwarder.end();
    // Of one package, it is an error.
    let ran = project.run(&["forward", "-p", "api"]);
    let error = format!("error: cannot listen on port {port} of this machine\n");
    assert!(ran.code(91).err().starts_with(&error), "{}", ran.err());
}
