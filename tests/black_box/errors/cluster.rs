//! The cluster is not found, not allowed, or refuses.

use super::*;

#[test]
fn no_context_is_current() {
    let project = Project::new();
    project
        .write("fake/contexts.json", r#"{"contexts":null,"clusters":null,"current-context":""}"#);
    fails(
        &project,
        92,
        "error: no kube context is selected
  help: name one with `--context NAME`; `kubectl config get-contexts` lists them\n",
    );
}

#[test]
fn the_context_is_unknown() {
    let project = Project::new();
    let ran = project.run(&["up", "--context", "prd"]);
    ran.code(92).stderr(
        "error: no kube context is named `prd`\n  help: use one of `kind-test` and `prod`\n",
    );
    untouched(&project);
}

#[test]
fn the_context_is_not_allowed() {
    let project = Project::new();
    let contexts = std::fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    project.write(
        "fake/contexts.json",
        &contexts.replace("\"current-context\":\"kind-test\"", "\"current-context\":\"prod\""),
    );
    fails(&project, 92, "error: kdev may not change the context `prod` (server https://10.0.0.9:6443)
  help: if it is meant, name it with `--context prod`, or for good with `contexts = [\"prod\"]` in `[package.metadata.kdev]`\n");
    assert!(!project.calls().contains("get nodes"), "the cluster was asked");
    // Who follows the advice succeeds.
    project.config("contexts = [\"prod\"]").run(&["up"]).code(0);
}

#[test]
fn the_cluster_does_not_answer() {
    let project = Project::new();
    project.write("fake/kubectl-get-fails", "The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?\n");
    fails(&project, 92, "error: the cluster of context `kind-test` does not answer
  caused by: `kubectl --context kind-test --namespace default '--request-timeout=15s' get nodes '--output=json'` exited with code 1: The connection to the server 10.0.0.9:6443 was refused - did you specify the right host or port?
  help: check it with `kubectl --context kind-test --namespace default get nodes`\n");
}

#[test]
fn the_api_refuses_the_manifest() {
    let project = Project::new();
    project.write(
        "fake/kubectl-apply-fails",
        "Error from server (Forbidden): deployments.apps \"app\" is forbidden: exceeded quota\n",
    );
    let ran = project.run(&["up", "--node", "n1"]);
    ran.code(92).stderr(&format!("{BUILT}     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
error: the cluster of context `kind-test` refused to apply the manifests
  caused by: `kubectl [..] apply --server-side '--field-manager=kdev' --filename -` exited with code 1: Error from server (Forbidden): deployments.apps \"app\" is forbidden: exceeded quota
  help: see `kubectl --context kind-test --namespace default describe quota`\n"));
    assert_eq!(project.applied(), None);
}

#[test]
fn another_manager_owns_a_field_and_the_advice_helps() {
    let project = Project::new();
    let words = "error: Apply failed with 1 conflict: conflict with \"helm\" using apps/v1: .spec.replicas\n";
    project.write("fake/kubectl-apply-fails", words);
    let ran = project.run(&["up"]);
    ran.code(92).error(
        "error: the cluster of context `kind-test` refused to apply the manifests
  caused by: [..]conflict with \"helm\" using apps/v1: .spec.replicas
  help: if these fields shall be kdev's, take them over with `--force-conflicts`\n",
    );
    assert!(!project.calls().contains("apply --server-side --field-manager=kdev --force"));
    project.remove("fake/kubectl-apply-fails").run(&["up", "--force-conflicts"]).code(0);
}

#[test]
fn rights_are_missing() {
    let project = Project::new();
    let words = "Error from server (Forbidden): nodes is forbidden: User \"dev\" cannot list resource \"nodes\"\n";
    project.write("fake/kubectl-get-fails", words);
    let ran = project.run(&["up"]);
    ran.code(92).stderr("error: the cluster of context `kind-test` refused to list its nodes
  caused by: [..] cannot list resource \"nodes\"
  help: see what you may do with `kubectl --context kind-test --namespace default auth can-i --list`\n");
}

#[test]
fn no_node_may_run_the_pods() {
    let project = Project::new();
    let manifest = std::fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let manifest =
        manifest.replace("    spec:\n", "    spec:\n      nodeSelector: {gpu: \"yes\"}\n");
    project.write("k8s/app.yaml", &manifest);
    let ran = project.run(&["up"]);
    ran.code(92).stderr(
        "error: no node of context `kind-test` may run the pods
  caused by: `n1`: it lacks the label `gpu=yes`; `n2`: it lacks the label `gpu=yes`
  help: change the pods' node selector, affinity or tolerations, or name a node with `--node`\n",
    );
    untouched(&project);
}

#[test]
fn a_node_is_unknown() {
    let project = Project::new();
    let ran = project.run(&["up", "--node", "n3"]);
    ran.code(92).stderr("error: the cluster has no node `n3`\n  help: use one of `n1` and `n2`\n");
    untouched(&project);
}
