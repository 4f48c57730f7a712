//! Whether a kubelet lets pods have images that it has not pulled itself.

use serde_json::{Value, json};

/// The keys of a kubelet's configuration that count here.
const POLICY: &str = "imagePullCredentialsVerificationPolicy";
const ALLOWED: &str = "preloadedImagesVerificationAllowlist";

/// What of a kubelet's configuration counts here.
pub fn from_kubelet_config(config: &Value) -> Value {
    json!({POLICY: config[POLICY], ALLOWED: config[ALLOWED]})
}

/// The policy, where it is one that keeps pods from an image of this name that
/// others have loaded.
pub fn rejecting_policy<'a>(config: &'a Value, image: &str) -> Option<&'a str> {
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
            super::rejecting_policy(&config, image).is_some()
        };
        assert!(refuses("AlwaysVerify", "registry.example/team/app:1"));
        assert!(refuses("NeverVerifyAllowlistedImages", "app:1"));
        assert!(!refuses("NeverVerifyAllowlistedImages", "registry.example/team/app:1"));
        assert!(!refuses("NeverVerifyPreloadedImages", "app:1"));
        assert!(!refuses("NeverVerify", "app:1"));
        assert_eq!(super::rejecting_policy(&json!({}), "app:1"), None);
    }
}
