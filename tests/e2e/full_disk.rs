//! The disk of the cache folder is almost full: layers that do not fit are not stored.

use std::fs;
use std::path::PathBuf;

use crate::docker_variants::ClassicDocker;
use crate::lab::{command, docker, run, stderr_text};
use crate::partial_load::{service_with_large_base, write_noise};
use crate::podman::use_podman;
use crate::test_service::{NODES, Service};
use crate::undo::Undo;

/// More than the cache folder has space for.
const LAYER: usize = 12 << 20;

/// Mounts a small file system at the cache folder of a service.
pub(crate) fn mount_small_cache(service: &Service) -> (PathBuf, Undo) {
    mount_small(service.path("cache"), "8m")
}

/// Mounts a file system of this size at a new folder.
fn mount_small(folder: PathBuf, size: &str) -> (PathBuf, Undo) {
    fs::create_dir_all(&folder).unwrap();
    let size = format!("size={size}");
    run(command("mount").args(["-n", "-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder));
    let mut unmount = command("umount");
    unmount.arg("-n").arg(&folder);
    (folder, Undo::new([unmount]))
}

/// Returns the number of files of more than 1 MiB in a folder.
fn large_files(folder: &PathBuf) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let count = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        meta if meta.is_dir() => large_files(&entry.path()),
        meta => usize::from(meta.len() > 1 << 20),
    };
    entries.map(count).sum()
}

/// Deploys a page and a layer that does not fit, and checks that the whole image is sent.
#[track_caller]
fn assert_whole_image_is_sent(service: &Service) {
    let (cache, _undo) = mount_small_cache(service);
    service.up_ok();
    write_noise(service, "www/noise", LAYER);
    service.set_page("large");
    let stderr = service.up_ok();
    let folder = cache.join("kdev");
    let reason = format!("the disk of `{}` is almost full", folder.display());
    let help = "free space on the disk of the cache folder, or set XDG_CACHE_HOME to a folder on another disk";
    let note = format!("Note {reason}, so the whole image is sent; {help}\n");
    assert_eq!(stderr.matches(&note).count(), 1, "{stderr}");
    assert_eq!(service.pages(), NODES.map(|node| (node.to_owned(), "large".to_owned())));
    assert_eq!(large_files(&folder), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn layer_that_docker_pushes_does_not_fill_disk() {
    assert_whole_image_is_sent(&service_with_large_base("full-push"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn layer_that_podman_saves_does_not_fill_disk() {
    let mut service = service_with_large_base("full-podman");
    use_podman(&mut service);
    assert_whole_image_is_sent(&service);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn archive_that_does_not_fit_is_rejected() {
    let service = service_with_large_base("full-archive");
    run(docker(&["build", "--tag", "full-archive:1", "."]).current_dir(service.dir()));
    run(docker(&["save", "--output", "a.tar", "full-archive:1"]).current_dir(service.dir()));
    let (cache, _undo) = mount_small_cache(&service);
    let output = service.kdev(&["load", "a.tar"]).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(90), "{stderr}");
    assert!(stderr.contains("is almost full"), "{stderr}");
    assert!(stderr.contains("help: free space on the disk of the cache folder, or"), "{stderr}");
    assert_eq!(large_files(&cache), 0);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn full_disk_of_docker_is_named() {
    let mut service = Service::new("full-docker");
    let (data, _undo) = mount_small(service.path("docker/root"), "64m");
    let _docker = ClassicDocker::start(&mut service);
    write_noise(&service, "www/noise", 80 << 20);
    let output = service.kdev(&["build"]).output().unwrap();
    let stderr = stderr_text(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    // The message of Docker.
    assert!(stderr.contains("no space left on device"), "{stderr}");
    let note = format!(
        "Note the disk of `{}`, where Docker stores images, was almost full; run `docker system df` to see what uses it\n",
        data.display()
    );
    assert_eq!(stderr.matches(&note).count(), 1, "{stderr}");
    fs::remove_file(service.path("www/noise")).unwrap();
    let output = service.kdev(&["build"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
}
