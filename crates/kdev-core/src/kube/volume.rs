//! The volumes of a pod.

use serde_json::Value;

use super::object::text;

/// Returns the name of the PersistentVolumeClaim of a volume, if it has one. The claim of
/// an ephemeral volume is created with the pod.
pub fn claim_name(pod: &Value, volume: &Value) -> Option<String> {
    if volume.get("ephemeral").is_some() {
        let name = |object| text(object, "/name");
        return Some(format!("{}-{}", name(&pod["metadata"]), name(volume)));
    }
    let name = volume.pointer("/persistentVolumeClaim/claimName")?;
    name.as_str().map(str::to_owned)
}
