//! Registries that do not hand out the image: real ones, each on a port of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;

use super::Scene;
use crate::lab::{command, docker, eventually, in_node, registry, run, state};
use crate::test_service::NODES;

/// `dev` with the password `secret`.
const USERS: &str = "dev:$2b$04$dvB3qNUo0J7kryy9A2hkB.DLWJr5AVlLjWGnVnQ2NmQ/eGH3tfNda\n";
const PULLED: &str = "imagePullPolicy: IfNotPresent";
const FAILS: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// A registry of a scene's own, until it is dropped.
struct Registry {
    child: Child,
    /// Host and port.
    name: String,
}

impl Registry {
    /// `lines` are more of its configuration.
    fn start(scene: &Scene, port: u16, lines: &str) -> Self {
        let name = format!("{}:{port}", host());
        let (config, folder) = (scene.path("registry.yml"), scene.path("registry"));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\nhttp:\n  addr: {name}\n{lines}",
            folder.display()
        );
        fs::write(&config, text).unwrap();
        let mut serve = command("docker-registry");
        serve.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = serve.spawn().unwrap();
        eventually("the registry", || std::net::TcpStream::connect(&name).ok());
        Self { child, name }
    }

    fn private(scene: &Scene, port: u16) -> Self {
        fs::write(scene.path("users"), USERS).unwrap();
        let users = scene.path("users");
        let registry = Self::start(
            scene,
            port,
            &format!("auth: {{htpasswd: {{realm: lab, path: '{}'}}}}\n", users.display()),
        );
        let config = scene.path("docker").display().to_string();
        let login = ["--config", &config, "login", "--username", "dev", "--password", "secret"];
        run(docker(&login).arg(&registry.name).stderr(Stdio::null()));
        registry
    }

    /// Puts an image there that docker here does not keep.
    fn push(&self, scene: &Scene) -> String {
        let image = format!("{}/{}:dev", self.name, scene.name);
        scene.build(&image);
        let config = scene.path("docker").display().to_string();
        run(&mut docker(&["--config", &config, "push", "--quiet", &image]));
        run(&mut docker(&["image", "rm", "--no-prune", &image]));
        image
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the nodes find this machine.
fn host() -> String {
    registry().split(':').next().unwrap().to_owned()
}

/// What the nodes' containerd is told of a registry, until it is dropped; without
/// it they ask the lab's own, whatever the name.
struct Hosts(String);

impl Hosts {
    fn tell(name: &str, lines: &str) -> Self {
        let hosts = Self(name.to_owned());
        for node in NODES {
            let folder = hosts.folder();
            let write = "mkdir -p \"$1\" && printf '%s' \"$2\" >\"$1/hosts.toml\"";
            run(&mut in_node(node, &["sh", "-c", write, "sh", &folder, lines]));
        }
        hosts
    }

    fn plain(name: &str) -> Self {
        Self::at(name, &format!("http://{name}"), "")
    }

    fn tls(name: &str) -> Self {
        Self::at(name, &format!("https://{name}"), "")
    }

    /// containerd 1.x heeds a scheme only where a host is named beside the server.
    fn at(name: &str, url: &str, lines: &str) -> Self {
        let host = format!("[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{lines}");
        Self::tell(name, &format!("server = \"{url}\"\n{host}"))
    }

    fn folder(&self) -> String {
        format!("/etc/containerd/certs.d/{}", self.0)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for node in NODES {
            let _ = in_node(node, &["rm", "-r", &self.folder()]).output();
        }
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn private_registry_without_credentials_reports_pull_denied() {
    let scene = Scene::on("node-1", "private");
    let registry = Registry::private(&scene, 5061);
    let _hosts = Hosts::plain(&registry.name);
    let image = registry.push(&scene);
    scene.deployment("node-1", &image, PULLED);
    scene.waits(&FAILS);
    let found = scene.is_judged(&["pull-denied"]);
    found.follow_with(0, &[("USER", "dev"), ("PASSWORD", "secret")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn wrong_credentials_report_pull_denied() {
    let scene = Scene::on("node-2", "wrong-password");
    let registry = Registry::private(&scene, 5062);
    let _hosts = Hosts::plain(&registry.name);
    let image = registry.push(&scene);
    let server = format!("--docker-server={}", registry.name);
    let create = ["create", "secret", "docker-registry", "mine", &server];
    let who = ["--docker-username=dev", "--docker-password=wrong"];
    run(scene.kubectl(&create).args(who));
    scene.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  nodeName: node-2\n  terminationGracePeriodSeconds: 0\n  imagePullSecrets: [{{name: mine}}]\n  containers: [{{name: web, image: {image:?}, {PULLED}}}]\n"
    ));
    scene.waits(&FAILS);
    let found = scene.is_judged(&["pull-denied"]);
    found.follow_with(0, &[("USER", "dev"), ("PASSWORD", "secret")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_pull_secret_reports_pull_denied() {
    let scene = Scene::on("node-1", "no-secret");
    let registry = Registry::private(&scene, 5063);
    let _hosts = Hosts::plain(&registry.name);
    let image = registry.push(&scene);
    scene.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  nodeName: node-1\n  terminationGracePeriodSeconds: 0\n  imagePullSecrets: [{{name: absent}}]\n  containers: [{{name: web, image: {image:?}, {PULLED}}}]\n"
    ));
    scene.waits(&FAILS);
    let found = scene.is_judged(&["pull-denied"]);
    found.follow_with(0, &[("USER", "dev"), ("PASSWORD", "secret")]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn closed_port_reports_registry_unreachable() {
    let scene = Scene::on("node-1", "refused");
    let name = format!("{}:5064", host());
    let _hosts = Hosts::tls(&name);
    let image = format!("{name}/refused:dev");
    scene.build(&image);
    scene.pod("node-1", &image, PULLED);
    scene.waits(&FAILS);
    scene.is_judged(&["registry-unreachable"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_host_name_reports_registry_not_resolved() {
    let scene = Scene::on("node-2", "no-address");
    let name = "registry.invalid";
    let _hosts = Hosts::tls(name);
    let image = format!("{name}/no-address:dev");
    scene.build(&image);
    scene.pod("node-2", &image, PULLED);
    scene.waits(&FAILS);
    scene.is_judged(&["registry-not-resolved"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn private_certificate_reports_registry_untrusted() {
    let scene = Scene::on("node-1", "own-certificate");
    let pki = |file: &str| state("pki").join(file);
    let (certificate, key) = (pki("apiserver.crt"), pki("apiserver.key"));
    let tls = format!("  tls: {{certificate: {certificate:?}, key: {key:?}}}\n");
    let registry = Registry::start(&scene, 5065, &tls);
    let _hosts = Hosts::tls(&registry.name);
    let image = registry.push(&scene);
    scene.pod("node-1", &image, PULLED);
    scene.waits(&FAILS);
    let help = scene.is_judged(&["registry-untrusted"]).help(0).to_owned();
    let name = &registry.name;
    let start = format!("add `[host.\"https://{name}\"]` and, below it, `ca = \"/PATH/ca.crt\"`");
    let file = format!("`/etc/containerd/certs.d/{name}/hosts.toml`");
    assert!(help.starts_with(&start) && help.contains(&file), "{help}");
    // As the help says, and nothing else.
    let ca = pki("ca.crt");
    let _hosts = Hosts::tell(name, &format!("[host.\"https://{name}\"]\nca = {ca:?}\n"));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn plain_http_registry_reports_registry_untrusted() {
    let scene = Scene::on("node-2", "plain-http");
    let registry = Registry::start(&scene, 5066, "");
    let _hosts = Hosts::tls(&registry.name);
    let image = registry.push(&scene);
    scene.pod("node-2", &image, PULLED);
    scene.waits(&FAILS);
    let help = scene.is_judged(&["registry-untrusted"]).help(0).to_owned();
    let name = &registry.name;
    let lines = [format!("server = \"http://{name}\""), format!("[host.\"http://{name}\"]")];
    let file = format!("`/etc/containerd/certs.d/{name}/hosts.toml`");
    assert!(help.starts_with(&format!("add `{}` and `{}`", lines[0], lines[1])), "{help}");
    assert!(help.contains(&file), "{help}");
    // As the help says, and nothing else.
    let _hosts = Hosts::tell(name, &lines.join("\n"));
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn too_many_requests_report_rate_limited() {
    let scene = Scene::on("node-1", "rate-limit");
    let name = format!("{}:5067", host());
    let listener = TcpListener::bind(&name).unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let answer =
                "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    let _hosts = Hosts::plain(&name);
    let image = format!("{name}/rate-limit:dev");
    scene.build(&image);
    scene.pod("node-1", &image, PULLED);
    scene.waits(&FAILS);
    scene.is_judged(&["rate-limited"]).follow(0);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_tag_reports_tag_not_found() {
    let scene = Scene::on("node-2", "no-such-tag");
    let registry = Registry::start(&scene, 5068, "");
    let _hosts = Hosts::plain(&registry.name);
    let image = registry.push(&scene);
    scene.deployment("node-2", &image.replace(":dev", ":prod"), PULLED);
    scene.waits(&FAILS);
    let found = scene.is_judged(&["tag-not-found"]);
    // Any folder with a Dockerfile will do.
    let folder = scene.path("").display().to_string();
    found.follow_with(0, &[(" . ", &format!(" {folder} "))]);
    scene.runs();
}
