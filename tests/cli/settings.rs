//! `cargo kdev config`: values and origins.

use std::fs;

use crate::project::Project;

#[test]
fn each_setting_has_value_and_origin() {
    let project = Project::new();
    project
        .config("image = \"team/app\"\nnamespace = \"dev\"\nbuild-args = { A = \"1\", B = \"2\" }");
    project.write("kdev.local.toml", "namespace = \"jane\"\nbuild-args = { A = \"3\" }\n");
    let variables = [("KDEV_TIMEOUT", "60"), ("KDEV_PULL_POLICY", "IfNotPresent")];
    let args = ["config", "--builder", "podman", "--timeout", "60", "--pull-policy", "Never"];
    let output = project.run_with(&variables, &args).code(0).stderr("").out().to_owned();
    let table: Vec<Vec<&str>> = output
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let expected = [
        ["image", "\"team/app\"", "[package.metadata.kdev] in [ROOT]/Cargo.toml"],
        ["dockerfile", "\"[ROOT]/Dockerfile\"", "found"],
        ["context", "-", "folder of the Dockerfile"],
        ["build-args.A", "\"3\"", "[ROOT]/kdev.local.toml"],
        ["build-args.B", "\"2\"", "[package.metadata.kdev] in [ROOT]/Cargo.toml"],
        ["namespace", "\"jane\"", "[ROOT]/kdev.local.toml"],
        ["builder", "\"podman\"", "--builder"],
        ["pull-policy", "\"Never\"", "--pull-policy"],
        // The flag has the value of the variable.
        ["timeout", "60", "KDEV_TIMEOUT"],
        // A variable of all tests.
        ["settle", "0", "KDEV_SETTLE"],
        ["nodes", "-", "nodes of the cluster"],
        ["kube context", "-", "current context of the kubeconfig"],
    ];
    for row in expected {
        assert!(table.iter().any(|found| found == &row), "{row:?} is not in\n{output}");
    }
    let page = crate::repository::read("crates/kdev/src/config/keys.rs");
    let keys = page.split_once("const KEYS: [").unwrap().1.split_once("];").unwrap().0;
    for key in keys.split('"').skip(1).step_by(2) {
        let is_listed = |row: &Vec<&str>| row[0].split('.').next() == Some(key);
        assert!(table.iter().any(is_listed), "{key} is not in\n{output}");
    }
}

#[test]
fn context_and_json_are_printed() {
    let project = Project::new();
    fs::create_dir(project.path(".kube")).unwrap();
    fs::copy(project.path("fake/contexts.json"), project.path(".kube/config")).unwrap();
    let last = |variables: &[(&str, &str)], args: &[&str]| {
        let args = [&["config", "--message-format", "json"], args].concat();
        let output = project.run_with(variables, &args).code(0).out().to_owned();
        let line: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
        assert_eq!((&line["reason"], &line["key"]), (&"setting".into(), &"kube context".into()));
        [line["value"].as_str().unwrap(), line["origin"].as_str().unwrap()].map(str::to_owned)
    };
    assert_eq!(last(&[], &[]), ["kind-test", "current context of the kubeconfig"]);
    assert_eq!(last(&[("KDEV_CONTEXT", "prod")], &[]), ["prod", "KDEV_CONTEXT"]);
    assert_eq!(last(&[], &["--context", "prod"]), ["prod", "--context"]);
    // Invalid settings are an error, as for the other commands.
    project.write("kdev.local.toml", "imgae = \"x\"\n");
    project.run(&["config"]).code(90).stdout("").stderr(
        "error: unknown key `imgae` in `[ROOT]/kdev.local.toml`
  help: did you mean `image`?\n",
    );
}
