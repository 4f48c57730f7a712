//! Errors of the context, the cluster and the API server.

use super::*;

#[test]
fn no_current_context() {
    let project = Project::new();
    project
        .write("fake/contexts.json", r#"{"contexts":null,"clusters":null,"current-context":""}"#);
    fails(
        &project,
        92,
        "error: no current context is set
  help: `[ROOT]/.kube/config` does not exist; set KUBECONFIG or pass `--kubeconfig FILE`\n",
    );
    let kubeconfig = project.path("some");
    project.write("some", "contexts: []\n");
    let set = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
    project.run_with(&set, &["up"]).code(92).stderr(
        "error: no current context is set
  help: pass `--context NAME`; run `kubectl config get-contexts` to list the contexts\n",
    );
}

#[test]
fn unknown_context() {
    let project = Project::new();
    let ran = project.run(&["up", "--context", "prd"]);
    ran.code(92).stderr(
        "error: context `prd` not found in the kubeconfig\n  help: use one of `kind-test` and `prod`\n",
    );
    untouched(&project);
    project.write("fake/contexts.json", r#"{"contexts":null,"clusters":null}"#);
    let absent = project.path("absent");
    let set = [("KUBECONFIG", absent.to_str().unwrap())];
    project.run_with(&set, &["up", "--context", "prd"]).code(92).stderr(
        "error: context `prd` not found in the kubeconfig
  help: `[ROOT]/absent` does not exist; set KUBECONFIG or pass `--kubeconfig FILE`\n",
    );
}

#[test]
fn context_not_allowed() {
    let project = Project::new();
    let contexts = std::fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    project.write(
        "fake/contexts.json",
        &contexts.replace("\"current-context\":\"kind-test\"", "\"current-context\":\"prod\""),
    );
    fails(&project, 92, "error: refusing to modify context `prod` (https://10.0.0.9:6443) without permission
  help: pass `--context prod` to allow it once, or add it to `contexts` in `[package.metadata.kdev]`\n");
    assert!(!project.calls().contains("get nodes"), "the cluster was contacted");
    // The help fixes it.
    project.config("contexts = [\"prod\"]").run(&["up"]).code(0);
}

#[test]
fn context_name_alone_is_not_trusted() {
    let far = |project: &Project| {
        let contexts = std::fs::read_to_string(project.path("fake/contexts.json")).unwrap();
        let contexts = contexts.replace("https://127.0.0.1:6443", "https://prod.example.com");
        project.write("fake/contexts.json", &contexts);
    };
    // A remote API server is not contacted.
    let project = Project::new();
    far(&project);
    let help = "help: pass `--context kind-test` to allow it once, or add it to `contexts` in `[package.metadata.kdev]`\n";
    let message = "error: refusing to modify context `kind-test` (https://prod.example.com) without permission";
    fails(&project, 92, &format!("{message}\n  {help}"));
    assert!(!project.calls().contains(" get "), "{}", project.calls());
    project.run(&["down"]).code(92).stderr(&format!("{message}\n  {help}"));
    project.run(&["load", "tool:1"]).code(92);
    // A local port may be a tunnel, so the nodes decide.
    let project = Project::new();
    project.edit_nodes("kind://docker/test/", "aws:///eu-west-1a/i-");
    let message =
        "error: refusing to modify context `kind-test` (https://127.0.0.1:6443) without permission";
    fails(&project, 92, &format!("{message}\n  {help}"));
    // The name of the context does not matter for a kind cluster.
    let project = Project::new();
    let contexts = std::fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    project.write("fake/contexts.json", &contexts.replace("kind-test", "mine"));
    project.run(&["up"]).code(0);
}

#[test]
fn unreachable_cluster() {
    let project = Project::new();
    let log = r#"E1125 07:15:01.123456    4711 memcache.go:265] "Unhandled Error" err="couldn't get current server API group list""#;
    let message = "The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?";
    project.write("fake/kubectl-get-fails", &format!("{log}\n{log}\n{message}\n"));
    fails(&project, 92, "error: cannot connect to the cluster of context `kind-test`
  caused by: `kubectl --context kind-test --namespace default '--request-timeout=15s' get 'nodes,namespaces' '--output=json'` exited with code 1: The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?
  help: start the cluster, or correct `server` in the kubeconfig (behind a proxy, also `NO_PROXY`); `kubectl --context kind-test --namespace default config view --minify` shows it\n");
}

#[test]
fn rejected_manifest() {
    let project = Project::new();
    project.write(
        "fake/kubectl-apply-fails",
        "Error from server (Forbidden): deployments.apps \"app\" is forbidden: exceeded quota\n",
    );
    let ran = project.run(&["up", "--node", "n1"]);
    ran.code(92).stderr(&format!("{BUILT}     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
        Note deployment/app is defined at `[ROOT]/k8s/app.yaml:1`
error: the API server of context `kind-test` rejected the request to apply the manifests
  caused by: `kubectl [..] apply --server-side '--field-manager=kdev' --show-managed-fields '--output=json' --filename -` exited with code 1: Error from server (Forbidden): deployments.apps \"app\" is forbidden: exceeded quota
  help: run `kubectl --context kind-test --namespace default describe quota` to see the limits\n"));
    assert_eq!(project.applied(), None);
}

#[test]
fn field_conflict_is_fixed_by_help() {
    let project = Project::new();
    let message = "error: Apply failed with 1 conflict: conflict with \"helm\" using apps/v1: .spec.replicas\n";
    project.write("fake/kubectl-apply-fails", message);
    let ran = project.run(&["up"]);
    ran.code(92).error(
        "error: field conflicts in context `kind-test`
  caused by: `.spec.replicas` is owned by `helm`
  help: remove `replicas` from the manifest to leave scaling to the autoscaler, or pass `--force-conflicts` to take over the field\n",
    );
    assert!(!project.calls().contains("apply --server-side --field-manager=kdev --force"));
    project.remove("fake/kubectl-apply-fails").run(&["up", "--force-conflicts"]).code(0);
}

#[test]
fn each_conflict_has_owner() {
    let project = Project::new();
    let message = "Apply failed with 2 conflicts: conflicts with \"ed\" using v1:\n- .data.b\nconflicts with \"helm\" using v1:\n- .data.a\nPlease review the fields above--they currently have other managers. Here\n";
    project.write("fake/kubectl-apply-fails", message);
    project.run(&["up"]).code(92).error(
        "error: field conflicts in context `kind-test`
  caused by: `.data.b` is owned by `ed`, `.data.a` is owned by `helm`
  help: pass `--force-conflicts` to take over the fields\n",
    );
}

#[test]
fn immutable_object_is_recreated_only_with_flag() {
    let message =
        "The Job \"app\" is invalid: spec.template: Invalid value: {}: field is immutable\n";
    for step in ["diff", "apply"] {
        let project = Project::new();
        let fails = format!("fake/kubectl-{step}-fails");
        project.write(&fails, message);
        project.run(&["up"]).code(92).error(
            "error: cannot change immutable fields of `job/app`
  caused by: `spec.template` of job/app is immutable
  help: pass `--recreate` to delete and recreate it with its pods\n",
        );
        assert!(!project.calls().contains(" delete "), "{}", project.calls());
        let ran = project.run(&["up", "--recreate"]);
        assert!(ran.code(0).err().contains("     Deleted job/app from kind-test\n"));
        let calls = project.calls();
        let delete = calls.lines().find(|line| line.contains(" delete ")).unwrap();
        assert!(delete.starts_with("kubectl --context kind-test --namespace default "), "{delete}");
        assert!(project.applied().is_some());
    }
    // Objects with data are never deleted.
    let project = Project::new();
    project.write("fake/kubectl-diff-fails", &message.replace("Job", "PersistentVolumeClaim"));
    project.run(&["up", "--recreate"]).code(92).error(
        "error: cannot change immutable fields of `persistentvolumeclaim/app`
  caused by: `spec.template` of persistentvolumeclaim/app is immutable
  help: rename it, or delete it and its data: `kubectl --context kind-test --namespace default delete persistentvolumeclaim/app`\n",
    );
    assert!(!project.calls().contains(" delete "), "{}", project.calls());
}

#[test]
fn each_rejection_has_help() {
    let kubectl = "kubectl --context kind-test --namespace default";
    let cluster = "kubectl --context kind-test";
    let hooks = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
    let table = [
        (
            "Error from server (NotFound): namespaces \"dev\" not found",
            "run `kubectl --context kind-test create namespace dev`".into(),
        ),
        (
            "Error from server: admission webhook \"policy.example.com\" denied the request: no",
            format!(
                "satisfy the rule of webhook `policy.example.com`; see `{cluster} get {hooks}`"
            ),
        ),
        (
            "Error from server (InternalError): failed calling webhook \"a.b\": connection refused",
            format!("make webhook `a.b` reachable; see `{cluster} get {hooks}`"),
        ),
        (
            "Error from server (Forbidden): pods \"app\" is forbidden: violates PodSecurity \"restricted\"",
            "set a `securityContext` that the namespace's Pod Security level allows".into(),
        ),
        (
            "error: no matches for kind \"Bar\" in version \"foo/v1\"",
            format!(
                "install the CRD of the kind, or correct `apiVersion`; see `{cluster} api-resources`"
            ),
        ),
        (
            "Error from server (Forbidden): deployments.apps \"app\" is forbidden: User \"dev\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"default\"",
            format!(
                "ask an administrator to allow user `dev` to patch `deployments.apps/app`; run `{cluster} auth can-i patch deployments.apps/app --namespace default` to check this"
            ),
        ),
        (
            "Error from server (Timeout): the server is busy",
            format!(
                "run `{kubectl} apply --server-side --dry-run=server -f FILE` to reproduce the error"
            ),
        ),
        (
            "The Service \"x\" is invalid: spec.ports: Required value",
            "correct the field in the manifest".into(),
        ),
    ];
    for (message, help) in table {
        let project = Project::new();
        project.write("fake/kubectl-apply-fails", message);
        let ran = project.run(&["up"]);
        let output = ran.code(92).err();
        assert!(output.contains(message), "{output}");
        assert!(output.ends_with(&format!("  help: {help}\n")), "{output}");
    }
}

#[test]
fn unknown_rejection_suggests_the_rejected_request() {
    let project = Project::new();
    project.write("fake/kubectl-get-fails", "Error from server (Timeout): the server is busy\n");
    for command in ["up", "why", "status"] {
        let ran = project.run(&[command, "--context", "kind-test"]);
        let stderr = ran.code(92).err();
        let help = stderr.lines().last().unwrap_or_default();
        assert!(help.starts_with("  help: run `kubectl --context kind-test "), "{stderr}");
        assert!(help.contains(" get ") && help.ends_with("` to reproduce the error"), "{stderr}");
    }
}

/// Each verb of kubectl prints its own text, and each command of kdev that reaches the cluster
/// reports the same error.
#[test]
fn rejected_credentials_report_user_and_renewal() {
    let texts = [
        "error: You must be logged in to the server (Unauthorized)\n",
        "error: error validating \"-\": error validating data: failed to download openapi: the server has asked for the client to provide credentials; if you choose to ignore these errors, turn validation off with --validate=false\n",
    ];
    for (verb, text, commands) in [
        ("get", texts[0], &["up", "why", "status", "load", "down"][..]),
        ("diff", texts[0], &["up"]),
        ("apply", texts[1], &["up"]),
    ] {
        for command in commands {
            let project = Project::new();
            let config = project.path("kubeconfig");
            project.write("kubeconfig", "current-context: kind-test\ncontexts: [{name: kind-test, context: {cluster: a, user: dev}}]\nclusters: [{name: a, cluster: {server: 'https://10.0.0.9:6443'}}]\nusers: [{name: dev, user: {token: old}}]\n");
            if *command == "down" {
                project.run(&["up"]).code(0);
            }
            project.write(&format!("fake/kubectl-{verb}-fails"), text);
            let config = config.display().to_string();
            let args = [*command, "--context", "kind-test", "--kubeconfig", &config];
            let image = (*command == "load").then_some("app:latest");
            let ran = project.run(&args.into_iter().chain(image).collect::<Vec<_>>());
            let stderr = ran.code(92).err().replace("[ROOT]/kubeconfig", "CONFIG");
            let error = "error: the API server of context `kind-test` rejected the credentials\n  caused by: the token of user `dev` in `CONFIG` is not accepted\n  caused by: `kubectl --kubeconfig CONFIG --context kind-test ";
            let help = "  help: run `kubectl --kubeconfig CONFIG config set-credentials dev --token=TOKEN` with a new token\n";
            assert!(stderr.contains(error) && stderr.ends_with(help), "{command} {verb}: {stderr}");
        }
    }
}

#[test]
fn missing_permissions() {
    let project = Project::new();
    let message = "Error from server (Forbidden): nodes is forbidden: User \"dev\" cannot list resource \"nodes\"\n";
    project.write("fake/kubectl-get-fails", message);
    let ran = project.run(&["up", "--context", "kind-test"]);
    ran.code(92).stderr("error: the API server of context `kind-test` rejected the request to list nodes
  caused by: [..] cannot list resource \"nodes\"
  help: run `kubectl --context kind-test --namespace default auth can-i --list` to see your permissions\n");
}

#[test]
fn no_eligible_node() {
    let project = Project::new();
    let manifest = std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let manifest =
        manifest.replace("    spec:\n", "    spec:\n      nodeSelector: {gpu: \"yes\"}\n");
    project.write("k8s/app.yaml", &manifest);
    let ran = project.run(&["up"]);
    ran.code(92).stderr(
        "error: no node of context `kind-test` can run the pods
  caused by: `n1`: it does not have the label `gpu=yes`; `n2`: it does not have the label `gpu=yes`
  help: run `kubectl --context kind-test label node n1 'gpu=yes'` to add the label to a node\n",
    );
    untouched(&project);
    // Kubernetes sets the name of a node.
    let hostname = manifest.replace("gpu: \"yes\"", "kubernetes.io/hostname: n3");
    project.write("k8s/app.yaml", &hostname);
    let help =
        "  help: change the node selector, affinity, or tolerations of the pods in the manifest\n";
    assert!(project.run(&["up"]).code(92).err().ends_with(help));
    // If no single label is sufficient, the help refers to the manifest.
    let affinity = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}";
    project.write("k8s/app.yaml", &manifest.replace("nodeSelector: {gpu: \"yes\"}", affinity));
    let output = project.run(&["up"]).code(92).err().to_owned();
    assert!(output.ends_with(help), "{output}");
}

#[test]
fn unknown_node() {
    let project = Project::new();
    let ran = project.run(&["up", "--node", "n3"]);
    ran.code(92).stderr("error: node `n3` not found\n  help: use one of `n1` and `n2`\n");
    untouched(&project);
}
