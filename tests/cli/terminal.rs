//! Output in a terminal: wrapped lines, tables and progress bars.

use crate::project::{IMAGE, Project, pod};

const PLAIN: [(&str, &str); 2] = [("TERM", "xterm"), ("NO_COLOR", "1")];

fn output_of(project: &Project, columns: usize, args: &[&str]) -> String {
    project.type_in_terminal(columns, &PLAIN, args, "\0", "").replace("\r\n", "\n")
}

#[test]
fn text_wraps_between_words_but_not_in_commands() {
    let project = Project::new();
    project.write("fake/kubectl-get-fails", "The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?\n");
    assert_eq!(
        output_of(&project, 50, &["status"]),
        "\
error: cannot connect to the cluster of context
    `kind-test`
  caused by: `kubectl --context kind-test --namespace default '--request-timeout=15s' get 'deployments.apps,pods,replicasets.apps' '--output=json'`
    exited with code 1: The connection to the
    server 10.0.0.9:6443 was refused - did you
    specify the right host or port?
  help: start the cluster, or correct `server` in
    the kubeconfig (behind a proxy, also
    `NO_PROXY`);
    `kubectl --context kind-test --namespace default config view --minify`
    shows it
"
    );
    project.write("fake/kubectl-get-fails", "Error from server (Forbidden): nodes is forbidden: User \"jane\" cannot list resource \"nodes\"\n");
    for columns in [40, 50, 100] {
        let text = output_of(&project, columns, &["doctor", "-q"]);
        let prose = text.lines().filter(|line| !line.contains('`'));
        for line in prose {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
        let is_whole = |line: &str| line.matches('`').count().is_multiple_of(2);
        assert!(text.lines().all(is_whole), "{text}");
    }
}

#[test]
fn wrapped_notes_are_indented() {
    let project = Project::new();
    project.write("fake/deployment.json", "{}").write("fake/pods.json", "");
    assert_eq!(
        output_of(&project, 64, &["status"]),
        "        Note `app` is not applied to namespace `default` of
             context `kind-test`; run `cargo kdev up` to apply
             it
"
    );
    assert_eq!(
        output_of(&project, 40, &["status"]),
        "        Note `app` is not applied to
    namespace `default` of context
    `kind-test`; run `cargo kdev up` to
    apply it
"
    );
}

#[test]
fn narrow_or_dumb_terminal_has_narrow_table() {
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
        Note some pods have problems;
    run `cargo kdev why` to find the
    cause
";
    assert_eq!(output_of(&project, 40, &["status"]), expected);
    let dumb = project.type_in_terminal(40, &[("TERM", "dumb")], &["status"], "\0", "");
    assert_eq!(dumb.replace("\r\n", "\n"), expected);
    // Without a terminal, the table is complete.
    project.run(&["status"]).code(0).stdout(
        "\
WORKLOAD        READY  POD                  NODE  STATUS                      TAG                BUILD        POLICY  RESTARTS  AGE
deployment/app  0/2    app-5b8c9d7f6-abcde  n1    CreateContainerConfigError  kdev-0123456789ab  not started  Never   0         -
",
    );
}

#[test]
fn interrupt_removes_progress_bar() {
    let project = Project::new();
    project.remove_pods();
    let bar = "     Waiting deployment/app: 0 of 1 pod ready";
    let output = project.type_in_terminal(80, &PLAIN, &["up", "--timeout", "20"], bar, "\x03");
    let output = &output[output.rfind(bar).unwrap()..];
    assert!(output.ends_with("\r\x1b[J\r\x1b[Kerror: interrupted\r\n"), "{output:?}");
    // The bar leaves room for `^C`.
    let line = output.split(['^', '\r']).next().unwrap();
    assert!(output.contains("s^C") && line.len() <= 77, "{output:?}");
}

#[test]
fn interrupt_keeps_question_on_screen() {
    let project = Project::new();
    let contexts = std::fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let contexts =
        contexts.replace("\"current-context\":\"kind-test\"", "\"current-context\":\"prod\"");
    project.write("fake/contexts.json", &contexts);
    let output = project.type_in_terminal(60, &PLAIN, &["up"], "[y/N] ", "\x03");
    let question = "    Question Modify the cluster of context `prod`\r
    (https://10.0.0.9:6443)? [y/N] ^C\r
\r\x1b[Kerror: interrupted\r
";
    assert!(output.ends_with(question), "{output:?}");
}
