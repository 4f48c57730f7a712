//! Layers, paths and errors.

use serde_json::json;

use super::*;

fn layer(table: Value) -> Result<ConfigLayer> {
    ConfigLayer::from_table(table, Path::new("/p"), "`[package.metadata.kdev]`")
}

#[test]
fn relative_path_is_joined_to_directory_of_table() {
    let layer = layer(json!({"dockerfile": "docker/Dockerfile", "manifests": ["/m", "k/*"]}));
    let layer = layer.unwrap();
    assert_eq!(layer.dockerfile.unwrap(), Path::new("/p/docker/Dockerfile"));
    assert_eq!(layer.manifests.unwrap(), [Path::new("/m"), Path::new("/p/k/*")]);
}

#[test]
fn upper_layer_wins_per_key() {
    let upper = layer(json!({"image": "up", "build-args": {"A": "1"}})).unwrap();
    let lower = json!({"image": "low", "namespace": "n", "build-args": {"A": "0", "B": "2"}});
    let merged = upper.or(layer(lower).unwrap());
    assert_eq!(merged.image.as_deref(), Some("up"));
    assert_eq!(merged.namespace.as_deref(), Some("n"));
    assert_eq!(merged.build_args.into_values().collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn node_settings_merge_per_setting() {
    let upper = layer(json!({"nodes": {"w": {"ssh": "u@h"}}})).unwrap();
    let lower = json!({"nodes": {"w": {"docker": "x", "sudo": true}}});
    let merged = upper.or(layer(lower).unwrap());
    let expected =
        NodeSettings { ssh: Some("u@h".into()), sudo: Some(true), ..NodeSettings::default() };
    assert_eq!(merged.nodes["w"], expected);
}

#[test]
fn directory_with_glob_characters_is_escaped() {
    let table = json!({"manifests": ["k8s/*.yaml"]});
    let layer = ConfigLayer::from_table(table, Path::new("/home/[x]"), "").unwrap();
    assert_eq!(layer.manifests.unwrap(), [Path::new("/home/[[]x[]]/k8s/*.yaml")]);
}

#[test]
fn invalid_table_error_names_key_and_suggestion() {
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
            json!({"helm": {"value": ["a.yaml"]}}),
            "unknown key `helm.value` in `[package.metadata.kdev]`",
            Some("did you mean `helm.values`?"),
        ),
        (
            json!({"helm": {"release": "My_App"}}),
            "invalid value for `helm.release` in `[package.metadata.kdev]`",
            Some("see `docs/configuration.md` for valid values"),
        ),
        (
            json!({"helm": {"set": {"replicas": 2}}}),
            "invalid value for `helm` in `[package.metadata.kdev]`",
            Some("see `docs/configuration.md` for valid values"),
        ),
        (
            json!({"zzz": 1}),
            "unknown key `zzz` in `[package.metadata.kdev]`",
            Some("remove it; `docs/configuration.md` lists the known keys"),
        ),
        (
            json!({"image": 3}),
            "invalid value for `image` in `[package.metadata.kdev]`",
            Some("see `docs/configuration.md` for valid values"),
        ),
        (
            json!({"pull-policy": "Always"}),
            "invalid value for `pull-policy` in `[package.metadata.kdev]`",
            Some("see `docs/configuration.md` for valid values"),
        ),
        (
            json!([1]),
            "invalid value for `kdev` in `[package.metadata.kdev]`",
            Some("see `docs/configuration.md` for valid values"),
        ),
    ];
    for (value, message, help) in table {
        let error = layer(value).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.help().as_deref(), help);
    }
}

#[test]
fn docker_build_rejects_arguments_that_kdev_passes() {
    let read = |arg: &str| layer(json!({"docker-build": ["--pull", arg]}));
    for arg in ["--secret=id=a", "--ssh", "--no-cache", "--tagged", "--load", "-q", "id=-t"] {
        assert_eq!(read(arg).unwrap().docker_build.unwrap()[1], arg);
    }
    let table = [
        ("--file=a", "`--file` is not allowed: set the key `dockerfile`"),
        ("-fa", "`-f` is not allowed: set the key `dockerfile`"),
        ("-t", "`-t` is not allowed: set the key `image`"),
        ("--output=type=tar", "`--output` is not allowed: the image must stay in Docker"),
        ("-o", "`-o` is not allowed: the image must stay in Docker"),
        ("--check", "`--check` is not allowed: it builds no image"),
    ];
    for (arg, expected) in table {
        let error = read(arg).unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(reason, expected, "{arg}");
    }
}

#[test]
fn every_read_key_is_known() {
    // `take` asserts it, and reading an empty table takes each key once.
    assert!(layer(json!({})).is_ok());
}

#[test]
fn image_paths_come_from_uppermost_layer() {
    let table = |path: &str| layer(json!({"image-paths": [path]})).unwrap();
    let merged = table("A:b").or(table("C:d"));
    assert_eq!(merged.image_paths.unwrap(), ["A:b"]);
    assert_eq!(ConfigLayer::default().or(table("C:d")).image_paths.unwrap(), ["C:d"]);
}
