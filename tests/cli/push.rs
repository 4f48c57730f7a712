//! Pushes of Docker to kdev: daemons that cannot reach it, and those behind SSH.

use crate::project::Project;

const LAYER: &str =
    r#"["sha256:1111111111111111111111111111111111111111111111111111111111111111"]"#;
const CANNOT_CONNECT: &str = "Note the Docker daemon cannot connect to this machine, so Docker exports the whole image after each build; `cargo kdev doctor` shows how to avoid it\n";

/// A project with an image of one layer, and a daemon at this address.
fn project(address: &str) -> Project {
    let project = Project::new();
    project.write("fake/layers", LAYER).write("fake/docker-context", address);
    project
}

/// Loads a new build, and returns the messages and the calls.
fn load(project: &Project, build: char) -> (String, String) {
    let id = format!("sha256:{}", build.to_string().repeat(64));
    project.write("fake/id", &id).write("fake/log", "");
    let ran = project.run(&["load"]);
    ran.code(0);
    (ran.err().to_owned(), project.calls())
}

fn pushes(calls: &str) -> Vec<&str> {
    calls.lines().filter(|call| call.starts_with("docker push ")).collect()
}

#[test]
fn refused_push_is_not_tried_again() {
    let project = project("unix:///nonexistent/docker.sock");
    project.write("fake/push-refused", "");
    let (messages, calls) = load(&project, '2');
    assert_eq!(messages.matches(CANNOT_CONNECT).count(), 1, "{messages}");
    assert_eq!(pushes(&calls).len(), 1, "{calls}");
    let (messages, calls) = load(&project, '3');
    assert!(!messages.contains("Note "), "{messages}");
    assert_eq!(pushes(&calls).len(), 0, "{calls}");
    // Another daemon, or another version of it.
    project.write("fake/docker-version", "20.10.25");
    let (messages, calls) = load(&project, '4');
    assert!(messages.contains(CANNOT_CONNECT), "{messages}");
    assert_eq!(pushes(&calls).len(), 1, "{calls}");
}

#[test]
fn other_failure_of_push_is_tried_again() {
    let project = project("unix:///nonexistent/docker.sock");
    project.write("fake/push-fails", "error getting credentials - err: exit status 1\n");
    for build in ['2', '3'] {
        let (messages, calls) = load(&project, build);
        assert!(!messages.contains("Note "), "{messages}");
        assert!(!pushes(&calls).is_empty(), "{calls}");
    }
}

#[test]
fn docker_at_tcp_address_is_not_asked_to_push() {
    let project = project("tcp://10.0.0.7:2376");
    let (messages, calls) = load(&project, '2');
    assert!(!messages.contains("Note "), "{messages}");
    assert_eq!(pushes(&calls).len(), 0, "{calls}");
}

#[test]
fn docker_over_ssh_pushes_to_forwarded_port() {
    let project = project("ssh://dev@far:2222/run/docker.sock");
    let (messages, calls) = load(&project, '2');
    assert!(!messages.contains("Note "), "{messages}");
    let forward = calls.lines().find(|call| call.contains(" -O forward -R 127.0.0.1:476")).unwrap();
    assert!(forward.starts_with("ssh -F /dev/null -S /"), "{forward}");
    let (_, ports) = forward.split_once("-R 127.0.0.1:").unwrap();
    let port = ports.split(':').next().unwrap();
    let expected = format!("docker push 127.0.0.1:{port}/kdev:push");
    assert_eq!(pushes(&calls).first(), Some(&expected.as_str()), "{calls}");
}

#[test]
fn server_selects_port_if_usual_one_is_in_use() {
    let project = project("ssh://far");
    project.write("fake/ssh-port-taken", "");
    let (messages, calls) = load(&project, '2');
    assert!(!messages.contains("Note "), "{messages}");
    let expected = "docker push 127.0.0.1:40001/kdev:push";
    assert_eq!(pushes(&calls).first(), Some(&expected), "{calls}");
}

#[test]
fn connection_of_user_forwards_port() {
    let project = project("ssh://far");
    let socket = project.path("user-socket");
    project.write("user-socket", "");
    project.write("fake/ssh-settings", &format!("controlpath {}\n", socket.display()));
    let (messages, calls) = load(&project, '2');
    assert!(!messages.contains("Note "), "{messages}");
    let actions = |action: &str| {
        let start = format!("ssh -F /dev/null -S {} -O {action} ", socket.display());
        calls.lines().filter(|call| call.starts_with(&start)).count()
    };
    assert_eq!((actions("check"), actions("forward"), actions("cancel")), (1, 1, 1), "{calls}");
    assert!(!calls.contains("ControlMaster=yes"), "{calls}");
}

#[test]
fn permitted_forwarding_is_used_by_next_run() {
    let project = project("ssh://dev@far");
    project.write("fake/ssh-forbids-forwarding", "");
    let (messages, calls) = load(&project, '2');
    let note = "Note the SSH server on `dev@far` does not permit port forwarding, so Docker exports the whole image after each build; set `AllowTcpForwarding yes` in its `sshd_config`\n";
    assert_eq!(messages.matches(note).count(), 1, "{messages}");
    assert_eq!(pushes(&calls).len(), 0, "{calls}");
    project.remove("fake/ssh-forbids-forwarding");
    let (messages, calls) = load(&project, '3');
    assert!(!messages.contains("Note ") && !pushes(&calls).is_empty(), "{messages}{calls}");
}

#[test]
fn failed_connection_to_docker_machine_is_tried_again() {
    let project = project("ssh://dev@far");
    project.write("fake/ssh-far", "dev@far: Permission denied (publickey,password).\n");
    for build in ['2', '3'] {
        let (messages, calls) = load(&project, build);
        let note = "Note SSH cannot forward a port of `dev@far` (dev@far: Permission denied (publickey,password).), so Docker exports the whole image after each build; check `ssh -o BatchMode=yes dev@far true`\n";
        assert_eq!(messages.matches(note).count(), 1, "{messages}");
        assert_eq!(pushes(&calls).len(), 0, "{calls}");
    }
}
