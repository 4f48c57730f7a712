//! Rollouts under the admission plugin `AlwaysPullImages`, and a second API server that
//! enables it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exclusive::{Claim, Part, Permit};
use crate::lab::{bound_command, command, free_port, get, run, state, stderr_text, wait_for};
use crate::process_kill::recorded_pid;
use crate::test_service::Service;

/// The port of the second API server, if it is free.
const PORT: u16 = 6444;

/// A second API server of the same cluster with `AlwaysPullImages`, until it is dropped.
pub(crate) struct StrictApiServer {
    child: Child,
    pub(crate) kubeconfig: PathBuf,
}

impl StrictApiServer {
    /// Starts it with its kubeconfig and log in `folder`.
    pub(crate) fn start(permit: &Permit, folder: &Path) -> Self {
        permit.assert_may_break(Part::SecondApiServer);
        let lab = fs::read_to_string(state("kubeconfig")).unwrap();
        let kubeconfig = folder.join("strict.kubeconfig");
        let host = lab.split("https://").nth(1).unwrap().split(':').next().unwrap();
        let port = free_port(host, PORT).to_string();
        fs::write(&kubeconfig, lab.replace(":6443", &format!(":{port}"))).unwrap();
        let log = fs::File::create(folder.join("apiserver.log")).unwrap();
        let child =
            apiserver_command(host, &port).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let strict = Self { child, kubeconfig };
        wait_for("the second API server", || {
            let mut ready = command("kubectl");
            ready.arg("--kubeconfig").arg(&strict.kubeconfig).args(["get", "--raw", "/readyz"]);
            ready.output().ok()?.status.success().then_some(())
        });
        strict
    }
}

impl Drop for StrictApiServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Controllers that create pods through the strict API server. The lab's own controllers
/// are paused until this is dropped.
struct StrictControllers {
    paused: Pid,
    child: Child,
}

impl StrictControllers {
    /// Starts only the controllers of Deployments, which is all that the tests need. They use
    /// the user of the kubeconfig, because they have no service accounts.
    fn start(service: &Service, strict: &StrictApiServer) -> Self {
        service.permit.assert_may_break(Part::Controllers);
        let mut manager = bound_command(state("lib/kubernetes").to_str().unwrap());
        manager.args(["kube-controller-manager", "--leader-elect=false", "--secure-port=0"]);
        manager.arg("--controllers=deployment-controller,replicaset-controller");
        manager.arg("--kubeconfig").arg(&strict.kubeconfig);
        let log = fs::File::create(service.path("controllers.log")).unwrap();
        let paused = recorded_pid("kube-controller-manager").unwrap();
        kill(paused, Signal::SIGSTOP).unwrap();
        let child = manager.stdout(Stdio::null()).stderr(log).spawn();
        let child = child.inspect_err(|_| kill(paused, Signal::SIGCONT).unwrap()).unwrap();
        Self { paused, child }
    }
}

impl Drop for StrictControllers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = kill(self.paused, Signal::SIGCONT);
    }
}

/// Returns a command like that of the lab's API server, except for the port and the plugin.
/// It does not register itself as an endpoint of the `kubernetes` Service.
fn apiserver_command(host: &str, port: &str) -> Command {
    let pki = |file: &str| state("pki").join(file).display().to_string();
    let mut apiserver = bound_command(state("lib/kubernetes").to_str().unwrap());
    apiserver.args(["kube-apiserver", "--etcd-servers", "http://127.0.0.1:12379"]);
    apiserver.args(["--bind-address", host, "--advertise-address", host, "--secure-port", port]);
    apiserver.args(["--endpoint-reconciler-type", "none"]);
    apiserver.args(["--authorization-mode", "Node,RBAC"]);
    apiserver.args(["--enable-admission-plugins", "NodeRestriction,AlwaysPullImages"]);
    apiserver.args(["--client-ca-file", &pki("ca.crt")]);
    apiserver.args(["--tls-cert-file", &pki("apiserver.crt")]);
    apiserver.args(["--tls-private-key-file", &pki("apiserver.key")]);
    apiserver.args(["--service-cluster-ip-range", "10.96.0.0/16"]);
    apiserver.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
    apiserver.args(["--service-account-key-file", &pki("service-account.pub")]);
    apiserver.args(["--service-account-signing-key-file", &pki("service-account.key")]);
    apiserver
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_pull_images_on_bare_pod_fails_rollout() {
    let service = Service::with_claim("strict", Claim::both_nodes().breaks(Part::SecondApiServer));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: strict}\nspec:\n  containers:\n  - {name: web, image: strict}\n";
    service.write("k8s/all.yaml", pod);
    let strict = StrictApiServer::start(&service.permit, service.dir());
    let up = service.up(&["--timeout", "60"]).env("KUBECONFIG", &strict.kubeconfig).output();
    let output = up.unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(95), "{stderr}");
    let mutation = "`imagePullPolicy` of container `web` was changed from `Never` to `Always`; the API server's admission plugin `AlwaysPullImages` does this";
    // Reported after the apply, and again as the cause of the failure.
    assert!(
        stderr.contains(&format!("Note pod/strict differs from what was applied: {mutation}")),
        "{stderr}"
    );
    let error = "error: admission control modified pod `strict` of pod/strict\n  caused by: ";
    assert!(stderr.contains(&format!("{error}{mutation}\n")), "{stderr}");

    // Follow the help: without the plugin, the same pod runs.
    drop(strict);
    run(&mut crate::lab::kubectl("strict", &["delete", "pod", "strict", "--now"]));
    service.up_ok();
    assert_eq!(
        get("strict", &["pod", "strict"])["spec"]["containers"][0]["imagePullPolicy"],
        "Never"
    );
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn always_pull_images_on_deployment_pods_fails_rollout() {
    let claim = Claim::node("node-1").breaks(Part::SecondApiServer).breaks(Part::Controllers);
    let service = Service::with_claim("strict-pods", claim);
    service.pin_to("node-1");
    let strict = StrictApiServer::start(&service.permit, service.dir());
    let controllers = StrictControllers::start(&service, &strict);
    let up = service.up(&["--timeout", "60"]).env("KUBECONFIG", &strict.kubeconfig).output();
    let output = up.unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(95), "{stderr}");
    let cause = "of deployment/strict-pods\n  caused by: `imagePullPolicy` of container `web` was changed from `Never` to `Always`; the API server's admission plugin `AlwaysPullImages` does this\n";
    assert!(stderr.contains("error: admission control modified pod `strict-pods-"), "{stderr}");
    assert!(stderr.contains(cause), "{stderr}");
    // The template of the Deployment is unchanged.
    assert!(!stderr.contains("Note deployment"), "{stderr}");

    // Follow the help: without the plugin.
    drop(controllers);
    drop(strict);
    run(&mut crate::lab::kubectl("strict-pods", &["delete", "pods", "--all", "--now"]));
    service.up_ok();
}
