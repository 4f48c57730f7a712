//! Errors: the complete stderr and the exit code of each, and that nodes and cluster are
//! unchanged.

mod build;
mod cluster;
mod load;
mod node;
mod project;
mod rollout;
mod tools;

use crate::project::{IMAGE, Project};

const BUILT: &str = "    Building app:latest\nStep 1/1 : FROM scratch\n       Built app:kdev-0123456789ab in [TIME]\n";

/// Checks that nothing was loaded or applied.
#[track_caller]
fn untouched(project: &Project) {
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
    assert_eq!(project.applied(), None);
}

/// Checks the exit code and stderr of `up` with one node.
#[track_caller]
fn fails(project: &Project, code: i32, stderr: &str) {
    project.run(&["up", "--node", "n1"]).code(code).stdout("").stderr(stderr);
    untouched(project);
}
