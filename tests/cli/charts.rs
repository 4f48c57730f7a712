//! Charts that depend on the cluster or differ from rendering to rendering.

use std::fs;
use std::os::unix::fs::symlink;

use crate::project::{IMAGE, Project};

const LOOKUP: &str = "{{ lookup \"v1\" \"Secret\" .Release.Namespace \"s\" }}\n";
const NOTE: &str = "        Note `lookup` returned nothing in chart `[ROOT]/chart`, because `render` does not connect to a cluster; `up` renders it with the live objects\n";

/// Creates a chart with a template, and a `helm` that prints the project's manifest after it has
/// run a script.
fn chart(template: &str, script: &str) -> Project {
    let project = Project::new();
    fs::create_dir_all(project.path("chart/templates")).unwrap();
    project.write("chart/Chart.yaml", "name: c\nversion: 0.1.0\napiVersion: v2\n");
    project.write("chart/templates/all.yaml", template);
    project.config("manifests = [\"chart\"]");
    let log = "echo helm \"$@\" >>\"$FAKE/log\"; env >>\"$FAKE/helm-env\"";
    project.script("helm", &format!("{log}\n{script}\ncat \"$FAKE/../k8s/app.yaml\""));
    project
}

/// Returns the command line of `helm` after the name of the chart.
fn helm_flags(project: &Project) -> Vec<String> {
    let calls = project.calls();
    let calls = calls.lines().filter(|line| line.starts_with("helm template"));
    calls.map(|line| line.split("/chart --skip-tests").nth(1).unwrap().trim().to_owned()).collect()
}

#[test]
fn lookup_is_rendered_with_selected_cluster() {
    let project = chart(LOOKUP, "");
    let variables = [
        ("HELM_KUBECONTEXT", "prod"),
        ("HELM_NAMESPACE", "elsewhere"),
        ("HELM_KUBEAPISERVER", "https://10.0.0.9:6443"),
        ("HELM_KUBETOKEN", "secret"),
        ("HELM_CACHE_HOME", "cache"),
    ];
    project.run_with(&variables, &["up"]).code(0);
    assert_eq!(
        helm_flags(&project),
        ["--kube-context kind-test --namespace default --dry-run=server"]
    );
    let environment = fs::read_to_string(project.path("fake/helm-env")).unwrap();
    let helm: Vec<&str> = environment.lines().filter(|l| l.starts_with("HELM_")).collect();
    assert_eq!(helm, ["HELM_CACHE_HOME=cache"]);
    let ran = project.run(&["render"]);
    assert!(ran.code(0).stderr(NOTE).out().contains(IMAGE));
    assert!(!helm_flags(&project)[1].contains("server"));
}

#[test]
fn chart_without_lookup_is_rendered_offline() {
    let project = chart("# lookup\n", "");
    project.run(&["up", "--dry-run"]).code(0);
    assert_eq!(helm_flags(&project), ["--kube-context kind-test --namespace default"]);
    project.run(&["render"]).code(0).stderr("");
}

#[test]
fn lookup_in_packaged_dependency_is_found() {
    let project = chart("", "");
    fs::create_dir(project.path("chart/charts")).unwrap();
    fs::create_dir_all(project.path("db/templates")).unwrap();
    project.write("db/templates/s.yaml", LOOKUP);
    project.sh("/bin/tar -cf db.tar db; gzip db.tar; mv db.tar.gz chart/charts/db-0.1.0.tgz");
    project.run(&["render"]).code(0).stderr(NOTE);
}

#[test]
fn lookup_requires_helm_with_server_dry_run() {
    let script = r#"case $* in
*dry-run=server*) echo 'Error: invalid argument "server" for "--dry-run" flag: strconv.ParseBool: parsing "server": invalid syntax' >&2; exit 1 ;;
version*) echo v3.12.3+g3a31588; exit 0 ;;
esac"#;
    let project = chart(LOOKUP, script);
    project.run(&["up", "--dry-run"]).code(91).stderr(
        "error: `helm` 3.12.3+g3a31588 is too old; 3.13 or newer is required
  help: follow https://helm.sh/docs/intro/install to install it\n",
    );
    // Without `lookup`, this version is new enough.
    project.write("chart/templates/all.yaml", "").run(&["up", "--dry-run"]).code(0);
}

#[test]
fn missing_permission_of_lookup_shows_error_of_helm() {
    let project = chart(
        LOOKUP,
        "echo 'Error: template: c/templates/all.yaml:1:3: executing \"c/templates/all.yaml\" at <lookup>: error calling lookup: secrets \"s\" is forbidden: User \"jane\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\"' >&2; exit 1",
    );
    project.run(&["up", "--dry-run"]).code(92).stderr(
        "error: failed to render `[ROOT]/chart`
  caused by: `helm template app [ROOT]/chart --skip-tests --kube-context kind-test --namespace default '--dry-run=server'` exited with code 1: Error: template: c/templates/all.yaml:1:3: executing \"c/templates/all.yaml\" at <lookup>: error calling lookup: secrets \"s\" is forbidden: User \"jane\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\"
  help: run `kubectl --context kind-test --namespace default auth can-i --list` to see your permissions\n",
    );
}

#[test]
fn objects_that_helm_did_not_install_are_accepted() {
    // The message of Helm 4.
    let project = chart(
        LOOKUP,
        "case $* in *take-ownership*) ;; *) echo 'Error: unable to continue with install: Secret \"s\" in namespace \"default\" exists and cannot be imported into the current release: invalid ownership metadata' >&2; exit 1 ;; esac",
    );
    project.run(&["up", "--dry-run"]).code(0);
    assert!(helm_flags(&project)[1].ends_with(" --dry-run=server --take-ownership"));
}

#[test]
fn capabilities_are_those_of_cluster() {
    let has =
        |api: &str| format!("{{{{ if .Capabilities.APIVersions.Has \"{api}\" }}}}{{{{ end }}}}\n");
    let template =
        ["example.com/v1", "absent.com/v1", "example.com/v1/Widget", "example.com/v1/Gone"];
    let project = chart(&template.map(has).concat(), "");
    project.write("fake/api-resources", "widgets  w  example.com/v1  true  Widget\n");
    project.run(&["up", "--dry-run"]).code(0);
    assert_eq!(
        helm_flags(&project),
        [
            "--kube-context kind-test --namespace default --kube-version=v1.34.4 --api-versions=example.com/v1,example.com/v1/Widget"
        ]
    );
}

/// Prints a Secret and a Job that differ each time.
const RANDOM: &str = r#"count=$(cat "$FAKE/count" 2>/dev/null || echo 0)
while ! mkdir "$FAKE/lock-$count" 2>/dev/null; do count=$((count + 1)); done
printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {user: a, password: "%s"}\n---\n' "$count""#;

#[test]
fn value_that_differs_each_time_is_noted_for_live_object() {
    let project = chart("{{ randAlphaNum 8 }}", RANDOM);
    project.run(&["up", "--dry-run"]).code(0).stderr("");
    project.write("fake/secrets", "secret/s\n");
    project.run(&["up", "--dry-run"]).code(0).stderr(
        "        Note secret/s: `data.password` differs each time the chart is rendered, so each `up` changes it; use `lookup` in the template to keep the live value\n",
    );
    // `render` needs no cluster, and runs `helm` once.
    let before = helm_flags(&project).len();
    project.run(&["render"]).code(0).stderr("");
    assert_eq!((before, helm_flags(&project).len()), (4, 5));
}

#[test]
fn name_that_differs_each_time_is_noted() {
    let script = RANDOM.replace("{name: s}", "{name: s-%s}").replace("\"%s\"", "x");
    let project = chart("{{ randAlphaNum 8 }}", &script);
    let ran = project.run(&["up", "--dry-run"]);
    ran.code(0).stderr("        Note secret/s-[..] has another name each time the chart is rendered, so each `up` creates another object\n");
}

#[test]
fn kubeconfig_of_distribution_must_be_passed_for_lookup() {
    let project = chart(LOOKUP, "");
    // The `kubectl` of k3s is `k3s` itself, and reads another kubeconfig.
    fs::rename(project.path("bin/kubectl"), project.path("bin/k3s")).unwrap();
    let fake = fs::canonicalize(project.path("bin/k3s")).unwrap();
    fs::remove_file(project.path("bin/k3s")).unwrap();
    fs::copy(fake, project.path("bin/k3s")).unwrap();
    symlink("k3s", project.path("bin/kubectl")).unwrap();
    fs::create_dir(project.path(".kube")).unwrap();
    project.write(".kube/config", "contexts: [{name: kind-test, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://10.0.0.9:6443'}}]\n");
    project.run(&["up", "--dry-run"]).code(90).stderr(
        "error: `helm` would use another cluster than `kubectl` for context `kind-test`
  help: pass `--kubeconfig FILE` with the kubeconfig that `kubectl` uses\n",
    );
    assert_eq!(helm_flags(&project), Vec::<String>::new());
    project.write("selected", "");
    let args = ["up", "--dry-run", "--kubeconfig", "selected"];
    project.run(&args).code(0);
    assert!(helm_flags(&project)[0].contains(" --kubeconfig selected "));
}

#[test]
fn settings_of_charts_reach_helm() {
    let project = chart("", "");
    fs::create_dir(project.path("values")).unwrap();
    project.write("values/dev.yaml", "replicas: 1\n").write("mine.yaml", "");
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let table = "[package.metadata.kdev.helm]
release = \"shop\"
values = [\"values/dev.yaml\"]
set = [\"image.tag=a b\", \"n=2\"]
api-versions = [\"example.com/v1\"]\n";
    project.write("Cargo.toml", &format!("{cargo}\n{table}"));
    let last = || {
        let calls = project.calls();
        let call = calls.lines().rfind(|line| line.starts_with("helm template")).unwrap();
        call.replace(&project.path("").display().to_string(), "")
    };
    project.run(&["render"]).code(0);
    let flags = "--set image.tag=a b --set n=2 --api-versions example.com/v1";
    let template = "helm template shop chart --skip-tests";
    assert_eq!(last(), format!("{template} --values values/dev.yaml {flags}"));
    let inputs = project.run(&["up", "--inputs"]).code(0).out().to_owned();
    assert!(inputs.lines().any(|line| line.contains("values/dev.yaml")), "{inputs}");
    // Each key is overridden on its own.
    project.write("kdev.local.toml", "[helm]\nvalues = [\"mine.yaml\"]\n");
    project.run(&["render"]).code(0);
    assert_eq!(last(), format!("{template} --values mine.yaml {flags}"));
    let config = project.run(&["config"]).code(0).out().to_owned();
    let row = |key: &str| config.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(row("helm.values").ends_with("kdev.local.toml"), "{config}");
    assert!(row("helm.release").ends_with("Cargo.toml"), "{config}");
    // A `lookup` in a value is a template, too.
    project.write("mine.yaml", &format!("text: '{}'\n", LOOKUP.trim()));
    project.run(&["render"]).code(0).stderr(NOTE);
    project.sh("rm mine.yaml");
    project.run(&["up"]).code(90).stderr(
        "error: file with Helm values not found at `[ROOT]/mine.yaml`
  help: create it, or correct `values` in `[package.metadata.kdev.helm]`\n",
    );
    assert!(!project.calls().contains("docker build"));
}
