//! Tests with real repositories.

use super::*;
use tempfile::TempDir;

/// Creates repositories in a folder.
const REPOSITORIES: &str = r#"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
new() { # NAME: a repository with a package in `app`
	git init -q -b main "$1"
	mkdir "$1/app" && touch "$1/app/Cargo.toml"
	git -C "$1" add . && git -C "$1" commit -qm "$1"
}
origin() { git -C "$1" remote add origin "$2"; }
new first && origin first git@github.com:org/app.git
git clone -q first clone
git clone -q --depth 1 "file://$PWD/first" shallow
git -C first worktree add -q ../worktree
new local && git clone -q local local-clone
cp -r local copy
# A fork of a template.
git clone -q first fork && git -C fork remote set-url origin https://github.com/jane/app
# An unrelated history is merged, and the other way around.
git clone -q first merged
git -C merged fetch -q ../local && git -C merged merge -q --allow-unrelated-histories -X ours FETCH_HEAD -m merge
# A repository within another one.
new outer && git -C outer -c protocol.file.allow=always submodule --quiet add "$PWD/first" sub
new two-remotes && git -C two-remotes remote add a host:a/a && git -C two-remotes remote add b host:b/b
new one-remote && git -C one-remote remote add upstream host:org/app
mkdir plain && mkdir plain/app && touch plain/app/Cargo.toml
git init -q unborn && mkdir unborn/app && touch unborn/app/Cargo.toml
new untracked && mkdir untracked/other && touch untracked/other/Cargo.toml
mkdir shell && mkdir first/extra && cp first/app/Cargo.toml first/extra && git -C first add . && git -C first commit -qm extra
"#;

fn repositories() -> TempDir {
    let dir = TempDir::new().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test prepares its repositories")]
    let mut sh = std::process::Command::new("sh");
    sh.args(["-euc", REPOSITORIES]).current_dir(dir.path()).env_remove("GIT_DIR");
    let output = sh.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    dir
}

fn read_in(dir: &TempDir, path: &str) -> Result<Repository, String> {
    let events = |_| ();
    let cx = Cx::new(&events).with_cache_dir(dir.path().join("cache"));
    read(&cx, &dir.path().join(path), "m").unwrap()
}

#[test]
fn repository_is_same_in_each_clone() {
    let dir = repositories();
    let found = |path: &str| read_in(&dir, path).unwrap();
    let first = found("first/app");
    assert_eq!(first.address.to_string(), "github.com/org/app");
    assert_eq!((first.path.as_str(), first.root.as_ref().map(String::len)), ("app", Some(40)));
    // Twice: the second time from the cache.
    for path in
        ["first/app", "first/app", "clone/app", "worktree/app", "merged/app", "outer/sub/app"]
    {
        assert_eq!(found(path), first, "{path}");
    }
    assert_eq!(found("first/extra"), Repository { path: "extra".into(), ..first.clone() });
    let shallow = found("shallow/app");
    assert_eq!(shallow, Repository { root: None, ..first.clone() });
    let local = found("local/app");
    let path = dir.path().canonicalize().unwrap();
    assert_eq!(local.address.to_string(), format!("m:{}/local", path.display()));
    assert_eq!(found("local-clone/app"), local);
    // Copies without an address are separate projects, and so are forks of a template.
    let others = [found("copy/app"), found("fork/app"), found("outer/app"), first, local];
    for (index, one) in others.iter().enumerate() {
        assert!(!others[..index].contains(one), "{one:?}");
    }
    assert_eq!(others[1].root, others[3].root);
    assert_eq!(found("one-remote/app").address.to_string(), "host/org/app");
    assert!(found("two-remotes/app").address.to_string().ends_with("/two-remotes"));
}

#[test]
fn unusable_repository_is_explained() {
    let dir = repositories();
    let table = [
        ("plain/app", "the project is not in a git repository"),
        ("unborn/app", "the repository has no commits"),
        ("untracked/other", "`Cargo.toml` is not committed"),
    ];
    for (path, expected) in table {
        assert_eq!(read_in(&dir, path), Err(expected.to_owned()), "{path}");
    }
}
