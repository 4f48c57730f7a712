//! Partial loads: only layers that are missing on a node are sent, and the image runs.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

use crate::lab::{apply, command, docker, in_node, run, wait_for};
use crate::test_service::{NODES, Service, deployment};
use crate::undo::Undo;

/// More than the layer of a changed page, and far less than the base.
const SMALL_LOAD_BYTES: u64 = 64 << 10;

/// The size of the base, far more than a partial load sends.
pub(crate) const BASE: usize = 24 << 20;

/// Returns a service with a large base layer, so that the number of sent bytes shows whether
/// the base was sent.
pub(crate) fn service_with_large_base(name: &'static str) -> Service {
    let service = Service::new(name);
    fs::create_dir(service.path("base")).unwrap();
    write_noise(&service, "base/noise", BASE);
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    service.write("Dockerfile", &dockerfile.replace("COPY www", "COPY base /base\nCOPY www"));
    service
}

/// Writes a file of random bytes, which cannot be compressed.
pub(crate) fn write_noise(service: &Service, path: &str, bytes: usize) {
    let mut noise = vec![0; bytes];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    fs::write(service.path(path), noise).unwrap();
}

/// Runs `up`, checks the page on both nodes, and returns the number of bytes sent to each.
#[track_caller]
pub(crate) fn up_with_page(service: &Service, page: &str) -> Vec<u64> {
    service.set_page(page);
    let output = service.up(&["--message-format", "json"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), page.to_owned())));
    sent_bytes(&stdout)
}

/// Returns the number of bytes sent to each node, from the JSON events.
pub(crate) fn sent_bytes(events: &str) -> Vec<u64> {
    let lines = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let loaded = lines.filter(|line| line["reason"] == "loaded");
    loaded.map(|line| line["bytes"].as_u64().unwrap()).collect()
}

#[track_caller]
pub(crate) fn assert_small_load(sent: &[u64]) {
    assert_eq!(sent.len(), NODES.len());
    assert!(sent.iter().all(|bytes| *bytes < SMALL_LOAD_BYTES), "sent {sent:?}");
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn second_build_sends_only_changed_layer() {
    let service = service_with_large_base("thin");
    let first = up_with_page(&service, "one");
    assert!(first.iter().all(|bytes| *bytes > BASE as u64), "sent {first:?}");
    assert_small_load(&up_with_page(&service, "two"));
    assert_small_load(&up_with_page(&service, "three"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn base_layer_without_blob_is_not_sent_again() {
    let service = service_with_large_base("discarded");
    up_with_page(&service, "one");
    let inspected = run(&mut docker(&[
        "image",
        "inspect",
        "--format",
        "{{index .RootFS.Layers 1}}",
        "discarded:latest",
    ]));
    for node in NODES {
        let rm = ["ctr", "-n", "k8s.io", "content", "rm", inspected.trim()];
        run(&mut in_node(node, &rm));
    }
    assert_small_load(&up_with_page(&service, "two"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn slightly_changed_layer_is_sent_as_patch() {
    let service = service_with_large_base("patched");
    write_noise(&service, "www/noise", 3 << 20);
    up_with_page(&service, "one");
    // The first load may have cached no layer, so that there is no base for a patch.
    let second = up_with_page(&service, "two");
    assert!(second.iter().all(|bytes| *bytes < 4 << 20), "sent {second:?}");
    for page in ["three", "four"] {
        delete_rates(&service);
        assert_small_load(&up_with_page(&service, page));
    }
}

/// Deletes the measured link rates: a link without one counts as slow. The links of the lab
/// are so fast that kdev would send no patch.
fn delete_rates(service: &Service) {
    let rates = service.path("cache/kdev/records/rates");
    // A short transfer is not measured.
    if rates.exists() {
        fs::remove_dir_all(rates).unwrap();
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn deleted_cache_costs_one_full_load() {
    let service = service_with_large_base("forgotten");
    up_with_page(&service, "one");
    fs::remove_dir_all(service.path("cache")).unwrap();
    up_with_page(&service, "two");
    assert_small_load(&up_with_page(&service, "three"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn damaged_cached_layer_is_replaced_on_retry() {
    let service = service_with_large_base("rotten");
    // From the second load on, kdev requests single layers from Docker and caches them.
    up_with_page(&service, "zero");
    up_with_page(&service, "one");
    // Now the cache has a layer that is missing on one node.
    service.set_page("two");
    run(docker(&["build", "--tag", "rotten", "."]).current_dir(service.dir()));
    run(&mut service.kdev(&["load", "--node", "node-1"]));
    let blobs = service.path("cache/kdev/layers/blobs/sha256");
    let files = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
    let is_layer = |path: &PathBuf| !fs::read(path).unwrap().starts_with(b"{");
    let tars: Vec<_> = files.filter(is_layer).collect();
    assert!(!tars.is_empty());
    // Change one byte of it.
    for tar in tars {
        let mut bytes = fs::read(&tar).unwrap();
        bytes[1000] ^= 1;
        fs::write(tar, bytes).unwrap();
    }
    let stderr = service.up_ok();
    assert!(stderr.contains("retrying once"), "{stderr}");
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), "two".to_owned())));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn full_cache_disk_does_not_fail_load() {
    let service = service_with_large_base("no-room");
    write_noise(&service, "www/noise", 3 << 20);
    fs::create_dir(service.path("cache")).unwrap();
    let cache = service.path("cache").display().to_string();
    let mut umount = command("umount");
    umount.arg(&cache);
    let _undo = Undo::new([umount]);
    run(command("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", &cache]));
    up_with_page(&service, "one");
    let second = up_with_page(&service, "two");
    assert!(second.iter().all(|bytes| *bytes > BASE as u64));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn tag_can_move_to_newer_image() {
    let service = Service::new("moved");
    for page in ["one", "two"] {
        service.set_page(page);
        run(docker(&["build", "--tag", "moved:latest", "."]).current_dir(service.dir()));
        run(&mut service.kdev(&["load", "moved:latest"]));
    }
    apply("moved", &deployment("moved", "imagePullPolicy: Never"));
    let all = NODES.map(|node| (node.to_owned(), "two".to_owned()));
    wait_for("the second page", || (service.pages() == all).then_some(()));
}
