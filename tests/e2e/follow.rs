//! `cargo kdev logs --follow` and `cargo kdev forward` while pods restart and are replaced.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{kubectl, run, wait_for};
use crate::test_service::Service;

/// A program that numbers its lines without an end, exits when it finds the file `/exit`, and
/// serves pages and an echo of what it receives.
const DOCKERFILE: &str = r#"COPY busybox /busybox
COPY www /www
COPY run.sh /run.sh
ENTRYPOINT ["/busybox", "sh", "/run.sh"]
"#;
const RUN: &str = r#"trap 'echo "end $HOSTNAME"; exit 0' TERM
/busybox httpd -p 8080 -h /www
/busybox nc -ll -p 7000 -e /busybox cat &
i=0
while :; do
	echo "line $i of $HOSTNAME"
	i=$((i + 1))
	[ ! -e /exit ] || { /busybox rm /exit; printf 'last without newline'; exit 3; }
	[ $((i % 20)) != 0 ] || { /busybox sleep 0.1 & wait $!; }
done
"#;

fn service(name: &'static str) -> Service {
    let service = Service::on_node("node-2", name);
    service.write("Dockerfile", &format!("FROM scratch\nLABEL test={name}\n{DOCKERFILE}"));
    service.write("run.sh", RUN);
    let manifest = std::fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    service.write("k8s/all.yaml", &manifest.replace("replicas: 2", "replicas: 1"));
    service
}

/// A command that is terminated when dropped.
struct Background {
    child: Child,
}

impl Background {
    fn start(mut command: Command) -> Self {
        Self { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap() }
    }

    fn end(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Background {
    /// Ends the command, and prints its exit status and its standard error.
    #[expect(clippy::print_stderr, reason = "the output of a failed test is shown")]
    fn report(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGINT);
        }
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = pipe.read_to_string(&mut stderr);
        }
        eprintln!("{:?}\n{stderr}", self.child.wait());
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if thread::panicking() {
            self.report();
        }
        // Not SIGKILL, which would leave its children. A child that has ended was waited for.
        if let (Ok(None), Ok(id)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
    }
}

/// Returns the only pod that is not terminating.
#[track_caller]
fn only_pod(service: &Service, restarts: u64) -> String {
    wait_for("one ready pod", || {
        let pods = service.pods();
        let [pod] = pods.as_slice() else { return None };
        let status = &pod["status"]["containerStatuses"][0];
        let is_ready = status["ready"] == true && status["restartCount"] == restarts;
        is_ready.then(|| pod["metadata"]["name"].as_str().unwrap().to_owned())
    })
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn log_is_complete_over_restarts_and_rollouts() {
    let service = service("follow-logs");
    service.up_ok();
    let args = ["logs", "--follow", "--namespace", service.name, "--message-format", "json"];
    let mut follower = Background::start(service.kdev(&args));
    let lines: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
    let (stdout, received) = (follower.child.stdout.take().unwrap(), Arc::clone(&lines));
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            received.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        }
    });
    let count = |pod: &str, text: &str| {
        let lines = lines.lock().unwrap();
        let is_meant = |line: &&serde_json::Value| {
            line["pod"] == pod && line["line"].as_str().is_some_and(|one| one.contains(text))
        };
        lines.iter().filter(is_meant).count()
    };
    let wait_for_lines = |pod: &str, text: &str, number: usize| {
        wait_for("lines", || (count(pod, text) >= number).then_some(()));
    };
    let first = only_pod(&service, 0);
    wait_for_lines(&first, "line ", 50);
    // The container restarts.
    run(&mut kubectl(service.name, &["exec", &first, "--", "/busybox", "touch", "/exit"]));
    wait_for_lines(&first, "last without newline", 1);
    only_pod(&service, 1);
    wait_for_lines(&first, "line 0 of", 2);
    // The pod is deleted, and then replaced by a rollout.
    run(&mut kubectl(service.name, &["delete", "pod", &first, "--wait=false"]));
    wait_for_lines(&first, "end ", 1);
    let second = only_pod(&service, 0);
    wait_for_lines(&second, "line ", 50);
    service.set_page("second");
    service.up_ok();
    wait_for_lines(&second, "end ", 1);
    let third = only_pod(&service, 0);
    wait_for_lines(&third, "line ", 50);
    assert_eq!(follower.end(), Some(130));
    reader.join().unwrap();

    let mut runs: BTreeMap<String, Vec<Vec<u64>>> = BTreeMap::new();
    for line in lines.lock().unwrap().iter() {
        assert_ne!(line["reason"], "log-gap", "{line}");
        let (pod, text) = (line["pod"].as_str(), line["line"].as_str().unwrap_or_default());
        let number = text.strip_prefix("line ").and_then(|rest| rest.split(' ').next());
        let (Some(pod), Some(number)) = (pod, number) else { continue };
        let runs = runs.entry(pod.to_owned()).or_default();
        let number = number.parse().unwrap();
        if number == 0 {
            runs.push(Vec::new());
        }
        runs.last_mut().unwrap_or_else(|| panic!("{pod} begins with {text}")).push(number);
    }
    let numbers: Vec<usize> = [&first, &second, &third].map(|pod| runs[pod].len()).to_vec();
    assert_eq!(numbers, [2, 1, 1]);
    for run in runs.values().flatten() {
        // No line is missing or repeated.
        let expected: Vec<u64> = (0..run.len() as u64).collect();
        assert_eq!(*run, expected);
    }
}

/// A running `forward`, and its local port.
fn start_forward(service: &Service, port: &str) -> (Background, BufReader<ChildStderr>, u16) {
    let mut forward =
        Background::start(service.kdev(&["forward", port, "--namespace", service.name]));
    let mut stderr = BufReader::new(forward.child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("127.0.0.1:") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "forward has ended");
    }
    let rest = line.split("127.0.0.1:").nth(1).unwrap();
    let local = rest.split(' ').next().unwrap().parse().unwrap();
    (forward, stderr, local)
}

/// Returns the page, or the error.
fn fetch(port: u16) -> String {
    let fetch = || {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut response = String::new();
        connection.read_to_string(&mut response)?;
        Ok::<_, std::io::Error>(response)
    };
    match fetch() {
        Ok(response) => response.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn requests_succeed_during_rollout() {
    let service = service("follow-ports");
    let up = service.up_ok();
    // Run the command of the message, with another local port.
    let advice = up.split("run `cargo kdev forward 8080").nth(1).expect("no advice");
    assert!(advice.starts_with(" --context kdev-lab --namespace follow-ports`"), "{up}");
    let (forward, stderr, port) = start_forward(&service, ":8080");
    // A thread that reads keeps the pipe open.
    let notes = thread::spawn(move || stderr.lines().map_while(Result::ok).collect::<Vec<_>>());
    let parallel: Vec<_> = (0..100).map(|_| thread::spawn(move || fetch(port))).collect();
    for request in parallel {
        assert_eq!(request.join().unwrap(), "first");
    }
    service.set_page("second");
    let rollout = service.start_up(&[]);
    let started = Instant::now();
    let mut pages = Vec::new();
    // Ten requests in a second, until all of them get the new page.
    let mut requests = Vec::new();
    while requests.len() < 100 || pages.last().is_none_or(|page| page != "second") {
        assert!(started.elapsed() < Duration::from_secs(100), "{pages:?}");
        requests.push(thread::spawn(move || fetch(port)));
        thread::sleep(Duration::from_millis(100));
        if requests.len() >= 100 {
            pages.push(fetch(port));
        }
    }
    let output = rollout.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::lab::stderr_text(&output));
    let answers: Vec<String> = requests.into_iter().map(|one| one.join().unwrap()).collect();
    let failed: Vec<&String> =
        answers.iter().filter(|page| !["first", "second"].contains(&page.as_str())).collect();
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), answers.len());
    assert!(answers.contains(&"first".to_owned()), "the rollout ended before the first request");
    assert_eq!(forward.end(), Some(0));
    let notes = notes.join().unwrap();
    // A pod that ends may refuse a connection before it is known to end. Its request is repeated.
    let is_expected =
        |line: &String| line.contains("Forwarding ") || line.contains(" refused a connection: ");
    assert!(notes.iter().all(is_expected), "{notes:?}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn connection_is_kept_until_its_pod_ends() {
    let service = service("follow-echo");
    service.up_ok();
    let (forward, _stderr, port) = start_forward(&service, "0:7000");
    // The response continues after the client has ended its direction.
    let mut half_closed = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let text = "x".repeat(1_000_000);
    let (mut writer, sent) = (half_closed.try_clone().unwrap(), text.clone());
    let sender = thread::spawn(move || {
        writer.write_all(sent.as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut echo = String::new();
    half_closed.read_to_string(&mut echo).unwrap();
    sender.join().unwrap();
    assert!(echo == text, "{} of {}", echo.len(), text.len());

    let mut long = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let ask = |long: &mut TcpStream, text: &str| {
        long.write_all(text.as_bytes())?;
        let mut answer = vec![0; text.len()];
        long.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(String::from_utf8(answer).unwrap())
    };
    assert_eq!(ask(&mut long, "before").unwrap(), "before");
    // It stays while another pod starts, and ends with its own.
    run(&mut kubectl(service.name, &["scale", "deployment", service.name, "--replicas=2"]));
    wait_for("two ready pods", || {
        let is_ready =
            |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        (service.pods().iter().filter(|pod| is_ready(pod)).count() == 2).then_some(())
    });
    assert_eq!(ask(&mut long, "while").unwrap(), "while");
    run(&mut kubectl(service.name, &["delete", "pods", "--all", "--wait=false"]));
    long.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(long.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(forward.end(), Some(0));
}
