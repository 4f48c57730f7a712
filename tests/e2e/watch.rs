//! `up --watch`: a save reaches the pods, a failure leaves the old ones, and an outage of the API
//! server ends nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{state, wait_for};
use crate::relay::{Link, Relay};
use crate::test_service::Service;

/// A running watch, which is ended when dropped.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(service: &Service) -> Self {
        let mut child = service.start_up(&["--watch"]);
        let (send, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self { child, lines }
    }

    /// Waits until the watch waits for changes. Returns the output since the last call.
    #[track_caller]
    fn wait(&self) -> String {
        let mut output = String::new();
        while !output.contains(" Watching ") || output.contains("newer change") {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(120)) else {
                panic!("the watch does not wait for changes:\n{output}");
            };
            output += &line;
            output.push('\n');
        }
        output
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGINT);
        }
        let _ = self.child.wait();
    }
}

/// Saves a file as most editors do: writes another one, and renames it.
fn save(service: &Service, name: &str, text: &str) {
    service.write("cache/saved", text);
    fs::rename(service.path("cache/saved"), service.path(name)).unwrap();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn save_reaches_pods_and_failure_keeps_them() {
    let service = Service::on_node("node-2", "watched");
    fs::create_dir(service.path("cache")).unwrap();
    service.write(".dockerignore", "cache\ndocker\ntarget\nk8s\n");
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    let manifest = fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    let manifest = manifest.replace("replicas: 2", "replicas: 1");
    service.write("k8s/all.yaml", &manifest);
    let page = || service.pages().into_iter().map(|(_, page)| page).collect::<Vec<_>>();
    let watch = Watch::start(&service);
    let output = watch.wait();
    assert!(output.contains("  Ready in "), "{output}");
    assert_eq!(page(), ["first"]);

    save(&service, "www/index.html", "second\n");
    let output = watch.wait();
    assert!(output.contains("Changed www/index.html\n"), "{output}");
    assert!(output.contains("  Ready in "), "{output}");
    assert_eq!(page(), ["second"]);

    // Docker cannot build it.
    save(&service, "Dockerfile", &format!("{dockerfile}COPY nosuch /\n"));
    let output = watch.wait();
    assert!(output.contains("error: ") && !output.contains("Applied"), "{output}");
    assert_eq!(page(), ["second"]);
    save(&service, "www/index.html", "third\n");
    let output = watch.wait();
    assert!(output.contains("with the same error as before"), "{output}");
    save(&service, "Dockerfile", &dockerfile);
    let output = watch.wait();
    assert!(output.contains("  Ready in "), "{output}");
    assert_eq!(page(), ["third"]);

    // The image does not change.
    save(&service, "k8s/all.yaml", &manifest.replace("replicas: 1", "replicas: 2"));
    let output = watch.wait();
    assert!(output.contains("Changed k8s/all.yaml\n"), "{output}");
    assert!(!output.contains(" Building "), "{output}");
    assert_eq!(page(), ["third", "third"]);
}

/// The address of the API server.
const API_SERVER: &str = "10.213.77.1";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn save_during_outage_reaches_pods_after_it() {
    let mut service = Service::on_node("node-1", "outage");
    fs::create_dir(service.path("cache")).unwrap();
    service.write(".dockerignore", "cache\ndocker\ntarget\nk8s\n");
    let relay = Relay::start(API_SERVER, 6443);
    let own = format!("https://127.0.0.1:{}\n      tls-server-name: {API_SERVER}", relay.port);
    let kubeconfig = fs::read_to_string(state("kubeconfig")).unwrap();
    let direct = format!("https://{API_SERVER}:6443");
    assert!(kubeconfig.contains(&direct), "{kubeconfig}");
    service.write("cache/kubeconfig", &kubeconfig.replace(&direct, &own));
    service.variables.push(("KUBECONFIG", service.path("cache/kubeconfig").display().to_string()));
    let watch = Watch::start(&service);
    watch.wait();
    for (link, page) in [(Link::Closed, "second"), (Link::Silent, "third")] {
        relay.set_link(link);
        save(&service, "www/index.html", &format!("{page}\n"));
        let output = watch.wait();
        assert!(output.contains("error: cannot connect to the cluster"), "{link:?} {output}");
        relay.set_link(Link::Open);
        // Without another save.
        wait_for("the page", || service.pages().iter().all(|(_, text)| text == page).then_some(()));
        while !watch.wait().contains("  Ready in ") {}
    }
}
