//! Whether a kubelet lets pods have only those images that it has pulled itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::process::Task;

/// How long a kubelet may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys of a kubelet's configuration that count here.
const POLICY: &str = "imagePullCredentialsVerificationPolicy";
const ALLOWED: &str = "preloadedImagesVerificationAllowlist";

/// What a node's kubelet is told of images that it has not pulled itself; null for
/// those who may not ask it. A kubelet conceals from pods and their events what it
/// refuses for this.
pub(crate) fn ask(cx: &Cx, cluster: &Cluster, node: &str) -> Value {
    configuration(cx, cluster, node)
        .map(|config| json!({POLICY: config[POLICY], ALLOWED: config[ALLOWED]}))
        .unwrap_or_default()
}

fn configuration(cx: &Cx, cluster: &Cluster, node: &str) -> Option<Value> {
    let sh = cx.shell().ok()?;
    let path = format!("/api/v1/nodes/{node}/proxy/configz");
    let cmd = cluster.cmd(&sh, None).args(["get", "--raw", &path]);
    let output = Task::new(cmd).limit(PATIENCE).read(cx).ok()?;
    let mut answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(answer["kubeletconfig"].take())
}

/// The policy, where it is one that keeps pods from an image of this name that
/// others have loaded.
pub(crate) fn refuses<'a>(config: &'a Value, image: &str) -> Option<&'a str> {
    let policy = config[POLICY].as_str()?;
    let listed = config[ALLOWED].as_array();
    let mut listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let refuses = match policy {
        "AlwaysVerify" => true,
        "NeverVerifyAllowlistedImages" => {
            !listed.any(|pattern| image.starts_with(pattern.trim_end_matches('*')))
        }
        _ => false,
    };
    refuses.then_some(policy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn only_policies_that_keep_pods_from_loaded_images_count() {
        let refuses = |policy, image| {
            let listed = ["registry.example/team/*"];
            let config = json!({"imagePullCredentialsVerificationPolicy": policy,
                "preloadedImagesVerificationAllowlist": listed});
            super::refuses(&config, image).is_some()
        };
        assert!(refuses("AlwaysVerify", "registry.example/team/app:1"));
        assert!(refuses("NeverVerifyAllowlistedImages", "app:1"));
        assert!(!refuses("NeverVerifyAllowlistedImages", "registry.example/team/app:1"));
        assert!(!refuses("NeverVerifyPreloadedImages", "app:1"));
        assert!(!refuses("NeverVerify", "app:1"));
        assert_eq!(super::refuses(&json!({}), "app:1"), None);
    }
}
