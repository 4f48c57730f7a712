//! `cargo kdev load`: the load alone.

use crate::project::{CONFIG, Project};

#[test]
fn an_image_is_loaded_under_its_own_name_and_nothing_is_applied() {
    let project = Project::new();
    project.run(&["load", "tool:1", "--node", "n2"]).code(0).stderr(
        "     Loading n2 (4.00 KiB)
      Loaded n2: sent [..] in [TIME]
    Finished tool:1 in [TIME]\n",
    );
    assert_eq!(project.images_on("10.0.0.2"), ["docker.io/library/tool:1", CONFIG]);
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
    assert_eq!(project.applied(), None);
}

#[test]
fn without_an_image_the_last_build_is_loaded() {
    let project = Project::new();
    project.run(&["load"]).code(0);
    for node in ["10.0.0.1", "10.0.0.2"] {
        let expected = ["docker.io/library/app:kdev-0123456789ab", CONFIG];
        assert_eq!(project.images_on(node), expected);
    }
}

#[test]
fn outside_of_a_project_an_image_must_be_named() {
    let project = Project::new();
    project.remove("Cargo.toml");
    project.run(&["load", "tool:1"]).code(0);
    project.run(&["load"]).code(90);
}

#[test]
fn a_digest_is_no_name() {
    let project = Project::new();
    let digest = format!("tool@{CONFIG}");
    project.run(&["load", &digest]).code(90).stderr(
        "error: invalid value for `IMAGE` in the command line
  caused by: an image is loaded under a name; give one without a digest
  help: the README lists what each key takes\n",
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let project = Project::new();
    let ran = project.run(&["load", "--dry-run", "--node", "n1"]);
    ran.code(0).stdout(&format!(
        "docker tag {CONFIG} app:kdev-0123456789ab
docker save app:kdev-0123456789ab | ssh 10.0.0.1 [..] -n k8s.io image import --platform linux/amd64 -\n"
    ));
    assert!(!project.calls().contains("docker tag"));
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
}

#[test]
fn a_broken_project_is_not_passed_over() {
    let project = Project::new();
    project.write("Cargo.toml", "[package\n");
    project.run(&["load", "tool:1"]).code(90);
}
