//! Where each setting comes from.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::config::LOCAL_FILE;
use crate::config::keys::KEYS;
use crate::project::Project;

/// Tables whose entries are merged one by one.
const MERGED: [&str; 3] = ["build-args", "helm", "nodes"];

/// A table of settings, and what messages call it.
pub(crate) struct Layer {
    pub(crate) origin: String,
    pub(crate) table: Value,
}

/// A setting with its origin; the value is null if no layer sets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Option<String>,
}

/// Returns the tables of a project, the one with the highest precedence first. They must be
/// valid.
pub(crate) fn layers(project: &Project) -> Vec<Layer> {
    let mut layers = vec![local_file(&project.dir)];
    if project.workspace_root != project.dir {
        layers.push(local_file(&project.workspace_root));
    }
    let table = |kind: &str, dir: &Path, table: &Value| Layer {
        origin: format!("[{kind}.metadata.kdev] in {}", dir.join("Cargo.toml").display()),
        table: table.clone(),
    };
    layers.push(table("package", &project.dir, &project.package_table));
    layers.push(table("workspace", &project.workspace_root, &project.workspace_table));
    layers
}

fn local_file(dir: &Path) -> Layer {
    let path = dir.join(LOCAL_FILE);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let table = toml::from_str(&text).unwrap_or_default();
    Layer { origin: path.display().to_string(), table }
}

/// Returns all settings in the order of the keys. The first layer that sets a key wins.
pub(crate) fn settings(layers: &[Layer]) -> Vec<Setting> {
    KEYS.iter().flat_map(|key| settings_of(layers, key)).collect()
}

fn settings_of(layers: &[Layer], key: &str) -> Vec<Setting> {
    let values = layers.iter().filter_map(|layer| Some((layer.table.get(key)?, &layer.origin)));
    let mut found: Vec<Setting> = Vec::new();
    for (value, origin) in values {
        for (key, value) in entries(key, value) {
            if found.iter().any(|known| known.key == key) {
                continue;
            }
            found.push(Setting { key, value: value.clone(), origin: Some(origin.clone()) });
        }
        if !MERGED.contains(&key) {
            break;
        }
    }
    if found.is_empty() {
        found.push(Setting { key: key.to_owned(), value: Value::Null, origin: None });
    }
    found
}

/// Returns the values that are merged on their own: `nodes.NAME.ssh`.
fn entries<'v>(key: &str, value: &'v Value) -> Vec<(String, &'v Value)> {
    match value {
        Value::Object(table) if MERGED.contains(&key.split('.').next().unwrap_or(key)) => table
            .iter()
            .flat_map(|(name, value)| entries(&format!("{key}.{name}"), value))
            .collect(),
        value => vec![(key.to_owned(), value)],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn first_layer_wins_and_tables_are_merged() {
        let layer = |origin: &str, table: Value| Layer { origin: origin.to_owned(), table };
        let layers = [
            layer("a", json!({"image": "x", "nodes": {"n": {"sudo": true}}})),
            layer(
                "b",
                json!({"image": "y", "timeout": 3, "nodes": {"n": {"sudo": false, "ssh": "h"}}}),
            ),
        ];
        let all = settings(&layers);
        let found = |key: &str| {
            let setting = all.iter().find(|setting| setting.key == key).unwrap();
            (setting.value.clone(), setting.origin.as_deref())
        };
        assert_eq!(found("image"), (json!("x"), Some("a")));
        assert_eq!(found("timeout"), (json!(3), Some("b")));
        assert_eq!(found("nodes.n.sudo"), (json!(true), Some("a")));
        assert_eq!(found("nodes.n.ssh"), (json!("h"), Some("b")));
        assert_eq!(found("target"), (Value::Null, None));
        assert!(all.len() > KEYS.len());
    }
}
