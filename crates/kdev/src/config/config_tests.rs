//! Layers, paths and mistakes.

use serde_json::json;

use super::*;

fn layer(table: Value) -> Result<Layer> {
    Layer::from_table(table, Path::new("/p"), "`[package.metadata.kdev]`")
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let layer = layer(json!({"dockerfile": "docker/Dockerfile", "manifests": ["/m", "k/*"]}));
    let layer = layer.unwrap();
    assert_eq!(layer.dockerfile.unwrap(), Path::new("/p/docker/Dockerfile"));
    assert_eq!(layer.manifests.unwrap(), [Path::new("/m"), Path::new("/p/k/*")]);
}

#[test]
fn the_upper_layer_wins_key_by_key() {
    let upper = layer(json!({"image": "up", "build-args": {"A": "1"}})).unwrap();
    let lower = json!({"image": "low", "namespace": "n", "build-args": {"A": "0", "B": "2"}});
    let both = upper.over(layer(lower).unwrap());
    assert_eq!(both.image.as_deref(), Some("up"));
    assert_eq!(both.namespace.as_deref(), Some("n"));
    assert_eq!(both.build_args.into_values().collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn a_node_is_merged_setting_by_setting() {
    let upper = layer(json!({"nodes": {"w": {"ssh": "u@h"}}})).unwrap();
    let lower = json!({"nodes": {"w": {"docker": "x", "sudo": true}}});
    let both = upper.over(layer(lower).unwrap());
    let expected =
        NodeSettings { ssh: Some("u@h".into()), sudo: Some(true), ..NodeSettings::default() };
    assert_eq!(both.nodes["w"], expected);
}

#[test]
fn a_folder_that_looks_like_a_glob_is_taken_literally() {
    let table = json!({"manifests": ["k8s/*.yaml"]});
    let layer = Layer::from_table(table, Path::new("/home/[x]"), "").unwrap();
    assert_eq!(layer.manifests.unwrap(), [Path::new("/home/[[]x[]]/k8s/*.yaml")]);
}

#[test]
fn mistakes_are_named_with_the_nearest_known_key() {
    let table = [
        (
            json!({"manifest": []}),
            "unknown key `manifest` in `[package.metadata.kdev]`",
            Some("did you mean `manifests`?"),
        ),
        (
            json!({"nodes": {"w": {"shh": "x"}}}),
            "unknown key `nodes.w.shh` in `[package.metadata.kdev]`",
            Some("did you mean `nodes.w.ssh`?"),
        ),
        (
            json!({"zzz": 1}),
            "unknown key `zzz` in `[package.metadata.kdev]`",
            Some("remove it; the README lists the known keys"),
        ),
        (
            json!({"image": 3}),
            "invalid value for `image` in `[package.metadata.kdev]`",
            Some("the README lists what each key takes"),
        ),
        (
            json!({"pull-policy": "Always"}),
            "invalid value for `pull-policy` in `[package.metadata.kdev]`",
            Some("the README lists what each key takes"),
        ),
        (
            json!([1]),
            "invalid value for `kdev` in `[package.metadata.kdev]`",
            Some("the README lists what each key takes"),
        ),
    ];
    for (value, message, help) in table {
        let error = layer(value).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.help().as_deref(), help);
    }
}

#[test]
fn every_key_that_is_read_is_known() {
    // `take` asserts it; an empty table takes each of them once.
    assert!(layer(json!({})).is_ok());
}

#[test]
fn fields_that_name_an_image_come_from_the_uppermost_layer_that_has_them() {
    let table = |path: &str| layer(json!({"image-paths": [path]})).unwrap();
    let both = table("A:b").over(table("C:d"));
    assert_eq!(both.image_paths.unwrap(), ["A:b"]);
    assert_eq!(Layer::default().over(table("C:d")).image_paths.unwrap(), ["C:d"]);
}
