//! Dockerfiles and ignore files.

use super::*;

fn program(path: &str) -> Program {
    Program {
        package: "shop".into(),
        binary: "web".into(),
        others: Vec::new(),
        main: "/w/src/main.rs".into(),
        edition: "2024".into(),
        uses_api: false,
        dir: Path::new("/w").join(path),
        workspace_root: "/w".into(),
        target_dir: "/w/target".into(),
        members: vec![PathBuf::from(path)],
        binaries: vec!["web".into()],
        table: serde_json::Value::Null,
    }
}

fn toolchain() -> Toolchain {
    Toolchain {
        version: "1.95.0".into(),
        host: "x86_64-unknown-linux-gnu".into(),
        targets: Vec::new(),
        has_static_libc: true,
        configured: None,
        static_argument: String::new(),
    }
}

fn place(builder: &ImageBuilder, toolchain: Option<&Toolchain>) -> BuildPlace {
    BuildPlace::choose(&program(""), builder, toolchain, "", Some(&BuilderChoice::Auto)).0
}

fn builder(has_cache_mounts: bool, rust_image: Option<&str>) -> ImageBuilder {
    let rust_image = rust_image.map(str::to_owned);
    ImageBuilder { name: "Podman", has_cache_mounts, rust_image, ..ImageBuilder::default() }
}

#[test]
fn build_place_avoids_downloads() {
    let is_host = |place: &BuildPlace| matches!(place, BuildPlace::Host { .. });
    let docker = |image: &str, has_cache_mounts| BuildPlace::Docker {
        image: image.to_owned(),
        has_cache_mounts,
    };
    let tools = toolchain();
    assert_eq!(place(&builder(true, Some("rust:1.95")), Some(&tools)), docker("rust:1.95", true));
    // Without caches, each build compiles everything.
    assert!(is_host(&place(&builder(false, Some("rust:1.95")), Some(&tools))));
    assert!(is_host(&place(&builder(true, None), Some(&tools))));
    assert_eq!(place(&builder(true, None), None), docker(RUST_IMAGE, true));
    assert_eq!(place(&builder(false, None), None), docker(RUST_IMAGE, false));
    let elsewhere = Program { target_dir: "/cache/target".into(), ..program("") };
    let (place, reason) = {
        let auto = Some(&BuilderChoice::Auto);
        BuildPlace::choose(&elsewhere, &builder(true, None), Some(&tools), "", auto)
    };
    assert_eq!(place, docker(RUST_IMAGE, true));
    assert_eq!(
        reason,
        "the target directory is outside the workspace; Podman pulls image `rust:1-slim`"
    );
    let podman = builder(true, Some("rust:1"));
    assert_eq!(docker("rust:1", true).describe(&podman), "by Podman, in image `rust:1`");
}

#[test]
fn cargo_builds_if_it_can() {
    const GNU: &str = "x86_64-unknown-linux-gnu";
    let musl = Toolchain {
        targets: vec![GNU.into(), "x86_64-unknown-linux-musl".into()],
        has_static_libc: false,
        ..toolchain()
    };
    let dynamic = Toolchain { has_static_libc: false, ..toolchain() };
    let mac = Toolchain { host: "aarch64-apple-darwin".into(), ..musl.clone() };
    // The settings of cargo say nothing about the target that kdev selects.
    let build = StaticBuild { args: Vec::new(), target: "x86_64-unknown-linux-musl".into() };
    let configured = Toolchain { configured: Some(build), ..dynamic.clone() };
    let with_table = Program { table: serde_json::json!({"timeout": 9}), ..program("") };
    let lock = |name: &str| format!("[[package]]\nname = \"{name}\"\n");
    let (cargo, podman) = (BuilderChoice::Cargo, BuilderChoice::Podman);
    let new = program("");
    let table = [
        (&new, Some(&musl), lock("tokio"), None, true),
        (&new, Some(&toolchain()), lock("ccc"), None, true),
        (&new, Some(&musl), lock("cc"), None, false),
        (&new, Some(&musl), lock("pkg-config"), None, false),
        (&new, Some(&dynamic), String::new(), None, false),
        (&new, Some(&configured), String::new(), None, false),
        (&new, Some(&mac), String::new(), None, false),
        (&new, None, String::new(), None, false),
        (&with_table, Some(&musl), String::new(), None, false),
        (&new, Some(&musl), String::new(), Some(&podman), false),
        (&with_table, Some(&dynamic), lock("cc"), Some(&cargo), true),
    ];
    // Also if the other builder needs no download.
    let builder = builder(true, Some("rust:1"));
    for (program, toolchain, lock, choice, expected) in table {
        let (place, _) = BuildPlace::choose(program, &builder, toolchain, &lock, choice);
        assert_eq!(place == BuildPlace::Cargo, expected, "{toolchain:?} {lock} {choice:?}");
        assert_eq!(place.files(program, None, true).is_none(), expected);
    }
}

#[test]
fn host_files_contain_only_program() {
    let place = place(&builder(false, None), Some(&toolchain()));
    let (dockerfile, ignore) = place.files(&program(""), Some(8080), true).unwrap();
    assert!(dockerfile.contains("\nCOPY target/*/release/web /web\nEXPOSE 8080\n"), "{dockerfile}");
    let patterns: Vec<&str> = ignore.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "*",
        "!target",
        "target/*",
        "!target/*",
        "target/*/*",
        "!target/*/release",
        "target/*/release/*",
        "!target/*/release/web",
    ];
    assert_eq!(patterns, expected);
}

#[test]
fn docker_files_mount_caches_if_supported() {
    let place = place(&builder(true, Some("rust:1")), None);
    let (dockerfile, ignore) = place.files(&program("web"), None, true).unwrap();
    assert!(dockerfile.starts_with("FROM rust:1 AS build\n"), "{dockerfile}");
    assert_eq!(dockerfile.matches("--mount=type=cache,").count(), 3);
    assert!(dockerfile.contains("--release --locked --package shop --bin web "), "{dockerfile}");
    assert!(!dockerfile.contains("EXPOSE") && !dockerfile.contains("{{"), "{dockerfile}");
    assert!(ignore.ends_with("!.cargo\n!web/Cargo.toml\n!web/build.rs\n!web/src\n"), "{ignore}");
    let legacy = self::place(&builder(false, None), None);
    let (legacy, _) = legacy.files(&program(""), None, false).unwrap();
    assert!(!legacy.contains("--mount") && !legacy.contains("--locked"), "{legacy}");
}

#[test]
fn exposed_port_is_read() {
    let table = [
        ("FROM scratch\nEXPOSE 8080\n", Some((8080, 2))),
        ("expose 53/udp 80", Some((53, 1))),
        ("# EXPOSE 1\nENV EXPOSE=2", None),
        ("EXPOSE $PORT", None),
    ];
    for (text, expected) in table {
        assert_eq!(exposed_port(text), expected, "{text}");
    }
}

#[test]
fn rust_image_is_not_build_of_kdev() {
    let names = ["rust-app:1", "rust:kdev-1", "docker.io/library/rust:1.95", "rust:1"];
    let found = rust_image(names.into_iter());
    assert_eq!(found.as_deref(), Some("rust:1.95"));
    assert!(needs_c_compiler(&["cc".to_owned()].into()));
    assert!(!needs_c_compiler(&["ccc".to_owned()].into()));
}
