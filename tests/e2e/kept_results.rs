//! Builders that keep the results of their builds: `BuildKit` on a socket and in a container.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::daemons::{BUILDER, Builder, start_docker_29_in_own_network};
use crate::full_disk::mount_small_cache;
use crate::lab::{docker, run, stderr_text, wait_for};
use crate::layout_export::remove_images;
use crate::partial_load::{BASE, assert_small_load, service_with_large_base, up_with_page};
use crate::test_service::{NODES, Service};

/// Returns how many directories of exports are left.
fn left_layouts(service: &Service) -> usize {
    let cache = fs::read_dir(service.path("cache/kdev")).unwrap().flatten();
    cache.filter(|entry| entry.file_name().to_string_lossy().starts_with("layout-")).count()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn remote_buildkit_exports_only_changed_layers() {
    let mut service = service_with_large_base("kept-remote");
    let _builder = Builder::start_remote(&mut service);
    let first = up_with_page(&service, "one");
    assert!(first.iter().all(|bytes| *bytes > BASE as u64), "sent {first:?}");
    assert_small_load(&up_with_page(&service, "two"));
    let status = run(&mut service.kdev(&["status", "--namespace", service.name]));
    assert_eq!(status.matches(" latest ").count(), NODES.len(), "{status}");
    let images = run(&mut docker(&["image", "ls", "--quiet", service.name]));
    assert_eq!(images, "", "Docker has the image");

    // A placeholder stands for a layer that this node does not have any more.
    fs::remove_dir_all(service.path("cache/kdev/layers")).unwrap();
    remove_images(&service, NODES[1]);
    let sent = up_with_page(&service, "three");
    assert_eq!(sent.iter().filter(|bytes| **bytes > BASE as u64).count(), 1, "sent {sent:?}");

    // The same for `load`, which exports the layers again, too.
    fs::remove_dir_all(service.path("cache/kdev/layers")).unwrap();
    remove_images(&service, NODES[0]);
    let output = service.kdev(&["load"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    assert_eq!(left_layouts(&service), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn buildkit_in_container_is_used_and_started() {
    let mut service = Service::on_node("node-2", "kept-container");
    let _docker = start_docker_29_in_own_network(&mut service);
    let builder = Builder::start_container(&mut service);
    service.up_ok();
    run(&mut builder.docker(&["buildx", "stop", BUILDER]));
    service.set_page("second");
    let stderr = service.up_ok();
    assert!(stderr.contains("Applied"), "{stderr}");
    assert!(service.pages().iter().all(|(_, page)| page == "second"));
    assert_eq!(left_layouts(&service), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn full_cache_folder_is_named() {
    let mut service = service_with_large_base("kept-full");
    let _builder = Builder::start_remote(&mut service);
    let (cache, _undo) = mount_small_cache(&service);
    let output = service.up(&[]).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let folder = cache.join("kdev");
    let note = format!("Note the disk of `{}` is almost full", folder.display());
    assert!(stderr.contains(&note), "{stderr}");
    assert_eq!(left_layouts(&service), 0);
    // Follow the help.
    service.variables.push(("XDG_CACHE_HOME", service.path("docker").display().to_string()));
    service.up_ok();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn killed_buildkit_during_export_fails_once() {
    let mut service = service_with_large_base("kept-killed");
    fs::create_dir(service.path("docker")).unwrap();
    let relay = Relay::start(service.path("docker"));
    let mut builder = Builder::start_remote_behind(&mut service, "relay.sock");
    relay.limit(BASE / 4);
    let up = service.start_up(&[]);
    relay.wait_until_stalled();
    builder.kill();
    let output = up.wait_with_output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches("error: failed to build").count(), 1, "{stderr}");
    assert_eq!(left_layouts(&service), 0);
    builder.restart(&service);
    relay.limit(usize::MAX);
    service.up_ok();
}

/// A socket that forwards connections to `BuildKit`, and stalls after a number of bytes from it:
/// then an export has begun, but is not complete.
struct Relay {
    remaining: Arc<AtomicUsize>,
    is_stalled: Arc<AtomicBool>,
}

impl Relay {
    /// Listens on `relay.sock` in the folder of `buildkit.sock`, until the test ends.
    fn start(folder: PathBuf) -> Self {
        let listener = UnixListener::bind(folder.join("relay.sock")).unwrap();
        let remaining = Arc::new(AtomicUsize::new(usize::MAX));
        let is_stalled = Arc::new(AtomicBool::new(false));
        let relay = Self { remaining: remaining.clone(), is_stalled: is_stalled.clone() };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The daemon may not be running.
                let Ok(daemon) = UnixStream::connect(folder.join("buildkit.sock")) else {
                    continue;
                };
                let (to_daemon, to_client) =
                    (daemon.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || forward(client, to_daemon, |_| true));
                let (remaining, is_stalled) = (remaining.clone(), is_stalled.clone());
                let permits = move |bytes| {
                    let take = |left: usize| left.checked_sub(bytes);
                    let order = Ordering::SeqCst;
                    let is_permitted = !is_stalled.load(order)
                        && remaining.fetch_update(order, order, take).is_ok();
                    is_stalled.fetch_or(!is_permitted, order);
                    is_permitted
                };
                thread::spawn(move || forward(daemon, to_client, permits));
            }
        });
        relay
    }

    fn limit(&self, bytes: usize) {
        self.remaining.store(bytes, Ordering::SeqCst);
        self.is_stalled.store(false, Ordering::SeqCst);
    }

    #[track_caller]
    fn wait_until_stalled(&self) {
        wait_for("the export", || self.is_stalled.load(Ordering::SeqCst).then_some(()));
    }
}

/// Copies bytes until the sender closes the connection, without those that are not permitted.
fn forward(mut from: UnixStream, mut to: UnixStream, permits: impl Fn(usize) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if permits(count) && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
