//! What fails: each with its whole stderr, its exit code, and nothing half
//! done on nodes or cluster.

use crate::project::{IMAGE, Project};

const BUILT: &str = "    Building app:latest\nStep 1/1 : FROM scratch\n       Built app:kdev-0123456789ab in [TIME]\n";

/// Nothing was sent, nothing was applied.
#[track_caller]
fn untouched(project: &Project) {
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
    assert_eq!(project.applied(), None);
}

/// `up` with one node fails so.
#[track_caller]
fn fails(project: &Project, code: i32, stderr: &str) {
    project.run(&["up", "--node", "n1"]).code(code).stdout("").stderr(stderr);
    untouched(project);
}

mod tools {
    use super::*;

    #[test]
    fn docker_is_missing() {
        let project = Project::new();
        project.remove("bin/docker");
        fails(&project, 91, "error: `docker` is not installed, or not on PATH
  help: install it with `sudo apt-get install docker.io`, or as https://docs.docker.com/engine/install says\n");
    }

    #[test]
    fn kubectl_is_missing() {
        let project = Project::new();
        project.remove("bin/kubectl");
        fails(
            &project,
            91,
            "error: `kubectl` is not installed, or not on PATH
  help: install it as https://kubernetes.io/docs/tasks/tools says\n",
        );
    }

    #[test]
    fn ssh_is_missing() {
        let project = Project::new();
        project.remove("bin/ssh");
        fails(
            &project,
            91,
            "error: `ssh` is not installed, or not on PATH
  help: install it with `sudo apt-get install openssh-client`\n",
        );
    }

    #[test]
    fn docker_is_too_old() {
        let project = Project::new();
        project.write("fake/docker-version", "19.03.15");
        fails(&project, 91, "error: `docker` 19.03.15 is too old: kdev needs 20.10 or newer
  help: install it with `sudo apt-get install docker.io`, or as https://docs.docker.com/engine/install says\n");
    }

    #[test]
    fn kubectl_is_too_old() {
        let project = Project::new();
        project.write("fake/kubectl-version", "1.18.2");
        fails(
            &project,
            91,
            "error: `kubectl` 1.18.2 is too old: kdev needs 1.22 or newer
  help: install it as https://kubernetes.io/docs/tasks/tools says\n",
        );
    }

    #[test]
    fn ssh_is_too_old() {
        let project = Project::new();
        project.write("fake/ssh-version", "OpenSSH_6.6.1p1, OpenSSL 1.0\n");
        fails(
            &project,
            91,
            "error: `ssh` 6.6.1p1 is too old: kdev needs 6.7 or newer
  help: install it with `sudo apt-get install openssh-client`\n",
        );
    }

    #[test]
    fn dockers_daemon_is_down() {
        let project = Project::new();
        project.write("fake/docker-down", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n");
        fails(&project, 91, "error: the docker daemon does not answer
  caused by: `docker version --format '{{json .}}'` exited with code 1: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?
  help: start it with `sudo systemctl start docker`, or set DOCKER_HOST to one that runs\n");
    }

    #[test]
    fn dockers_socket_is_not_ours() {
        let project = Project::new();
        project.write(
            "fake/docker-down",
            "permission denied while trying to connect to the Docker daemon socket\n",
        );
        fails(&project, 91, "error: the docker daemon does not answer
  caused by: `docker version --format '{{json .}}'` exited with code 1: permission denied while trying to connect to the Docker daemon socket
  help: add yourself to its group with `sudo usermod -aG docker $USER`, and log in again\n");
    }
}

mod project {
    use super::*;

    #[test]
    fn there_is_no_cargo_project() {
        let project = Project::new();
        project.remove("Cargo.toml");
        fails(&project, 90, "error: cannot read the cargo project
  caused by: `cargo metadata --format-version 1 --no-deps` exited with code 101: error: could not find `Cargo.toml` in `[ROOT]` or any parent directory
  help: run it in a folder with a Cargo.toml, or name one with `--manifest-path`\n");
    }

    #[test]
    fn there_is_no_dockerfile() {
        let project = Project::new();
        project.remove("Dockerfile");
        fails(
            &project,
            90,
            "error: no Dockerfile at `[ROOT]/Dockerfile`
  help: write one there, or set `dockerfile = \"path\"` in `[package.metadata.kdev]`\n",
        );
    }

    #[test]
    fn there_is_no_manifest() {
        let project = Project::new();
        project.remove("k8s/app.yaml");
        fails(&project, 90, "error: no Kubernetes manifest matches `[ROOT]/k8s/*.yaml`, `[ROOT]/k8s/*.yml` and `[ROOT]/k8s/*.json`
  help: write one, or set `manifests = [\"path/*.yaml\"]` in `[package.metadata.kdev]`\n");
    }

    #[test]
    fn no_manifest_uses_the_image() {
        let project = Project::new();
        project.write(
            "k8s/app.yaml",
            "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: \"apq:1\"}]}\n",
        );
        fails(
            &project,
            90,
            "error: no container in `[ROOT]/k8s/app.yaml` runs the image `app`
  help: name it in the manifest, or set `image = \"apq\"` in `[package.metadata.kdev]`\n",
        );
        // Who follows the advice succeeds.
        project.config("image = \"apq\"").run(&["up", "--dry-run"]).code(0);
    }

    #[test]
    fn a_manifest_cannot_be_read() {
        let project = Project::new();
        project.write("k8s/app.yaml", "kind: Pod\nspec: {containers: [{image: app}\n");
        fails(
            &project,
            90,
            "error: cannot edit `[ROOT]/k8s/app.yaml`, line [..], column [..]\n  caused by: [..]\n  help: check it with `kubectl create --dry-run=client -f [ROOT]/k8s/app.yaml`\n",
        );
    }

    #[test]
    fn a_key_is_unknown() {
        let project = Project::new();
        project.config("manifest = []");
        fails(
            &project,
            90,
            "error: unknown key `manifest` in `[package.metadata.kdev]` of `[ROOT]/Cargo.toml`
  help: did you mean `manifests`?\n",
        );
    }

    #[test]
    fn a_value_has_the_wrong_type() {
        let project = Project::new();
        project.write("kdev.local.toml", "timeout = \"long\"\n");
        fails(
            &project,
            90,
            "error: invalid value for `timeout` in `[ROOT]/kdev.local.toml`
  caused by: invalid type: string \"long\", expected u64
  help: the README lists what each key takes\n",
        );
    }

    #[test]
    fn the_images_name_is_none() {
        let project = Project::new();
        project.config("image = \"-o/tmp/x\"");
        fails(&project, 90, "error: cannot use the image's name
  caused by: `-o/tmp/x` is no image reference: a name is made of lower-case letters and digits, joined by `.`, `_`, `__`, `-` or `/`
  help: set another one: `image = \"name\"` in `[package.metadata.kdev]`\n");
    }

    #[test]
    fn several_packages_could_be_meant() {
        let project = Project::new();
        project.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"3\"\n");
        for name in ["a", "b"] {
            std::fs::create_dir_all(project.path(name).join("src")).unwrap();
            project.write(&format!("{name}/src/main.rs"), "fn main() {}\n");
            let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
            project.write(&format!("{name}/Cargo.toml"), &package);
        }
        fails(
            &project,
            90,
            "error: cannot tell which package is meant: the workspace has `a` and `b`
  help: name one with `--package NAME`\n",
        );
        let ran = project.run(&["up", "--package", "c"]);
        ran.code(90).error("error: cannot tell which package is meant: the workspace has no package `c`, but `a` and `b`\n  help: [..]\n");
    }

    #[test]
    fn the_command_line_is_wrong() {
        let project = Project::new();
        project.run(&["up", "--nod", "n1"]).code(2).stdout("").stderr(
            "error: unexpected argument '--nod' found

  tip: a similar argument exists: '--node'

Usage: cargo kdev up --node <NAME>

For more information, try '--help'.\n",
        );
    }
}

mod build {
    use super::*;

    #[test]
    fn the_build_fails_in_dockers_own_words_and_code() {
        let project = Project::new();
        project.write("fake/build-fails", "");
        fails(
            &project,
            7,
            "    Building app:latest
Step 1/1 : FROM scratch
The command '/bin/sh -c exit 7' returned a non-zero code: 7
error: cannot build `app:latest`
  caused by: `docker build --tag app:latest --file [ROOT]/Dockerfile [..]` exited with code 7
  help: see the build's own output above\n",
        );
    }

    #[test]
    fn a_quiet_build_that_fails_is_not_quiet() {
        let project = Project::new();
        project.write("fake/build-fails", "");
        project.run(&["up", "-q"]).code(7).stderr(
            "[..]
[..]
error: cannot build `app:latest`
  caused by: `docker build --tag app:latest --file [ROOT]/Dockerfile [..]` exited with code 7
  help: see the build's own output above\n",
        );
    }

    #[test]
    fn the_image_is_for_another_architecture() {
        let project = Project::new();
        project.write("fake/image-arch", "arm64");
        fails(&project, 94, &format!("{BUILT}error: image `{IMAGE}` is built for linux/arm64, but node `n1` runs linux/amd64
  help: build for the node: set DOCKER_DEFAULT_PLATFORM=linux/amd64\n"));
        assert!(!project.calls().contains("docker save"));
    }
}

mod cluster {
    use super::*;

    #[test]
    fn no_context_is_current() {
        let project = Project::new();
        project.write(
            "fake/contexts.json",
            r#"{"contexts":null,"clusters":null,"current-context":""}"#,
        );
        fails(
            &project,
            92,
            "error: no kube context is selected
  help: name one with `--context NAME`; `kubectl config get-contexts` lists them\n",
        );
    }

    #[test]
    fn the_context_is_unknown() {
        let project = Project::new();
        let ran = project.run(&["up", "--context", "prd"]);
        ran.code(92).stderr(
            "error: no kube context is named `prd`\n  help: use one of `kind-test` and `prod`\n",
        );
        untouched(&project);
    }

    #[test]
    fn the_context_is_not_allowed() {
        let project = Project::new();
        let contexts = std::fs::read_to_string(project.path("fake/contexts.json")).unwrap();
        project.write(
            "fake/contexts.json",
            &contexts.replace("\"current-context\":\"kind-test\"", "\"current-context\":\"prod\""),
        );
        fails(&project, 92, "error: kdev may not change the context `prod` (server https://10.0.0.9:6443)
  help: if it is meant, name it with `--context prod`, or for good with `contexts = [\"prod\"]` in `[package.metadata.kdev]`\n");
        assert!(!project.calls().contains("get nodes"), "the cluster was asked");
        // Who follows the advice succeeds.
        project.config("contexts = [\"prod\"]").run(&["up"]).code(0);
    }

    #[test]
    fn the_cluster_does_not_answer() {
        let project = Project::new();
        project.write("fake/kubectl-get-fails", "The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?\n");
        fails(&project, 92, "error: the cluster of context `kind-test` does not answer
  caused by: `kubectl --context kind-test --namespace default '--request-timeout=15s' get nodes '--output=json'` exited with code 1: The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?
  help: check it with `kubectl --context kind-test --namespace default get nodes`\n");
    }

    #[test]
    fn the_api_refuses_the_manifest() {
        let project = Project::new();
        project.write("fake/kubectl-apply-fails", "Error from server (Forbidden): deployments.apps \"app\" is forbidden: exceeded quota\n");
        let ran = project.run(&["up", "--node", "n1"]);
        ran.code(92).stderr(&format!("{BUILT}     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
error: the cluster of context `kind-test` refused to apply the manifests
  caused by: `kubectl [..] apply --server-side '--field-manager=kdev' --filename -` exited with code 1: Error from server (Forbidden): deployments.apps \"app\" is forbidden: exceeded quota
  help: see `kubectl --context kind-test --namespace default describe quota`\n"));
        assert_eq!(project.applied(), None);
    }

    #[test]
    fn another_manager_owns_a_field_and_the_advice_helps() {
        let project = Project::new();
        let words = "error: Apply failed with 1 conflict: conflict with \"helm\" using apps/v1: .spec.replicas\n";
        project.write("fake/kubectl-apply-fails", words);
        let ran = project.run(&["up"]);
        ran.code(92).error(
            "error: the cluster of context `kind-test` refused to apply the manifests
  caused by: [..]conflict with \"helm\" using apps/v1: .spec.replicas
  help: if these fields shall be kdev's, take them over with `--force-conflicts`\n",
        );
        assert!(!project.calls().contains("apply --server-side --field-manager=kdev --force"));
        project.remove("fake/kubectl-apply-fails").run(&["up", "--force-conflicts"]).code(0);
    }

    #[test]
    fn rights_are_missing() {
        let project = Project::new();
        let words = "Error from server (Forbidden): nodes is forbidden: User \"dev\" cannot list resource \"nodes\"\n";
        project.write("fake/kubectl-get-fails", words);
        let ran = project.run(&["up"]);
        ran.code(92).stderr("error: the cluster of context `kind-test` refused to list its nodes
  caused by: [..] cannot list resource \"nodes\"
  help: see what you may do with `kubectl --context kind-test --namespace default auth can-i --list`\n");
    }

    #[test]
    fn no_node_may_run_the_pods() {
        let project = Project::new();
        let manifest = std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
        let manifest =
            manifest.replace("    spec:\n", "    spec:\n      nodeSelector: {gpu: \"yes\"}\n");
        project.write("k8s/app.yaml", &manifest);
        let ran = project.run(&["up"]);
        ran.code(92).stderr(
            "error: no node of context `kind-test` may run the pods
  caused by: `n1`: it lacks the label `gpu=yes`; `n2`: it lacks the label `gpu=yes`
  help: change the pods' node selector, affinity or tolerations, or name a node with `--node`\n",
        );
        untouched(&project);
    }

    #[test]
    fn a_node_is_unknown() {
        let project = Project::new();
        let ran = project.run(&["up", "--node", "n3"]);
        ran.code(92)
            .stderr("error: the cluster has no node `n3`\n  help: use one of `n1` and `n2`\n");
        untouched(&project);
    }
}

mod node {
    use super::*;

    /// Nodes are reached while docker builds: how far that came may differ.
    #[track_caller]
    fn fails(project: &Project, error: &str) {
        project.run(&["up", "--node", "n1"]).code(93).stdout("").error(error);
        untouched(project);
    }

    /// ssh says this and fails with its own code, 255.
    #[track_caller]
    fn ssh_says(words: &str, stderr: &str) -> Project {
        let project = Project::new();
        project.write("fake/ssh-10.0.0.1", words);
        fails(&project, stderr);
        project
    }

    #[test]
    fn it_is_not_reachable() {
        let words = "ssh: connect to host 10.0.0.1 port 22: Connection refused\n";
        let project = ssh_says(words, "error: node `n1` at 10.0.0.1 is not reachable: `ssh 10.0.0.1` exited with code 255: ssh: connect to host 10.0.0.1 port 22: Connection refused
  help: check it with `ssh 10.0.0.1`; if it is reached elsewhere, set `nodes.n1.ssh` in `[package.metadata.kdev]`\n");
        // Who follows the advice succeeds.
        project.config("nodes.n1.ssh = \"root@10.9.9.9\"").run(&["up", "--node", "n1"]).code(0);
    }

    #[test]
    fn it_ends_a_build_that_would_be_of_no_use() {
        let project = Project::new();
        let words = "ssh: connect to host 10.0.0.1 port 22: Connection refused\n";
        project.write("fake/ssh-10.0.0.1", words).write("fake/build-hangs", "");
        fails(&project, "error: node `n1` at 10.0.0.1 is not reachable: [..]\n  help: [..]\n");
    }

    #[test]
    fn its_host_key_is_unknown() {
        let words = "No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.\nHost key verification failed.\n";
        ssh_says(words, "error: the host key of node `n1` at 10.0.0.1 is not known: No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.
    Host key verification failed.
  help: run `ssh 10.0.0.1` once, compare the key, and accept it\n");
    }

    #[test]
    fn its_host_key_has_changed() {
        let words = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n  ssh-keygen -f \"/home/u/.ssh/known_hosts\" -R \"10.0.0.1\"\nHost key verification failed.\n";
        ssh_says(words, "error: the host key of node `n1` at 10.0.0.1 has changed
  help: if the node was reinstalled, run `ssh-keygen -f \"/home/u/.ssh/known_hosts\" -R \"10.0.0.1\"`, then `ssh 10.0.0.1`; if not, somebody else answers\n");
    }

    #[test]
    fn it_lets_nobody_in() {
        ssh_says("u@10.0.0.1: Permission denied (publickey).\n", "error: node `n1` at 10.0.0.1 denies the login: u@10.0.0.1: Permission denied (publickey).
  help: make `ssh 10.0.0.1` work without a password; another user is set with `nodes.n1.ssh` in `[package.metadata.kdev]`\n");
    }

    #[test]
    fn its_login_shell_runs_nothing() {
        let project = Project::new();
        project.write("fake/nologin-10.0.0.1", "");
        fails(
            &project,
            "error: node `n1` at 10.0.0.1 runs no command: This account is currently not available.
  help: use a user with a login shell: set `nodes.n1.ssh` in `[package.metadata.kdev]`\n",
        );
    }

    #[test]
    fn the_target_is_no_host() {
        let project = Project::new();
        project.config("nodes.n1.ssh = \"-oProxyCommand=touch /tmp/x\"");
        fails(
            &project,
            "error: node `n1`: `-oProxyCommand=touch /tmp/x` is no ssh target
  help: set `nodes.n1.ssh = \"user@host\"` in `[package.metadata.kdev]`\n",
        );
    }

    #[test]
    fn sudo_wants_a_password() {
        let project = Project::new();
        project
            .write("fake/uid", "1000")
            .write("fake/sudo-refuses", "sudo: a password is required\n");
        fails(&project, "error: sudo on node `n1` at 10.0.0.1 asks for a password
  help: allow it on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n");
    }

    #[test]
    fn sudo_wants_a_terminal() {
        let project = Project::new();
        project
            .write("fake/uid", "1000")
            .write("fake/sudo-refuses", "sudo: sorry, you must have a tty to run sudo\n");
        fails(
            &project,
            "error: sudo on node `n1` at 10.0.0.1 asks for a terminal
  help: allow it on node `n1` with `visudo`: `Defaults:USER !requiretty`\n",
        );
    }

    #[test]
    fn sudos_rules_refuse() {
        let project = Project::new();
        let words = "Sorry, user dev is not allowed to execute '/usr/bin/ctr -n k8s.io version' as root on n1.\n";
        project.write("fake/uid", "1000").write("fake/sudo-refuses", words);
        fails(
            &project,
            "error: sudo on node `n1` at 10.0.0.1 does not allow it: Sorry, user dev is not allowed to execute '/usr/bin/ctr -n k8s.io version' as root on n1.
  help: allow it on node `n1` with `visudo`: `dev ALL=(root) NOPASSWD: [ROOT]/bin/ctr -n k8s.io *`\n",
        );
    }

    #[test]
    fn there_is_no_sudo() {
        let project = Project::new();
        project.write("fake/uid", "1000").remove("bin/sudo");
        fails(
            &project,
            "error: node `n1` at 10.0.0.1 has no sudo, and its containerd is root's
  help: install sudo on node `n1`, or log in as root with `nodes.n1.ssh = \"root@host\"`\n",
        );
    }

    #[test]
    fn containerd_does_not_answer() {
        let project = Project::new();
        let words =
            "ctr: failed to dial \"/run/containerd/containerd.sock\": context deadline exceeded\n";
        project.write("fake/ctr-denied", words);
        fails(&project, "error: containerd on node `n1` at 10.0.0.1 does not answer: ctr: failed to dial \"/run/containerd/containerd.sock\": context deadline exceeded
  help: run `ctr -n k8s.io version` on node `n1` as root\n");
    }

    #[test]
    fn its_runtime_is_not_containerd() {
        let project = Project::new();
        let nodes = std::fs::read_to_string(project.path("fake/nodes.json")).unwrap();
        project.write("fake/nodes.json", &nodes.replace("containerd://1.6.20", "cri-o://1.30.0"));
        fails(
            &project,
            "error: node `n1` runs `cri-o://1.30.0`, and kdev knows containerd only
  help: use nodes with containerd, or leave it out with `--node`\n",
        );
    }
}

mod load {
    use super::*;

    #[test]
    fn docker_cannot_save() {
        let project = Project::new();
        project.write("fake/save-fails", "");
        fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
error: docker could not hand out the image for node `n1`
  caused by: `docker save {IMAGE}` exited with code 1: Error response from daemon: unable to create manifests file: NotFound: content digest sha256:1: not found
  help: build the image anew with `docker build --no-cache`\n"));
    }

    #[test]
    fn the_disk_is_full() {
        let project = Project::new();
        project.write("fake/ctr-import-fails", "ctr: failed to ingest \"blobs/sha256/1\": failed to copy: write /x: no space left on device\n");
        fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
error: the disk of node `n1` at 10.0.0.1 is full: ctr: failed to ingest \"blobs/sha256/1\": failed to copy: write /x: no space left on device
  help: free space on node `n1`, with `crictl rmi --prune` for one\n"));
    }

    #[test]
    fn the_connection_is_lost() {
        let project = Project::new();
        project.write("fake/ssh-cut", "");
        fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
        Note the connection to node `n1` at 10.0.0.1 was lost during the load: Connection to 10.0.0.1 closed by remote host.; trying once more
     Loading n1 (4.00 KiB)
error: the connection to node `n1` at 10.0.0.1 was lost during the load: Connection to 10.0.0.1 closed by remote host.
  help: run it again; a load that was cut leaves nothing behind\n"));
        // Who follows the advice succeeds.
        project.remove("fake/ssh-cut").run(&["up"]).code(0);
    }

    #[test]
    fn the_import_fails_after_it_wrote_the_name() {
        let project = Project::new();
        project.write("fake/ctr-import-fails", "ctr: failed to extract layer: unexpected digest\n");
        fails(
            &project,
            94,
            &format!(
                "{BUILT}     Loading n1 (4.00 KiB)
error: node `n1` at 10.0.0.1 did not take the image: ctr: failed to extract layer: unexpected digest
  help: run it again; if that fails, see `journalctl --unit containerd` on node `n1`\n"
            ),
        );
    }

    #[test]
    fn success_alone_proves_nothing() {
        let project = Project::new();
        project.write("fake/cri-is-blind", "");
        fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
error: node `n1` at 10.0.0.1 did not take the image: `ctr` reported success, yet the node's runtime does not have the image
  help: run it again; if that fails, see `journalctl --unit containerd` on node `n1`\n"));
    }

    #[test]
    fn one_node_fails_and_the_other_finishes() {
        let project = Project::new();
        project.config("nodes.n2.sudo = true");
        project.write("fake/sudo-refuses-import", "sudo: a password is required\n");
        project.run(&["up"]).code(94);
        assert_eq!(project.images_on("10.0.0.1").len(), 2);
        assert_eq!(project.images_on("10.0.0.2"), [""; 0]);
        assert_eq!(project.applied(), None);
    }
}

mod rollout {
    use super::*;

    #[test]
    fn a_pod_that_cannot_start_ends_the_wait_at_once() {
        let project = Project::new();
        project.write("fake/deployment.json", r#"{"metadata":{"generation":1,"uid":"u","annotations":{"deployment.kubernetes.io/revision":"1"}},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},
            "template":{"spec":{"containers":[{"image":"x"}]}}},"status":{"observedGeneration":1,"updatedReplicas":1,"replicas":1}}"#);
        project.write("fake/pods.json", r#"{"items":[
            {"kind":"ReplicaSet","metadata":{"ownerReferences":[{"uid":"u"}],"annotations":{"deployment.kubernetes.io/revision":"1"},"labels":{"pod-template-hash":"h"}}},
            {"kind":"Pod","metadata":{"name":"app-1","labels":{"pod-template-hash":"h"}},"spec":{"nodeName":"n1","containers":[{"image":"x"}]},
            "status":{"phase":"Pending","containerStatuses":[{"name":"app","state":{"waiting":{"reason":"CreateContainerConfigError","message":"configmap \"c\" not found"}}}]}}]}"#);
        let ran = project.run(&["up", "--node", "n1"]);
        ran.code(95).stderr(&format!(
            "{BUILT}     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
     Applied deployment.apps/app to kind-test
error: deployment/app cannot become ready: pod `app-1` on node `n1` does not start
  caused by: container `app`: CreateContainerConfigError: configmap \"c\" not found
  help: see `kubectl --context kind-test --namespace default describe pod app-1`\n"
        ));
    }

    #[test]
    fn it_takes_too_long() {
        let project = Project::new();
        project.write("fake/deployment.json", r#"{"metadata":{"generation":1},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}}},"status":{"observedGeneration":1}}"#);
        let ran = project.run(&["up", "--node", "n1", "--timeout", "1"]);
        ran.code(96).stderr(&format!("{BUILT}     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
     Applied deployment.apps/app to kind-test
     Waiting deployment/app: 0 of 1 pod ready
error: deployment/app was not ready within 1 s: 0 of 1 new pods are
  caused by: there is no pod yet
  help: see `kubectl --context kind-test --namespace default describe deployment/app`; if it only needs longer, give `--timeout SECONDS`\n"));
    }
}
