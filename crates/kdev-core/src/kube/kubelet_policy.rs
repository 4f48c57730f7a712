//! Whether a kubelet allows pods to use images that it has not pulled itself.

use serde_json::{Value, json};

/// Keys of the kubelet's configuration.
const POLICY: &str = "imagePullCredentialsVerificationPolicy";
const ALLOWED: &str = "preloadedImagesVerificationAllowlist";

/// Returns the relevant part of a kubelet's configuration.
pub fn from_kubelet_config(config: &Value) -> Value {
    json!({POLICY: config[POLICY], ALLOWED: config[ALLOWED]})
}

/// Returns the policy if it prevents pods from using a loaded image with this name.
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
    fn only_policies_rejecting_loaded_images_count() {
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
