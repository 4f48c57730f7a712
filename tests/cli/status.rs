//! `cargo kdev status`: the table, the JSON output, and the commands that it runs.

use std::fs;
use std::time::Duration;

use crate::json_schema;
use crate::project::{CONFIG, IMAGE, Project, REPLICA_SET, pod};

const OTHER: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

fn project() -> Project {
    let project = Project::new();
    let deployment = fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    let named = "\"name\":\"app\",\"creationTimestamp\":\"2020-01-01T00:00:00Z\"";
    let deployment = deployment.replace("\"name\":\"app\"", named);
    let deployment =
        deployment.replace("\"replicas\":2,\"upd", "\"readyReplicas\":2,\"replicas\":2,\"upd");
    project.write("fake/deployment.json", &deployment);
    set_latest(&project, CONFIG);
    project
}

/// Sets the image `app:latest` in Docker.
fn set_latest(project: &Project, id: &str) {
    let row = |tag: &str, id: &str| {
        format!(r#"{{"Repository":"app","Tag":"{tag}","ID":"{id}","CreatedSince":"1 hour ago"}}"#)
    };
    let rows = [row("latest", id), row("kdev-0123456789ab", CONFIG)];
    project.write("fake/images.json", &(rows.join("\n") + "\n"));
}

/// Replaces the pods atomically.
fn replace(project: &Project, text: &str) {
    project.write("fake/next", text);
    fs::rename(project.path("fake/next"), project.path("fake/pods.json")).unwrap();
}

fn pods(project: &Project, waiting: &str) {
    let runs = |id: &str| format!(r#"{{"name":"app","imageID":"{id}","restartCount":2}}"#);
    let waits = format!(
        r#"{{"name":"app","imageID":"","restartCount":0,"state":{{"waiting":{{"reason":"{waiting}"}}}}}}"#
    );
    let pods = [
        REPLICA_SET.to_owned(),
        pod("app-1", "n1", "app", IMAGE, &runs(CONFIG)),
        pod("app-2", "n1", "app", "mirror/app:1", &runs(OTHER)),
        pod("app-3", "n2", "app", IMAGE, &waits),
    ];
    replace(project, &pods.join(","));
}

#[test]
fn each_pod_has_row_with_build_status() {
    let project = project();
    pods(&project, "ErrImageNeverPull");
    let ran = project.run(&["status"]);
    ran.code(0).stdout(
        "\
WORKLOAD        READY  POD    NODE  STATUS             TAG                BUILD        POLICY  RESTARTS  AGE
deployment/app  2/2    app-1  n1    Ready              kdev-0123456789ab  latest       Never   2         -
deployment/app  2/2    app-2  n1    Ready              mirror/app:1       other image  Never   2         -
deployment/app  2/2    app-3  n2    ErrImageNeverPull  kdev-0123456789ab  not on node  Never   0         -
",
    );
    ran.stderr("        Note some pods have problems; run `cargo kdev why` to find the cause\n");
    set_latest(&project, OTHER);
    let ran = project.run(&["status", "-n", "dev"]);
    assert!(ran.code(0).out().contains(" outdated "), "{}", ran.out());
    let note =
        "some pods use an outdated build; run `cargo kdev up --namespace dev` to deploy the latest";
    assert!(ran.err().contains(note), "{}", ran.err());
    project.run(&["status", "--quiet"]).code(0).stderr("");
}

#[test]
fn status_runs_kubectl_once_and_changes_nothing() {
    let project = project();
    let config = "current-context: prod\ncontexts: [{name: prod, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://10.0.0.9'}}]\n";
    project.write("config", config);
    let (config, cache) = (project.path("config"), project.path("cache"));
    let env =
        [("KUBECONFIG", config.to_str().unwrap()), ("XDG_CACHE_HOME", cache.to_str().unwrap())];
    project.run_with(&env, &["status"]).code(0);
    project.remove("fake/log");
    // The context needs no permission.
    project.run_with(&env, &["status"]).code(0);
    let calls = project.calls();
    let kubectl: Vec<&str> = calls.lines().filter(|call| call.starts_with("kubectl")).collect();
    let read = "kubectl --context prod --namespace default --request-timeout=15s get deployments.apps,pods,replicasets.apps --output=json";
    assert_eq!(kubectl, [read]);
    let docker: Vec<&str> = calls.lines().filter(|call| call.starts_with("docker")).collect();
    let expected =
        ["docker version --format {{json .}}", "docker image ls --no-trunc --format {{json .}}"];
    assert_eq!(docker, expected);
    assert!(!calls.contains("ssh"), "{calls}");
}

#[test]
fn missing_workload_suggests_up() {
    let project = project();
    project.write("fake/deployment.json", "{}").write("fake/pods.json", "");
    project.run(&["status"]).code(0).stdout("").stderr(
        "        Note `app` is not applied to namespace `default` of context `kind-test`; run `cargo kdev up` to apply it\n",
    );
    let ran = project.run(&["status", "--message-format", "json"]);
    let line = r#"{"version":1,"reason":"status","latest":"kdev-0123456789ab","workload":"deployment/app","namespace":"default","ready":null,"desired":null,"pod":null,"node":null,"state":"not applied","image":null,"build":null,"applied":null,"pull_policy":null,"restarts":0,"created":null}
"#;
    ran.code(0).stdout(line).stderr("");
}

#[test]
fn missing_namespace_is_error() {
    let project = project();
    project.write("fake/deployment.json", "{}").write("fake/pods.json", "");
    let error = "error: namespace `shopp` not found in context `kind-test`
  help: use `shop`\n";
    project.run(&["status", "--namespace", "shopp"]).code(92).stderr(error);
    project.run(&["why", "--namespace", "shopp"]).code(92).stderr(error);
    let empty = "no pods or workloads found in namespace `shop` of context `kind-test`\n";
    project.run(&["why", "--namespace", "shop"]).code(0).stdout(empty).stderr("");
}

#[test]
fn pods_are_listed_without_docker() {
    let project = project();
    project.write("fake/docker-down", "Cannot connect to the Docker daemon\n");
    let ran = project.run(&["status"]);
    assert!(ran.code(0).out().contains(" unknown "), "{}", ran.out());
    ran.stderr("        Note the latest build is unknown: cannot connect to the Docker daemon\n");
    project.remove("fake/docker-down").remove("fake/images.json");
    project
        .run(&["status"])
        .code(0)
        .stderr("        Note the latest build is unknown: Docker has no image of this project\n");
}

#[test]
fn unreachable_cluster_is_error() {
    let project = project();
    project
        .write("fake/kubectl-get-fails", "dial tcp 10.0.0.9:6443: connect: connection refused\n");
    let start = "error: cannot connect to the cluster of context `kind-test`\n";
    assert!(project.run(&["status"]).code(92).err().starts_with(start));
    project.run(&["status", "--context", "absent"]).code(92);
}

#[test]
fn watch_prints_changes_and_succeeds_on_interrupt() {
    let project = project();
    pods(&project, "ContainerCreating");
    let watch = project.start(&["status", "--watch", "--message-format", "json"]);
    wait_for_reads(&project, 3);
    pods(&project, "ErrImageNeverPull");
    wait_for_reads(&project, 2);
    let deployment = fs::read_to_string(project.path("fake/pods.json")).unwrap();
    replace(&project, &deployment.replace("app-1", "app-4"));
    wait_for_reads(&project, 2);
    let pid = nix::unistd::Pid::from_raw(watch.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = watch.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let stdout = String::from_utf8(output.stdout).unwrap();
    json_schema::check_lines(&stdout);
    let field = |line: &str, name: &str| {
        line.split(&format!("\"{name}\":\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let lines: Vec<_> = stdout
        .lines()
        .map(|line| [field(line, "reason"), field(line, "pod"), field(line, "build")].join(" "))
        .collect();
    let expected = [
        "status app-1 latest",
        "status app-2 not-this-project",
        "status app-3 not-started",
        "status app-3 missing",
        "status app-4 latest",
        "gone app-1 latest",
    ];
    assert_eq!(lines, expected, "{stdout}");
}

/// Waits until the status was read `more` times.
fn wait_for_reads(project: &Project, more: usize) {
    let count = || project.calls().matches(" get deployments.apps").count();
    let before = count();
    for _ in 0..600 {
        if count() >= before + more {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the status is not read: {}", project.calls());
}
