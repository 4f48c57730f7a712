//! The new pods do not become ready.

use super::*;

#[test]
fn a_pod_that_cannot_start_ends_the_wait_at_once() {
    let project = Project::new();
    project.write("fake/deployment.json", r#"{"metadata":{"generation":1,"uid":"u","annotations":{"deployment.kubernetes.io/revision":"1"}},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},
            "template":{"spec":{"containers":[{"image":"x"}]}}},"status":{"observedGeneration":1,"updatedReplicas":1,"replicas":1}}"#);
    project.write("fake/pods.json", r#"{"items":[
            {"kind":"ReplicaSet","metadata":{"ownerReferences":[{"uid":"u"}],"annotations":{"deployment.kubernetes.io/revision":"1"},"labels":{"pod-template-hash":"h"}}},
            {"kind":"Pod","metadata":{"name":"app-1","labels":{"pod-template-hash":"h"}},"spec":{"nodeName":"n1","containers":[{"image":"x"}]},
            "status":{"phase":"Pending","containerStatuses":[{"name":"app","state":{"waiting":{"reason":"CreateContainerConfigError","message":"configmap \"c\" not found"}}}]}}]}"#);
    let ran = project.run(&["up", "--node", "n1"]);
    ran.code(95).stderr(&format!(
        "{BUILT}     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
     Applied deployment.apps/app to kind-test
error: deployment/app cannot become ready: pod `app-1` on node `n1` does not start
  caused by: container `app`: CreateContainerConfigError: configmap \"c\" not found
  help: see `kubectl --context kind-test --namespace default describe pod app-1`\n"
    ));
}

#[test]
fn it_takes_too_long() {
    let project = Project::new();
    project.write("fake/deployment.json", r#"{"metadata":{"generation":1},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}}},"status":{"observedGeneration":1}}"#);
    let ran = project.run(&["up", "--node", "n1", "--timeout", "1"]);
    ran.code(96).stderr(&format!("{BUILT}     Loading n1 (4.00 KiB)
      Loaded n1: sent [..] in [TIME]
     Applied deployment.apps/app to kind-test
     Waiting deployment/app: 0 of 1 pod ready
error: deployment/app was not ready within 1 s: 0 of 1 new pods are
  caused by: there is no pod yet
  help: see `kubectl --context kind-test --namespace default describe deployment/app`; if it only needs longer, give `--timeout SECONDS`\n"));
}
