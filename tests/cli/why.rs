//! `cargo kdev why`: what it can be asked about, and that no project can be in its way.

use std::fs;

use crate::project::Project;

const WELL: &str = "pod/app-n1 of deployment/app on n1: Ready\n  nothing is wrong with it\n";

/// One of which the cluster has the Deployment and its pods.
fn project() -> Project {
    let project = Project::new();
    let text = |name: &str| fs::read_to_string(project.path(name)).unwrap();
    let items = format!("{},{}", text("fake/deployment.json"), text("fake/pods.json"));
    project.write("fake/all.json", &format!("{{\"items\":[{items}]}}"));
    project
}

#[test]
fn a_project_that_is_broken_is_left_out() {
    let table = [
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\n[workspace\n",
            "failed to read the Cargo project; fix line 3 of `Cargo.toml`",
        ),
        (
            "kdev.local.toml",
            "dockerfil = \"x\"\n",
            "unknown key `dockerfil` in `[ROOT]/kdev.local.toml`; did you mean `dockerfile`?",
        ),
        (
            "kdev.local.toml",
            "timeout = 3\nimage = x\n",
            "invalid value for `kdev` in `[ROOT]/kdev.local.toml`; fix line 2 of `[ROOT]/kdev.local.toml`",
        ),
    ];
    for (file, text, note) in table {
        let project = project();
        project.write(file, text);
        let ran = project.run(&["why", "app"]);
        ran.code(0).stdout(WELL).stderr(&format!("        Note the project is left out: {note}\n"));
        // Whoever names the project means it.
        project.run(&["why", "app", "--manifest-path", "Cargo.toml"]).code(90);
    }
}

#[test]
fn kind_and_name_may_be_two_words() {
    let project = project();
    for asked in [&["app"][..], &["deployment/app"], &["deployment", "app"], &["deploy", "app"]] {
        project.run(&[&["why"], asked].concat()).code(0).stdout(WELL).stderr("");
    }
}

#[test]
fn what_looks_most_like_a_name_that_is_none_comes_first() {
    let project = project();
    let rest = "Others: `pod/app-n1` and `pod/app-n2`";
    let table = [
        ("apq", format!("did you mean `deployment/app`? {rest}")),
        ("deployment/apq", format!("did you mean `deployment/app`? {rest}")),
        (
            "service/app",
            format!(
                "only pods and workloads are supported; did you mean `deployment/app`? {rest}"
            ),
        ),
        (
            "web",
            "use one of `deployment/app`, `pod/app-n1` and `pod/app-n2`, or pass `--namespace NAME`"
                .to_owned(),
        ),
    ];
    for (asked, help) in table {
        let error = format!("error: no pod or workload named `{asked}` in namespace `default`\n");
        let ran = project.run(&["why", asked]);
        ran.code(92).stdout("").stderr(&format!("{error}  help: {help}\n"));
    }
}
