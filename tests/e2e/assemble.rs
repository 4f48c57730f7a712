//! Images without Docker: `builder = "cargo"`.

use std::fs;
use std::process::Command;

use crate::init::{Place, SERVER};
use crate::lab::{command, images_on, run, stderr_text};

/// Settings with which cargo writes a static program for the nodes.
const SETTINGS: &str =
    "builder = \"cargo\"\ncargo-build = [\"--target=x86_64-unknown-linux-gnu\"]\n";
const CARGO_CONFIG: &str = "[build]\nrustflags = [\"-Ctarget-feature=+crt-static\"]\n";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_of_cargo_is_deployed_and_updated_without_docker() {
    let place = Place::new("init-cargo");
    let web = place.dir.path().join("web");
    let new = ["new", "--quiet", "--vcs", "git", "--name", "init-cargo"];
    run(command("cargo").args(new).arg(&web));
    fs::write(web.join("src/main.rs"), SERVER).unwrap();
    place.run("web", &["init", "--yes", "--context", "kdev-lab"]);
    let local = web.join("kdev.local.toml");
    let permission = fs::read_to_string(&local).unwrap();
    fs::write(local, format!("{SETTINGS}{permission}")).unwrap();
    fs::create_dir_all(web.join(".cargo")).unwrap();
    fs::write(web.join(".cargo/config.toml"), CARGO_CONFIG).unwrap();
    let up = || {
        let mut up: Command = place.kdev("web", &["up"]);
        // No daemon listens there.
        let output = up.env("DOCKER_HOST", "unix:///absent/docker.sock").output().unwrap();
        let stderr = stderr_text(&output);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    };
    up();
    place.wait_for_page("init-cargo", "first");
    let again = up();
    assert!(again.contains("Unchanged kdev-lab is up to date"), "{again}");

    fs::write(web.join("src/main.rs"), SERVER.replace("first", "later")).unwrap();
    let changed = up();
    // The layer that never changes is not sent again.
    assert!(changed.contains(" already present"), "{changed}");
    place.wait_for_page("init-cargo", "later");
    for node in ["node-1", "node-2"] {
        assert_eq!(images_on(node, "/init-cargo:kdev-").len(), 2, "{node}");
    }
    place.run("web", &["down", "--images"]);
    for node in ["node-1", "node-2"] {
        assert_eq!(images_on(node, "/init-cargo:kdev-").len(), 0, "{node}");
    }
}

/// A server that calls another one by its DNS name. Both are in one pod with a DNS server that knows
/// this name, because the lab has none.
const CALLER: &str = r#"use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

fn main() {
    std::thread::spawn(|| serve_names("peer.names.svc.cluster.local"));
    std::thread::spawn(|| serve(8081, || "answer".to_owned()));
    serve(8080, || call().unwrap_or_else(|error| error.to_string()));
}

fn serve(port: u16, page: impl Fn() -> String) {
    for client in TcpListener::bind(("0.0.0.0", port)).unwrap().incoming() {
        let mut client = client.unwrap();
        let _ = client.read(&mut [0; 1024]);
        let page = page();
        let _ = write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    }
}

fn call() -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("peer", 8081))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().last().unwrap_or_default().to_owned())
}

fn serve_names(known: &str) {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let mut packet = [0; 512];
    while let Ok((_, client)) = socket.recv_from(&mut packet) {
        let (mut at, mut labels) = (12, Vec::new());
        while packet[at] != 0 {
            let end = at + 1 + usize::from(packet[at]);
            labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
            at = end;
        }
        let is_known = labels.join(".") == known;
        let has_answer = is_known && packet[at + 2] == 1;
        let mut reply = packet[..at + 5].to_vec();
        reply[2..12].copy_from_slice(&[0x85, 0x80, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
        if !is_known {
            reply[3] |= 3;
        }
        if has_answer {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
            reply.extend([127, 0, 0, 1]);
        }
        let _ = socket.send_to(&reply, client);
    }
}
"#;
/// Objects whose pods look up names as those of other clusters do.
const CALLER_MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      dnsPolicy: None
      dnsConfig:
        nameservers: [127.0.0.1]
        searches: [names.svc.cluster.local, svc.cluster.local, cluster.local]
        options: [{name: ndots, value: '5'}]
      containers:
      - name: app
        image: NAME
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports: [{port: 80, targetPort: 8080}]
";

/// Without musl, both programs have the GNU C library.
#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn static_programs_look_up_names_by_dns() {
    let place = Place::new("names");
    // As root, they can be a DNS server. The first one has the target that is the default.
    let user = "[package.metadata.kdev.container]\nuser = \"0\"\n";
    let services = [("names-default", "builder = \"cargo\"\n"), ("names-gnu", SETTINGS)];
    for (name, settings) in services {
        let dir = place.dir.path().join(name);
        let new = ["new", "--quiet", "--vcs", "none", "--name", name];
        run(command("cargo").args(new).arg(&dir));
        fs::write(dir.join("src/main.rs"), CALLER).unwrap();
        let cargo = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let table = "[package.metadata.kdev]\ncontexts = [\"kdev-lab\"]";
        fs::write(dir.join("Cargo.toml"), format!("{cargo}{table}\n{settings}{user}")).unwrap();
        fs::create_dir_all(dir.join(".cargo")).unwrap();
        fs::write(dir.join(".cargo/config.toml"), CARGO_CONFIG).unwrap();
        fs::create_dir(dir.join("k8s")).unwrap();
        fs::write(dir.join("k8s/app.yaml"), CALLER_MANIFEST.replace("NAME", name)).unwrap();
        let output = place.run(name, &["up", "--context", "kdev-lab"]);
        assert!(!output.contains("cannot look up"), "{output}");
        place.wait_for_page(name, "answer");
        place.run(name, &["down", "--images"]);
    }
}
