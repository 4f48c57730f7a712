//! Failing pulls. Each test has its own registry, on its own port if that is free.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;

use super::Scenario;
use crate::lab::{
    bound_command, docker, free_port, in_node, registry_address, run, state, wait_for,
};
use crate::test_service::NODES;

/// The htpasswd entry of user `dev` with password `secret`.
const HTPASSWD: &str = "dev:$2b$04$dvB3qNUo0J7kryy9A2hkB.DLWJr5AVlLjWGnVnQ2NmQ/eGH3tfNda\n";
const IF_NOT_PRESENT: &str = "imagePullPolicy: IfNotPresent";
const PULL_ERRORS: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// The registry of a scenario, stopped when dropped.
struct TestRegistry {
    child: Child,
    /// Host and port.
    name: String,
}

impl TestRegistry {
    /// Starts a registry; `lines` are added to its configuration.
    fn start(scenario: &Scenario, port: u16, lines: &str) -> Self {
        let host = host_address();
        let name = format!("{host}:{}", free_port(&host, port));
        let (config, folder) = (scenario.path("registry.yml"), scenario.path("registry"));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\nhttp:\n  addr: {name}\n{lines}",
            folder.display()
        );
        fs::write(&config, text).unwrap();
        let mut serve = bound_command("docker-registry");
        serve.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = serve.spawn().unwrap();
        wait_for("the registry", || std::net::TcpStream::connect(&name).ok());
        Self { child, name }
    }

    fn private(scenario: &Scenario, port: u16) -> Self {
        fs::write(scenario.path("users"), HTPASSWD).unwrap();
        let users = scenario.path("users");
        let registry = Self::start(
            scenario,
            port,
            &format!("auth: {{htpasswd: {{realm: lab, path: '{}'}}}}\n", users.display()),
        );
        let config = scenario.path("docker").display().to_string();
        let login = ["--config", &config, "login", "--username", "dev", "--password", "secret"];
        run(docker(&login).arg(&registry.name));
        registry
    }

    /// Builds an image, pushes it, and removes it from Docker. Returns its name.
    fn push(&self, scenario: &Scenario) -> String {
        let image = format!("{}/{}:dev", self.name, scenario.name);
        scenario.build(&image);
        let config = scenario.path("docker").display().to_string();
        run(&mut docker(&["--config", &config, "push", "--quiet", &image]));
        run(&mut docker(&["image", "rm", "--no-prune", &image]));
        image
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the address of this machine for the nodes.
fn host_address() -> String {
    registry_address().split(':').next().unwrap().to_owned()
}

/// The `hosts.toml` of a registry on both nodes, removed when dropped. Without it, containerd
/// pulls from the lab's registry, whatever the name.
struct RegistryHosts(String);

impl RegistryHosts {
    fn write(name: &str, lines: &str) -> Self {
        let hosts = Self(name.to_owned());
        for node in NODES {
            let folder = hosts.folder();
            let write = "mkdir -p \"$1\" && printf '%s' \"$2\" >\"$1/hosts.toml\"";
            run(&mut in_node(node, &["sh", "-c", write, "sh", &folder, lines]));
        }
        hosts
    }

    fn plain_http(name: &str) -> Self {
        Self::with_server(name, &format!("http://{name}"), "")
    }

    fn tls(name: &str) -> Self {
        Self::with_server(name, &format!("https://{name}"), "")
    }

    /// Writes a server and a host, because containerd 1.x respects the scheme only with a host.
    fn with_server(name: &str, url: &str, lines: &str) -> Self {
        let host = format!("[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{lines}");
        Self::write(name, &format!("server = \"{url}\"\n{host}"))
    }

    fn folder(&self) -> String {
        format!("/etc/containerd/certs.d/{}", self.0)
    }
}

impl Drop for RegistryHosts {
    fn drop(&mut self) {
        for node in NODES {
            let _ = in_node(node, &["rm", "-r", &self.folder()]).output();
        }
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn private_registry_without_credentials_reports_pull_denied() {
    let scenario = Scenario::on_node("node-1", "private");
    let registry = TestRegistry::private(&scenario, 5061);
    let _hosts = RegistryHosts::plain_http(&registry.name);
    let image = registry.push(&scenario);
    scenario.create_deployment("node-1", &image, IF_NOT_PRESENT);
    scenario.wait_for_reason(&PULL_ERRORS);
    let report = scenario.assert_causes(&["pull-denied"]);
    report.follow_help_with(0, &[("USER", "dev"), ("PASSWORD", "secret")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn wrong_credentials_report_pull_denied() {
    let scenario = Scenario::on_node("node-2", "wrong-password");
    let registry = TestRegistry::private(&scenario, 5062);
    let _hosts = RegistryHosts::plain_http(&registry.name);
    let image = registry.push(&scenario);
    let server = format!("--docker-server={}", registry.name);
    let create = ["create", "secret", "docker-registry", "mine", &server];
    let who = ["--docker-username=dev", "--docker-password=wrong"];
    run(scenario.kubectl(&create).args(who));
    scenario.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  nodeName: node-2\n  terminationGracePeriodSeconds: 0\n  imagePullSecrets: [{{name: mine}}]\n  containers: [{{name: web, image: {image:?}, {IF_NOT_PRESENT}}}]\n"
    ));
    scenario.wait_for_reason(&PULL_ERRORS);
    let report = scenario.assert_causes(&["pull-denied"]);
    report.follow_help_with(0, &[("USER", "dev"), ("PASSWORD", "secret")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_pull_secret_reports_pull_denied() {
    let scenario = Scenario::on_node("node-1", "no-secret");
    let registry = TestRegistry::private(&scenario, 5063);
    let _hosts = RegistryHosts::plain_http(&registry.name);
    let image = registry.push(&scenario);
    scenario.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  nodeName: node-1\n  terminationGracePeriodSeconds: 0\n  imagePullSecrets: [{{name: absent}}]\n  containers: [{{name: web, image: {image:?}, {IF_NOT_PRESENT}}}]\n"
    ));
    scenario.wait_for_reason(&PULL_ERRORS);
    let report = scenario.assert_causes(&["pull-denied"]);
    report.follow_help_with(0, &[("USER", "dev"), ("PASSWORD", "secret")]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn closed_port_reports_registry_unreachable() {
    let scenario = Scenario::on_node("node-1", "refused");
    let host = host_address();
    let name = format!("{host}:{}", free_port(&host, 5064));
    let _hosts = RegistryHosts::tls(&name);
    let image = format!("{name}/refused:dev");
    scenario.build(&image);
    scenario.create_pod("node-1", &image, IF_NOT_PRESENT);
    scenario.wait_for_reason(&PULL_ERRORS);
    scenario.assert_causes(&["registry-unreachable"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unknown_host_name_reports_registry_not_resolved() {
    let scenario = Scenario::on_node("node-2", "host-not-resolved");
    let name = "registry.invalid";
    let _hosts = RegistryHosts::tls(name);
    let image = format!("{name}/host-not-resolved:dev");
    scenario.build(&image);
    scenario.create_pod("node-2", &image, IF_NOT_PRESENT);
    scenario.wait_for_reason(&PULL_ERRORS);
    scenario.assert_causes(&["registry-not-resolved"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn private_certificate_reports_registry_untrusted() {
    let scenario = Scenario::on_node("node-1", "private-ca");
    let pki = |file: &str| state("pki").join(file);
    let (certificate, key) = (pki("apiserver.crt"), pki("apiserver.key"));
    let tls = format!("  tls: {{certificate: {certificate:?}, key: {key:?}}}\n");
    let registry = TestRegistry::start(&scenario, 5065, &tls);
    let _hosts = RegistryHosts::tls(&registry.name);
    let image = registry.push(&scenario);
    scenario.create_pod("node-1", &image, IF_NOT_PRESENT);
    scenario.wait_for_reason(&PULL_ERRORS);
    let help = scenario.assert_causes(&["registry-untrusted"]).help(0).to_owned();
    let name = &registry.name;
    let start = format!("add `[host.\"https://{name}\"]` and, below it, `ca = \"/PATH/ca.crt\"`");
    let file = format!("`/etc/containerd/certs.d/{name}/hosts.toml`");
    assert!(help.starts_with(&start) && help.contains(&file), "{help}");
    // Follow the help, without other lines.
    let ca = pki("ca.crt");
    let _hosts = RegistryHosts::write(name, &format!("[host.\"https://{name}\"]\nca = {ca:?}\n"));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn plain_http_registry_reports_registry_untrusted() {
    let scenario = Scenario::on_node("node-2", "plain-http");
    let registry = TestRegistry::start(&scenario, 5066, "");
    let _hosts = RegistryHosts::tls(&registry.name);
    let image = registry.push(&scenario);
    scenario.create_pod("node-2", &image, IF_NOT_PRESENT);
    scenario.wait_for_reason(&PULL_ERRORS);
    let help = scenario.assert_causes(&["registry-untrusted"]).help(0).to_owned();
    let name = &registry.name;
    let lines = [format!("server = \"http://{name}\""), format!("[host.\"http://{name}\"]")];
    let file = format!("`/etc/containerd/certs.d/{name}/hosts.toml`");
    assert!(help.starts_with(&format!("add `{}` and `{}`", lines[0], lines[1])), "{help}");
    assert!(help.contains(&file), "{help}");
    // Follow the help, without other lines.
    let _hosts = RegistryHosts::write(name, &lines.join("\n"));
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn too_many_requests_report_rate_limited() {
    let scenario = Scenario::on_node("node-1", "rate-limit");
    let host = host_address();
    let name = format!("{host}:{}", free_port(&host, 5067));
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
    let _hosts = RegistryHosts::plain_http(&name);
    let image = format!("{name}/rate-limit:dev");
    scenario.build(&image);
    scenario.create_pod("node-1", &image, IF_NOT_PRESENT);
    scenario.wait_for_reason(&PULL_ERRORS);
    scenario.assert_causes(&["rate-limited"]).follow_help(0);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_tag_reports_tag_not_found() {
    let scenario = Scenario::on_node("node-2", "no-such-tag");
    let registry = TestRegistry::start(&scenario, 5068, "");
    let _hosts = RegistryHosts::plain_http(&registry.name);
    let image = registry.push(&scenario);
    scenario.create_deployment("node-2", &image.replace(":dev", ":prod"), IF_NOT_PRESENT);
    scenario.wait_for_reason(&PULL_ERRORS);
    let report = scenario.assert_causes(&["tag-not-found"]);
    // Any folder with a Dockerfile works.
    let folder = scenario.path("").display().to_string();
    report.follow_help_with(0, &[(" . ", &format!(" {folder} "))]);
    scenario.wait_until_ready();
}
