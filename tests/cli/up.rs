//! `cargo kdev up`: successful runs.

use crate::project::{CONFIG, IMAGE, Project};

const LOADED: [&str; 2] = ["docker.io/library/app:kdev-0123456789ab", CONFIG];

#[test]
fn up_builds_loads_applies_and_waits() {
    let project = Project::new();
    let ran = project.run(&["up"]);
    ran.code(0).stdout("").stderr(&format!(
        "    Building app:latest\nStep 1/1 : FROM scratch\n       Built {IMAGE} in [TIME]
     Loading [..] (4.00 KiB)
...
     Applied deployment.apps/app to kind-test, namespace default
       Ready deployment/app: 2 pods in [TIME]
    Finished {IMAGE} in [TIME]\n"
    ));
    assert_eq!(project.images_on("10.0.0.1"), LOADED);
    assert_eq!(project.images_on("10.0.0.2"), LOADED);
}

#[test]
fn only_image_and_pull_policy_change() {
    let project = Project::new();
    project.run(&["up"]).code(0);
    let source = std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let expected = source
        .replace("image: app\n", &format!("image: {IMAGE}\n        imagePullPolicy: Never\n"));
    assert_eq!(project.applied().unwrap(), format!("---\n{expected}"));
    assert_eq!(std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap(), source);
}

#[test]
fn deployment_scaled_to_zero_is_ready() {
    let project = Project::new();
    let text = std::fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    let none = text.replace("eplicas\":2", "eplicas\":0").replace("availableR", "r");
    project.write("fake/deployment.json", &none).write("fake/pods.json", "");
    let ran = project.run(&["up"]);
    let stderr = ran.code(0).err();
    let output = "       Ready deployment/app: 0 pods in [TIME]\n        Note deployment/app has `replicas: 0`, so no pods run\n";
    assert!(stderr.contains(output), "{stderr}");
}

#[test]
fn second_up_sends_and_applies_nothing() {
    let project = Project::new();
    project.run(&["up"]).code(0);
    project.remove("fake/log");
    project.run(&["up"]).code(0).stderr(&format!(
        "    Building app:latest\nStep 1/1 : FROM scratch\n       Built {IMAGE} in [TIME]
     Present [..]: image is already loaded
     Present [..]: image is already loaded
   Unchanged kind-test is up to date
       Ready deployment/app: 2 pods in [TIME]
    Finished {IMAGE} in [TIME]\n"
    ));
    let calls = project.calls();
    assert!(!calls.contains("docker save"), "{calls}");
    assert!(!calls.contains(" apply "), "{calls}");
    assert!(!calls.contains("image import"), "{calls}");
}

#[test]
fn every_kubectl_has_context_and_namespace() {
    let project = Project::new();
    project.run(&["up", "--context", "prod", "-n", "dev"]).code(0);
    let calls = project.calls();
    let cluster = calls.lines().filter(|line| line.starts_with("kubectl"));
    let cluster = cluster.filter(|line| !line.contains("version") && !line.contains("config view"));
    let mut count = 0;
    for call in cluster {
        assert!(call.starts_with("kubectl --context prod --namespace dev "), "{call}");
        count += 1;
    }
    assert!(count >= 3, "{calls}");
}

#[test]
fn dry_run_shows_changes_without_making_them() {
    let project = Project::new();
    project.run(&["up", "--dry-run"]).code(0).stderr("").stdout(
        "docker build --tag app:latest --file [ROOT]/Dockerfile [ROOT]
docker tag app:latest 'app:kdev-<digest>'
docker save 'app:kdev-<digest>' | ssh [..] [ROOT]/bin/ctr -n k8s.io image import --platform linux/amd64 -
docker save 'app:kdev-<digest>' | ssh [..] [ROOT]/bin/ctr -n k8s.io image import --platform linux/amd64 -
kubectl --context kind-test --namespace default '--request-timeout=15s' apply --server-side '--field-manager=kdev-applyset' --force-conflicts --filename -
kubectl --context kind-test --namespace default '--request-timeout=15s' apply --server-side '--field-manager=kdev' --filename -
kubectl --context kind-test --namespace default '--request-timeout=15s' label deployment.apps/app 'applyset.kubernetes.io/part-of=[..]' 'owner.kdev/kdev-app-[..]=default' --overwrite '--field-manager=kdev-applyset'
kubectl --context kind-test --namespace default '--request-timeout=15s' apply --server-side '--field-manager=kdev' --force-conflicts --filename -\n",
    );
    let calls = project.calls();
    for change in
        ["docker build", "docker tag", "docker save", " apply ", " label ", "image import"]
    {
        assert!(!calls.contains(change), "{change} in {calls}");
    }
}

#[test]
fn sudo_is_used_if_containerd_requires_root() {
    let project = Project::new();
    project.write("fake/uid", "1000");
    project.run(&["up"]).code(0);
    let calls = project.calls();
    let imports: Vec<&str> =
        calls.lines().filter(|l| l.starts_with("sudo") && l.contains("import")).collect();
    assert_eq!(imports.len(), 2, "{calls}");
    // A sudoers rule must match the command exactly.
    assert!(imports[0].ends_with("ctr -n k8s.io image import --platform linux/amd64 -"), "{calls}");
}

#[test]
fn ineligible_nodes_are_skipped() {
    let project = Project::new();
    let manifest = std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let manifest = manifest.replace("    spec:\n", "    spec:\n      nodeName: n2\n");
    project.write("k8s/app.yaml", &manifest);
    project.run(&["up"]).code(0).stderr(&format!(
        "    Skipping n1: its pods name node `n2`
    Building app:latest\nStep 1/1 : FROM scratch\n       Built {IMAGE} in [TIME]
     Loading n2 (4.00 KiB)
      Loaded n2: sent [..] in [TIME]
     Applied deployment.apps/app to kind-test, namespace default
       Ready deployment/app: 2 pods in [TIME]
    Finished {IMAGE} in [TIME]\n"
    ));
    assert_eq!(project.images_on("10.0.0.1"), [""; 0]);
}

#[test]
fn json_has_one_object_per_line() {
    let project = Project::new();
    let ran = project.run(&["up", "--message-format", "json", "--node", "n1"]);
    ran.code(0).stderr("").stdout(&format!(
        r#"{{"version":1,"reason":"building","target":"app:latest","tool":"docker","command":"docker build[..]"}}
{{"version":1,"reason":"tool-output","tool":"docker","line":"Step 1/1 : FROM scratch"}}
{{"version":1,"reason":"built","image":"{IMAGE}","config_digest":"{CONFIG}","seconds":[..]}}
{{"version":1,"reason":"loading","node":"n1","bytes":4096,"reused":0}}
{{"version":1,"reason":"loaded","node":"n1","bytes":[..],"reused":0,"seconds":[..]}}
{{"version":1,"reason":"applied","objects":["deployment.apps/app"],"context":"kind-test","namespaces":["default"]}}
{{"version":1,"reason":"ready","workload":"deployment/app","pods":2,"seconds":[..]}}
{{"version":1,"reason":"finished","image":"{IMAGE}","seconds":[..]}}
"#
    ));
}

#[test]
fn error_is_json() {
    let project = Project::new();
    project.remove("Dockerfile");
    project.run(&["up", "--message-format", "json"]).code(90).stderr("").stdout(
        r#"{"version":1,"reason":"error","code":90,"message":"Dockerfile not found at `[ROOT]/Dockerfile`","causes":[],"help":"create it[..]"}
"#,
    );
}

#[test]
fn quiet_prints_nothing_on_success() {
    Project::new().run(&["up", "--quiet"]).code(0).stdout("").stderr("");
}

#[test]
fn tags_of_old_builds_are_removed() {
    let project = Project::new();
    // A tag of a user, and those of builds, the newest first.
    let tags = ["app:kdev-mine".to_owned()].into_iter().chain((0..4).rev().map(build_tag));
    let other = build_tag(0).replace("app", "other");
    project.write("fake/tags", &tags.chain([other]).collect::<Vec<_>>().join("\n"));
    let removal = format!("docker image rm --no-prune {} {}", build_tag(1), build_tag(0));
    let ran = project.run(&["up", "--dry-run"]);
    assert!(ran.code(0).out().ends_with(&format!("\n{removal}\n")));
    project.run(&["up"]).code(0);
    let calls = project.calls();
    let removals: Vec<&str> = calls.lines().filter(|line| line.contains("image rm")).collect();
    assert_eq!(removals, [removal]);
}

/// Returns the name of a build.
fn build_tag(number: usize) -> String {
    format!("app:kdev-{number:012}")
}

#[test]
fn objects_are_applied_in_their_namespaces() {
    let project = Project::new();
    let manifest = std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let config = "kind: ConfigMap\nmetadata: {name: c, namespace: other}\n";
    project.write("k8s/app.yaml", &format!("{manifest}---\n{config}"));
    project.run(&["up", "-n", "dev"]).code(0);
    let calls = project.calls();
    let applies = calls.lines().filter(|line| line.contains(" apply ") && line.contains("json"));
    let namespaces: Vec<&str> = applies.map(|line| line.split(' ').nth(4).unwrap()).collect();
    assert_eq!(namespaces, ["dev", "other"]);
}

#[test]
fn api_server_warnings_do_not_fail() {
    let project = Project::new();
    project
        .write("fake/kubectl-warns", "Warning: would violate PodSecurity \"restricted:latest\"\n");
    project.run(&["up"]).code(0);
    project.run(&["up"]).code(0);
    assert_eq!(project.calls().matches(" --output=json --filename -").count(), 1);
}

#[test]
fn namespace_in_manifests_may_be_missing() {
    let project = Project::new();
    let message = "Error from server (NotFound): namespaces \"new\" not found\n";
    project.write("fake/kubectl-diff-fails", message);
    project.run(&["up"]).code(0);
    assert!(project.applied().is_some());
}

#[test]
fn fields_are_taken_over_only_with_flag() {
    let project = Project::new();
    project.run(&["up"]).code(0);
    assert!(!project.calls().contains(" apply --server-side '--field-manager=kdev' --force"));
    project.remove("fake/applied");
    project.run(&["up", "--force-conflicts"]).code(0);
    assert!(
        project.calls().contains("apply --server-side --field-manager=kdev --force-conflicts ")
    );
}

#[test]
fn object_changed_by_admission_is_reported() {
    let project = Project::new();
    let spec = r#"{"template":{"spec":{"containers":[{"name":"app","image":"mirror/app:1","imagePullPolicy":"Never"}]}}}"#;
    let live = format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"app"}},"spec":{spec}}}"#
    );
    project.write("fake/live.json", &live);
    let ran = project.run(&["up"]);
    let note = format!(
        "        Note deployment.apps/app differs from what was applied: `image` of container `app` was changed from `{IMAGE}` to `mirror/app:1`; a mutating admission webhook or policy does this\n"
    );
    assert!(ran.code(0).err().contains(&note));
}

/// Writes a kubeconfig with these contexts; the first one is the current context.
fn kubeconfig(project: &Project, name: &str, contexts: &[&str]) -> String {
    let entries: Vec<String> = contexts
        .iter()
        .map(|context| format!("- {{name: {context}, context: {{cluster: {name}}}}}\n"))
        .collect();
    let server = if contexts[0] == "prod" { "10.0.0.9" } else { "127.0.0.1" };
    let text = format!(
        "current-context: {}\ncontexts:\n{}clusters: [{{name: {name}, cluster: {{server: 'https://{server}'}}}}]\n",
        contexts[0],
        entries.concat()
    );
    project.write(name, &text);
    project.path(name).to_str().unwrap().to_owned()
}

#[test]
fn unchanged_up_runs_kubectl_three_times() {
    let project = Project::new();
    let config = kubeconfig(&project, "config", &["kind-test"]);
    let cache = project.path("cache");
    let env = [("KUBECONFIG", config.as_str()), ("XDG_CACHE_HOME", cache.to_str().unwrap())];
    project.run_with(&env, &["up"]).code(0);
    project.remove("fake/log");
    project.run_with(&env, &["up"]).code(0);
    let calls = project.calls();
    let starts: Vec<&str> = calls.lines().filter(|line| line.starts_with("kubectl ")).collect();
    let verbs: Vec<&str> = starts.iter().map(|call| call.split(' ').nth(6).unwrap()).collect();
    assert_eq!(verbs, ["get", "diff", "get"], "{calls}");
    // The version of another `kubectl` is checked again.
    project.script("kubectl2", "").remove("bin/kubectl");
    std::fs::rename(project.path("bin/kubectl2"), project.path("bin/kubectl")).unwrap();
    project.run_with(&env, &["up"]).code(91);
}

#[test]
fn kubeconfigs_are_merged_like_kubectl() {
    let project = Project::new();
    let one = kubeconfig(&project, "one", &["kind-one", "prod"]);
    let two = kubeconfig(&project, "two", &["kind-two"]);
    let context = |env: &str, args: &[&str]| {
        project.run_with(&[("KUBECONFIG", env)], &[&["up"], args].concat()).code(0);
        let calls = project.calls();
        let last = calls.lines().rfind(|line| line.starts_with("kubectl --")).unwrap();
        last.split("--context ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    assert_eq!(context(&format!("{one}:{two}"), &[]), "kind-one");
    assert_eq!(context(&format!("/absent:{two}:{one}"), &[]), "kind-two");
    assert_eq!(context(&one, &["--kubeconfig", &two]), "kind-two");
    // `kubectl` resolves the context if the kubeconfig is missing or invalid.
    project.write("broken", "contexts: {");
    let broken = project.path("broken");
    assert_eq!(context(broken.to_str().unwrap(), &[]), "kind-test");
    assert_eq!(context("/absent", &[]), "kind-test");
    // Permission is also required for contexts that kdev reads itself.
    kubeconfig(&project, "foreign", &["prod"]);
    let foreign = project.path("foreign");
    project.remove("fake/log");
    let ran = project.run_with(&[("KUBECONFIG", foreign.to_str().unwrap())], &["up"]);
    ran.code(92);
    assert!(!project.calls().contains("--context prod"), "{}", project.calls());
}

#[test]
fn failed_rollout_is_rolled_back_with_flag() {
    let waiting =
        r#"{"name":"app","state":{"waiting":{"reason":"InvalidImageName","message":"m"}}}"#;
    let project = Project::new();
    project.pods(&[crate::project::pod("app-1", "n1", "app", IMAGE, waiting)]);
    let deployment = std::fs::read_to_string(project.path("fake/deployment.json")).unwrap();
    project.write(
        "fake/deployment.json",
        &deployment.replace("\"availableReplicas\":2", "\"availableReplicas\":1"),
    );
    project.run(&["up"]).code(95);
    let asked = |project: &Project| project.calls().contains(" get deployments.apps --");
    assert!(!project.calls().contains("rollout undo") && !asked(&project));
    let live = |image: &str| {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"app","namespace":"default","uid":"u","annotations":{{"deployment.kubernetes.io/revision":"7"}}}},"spec":{{"template":"{image}"}}}}"#
        )
    };
    let run = |before: &str, args: &[&str]| {
        project.write("fake/rollback-before.json", before);
        project.write("fake/rollback-after.json", &live("new"));
        let ran = project.run(&[&["up", "--rollback"], args].concat());
        ran.code(95).err().to_owned()
    };
    let note =
        |reason: &str| format!("        Note deployment.apps/app was not rolled back: {reason}\n");
    // The previous revision is not what was there before this run.
    let stderr = run(&live("new"), &[]);
    assert!(stderr.contains("Unchanged"), "{stderr}");
    assert!(stderr.contains(&note("this run has not changed its pods")), "{stderr}");
    project.remove("fake/applied");
    let stderr = run(&live("new"), &[]);
    assert!(stderr.contains("Applied"), "{stderr}");
    assert!(stderr.contains(&note("this run has not changed its pods")), "{stderr}");
    project.remove("fake/applied");
    let stderr = run("", &[]);
    let created = note("this run has created it, so it has no previous revision");
    assert!(stderr.contains(&created), "{stderr}");
    assert!(!project.calls().contains("rollout undo"));

    project.remove("fake/applied");
    let stderr = run(&live("old"), &[]);
    let end = " Rolled back deployment.apps/app to the previous revision\nerror: deployment/app failed to roll out: ";
    assert!(stderr.contains(end), "{stderr}");
    project.remove("fake/applied");
    let stderr = run(&live("old"), &["--quiet"]);
    assert!(stderr.starts_with(end), "`--quiet` hid a warning: {stderr}");
    let undo = "--namespace default --request-timeout=15s rollout undo deployment.apps/app --to-revision=7\n";
    assert_eq!(project.calls().matches(undo).count(), 2, "{}", project.calls());

    let reason = "no rollout history found for deployment \"app\"";
    project.write("fake/kubectl-rollout-fails", &format!("error: {reason}\n"));
    project.remove("fake/applied");
    let stderr = run(&live("old"), &[]);
    assert!(stderr.contains(&note(reason)), "{stderr}");
}

#[test]
fn local_node_needs_no_ssh() {
    let project = Project::new();
    let id = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let (machine, boot) = (id("/etc/machine-id"), id("/proc/sys/kernel/random/boot_id"));
    let nodes = std::fs::read_to_string(project.path("fake/nodes.json")).unwrap();
    let nodes =
        nodes.replace("\"n1\",\"bootID\":\"b\"", &format!("\"{machine}\",\"bootID\":\"{boot}\""));
    project.write("fake/nodes.json", &nodes).remove("bin/ssh");
    let node = project.path("fake/node-here");
    let ran = project.run_with(&[("FAKE_NODE", node.to_str().unwrap())], &["up", "--node", "n1"]);
    ran.code(0);
    assert!(node.join("images").exists());
}

#[test]
fn unknown_node_in_configuration_is_noted() {
    let project = Project::new();
    project.config("nodes.elsewhere.ssh = \"u@h\"");
    let ran = project.run(&["up", "--dry-run"]);
    ran.code(0).stderr(
        "        Note the configuration has settings for node `elsewhere`, which does not exist in the cluster\n",
    );
}

#[test]
fn ssh_connections_are_closed() {
    let project = Project::new();
    project.run(&["up"]).code(0);
    assert_eq!(project.calls().matches("-O exit").count(), 2, "{}", project.calls());
}

#[test]
fn unresponsive_node_does_not_fail_load() {
    let project = Project::new();
    let taint = r#""taints":[{"key":"node.kubernetes.io/unreachable","effect":"NoSchedule"}]"#;
    let provider = r#""providerID":"kind://docker/test/n1""#;
    project.edit_nodes(provider, &format!("{provider},{taint}"));
    // The node is loaded if it is reachable: it may recover before its pods are created.
    project.run(&["load", "tool:1"]).code(0);
    assert_eq!(project.images_on("10.0.0.1").len(), 2);
    project.write("fake/ssh-10.0.0.1", "ssh: connect to host 10.0.0.1 port 22: No route to host\n");
    project.run(&["load", "tool:2"]).code(0).stderr(
        "    Skipping n1: its kubelet has stopped reporting; cannot reach node `n1` (10.0.0.1): `ssh 10.0.0.1` exited with code 255: ssh: connect to host 10.0.0.1 port 22: No route to host
     Loading n2 (4.00 KiB)
      Loaded n2: sent [..] in [TIME]
    Finished tool:2 in [TIME]\n",
    );
    project.run(&["load", "tool:2", "--node", "n1"]).code(93);
}
