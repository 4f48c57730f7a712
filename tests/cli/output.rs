//! Results that cannot be written to stdout.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::Stdio;

use crate::project::Project;

const FULL: &str = "\
error: failed to write to standard output
  caused by: No space left on device (os error 28)
  help: free space on its device, or redirect the output to another file
";

/// Runs with a stdout to which nothing can be written. Returns the exit code and stderr.
fn run_on_full_device(project: &Project, args: &[&str]) -> (Option<i32>, String) {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = project.command(args).stdout(full).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn result_on_full_device_is_error() {
    let project = Project::new();
    let commands: [&[&str]; 9] = [
        &["render"],
        &["render", "--diff"],
        &["render", "--message-format", "json"],
        &["status"],
        &["status", "--watch"],
        &["why"],
        &["up", "--dry-run"],
        &["up", "--message-format", "json"],
        &["--help"],
    ];
    for args in commands {
        let (code, stderr) = run_on_full_device(&project, args);
        assert_eq!(code, Some(97), "{args:?}: {stderr}");
        assert!(stderr.ends_with(FULL), "{args:?}: {stderr}");
    }
}

#[test]
fn failed_command_on_full_device_keeps_exit_code() {
    let project = Project::new();
    project.machine("10.0.0.1", "other", "b");
    let expected = project.run(&["doctor"]).exit_code();
    let (code, stderr) = run_on_full_device(&project, &["doctor"]);
    assert_ne!(expected, Some(0));
    assert_eq!((code, stderr.as_str()), (expected, FULL));
    project.remove("k8s/app.yaml");
    for format in ["human", "json"] {
        let (code, stderr) = run_on_full_device(&project, &["up", "--message-format", format]);
        assert_eq!(code, Some(90), "{stderr}");
        assert!(stderr.starts_with("error: no manifest matches"), "{stderr}");
    }
}

#[test]
fn closed_pipe_is_no_error() {
    let project = Project::new();
    for args in [&["render"], &["status"], &["doctor"], &["why"]] {
        let expected = project.run(args);
        let mut child = project.start(args);
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, expected.exit_code(), "{args:?}: {stderr}");
        assert!(!stderr.contains("standard output"), "{args:?}: {stderr}");
    }
}

#[test]
fn watch_ends_after_pipe_is_closed() {
    let project = Project::new();
    let args = ["status", "--watch", "--message-format", "json"];
    let mut child = project.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
