//! The environment of the tools that kdev runs is independent of the user's.

use std::fs;

use crate::project::Project;

#[test]
fn kubectl_ignores_preferences_and_prints_english() {
    let project = Project::new();
    let env = [("KUBERC", "/home/u/kuberc"), ("LANGUAGE", "de"), ("LC_ALL", "de_DE.UTF-8")];
    for args in [&["up"][..], &["status"], &["why"], &["doctor"], &["up", "--prune"], &["down"]] {
        project.run_with(&env, args);
    }
    let calls = fs::read_to_string(project.path("fake/env")).unwrap();
    assert!(calls.lines().count() > 10, "{calls}");
    for call in calls.lines() {
        assert!(call.starts_with("KUBERC=off LC_ALL=C: "), "{call}");
    }
}
