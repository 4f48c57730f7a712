//! Tests of the builds on a node.

use super::*;

/// The content tag with this number.
fn tag(number: usize) -> String {
    format!("kdev-{number:012x}")
}

fn name(number: usize) -> String {
    format!("docker.io/library/app:{}", tag(number))
}

fn rule(keep: usize, current: Option<usize>) -> KeepRule {
    KeepRule { keep: Keep::Newest(keep), current: current.map(tag), named: BTreeSet::new() }
}

fn read(lines: &[String]) -> NodeBuilds {
    let app = Reference::parse("app").unwrap();
    let lines: Vec<(&str, &str)> = lines.iter().filter_map(|line| line.split_once(' ')).collect();
    NodeBuilds::read(app.name(), &lines)
}

/// The lines of a build that was loaded at the time of its number, and of the CRI's name.
fn build(number: usize) -> Vec<String> {
    vec![
        format!(
            "image {} sha256:m{number} io.cri-containerd.image=managed,kdev.loaded={number}",
            name(number)
        ),
        format!("image sha256:c{number} sha256:m{number} io.cri-containerd.image=managed"),
        format!(
            r#"manifest sha256:m{number} {{"config":{{"digest":"sha256:c{number}","size":1}},"layers":[{{"digest":"sha256:base","size":100}},{{"digest":"sha256:l{number}","size":10}}]}}"#
        ),
    ]
}

fn numbers(removal: &Removal) -> Vec<usize> {
    let number = |name: &String| usize::from_str_radix(&name[name.len() - 12..], 16).unwrap();
    removal.builds.iter().map(number).collect()
}

#[test]
fn newest_builds_are_kept() {
    // The number of builds, keep, the current build, and the builds that are removed.
    type Case = (usize, usize, Option<usize>, &'static [usize]);
    let table: [Case; 7] = [
        (5, 3, None, &[2, 1]),
        (5, 3, Some(5), &[2, 1]),
        // An old build was deployed again.
        (5, 3, Some(1), &[3, 2]),
        (5, 1, Some(1), &[5, 4, 3, 2]),
        // The current build is not on the node.
        (5, 3, Some(9), &[3, 2, 1]),
        (3, 3, None, &[]),
        (0, 1, None, &[]),
    ];
    for (count, keep, current, expected) in table {
        let lines: Vec<String> = (1..=count).flat_map(build).collect();
        let removal = read(&lines).removal(&rule(keep, current));
        assert_eq!(numbers(&removal), expected, "{count} {keep} {current:?}");
    }
    let lines: Vec<String> = (1..=9).flat_map(build).collect();
    let all = KeepRule { keep: Keep::All, ..rule(1, None) };
    assert_eq!(read(&lines).removal(&all), Removal::default());
}

#[test]
fn used_and_named_builds_are_kept() {
    let builds = || (1..=6).flat_map(build).collect::<Vec<String>>();
    // containerd records any name of the image: the tag, that of the CRI, or one that is gone.
    let mut lines = builds();
    lines.push(format!("container a {}", name(1)));
    lines.push("container b sha256:c2".to_owned());
    lines.push("container c docker.io/library/app:dev".to_owned());
    lines.push("image docker.io/library/app:dev sha256:m3 -".to_owned());
    let named = KeepRule { named: BTreeSet::from([tag(4)]), ..rule(1, None) };
    let found = read(&lines);
    assert_eq!(numbers(&found.removal(&named)), [5]);
    assert_eq!(found.removal(&named).used, [name(3), name(2), name(1)]);
    assert_eq!(found.builds.last().unwrap().containers, ["a"]);
    assert_eq!(numbers(&read(&builds()).removal(&named)), [5, 3, 2, 1]);
}

#[test]
fn both_names_are_removed_unless_another_name_uses_the_image() {
    let mut lines: Vec<String> = (1..=3).flat_map(build).collect();
    lines.push("image docker.io/library/app:mine sha256:m1 -".to_owned());
    let removal = read(&lines).removal(&rule(1, None));
    assert_eq!(removal.names, [name(2), "sha256:c2".to_owned(), name(1)]);
}

#[test]
fn names_of_others_are_not_builds() {
    let digits = "0123456789ab";
    let names = [
        format!("docker.io/library/app:kdev-{digits}c"),
        "docker.io/library/app:kdev-backup".to_owned(),
        format!("docker.io/library/app:KDEV-{digits}"),
        format!("ghcr.io/library/app:kdev-{digits}"),
        format!("docker.io/library/app2:kdev-{digits}"),
        format!("docker.io/me/app:kdev-{digits}"),
        "docker.io/library/app:latest".to_owned(),
        format!("docker.io/library/app:kdev-{digits}@sha256:{}", "a".repeat(64)),
    ];
    let lines: Vec<String> = names.iter().map(|name| format!("image {name} sha256:m -")).collect();
    assert_eq!(read(&lines), NodeBuilds::default());
}

#[test]
fn older_builds_lose_their_pin() {
    let pinned = |number: usize| {
        format!("image {} sha256:m{number} {PIN},kdev.loaded={number}", name(number))
    };
    let found = read(&[pinned(1), pinned(2), pinned(3)]);
    assert_eq!(found.removal(&rule(2, None)).unpinned, [name(2)]);
    assert_eq!(found.removal(&rule(2, Some(2))).unpinned, [name(3)]);
    assert!(found.builds.iter().all(|build| build.pinned));
}

#[test]
fn builds_without_time_are_the_oldest() {
    let old = format!("image {} sha256:m9 -", name(9));
    let lines: Vec<String> = (1..=2).flat_map(build).chain([old]).collect();
    assert_eq!(numbers(&read(&lines).removal(&rule(1, None))), [1, 9]);
}

#[test]
fn freed_bytes_exclude_layers_of_other_builds() {
    let found = read(&(1..=3).flat_map(build).collect::<Vec<_>>());
    let (one, two) = (name(1), name(2));
    let names = BTreeSet::from([one.as_str(), two.as_str()]);
    assert_eq!(found.freed_bytes(&names), Some(22));
    assert_eq!((found.builds[0].size(), found.builds[0].shared(&found)), (Some(111), Some(100)));
    let unknown = read(&[build(1)[0].clone()]);
    assert_eq!(unknown.freed_bytes(&names), None);
    assert_eq!((unknown.builds[0].size(), unknown.builds[0].shared(&unknown)), (None, None));
}

#[test]
fn pattern_matches_only_plain_characters() {
    let table = [
        ("app", Some("^docker.io/library/app:kdev-[0-9a-f]{12}$")),
        ("[::1]:5000/a_b", Some("^.::1.:5000/a_b:kdev-[0-9a-f]{12}$")),
    ];
    for (image, expected) in table {
        let reference = Reference::parse(image).unwrap().with_content_tag("0123456789abcdef");
        assert_eq!(name_pattern(&reference).as_deref(), expected, "{image}");
    }
    for other in ["app:latest", "app:kdev-1"] {
        assert_eq!(name_pattern(&Reference::parse(other).unwrap()), None, "{other}");
    }
}
