//! Nodes whose containerd belongs to a distribution such as k3s or kind. Each test starts a
//! containerd at the socket and with the `ctr` wrapper of the distribution.
//!
//! Each gets a Node object in the cluster, so that kdev detects it without settings.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::exclusive::{Claim, Part};
use crate::images;
use crate::lab::{apply, docker, in_node, kubectl, run, state, wait_for};
use crate::test_service::{NODES, Service};
use crate::undo::Undo;

/// The programs that kdev's script needs on a node.
const NODE_TOOLS: [&str; 11] =
    ["sh", "awk", "cat", "flock", "gzip", "id", "mktemp", "rm", "sha256sum", "sleep", "tr"];

/// The lab's containerd 1.x and 2.x, each with its `ctr` in the same folder.
pub(crate) const CONTAINERD_1: &str = "/usr/bin/containerd";
pub(crate) const CONTAINERD_2: &str = "/var/lib/kdev-lab/lib/containerd";

/// The taint that keeps pods of other tests off a listed node.
const LISTED_TAINT: &str = "kdev.test/listed";

/// The line of a pod spec that tolerates the taint. Pods cannot start on such a node, because
/// it has no kubelet.
pub(crate) const LISTED_TOLERATION: &str = "tolerations: [{key: kdev.test/listed}]";

/// The machine of the lab that is not in the cluster.
pub(crate) const SPARE: &str = "spare";

/// A Node object without a kubelet, deleted when dropped.
pub(crate) struct ListedNode(pub(crate) &'static str);

impl ListedNode {
    pub(crate) fn new(name: &'static str, labels: &str, provider: &str, runtime: &str) -> Self {
        Self::on_machine("node-1", name, labels, provider, runtime)
    }

    /// The spare machine, onto which only services are loaded whose pods tolerate the taint.
    pub(crate) fn for_spare(name: &'static str) -> Self {
        Self::on_machine(SPARE, name, "{}", "", "containerd://1.6.20")
    }

    fn on_machine(
        machine: &str,
        name: &'static str,
        labels: &str,
        provider: &str,
        runtime: &str,
    ) -> Self {
        let address = fs::read_to_string(state(&format!("nodes/{machine}/address"))).unwrap();
        let listed = Self(name);
        listed.remove();
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": serde_json::from_str::<serde_json::Value>(labels).unwrap()},
            "spec": {"providerID": provider, "taints": [{"key": LISTED_TAINT, "effect": "NoSchedule"}]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address.trim()}],
                "nodeInfo": {
                    "architecture": "amd64", "operatingSystem": "linux", "containerRuntimeVersion": runtime,
                    "bootID": "", "machineID": "", "systemUUID": "", "kernelVersion": "", "osImage": "",
                    "kubeletVersion": "", "kubeProxyVersion": "",
                },
            },
        });
        apply("default", &node.to_string());
        let status = json!({"status": node["status"]}).to_string();
        let patch = ["patch", "node", name, "--subresource=status", "--type=merge", "--patch"];
        run(kubectl("default", &patch).arg(status));
        listed
    }

    /// Removes the taint, so that pods of all tests can be scheduled there.
    fn allow_pods(&self) {
        run(&mut kubectl("default", &["taint", "node", self.0, &format!("{LISTED_TAINT}-")]));
    }

    /// Sets fields of the node info that a kubelet would report.
    fn set_node_info(&self, info: &str) {
        let status = format!(r#"{{"status":{{"nodeInfo":{info}}}}}"#);
        let patch = ["patch", "node", self.0, "--subresource=status", "--type=merge", "--patch"];
        run(kubectl("default", &patch).arg(status));
    }

    fn remove(&self) {
        run(&mut kubectl("default", &["delete", "node", self.0, "--ignore-not-found"]));
    }
}

impl Drop for ListedNode {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A second containerd on `node-1`, and a wrapper named `program` for its `ctr`.
pub(crate) struct SecondContainerd {
    child: Child,
    containerd: &'static str,
    socket: &'static str,
    folder: PathBuf,
}

impl SecondContainerd {
    /// Starts `containerd` at this socket, with the `ctr` from the same folder.
    pub(crate) fn start(
        service: &Service,
        containerd: &'static str,
        socket: &'static str,
        program: &str,
    ) -> Self {
        let folder = service.path(program);
        fs::create_dir(&folder).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{socket}\"\n",
            at("root"),
            at("state")
        );
        fs::write(at("config.toml"), config).unwrap();
        let bin = folder.join("bin");
        fs::create_dir(&bin).unwrap();
        let ctr = Path::new(containerd).with_file_name("ctr");
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = ctr ] && shift && exec {} --address {socket} \"$@\"\n",
            ctr.display()
        );
        fs::write(bin.join(program), script).unwrap();
        fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        // On the PATH of the login shell, and visible only in this node.
        run(in_node("node-1", &["mount", "--bind"]).arg(&bin).arg("/usr/local/sbin"));
        let child = spawn(containerd, &folder);
        let second = Self { child, containerd, socket, folder };
        second.wait_until_ready();
        second
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> Command {
        let ctr = Path::new(self.containerd).with_file_name("ctr");
        let mut command = in_node("node-1", &[]);
        command.arg(ctr).args(["--address", self.socket, "-n", "k8s.io"]).args(args);
        command
    }

    /// Kills it with SIGKILL, like the kernel's out-of-memory killer.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, as systemd would.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.containerd, &self.folder);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        wait_for("the second containerd", || {
            self.ctr(&["version"]).output().unwrap().status.success().then_some(())
        });
    }
}

fn spawn(containerd: &str, folder: &Path) -> Child {
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut command = in_node("node-1", &[containerd, "--config"]);
    command.arg(folder.join("config.toml")).stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap()
}

impl Drop for SecondContainerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = in_node("node-1", &["umount", "/usr/local/sbin"]).output();
        let ttrpc = format!("{}.ttrpc", self.socket);
        let _ = in_node("node-1", &["rm", "-f", self.socket, &ttrpc]).output();
        // The folders of the socket, if they are empty.
        let folder = self.socket.rsplit_once('/').unwrap().0;
        let rmdir = ["rmdir", "--ignore-fail-on-non-empty", "--parents", folder];
        let _ = in_node("node-1", &rmdir).output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Loads two builds onto one node: the first completely, and of the second only the changed
/// layers.
#[track_caller]
fn assert_full_then_partial_load(service: &Service, node: &str) {
    let image = format!("{}:1", service.name);
    for content in ["first", "second"] {
        service.set_page(content);
        run(docker(&["build", "--tag", &image, "."]).current_dir(service.dir()));
        let output = service.kdev(&["load", &image, "--node", node]).output().unwrap();
        let stderr = crate::lab::stderr_text(&output);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let is_partial = stderr.contains(" already present");
        assert_eq!(is_partial, content == "second", "{stderr}");
    }
}

/// Loads onto a second containerd, which kdev must find from the node's report.
#[track_caller]
fn assert_bundled_containerd_is_loaded(
    program: &'static str,
    socket: &'static str,
    labels: &str,
    runtime: &str,
) {
    let service = Service::with_claim(program, Claim::second_containerd());
    let second = SecondContainerd::start(&service, CONTAINERD_1, socket, program);
    let node = ListedNode::new("own-distribution", labels, "", runtime);
    if program == "k0s" {
        node.set_node_info(r#"{"kubeletVersion": "v1.34.1+k0s"}"#);
    }
    assert_full_then_partial_load(&service, node.0);
    let listed = run(&mut second.ctr(&["images", "ls", "-q"]));
    assert!(listed.contains(&format!("docker.io/library/{program}:1")), "{listed}");
    // The other containerd on the machine has not received the image.
    assert_eq!(crate::lab::images_on("node-1", &format!("/{program}:")), [""; 0]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn k3s_containerd_receives_image() {
    let socket = "/run/k3s/containerd/containerd.sock";
    assert_bundled_containerd_is_loaded("k3s", socket, "{}", "containerd://1.6.20-k3s1");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn microk8s_containerd_receives_image() {
    let socket = "/var/snap/microk8s/common/run/containerd.sock";
    let labels = r#"{"microk8s.io/cluster": "true"}"#;
    assert_bundled_containerd_is_loaded("microk8s", socket, labels, "containerd://1.6.20");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn rke2_containerd_receives_image() {
    let service = Service::with_claim("rke2", Claim::second_containerd());
    let second = SecondContainerd::start(
        &service,
        CONTAINERD_1,
        "/run/k3s/containerd/containerd.sock",
        "rke2",
    );
    // RKE2 has no `k3s` program, and its `ctr` is not on PATH.
    let bin = "/var/lib/rancher/rke2/bin";
    let rm = format!("rm -f {bin}/ctr && rmdir --ignore-fail-on-non-empty --parents {bin}");
    let _undo = Undo::new([in_node("node-1", &["sh", "-c", &rm])]);
    run(&mut in_node("node-1", &["mkdir", "-p", bin]));
    run(&mut in_node("node-1", &["ln", "-sf", "/usr/bin/ctr", &format!("{bin}/ctr")]));
    let node = ListedNode::new("own-rke2", "{}", "", "containerd://1.6.20-k3s1");
    let image = "rke2:1";
    run(docker(&["build", "--tag", image, "."]).current_dir(service.dir()));
    let output = service.kdev(&["load", image, "--node", node.0]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::lab::stderr_text(&output));
    let listed = run(&mut second.ctr(&["images", "ls", "-q"]));
    assert!(listed.contains("docker.io/library/rke2:1"), "{listed}");
    assert_eq!(crate::lab::images_on("node-1", "/rke2:"), [""; 0]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn k0s_containerd_receives_image() {
    assert_bundled_containerd_is_loaded(
        "k0s",
        "/run/k0s/containerd.sock",
        "{}",
        "containerd://1.6.20",
    );
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn node_of_other_architecture_is_skipped() {
    // The images of all other tests would also be loaded onto this node.
    let claim =
        NODES.into_iter().fold(Claim::access(), |claim, node| claim.breaks(Part::Pods(node)));
    let mut service = Service::with_claim("mixed", claim.breaks(Part::NodeList));
    let node = ListedNode::new("own-arm", "{}", "", "containerd://2.2.3");
    node.set_node_info(r#"{"architecture": "arm64"}"#);
    node.allow_pods();
    let stderr = service.up_ok();
    let skipped = "Skipping own-arm: it is linux/arm64, but the image is built for linux/amd64";
    assert!(stderr.contains(skipped), "{stderr}");
    assert!(stderr.contains("Ready deployment/mixed: 2 pods"), "{stderr}");
    service.variables.push(("DOCKER_BUILDKIT", "0".to_owned()));
    let stderr = service.up_fails(&["--node", "own-arm"], 90);
    service.variables.clear();
    let legacy = "cannot build for linux/arm64, the platform of the nodes: Docker's legacy builder builds for linux/amd64";
    assert!(stderr.contains(legacy), "{stderr}");
    // Follow the help: use Buildx.
    let output = service.up(&["--node", "own-arm", "--dry-run"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::lab::stderr_text(&output));
    assert!(stdout.contains(" --platform linux/arm64 "), "{stdout}");
    // Nothing on this machine runs programs for ARM.
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    service.write("Dockerfile", &format!("{dockerfile}RUN [\"/busybox\", \"true\"]\n"));
    let output = service.up(&["--node", "own-arm"]).output().unwrap();
    let stderr = crate::lab::stderr_text(&output);
    assert_eq!(output.status.code(), Some(90), "{stderr}");
    let error = "runs a program, and the builder runs only those of linux/amd64";
    assert!(stderr.contains(error), "{stderr}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn unschedulable_node_is_skipped() {
    let claim = Claim::both_nodes().breaks(Part::NodeList).breaks(Part::Pods("node-2"));
    let service = Service::with_claim("choosy", claim);
    let spread =
        crate::test_service::deployment("choosy", "").replace("DoNotSchedule", "ScheduleAnyway");
    service.write("k8s/all.yaml", &spread);
    let assert_skipped = |why: &str| {
        let output = service.up(&["--dry-run"]).output().unwrap();
        let stderr = crate::lab::stderr_text(&output);
        let line = format!("    Skipping node-2: {why}\n");
        assert!(stderr.contains(&line), "{stderr}");
    };
    let cordon = Undo::new([kubectl("default", &["uncordon", "node-2"])]);
    run(&mut kubectl("default", &["cordon", "node-2"]));
    assert_skipped("it is cordoned");
    service.up_ok();
    drop(cordon);
    assert_eq!(crate::lab::images_on("node-2", "/choosy:"), [""; 0]);

    let taint = Undo::new([kubectl("default", &["taint", "node", "node-2", "kdev.test/choosy-"])]);
    run(&mut kubectl("default", &["taint", "node", "node-2", "kdev.test/choosy=yes:NoSchedule"]));
    assert_skipped("it has the taint `kdev.test/choosy=yes:NoSchedule`");
    drop(taint);

    service.pin_to("node-1");
    assert_skipped("it does not have the label `kubernetes.io/hostname=node-1`");
    assert_eq!(crate::lab::images_on("node-2", "/choosy:"), [""; 0]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn native_snapshotter_receives_unpacked_image() {
    let service = Service::with_claim("elsewhere", Claim::second_containerd());
    let socket = "/run/k3s/containerd/containerd.sock";
    let second = SecondContainerd::start(&service, CONTAINERD_1, socket, "k3s");
    let node = ListedNode::new("own-native", "{}", "", "containerd://1.6.20-k3s1");
    // A container with another snapshotter, as the pods of this node would have.
    let native = "--snapshotter=native";
    let pause = state("lib/pause.tar").display().to_string();
    run(&mut second.ctr(&["images", "import", native, &pause]));
    let image = run(&mut second.ctr(&["images", "ls", "-q"]));
    let image = image.lines().next().unwrap();
    run(&mut second.ctr(&["containers", "create", native, image, "sandbox"]));
    assert_full_then_partial_load(&service, node.0);
    let name = "name==docker.io/library/elsewhere:1";
    let check = run(&mut second.ctr(&["images", "check", native, name]));
    assert!(check.lines().last().unwrap().ends_with("true"), "{check}");
    assert_eq!(
        run(&mut second.ctr(&["snapshots", "ls"])).lines().count(),
        1,
        "it was unpacked twice"
    );
}

/// A Docker container that runs containerd, like a kind node.
struct ContainerNode(&'static str);

impl ContainerNode {
    fn start(service: &Service, name: &'static str) -> Self {
        let bin = service.path("node");
        fs::create_dir(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for tool in NODE_TOOLS {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        for program in ["containerd", "ctr"] {
            fs::copy(state("lib").join(program), bin.join(program)).unwrap();
        }
        let dockerfile = "FROM scratch\nCOPY . /bin/\nENTRYPOINT [\"/bin/containerd\"]\n";
        fs::write(bin.join("Dockerfile"), dockerfile).unwrap();
        let container = Self(name);
        container.remove();
        run(docker(&["build", "--tag", name, "."]).current_dir(&bin));
        // The part of `--privileged` that containerd needs to mount snapshots.
        let rights = [
            "--cap-add=SYS_ADMIN",
            "--security-opt=seccomp=unconfined",
            "--security-opt=apparmor=unconfined",
        ];
        run(docker(&["run", "--detach", "--volume=/var/lib/containerd", "--name", name])
            .args(rights)
            .arg(name));
        wait_for("containerd in the container", || {
            let version = docker(&["exec", name, "ctr", "version"]).output().unwrap();
            version.status.success().then_some(())
        });
        container
    }

    fn remove(&self) {
        let _ = docker(&["rm", "--force", "--volumes", self.0]).output();
        images::queue_removal([self.0]);
    }
}

impl Drop for ContainerNode {
    fn drop(&mut self) {
        self.remove();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn kind_node_is_loaded_through_docker() {
    let service = Service::with_claim("contained", Claim::access().breaks(Part::NodeList));
    let container = ContainerNode::start(&service, "own-kind-worker");
    let node = ListedNode::new(
        "own-kind-worker",
        "{}",
        "kind://docker/own-kind/own-kind-worker",
        "containerd://2.2.3",
    );
    assert_full_then_partial_load(&service, node.0);
    let listed =
        run(&mut docker(&["exec", container.0, "ctr", "-n", "k8s.io", "images", "ls", "-q"]));
    assert!(listed.contains("docker.io/library/contained:1"), "{listed}");
}
