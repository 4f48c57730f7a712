//! The image store of containerd, which `doctor` recommends for a daemon that cannot push to this
//! machine.

use std::fs;

use serde_json::Value;

use crate::daemons::start_docker_29_in_own_network;
use crate::doctor::{check_results, doctor};
use crate::far_docker::{CountingClient, start_socket_proxy};
use crate::lab::stderr_text;
use crate::partial_load::{assert_small_load, sent_bytes, service_with_large_base};
use crate::test_service::Service;

/// Deploys a page. Returns the number of bytes sent to each node, and how often Docker has exported
/// the whole image.
#[track_caller]
fn up(service: &Service, client: &CountingClient, page: &str) -> (Vec<u64>, usize) {
    service.set_page(page);
    let (output, saves) = client.run(&mut service.up(&["--message-format", "json"]));
    let events = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{events}{}", stderr_text(&output));
    (sent_bytes(&events), saves)
}

/// Returns the check of how the layers of a build get to this machine.
#[track_caller]
fn check_layers(service: &Service) -> Value {
    let results = check_results(&mut doctor(service, &[]), 0);
    results.into_iter().find(|one| one["check"] == "layers").unwrap()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn store_of_containerd_is_enabled_by_help() {
    let mut service = service_with_large_base("enable-store");
    let client = CountingClient::new(&service);
    fs::create_dir(service.path("docker")).unwrap();
    let settings = service.path("docker/daemon.json");
    fs::write(&settings, r#"{"features": {"containerd-snapshotter": false}}"#).unwrap();
    let daemon = start_docker_29_in_own_network(&mut service);
    let _proxy = start_socket_proxy(&mut service);
    let proxy_host = service.docker_host.clone();
    up(&service, &client, "one");
    assert_eq!(up(&service, &client, "two").1, 1);
    let check = check_layers(&service);
    assert_eq!(check["state"], "warning", "{check}");

    // Follow the help.
    let help = check["help"].as_str().unwrap();
    let (setting, rest) = help.strip_prefix("add `").unwrap().split_once('`').unwrap();
    assert_eq!(rest, " to `daemon.json` of the daemon, and restart it");
    drop(daemon);
    // The beta of Docker 29 in the lab, unlike releases, keeps the previous store while it has data.
    fs::remove_dir_all(service.path("docker/root")).unwrap();
    fs::write(&settings, format!("{{{setting}}}")).unwrap();
    let _daemon = start_docker_29_in_own_network(&mut service);
    service.docker_host = proxy_host;
    let check = check_layers(&service);
    assert_eq!(check["state"], "ok", "{check}");
    assert_eq!(up(&service, &client, "three").1, 0);
    let (sent, saves) = up(&service, &client, "four");
    assert_small_load(&sent);
    assert_eq!(saves, 0);
}
