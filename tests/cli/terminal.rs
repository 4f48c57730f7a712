//! What a terminal shows: lines broken where it ends, and no bar left behind.

use crate::project::{IMAGE, Project, pod};

const PLAIN: [(&str, &str); 2] = [("TERM", "xterm"), ("NO_COLOR", "1")];

fn shown(project: &Project, columns: usize, args: &[&str]) -> String {
    project.type_on_a_terminal(columns, &PLAIN, args, "\0", "").replace("\r\n", "\n")
}

#[test]
fn prose_is_broken_between_words_and_commands_are_not() {
    let project = Project::new();
    project.write("fake/kubectl-get-fails", "The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?\n");
    assert_eq!(
        shown(&project, 50, &["status"]),
        "\
error: cannot connect to the cluster of context
    `kind-test`
  caused by: `kubectl --context kind-test --namespace default '--request-timeout=15s' get 'deployments.apps,pods,replicasets.apps' '--output=json'`
    exited with code 1: The connection to the
    server 10.0.0.9:6443 was refused - did you
    specify the right host or port?
  help: run
    `kubectl --context kind-test --namespace default get nodes`
    to check the connection
"
    );
    project.write("fake/kubectl-get-fails", "Error from server (Forbidden): nodes is forbidden: User \"jane\" cannot list resource \"nodes\"\n");
    for columns in [40, 50, 100] {
        let text = shown(&project, columns, &["doctor", "-q"]);
        let prose = text.lines().filter(|line| !line.contains('`'));
        for line in prose {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
        let is_whole = |line: &str| line.matches('`').count().is_multiple_of(2);
        assert!(text.lines().all(is_whole), "{text}");
    }
}

#[test]
fn notes_hang_below_their_verb() {
    let project = Project::new();
    project.write("fake/deployment.json", "{}").write("fake/pods.json", "");
    assert_eq!(
        shown(&project, 64, &["status"]),
        "        Note nothing of `app` is applied to namespace `default`
             of context `kind-test`: `cargo kdev up` does that
"
    );
    assert_eq!(
        shown(&project, 40, &["status"]),
        "        Note nothing of `app` is applied
    to namespace `default` of context
    `kind-test`: `cargo kdev up` does
    that
"
    );
}

#[test]
fn a_narrow_or_dumb_terminal_gets_a_narrow_table() {
    let project = Project::new();
    let waits = r#"{"name":"app","imageID":"","state":{"waiting":{"reason":"CreateContainerConfigError"}}}"#;
    project.pods(&[pod("app-5b8c9d7f6-abcde", "n1", "app", IMAGE, waits)]);
    let images = format!(
        "{{\"Repository\":\"app\",\"Tag\":\"latest\",\"ID\":\"{}\",\"CreatedSince\":\"1 hour ago\"}}\n",
        crate::project::CONFIG
    );
    project.write("fake/images.json", &images);
    let expected = "\
READY  POD        STATUS       BUILD
0/2    …f6-abcde  CreateCont…  not star…
        Note `cargo kdev why` tells why
";
    assert_eq!(shown(&project, 40, &["status"]), expected);
    let dumb = project.type_on_a_terminal(40, &[("TERM", "dumb")], &["status"], "\0", "");
    assert_eq!(dumb.replace("\r\n", "\n"), expected);
    // Who reads it by a program gets all of it.
    project.run(&["status"]).code(0).stdout(
        "\
WORKLOAD        READY  POD                  NODE  STATUS                      TAG                BUILD        POLICY  RESTARTS  AGE
deployment/app  0/2    app-5b8c9d7f6-abcde  n1    CreateContainerConfigError  kdev-0123456789ab  not started  Never   0         -
",
    );
}

#[test]
fn an_interrupt_takes_the_bar_away() {
    let project = Project::new();
    project.has_no_pods();
    let bar = "     Waiting deployment/app: 0 of 1 pod ready";
    let said = project.type_on_a_terminal(80, &PLAIN, &["up", "--timeout", "20"], bar, "\x03");
    let said = &said[said.rfind(bar).unwrap()..];
    assert!(said.ends_with("\r\x1b[J\r\x1b[Kerror: interrupted\r\n"), "{said:?}");
    // The bar ends before the ^C would go to the next line.
    let line = said.split(['^', '\r']).next().unwrap();
    assert!(said.contains("s^C") && line.len() <= 77, "{said:?}");
}

#[test]
fn an_interrupt_leaves_a_question() {
    let project = Project::new();
    let contexts = std::fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let contexts =
        contexts.replace("\"current-context\":\"kind-test\"", "\"current-context\":\"prod\"");
    project.write("fake/contexts.json", &contexts);
    let said = project.type_on_a_terminal(60, &PLAIN, &["up"], "[y/N] ", "\x03");
    let asked = "    Question Modify the cluster of context `prod`\r
    (https://10.0.0.9:6443)? [y/N] ^C\r
\r\x1b[Kerror: interrupted\r
";
    assert!(said.ends_with(asked), "{said:?}");
}
