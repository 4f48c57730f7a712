//! Tables of valid and invalid references.

use super::*;

#[test]
fn every_form_is_normalized() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let table = [
        ("app", "docker.io/library/app:latest".to_owned(), "app:latest".to_owned()),
        ("app:dev", "docker.io/library/app:dev".into(), "app:dev".into()),
        ("docker.io/app:dev", "docker.io/library/app:dev".into(), "app:dev".into()),
        ("index.docker.io/app:dev", "docker.io/library/app:dev".into(), "app:dev".into()),
        ("library/app:dev", "docker.io/library/app:dev".into(), "app:dev".into()),
        ("team/app", "docker.io/team/app:latest".into(), "team/app:latest".into()),
        ("localhost/app:dev", "localhost/app:dev".into(), "localhost/app:dev".into()),
        (
            "localhost:5000/app",
            "localhost:5000/app:latest".into(),
            "localhost:5000/app:latest".into(),
        ),
        ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1".into(), "ghcr.io/a/b/c:1".into()),
        ("[::1]:5000/app:x", "[::1]:5000/app:x".into(), "[::1]:5000/app:x".into()),
        ("a__b-c--d.e", "docker.io/library/a__b-c--d.e:latest".into(), "a__b-c--d.e:latest".into()),
        (
            "test_image:V1_2.3-x",
            "docker.io/library/test_image:V1_2.3-x".into(),
            "test_image:V1_2.3-x".into(),
        ),
    ];
    for (text, full, familiar) in table {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), full, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
    }
    let pinned = Reference::parse(&format!("app@{digest}")).unwrap();
    assert_eq!(pinned.to_string(), format!("docker.io/library/app@{digest}"));
    assert_eq!(pinned.tag(), None);
}

#[test]
fn invalid_reference_is_rejected() {
    let long_tag = format!("app:{}", "t".repeat(129));
    let long_name = "n".repeat(256);
    let table = [
        "",
        "-o/tmp/x",
        "MyApp",
        "app:",
        "app:.x",
        "app:-x",
        "<none>:<none>",
        "a//b",
        "a/",
        "/a",
        "app@sha256:12",
        "app:x y",
        "a..b",
        "a___b",
        "_a",
        "a_",
        "localhost:x/app",
        "ex-.com/app",
        "a;touch x",
        "$(id)",
        "app:x/y",
        &long_tag,
        &long_name,
    ];
    for text in table {
        assert!(Reference::parse(text).is_err(), "{text:?} was taken");
    }
}

#[test]
fn normalized_form_parses_to_same_image() {
    let table = [
        ("docker.io/other.io/library/app", "docker.io/other.io/library/app:latest"),
        ("docker.io/localhost/app", "docker.io/localhost/app:latest"),
        ("library/team/app", "library/team/app:latest"),
        ("docker.io/library/localhost", "localhost:latest"),
    ];
    for (text, familiar) in table {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(Reference::parse(familiar).as_ref(), Ok(&reference), "{text}");
    }
}

/// Results of the distribution project's own parser, recorded.
#[test]
fn grammar_matches_distribution_project() {
    let (tag, digest) = ("t".repeat(128), "a".repeat(64));
    let text =
        include_str!("reference_tests.tsv").replace("TAG128", &tag).replace("HEX64", &digest);
    let text = text.replace("HEX96", &"b".repeat(96)).replace("HEX128", &"c".repeat(128));
    let rows = text.lines().filter_map(|line| line.split_once('\t'));
    let mut count = 0;
    for (reference, expected) in rows {
        let found = Reference::parse(reference)
            .map_or_else(|_| "ERR".to_owned(), |reference| canonical(&reference));
        assert_eq!(found, expected, "{reference:?}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}

/// The kubelet ignores the tag if there is a digest.
fn canonical(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => reference.to_string(),
    }
}

#[test]
fn length_limits_are_inclusive() {
    assert!(Reference::parse(&format!("app:{}", "t".repeat(128))).is_ok());
    // `docker.io/library/` counts.
    assert!(Reference::parse(&"n".repeat(255 - 18)).is_ok());
}

#[test]
fn content_tag_replaces_tag_and_digest() {
    let digest = format!("sha256:0123456789abcdef{}", "0".repeat(48));
    let tagged = Reference::parse("app:dev").unwrap().with_content_tag(&digest);
    assert_eq!(tagged.familiar(), "app:kdev-0123456789ab");
}

#[test]
fn name_matches_any_tag() {
    let name = |text| Reference::parse(text).unwrap().name().clone();
    assert_eq!(name("app:dev"), name("docker.io/library/app"));
    assert_ne!(name("app"), name("team/app"));
    assert_ne!(name("app"), name("localhost/app"));
}

#[test]
fn base_name_is_last_component() {
    let table = [
        ("app", "app"),
        ("registry:5000/team/App:1.2", "app"),
        ("app@sha256:0", "app"),
        ("localhost/app", "app"),
        ("a b;c", "abc"),
    ];
    for (image, expected) in table {
        assert_eq!(base(image), expected, "{image}");
    }
}
