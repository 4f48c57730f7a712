//! `cargo kdev status` with running workloads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::lab::{docker, in_node, kubectl, run, wait_for};
use crate::namespace::wait_until_usable;
use crate::test_service::{NODES, Service};

/// Returns the rows of `status`.
#[track_caller]
fn status_rows(service: &Service) -> Vec<Value> {
    let args = ["status", "--namespace", service.name, "--message-format", "json"];
    let text = run(&mut service.kdev(&args));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn field(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn build_is_latest_until_newer_build_exists() {
    let service = Service::new("seen");
    let args = ["status", "--namespace", "seen"];
    let output = service.kdev(&args).output().unwrap();
    let stderr = crate::lab::stderr_text(&output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert!(stderr.contains("`seen` is not applied to namespace `seen`"), "{stderr}");
    // Run the command in the message.
    let help_command = stderr.split('`').rev().nth(1).unwrap();
    let args: Vec<&str> = help_command.strip_prefix("cargo kdev ").unwrap().split(' ').collect();
    run(&mut service.kdev(&args));

    let rows = status_rows(&service);
    assert_eq!(field(&rows, "build"), ["latest", "latest"]);
    let mut nodes = field(&rows, "node");
    nodes.sort();
    assert_eq!(nodes, NODES);
    assert!(rows.iter().all(|row| row["ready"] == 2 && row["pull_policy"] == "Never"), "{rows:?}");

    service.set_page("second");
    run(docker(&["build", "--tag", "seen", "."]).current_dir(service.dir()));
    assert_eq!(field(&status_rows(&service), "build"), ["outdated", "outdated"]);
    service.up_ok();
    // The old pods may still be terminating, and are listed separately.
    let rows = wait_for("deletion of the old pods", || {
        Some(status_rows(&service)).filter(|rows| rows.len() == 2)
    });
    assert_eq!(field(&rows, "build"), ["latest", "latest"]);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn foreign_and_missing_images_are_reported() {
    let service = Service::new("strange");
    service.up_ok();
    let set = |image: &str| {
        let image = format!("web={image}");
        run(&mut kubectl("strange", &["set", "image", "deployment/strange", &image]));
    };
    // Another image that exists on the nodes.
    let images = run(&mut in_node("node-1", &["ctr", "-n", "k8s.io", "images", "ls", "-q"]));
    set(images.lines().find(|name| name.contains("/pause:")).unwrap());
    wait_for("foreign pods", || {
        let build = field(&status_rows(&service), "build");
        build.contains(&"not-this-project".to_owned()).then_some(())
    });
    set("strange:nowhere");
    wait_for("pods without an image", || {
        let rows = status_rows(&service);
        let missing = rows.iter().find(|row| row["build"] == "missing")?;
        assert_eq!(missing["state"], "ErrImageNeverPull");
        Some(())
    });
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn running_image_takes_precedence_over_tag() {
    let service = Service::on_node("node-1", "masked");
    service.up_ok();
    assert_eq!(field(&status_rows(&service), "build"), ["latest", "latest"]);
    // Another image gets the name on the node, and the pods are recreated.
    let tag = crate::lab::images_on("node-1", "/masked:").remove(0);
    let ctr = |args: &[&str]| {
        run(&mut in_node("node-1", &[&["ctr", "-n", "k8s.io", "images"], args].concat()))
    };
    let images = ctr(&["ls", "-q"]);
    let pause = images.lines().find(|name| name.contains("/pause:")).unwrap();
    ctr(&["tag", "--force", pause, &tag]);
    run(&mut kubectl("masked", &["delete", "pods", "--all", "--wait=false"]));
    wait_for("pods of the other image", || {
        field(&status_rows(&service), "build")
            .contains(&"not-this-project".to_owned())
            .then_some(())
    });
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn restarts_jobs_and_workloads_without_pods_are_shown() {
    let service = Service::new("varied");
    let pod = |script: &str| json!({"restartPolicy": "Never", "containers": [{"name": "work", "image": "varied", "command": ["/busybox", "sh", "-c", script]}]});
    let template = |script: &str| json!({"template": {"spec": pod(script)}});
    let labelled = json!({"metadata": {"labels": {"app": "none"}}, "spec": {"containers": [{"name": "web", "image": "varied"}]}});
    let mut bare = pod("/busybox sleep 2; exit 3");
    bare["restartPolicy"] = "OnFailure".into();
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": template("exit 0")},
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
            "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": template("exit 0")}}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "none"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "none"}}, "template": labelled}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": bare},
    ]});
    fs::write(service.path("k8s/all.yaml"), objects.to_string()).unwrap();
    service.up_ok();
    // The bare pod fails repeatedly.
    let restarts = |rows: &[Value]| {
        let bare = rows.iter().find(|row| row["workload"] == "pod/bare").unwrap();
        bare["restarts"].as_u64().unwrap()
    };
    let rows =
        wait_for("restarts", || Some(status_rows(&service)).filter(|rows| restarts(rows) > 1));
    let row = |name: &str| rows.iter().find(|row| row["workload"] == *name).unwrap();
    let job = row("job/once");
    assert_eq!((job["state"].as_str(), job["build"].as_str()), (Some("Completed"), Some("latest")));
    for (name, state) in [("cronjob/nightly", "no run yet"), ("deployment/none", "scaled to zero")]
    {
        assert_eq!((row(name)["state"].as_str(), row(name)["pod"].is_null()), (Some(state), true));
        assert_eq!(row(name)["build"], "latest");
    }
    run(&mut kubectl("varied", &["create", "job", "now", "--from=cronjob/nightly"]));
    wait_for("the run of the CronJob", || {
        let rows = status_rows(&service);
        let run = rows.iter().find(|row| row["workload"] == "cronjob/nightly")?;
        (run["state"] == "Completed" && run["build"] == "latest").then_some(())
    });
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn two_namespaces_are_shown_and_watched() {
    let service = Service::new("spread");
    let second = crate::test_service::deployment("spread", "")
        .replace("  name: spread\n", "  name: spread\n  namespace: spread-two\n");
    let both = format!("{}---\n{second}", crate::test_service::deployment("spread", ""));
    service.write("k8s/all.yaml", &both);
    let remove = ["delete", "namespace", "spread-two", "--ignore-not-found"];
    run(&mut kubectl("default", &remove));
    run(&mut kubectl("default", &["create", "namespace", "spread-two"]));
    wait_until_usable("spread-two");
    service.up_ok();
    let table = run(&mut service.kdev(&["status", "--namespace", "spread"]));
    assert!(table.starts_with("NAMESPACE   WORKLOAD           READY  POD "), "{table}");
    assert_eq!(table.matches("spread-two").count(), 2, "{table}");

    let watch = ["status", "--watch", "--namespace", "spread"];
    let mut watch = service.kdev(&watch).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    // The first table: a header and four pods.
    let first: Vec<String> = lines.by_ref().take(5).map(Result::unwrap).collect();
    run(&mut kubectl("spread", &["scale", "deployment/spread", "--replicas=0"]));
    let changed =
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("scaled to zero")));
    watch.kill().unwrap();
    watch.wait().unwrap();
    run(&mut kubectl("default", &[&remove[..], &["--wait=false"]].concat()));
    assert!(first[1].contains(" latest "), "{first:?}");
    assert!(changed.unwrap().unwrap().contains(" 0/0 "));
}
