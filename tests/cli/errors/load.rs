//! The image does not get onto a node.

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
  help: free space on node `n1`: `sudo du -xh -d2 /var | sort -h | tail` shows there what fills it\n"));
}

#[test]
fn the_disk_has_no_room_for_it() {
    let project = Project::new();
    let df =
        "echo Filesystem 1024-blocks Used Available Capacity Mounted on; echo /dev/x 9 6 3 60% /";
    project.script("df", df);
    fails(
        &project,
        94,
        &format!(
            "{BUILT}error: the disk of node `n1` at 10.0.0.1 is full: the layers take 4096 bytes, and 3072 are free
  help: free space on node `n1`: `sudo du -xh -d2 /var | sort -h | tail` shows there what fills it\n"
        ),
    );
    // Who follows the advice succeeds.
    project.script("df", &df.replace(" 3 ", " 4 ")).run(&["up"]).code(0);
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
fn containerd_ends_in_the_import() {
    let project = Project::new();
    let words = "ctr: failed to send write: error reading from server: EOF: unavailable";
    project.write("fake/ctr-import-fails", &format!("{words}\n"));
    fails(&project, 94, &format!("{BUILT}     Loading n1 (4.00 KiB)
        Note containerd on node `n1` at 10.0.0.1 ended during the load: {words}; trying once more
     Loading n1 (4.00 KiB)
error: containerd on node `n1` at 10.0.0.1 ended during the load: {words}
  help: see on node `n1` why it ended, start it, and run this again: a name that the load may have left is then put right\n"));
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
