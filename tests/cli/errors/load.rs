//! Errors of a load.

use super::*;

#[test]
fn docker_save_fails() {
    let project = Project::new();
    project.write("fake/save-fails", "");
    fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
error: failed to export the image for node `n1`
  caused by: `docker save {IMAGE}` exited with code 1: Error response from daemon: unable to create manifests file: NotFound: content digest sha256:1: not found
  help: run `docker build --no-cache` to rebuild the image\n"));
}

#[test]
fn full_disk() {
    let project = Project::new();
    project.write("fake/ctr-import-fails", "ctr: failed to ingest \"blobs/sha256/1\": failed to copy: write /x: no space left on device\n");
    fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
error: no space left on node `n1` (10.0.0.1): ctr: failed to ingest \"blobs/sha256/1\": failed to copy: write /x: no space left on device
  help: free space on node `n1`; run `sudo du -xh -d2 /var | sort -h | tail` there to see what uses it\n"));
}

#[test]
fn image_does_not_fit_on_disk() {
    let project = Project::new();
    let df =
        "echo Filesystem 1024-blocks Used Available Capacity Mounted on; echo /dev/x 9 6 3 60% /";
    project.script("df", df);
    fails(
        &project,
        94,
        &format!(
            "{BUILT}error: no space left on node `n1` (10.0.0.1): the layers need 4096 bytes, but only 3072 bytes are free
  help: free space on node `n1`; run `sudo du -xh -d2 /var | sort -h | tail` there to see what uses it\n"
        ),
    );
    // The help fixes it.
    project.script("df", &df.replace(" 3 ", " 4 ")).run(&["up"]).code(0);
}

#[test]
fn lost_connection() {
    let project = Project::new();
    project.write("fake/ssh-cut", "");
    fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
        Note lost the connection to node `n1` (10.0.0.1): Connection to 10.0.0.1 closed by remote host.; retrying once
     Loading n1 (4.00 KiB)
error: lost the connection to node `n1` (10.0.0.1): Connection to 10.0.0.1 closed by remote host.
  help: run the command again; an interrupted load leaves nothing behind\n"));
    // The help fixes it.
    project.remove("fake/ssh-cut").run(&["up"]).code(0);
}

#[test]
fn import_fails_after_name_was_written() {
    let project = Project::new();
    project.write("fake/ctr-import-fails", "ctr: failed to extract layer: unexpected digest\n");
    fails(
        &project,
        94,
        &format!(
            "{BUILT}     Loading n1 (4.00 KiB)
error: failed to import the image on node `n1` (10.0.0.1): ctr: failed to extract layer: unexpected digest
  help: run the command again; if it fails again, check `journalctl --unit containerd` on node `n1`\n"
        ),
    );
}

#[test]
fn log_command_in_help_depends_on_distribution() {
    let project = Project::new();
    project.edit_nodes(
        "containerd://1.6.20\"",
        "containerd://2.1.5-k3s1\",\"kubeletVersion\":\"v1.34.1+k3s1\"",
    );
    project.script("k3s", "shift; exec ctr \"$@\"");
    project.write("fake/ctr-import-fails", "ctr: failed to extract layer: unexpected digest\n");
    project.run(&["up", "--node", "n1"]).code(94).error(
        "error: failed to import the image on node `n1` (10.0.0.1): ctr: failed to extract layer: unexpected digest
  help: run the command again; if it fails again, check `sudo tail /var/lib/rancher/k3s/agent/containerd/containerd.log` on node `n1`\n",
    );
}

#[test]
fn containerd_stops_during_import() {
    let project = Project::new();
    let message = "ctr: failed to send write: error reading from server: EOF: unavailable";
    project.write("fake/ctr-import-fails", &format!("{message}\n"));
    fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
        Note containerd on node `n1` (10.0.0.1) stopped during the load: {message}; retrying once
     Loading n1 (4.00 KiB)
error: containerd on node `n1` (10.0.0.1) stopped during the load: {message}
  help: start containerd on node `n1` and run the command again, which also repairs an image name that this load may have left\n"));
}

#[test]
fn successful_import_without_image_is_error() {
    let project = Project::new();
    project.write("fake/cri-misses-image", "");
    fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
error: failed to import the image on node `n1` (10.0.0.1): `ctr` reported success, but the image is missing from the node
  help: run the command again; if it fails again, check `journalctl --unit containerd` on node `n1`\n"));
}

#[test]
fn failed_node_does_not_stop_other_load() {
    let project = Project::new();
    project.config("nodes.n2.sudo = true");
    project.write("fake/sudo-refuses-import", "sudo: a password is required\n");
    project.run(&["up"]).code(94);
    assert_eq!(project.images_on("10.0.0.1").len(), 2);
    assert_eq!(project.images_on("10.0.0.2"), [""; 0]);
    assert_eq!(project.applied(), None);
}
