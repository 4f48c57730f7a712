//! Copied programs in projects with the files that cargo writes.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::config::ConfigLayer;
use crate::project::Project;

/// The program that cargo has just built, in most tests.
const BUILT: &str = "target/x/release/app";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self
    }

    /// Writes a program and its dependency file, like cargo.
    fn program(&self, name: &str, content: &str) -> &Self {
        self.program_of(name, content, "src/main.rs")
    }

    fn program_of(&self, name: &str, content: &str, root: &str) -> &Self {
        let (program, root) = (self.path(name), self.path(root));
        let info = format!("{}: {}\n", program.display(), root.display());
        self.write(&format!("{}.d", name.trim_end_matches(".wasm")), &info).write(name, content)
    }

    fn config(&self, dockerfile: &str) -> Config {
        self.config_in("", dockerfile)
    }

    fn config_in(&self, dir: &str, dockerfile: &str) -> Config {
        self.write(&format!("{dir}Dockerfile"), dockerfile);
        let mut project = Project::placeholder();
        project.package = "app".to_owned();
        project.workspace_root = self.path("");
        project.target_dir = self.path("target");
        project.dir = self.path(dir.trim_end_matches('/'));
        Config::resolve(&project, ConfigLayer::default()).unwrap()
    }

    fn built(&self, name: &str) -> [Artifact; 1] {
        [Artifact {
            files: vec![self.path(name)],
            program_root: Some(self.path("src/main.rs")),
            program: None,
        }]
    }
}

/// Returns the notes, or the error with its help.
fn outcome(config: &Config, artifacts: Option<&[Artifact]>) -> Result<Vec<String>, [String; 2]> {
    let dockerfile = fs::read_to_string(&config.dockerfile).unwrap();
    check(config, &dockerfile, artifacts).map_err(|stale| {
        let error = crate::build::Error::from(stale);
        [error.to_string(), error.help().unwrap()]
    })
}

/// Checks a Dockerfile with a program of an earlier build in `target/release`.
fn check_earlier_build(copies: &str, dockerignore: &str) -> Result<Vec<String>, [String; 2]> {
    let folder = Folder::new();
    folder.program("target/release/app", "old").program(BUILT, "new");
    folder.write(".dockerignore", dockerignore);
    let config = folder.config(&format!("FROM scratch AS one\n{copies}\n"));
    outcome(&config, Some(&folder.built(BUILT)))
}

#[test]
fn program_of_earlier_build_is_error() {
    let table = [
        ("COPY target/release/app /app", "app", 2),
        ("ADD --chown=1:1 ./target/release/app src /app/", "app", 2),
        ("COPY [\"target/release/app\", \"/app\"]", "app", 2),
        ("COPY target/rel*/app /app", "app", 2),
        ("ARG P=release\nCOPY target/$P/app /app", "app", 3),
        ("RUN --mount=type=bind,source=target/release/app,target=/a cp /a /b", "app", 2),
        ("FROM scratch\nCOPY --from=one / /\nFROM one\nCOPY target/release/app /app", "app", 5),
        // The last file with the same name stays in the image.
        ("COPY target/x/release/app target/release/app /app/", "app", 2),
        // A folder with the other program only.
        ("COPY target/release /app", "", 2),
        ("COPY target/release/ /app/", "", 2),
        ("RUN --mount=source=target/release,target=/t cp /t/app /", "", 2),
    ];
    for (copies, name, line) in table {
        let [error, help] = check_earlier_build(copies, "").unwrap_err();
        let expected = format!(
            "the Dockerfile copies `target/release/app` (line {line}), but cargo built `{BUILT}`"
        );
        assert_eq!(error, expected, "{copies}");
        let copy = format!(
            "copy `target/x/release{}{name}` in line {line} of `",
            if name.is_empty() { "" } else { "/" }
        );
        assert!(help.starts_with(&copy), "{copies}: {help}");
    }
}

#[test]
fn program_that_cannot_be_judged_is_no_error() {
    let table = [
        ("COPY target/x/release/app /app", ""),
        ("COPY target/x/release/ /app/", ""),
        ("COPY target /app/", ""),
        ("COPY . /src", ""),
        ("COPY target/release/app target/x/release/app /app/", ""),
        ("COPY target/*/app target/*/*/app /app/", ""),
        ("COPY target/$PROFILE/app /app", ""),
        ("COPY --from=one target/release/app /app", ""),
        ("RUN cp target/release/app /app", ""),
        ("COPY target/release/app /app\nFROM scratch", ""),
        // Docker then fails, or copies the other program.
        ("COPY target/release/app /app", "target"),
        ("COPY target/release/ /app", "**/app"),
        ("COPY target/x/release/app target/re*/app /app/", "*\n!target/x"),
        ("COPY target/absent /app", ""),
    ];
    for (copies, dockerignore) in table {
        assert_eq!(check_earlier_build(copies, dockerignore), Ok(Vec::new()), "{copies}");
    }
}

#[test]
fn only_files_of_cargo_are_judged() {
    let copy = "FROM x\nCOPY target/release/app /app\n";
    // A script that strips the program writes no dependency file.
    let folder = Folder::new();
    folder.program(BUILT, "new").write("target/release/app", "stripped");
    assert_eq!(outcome(&folder.config(copy), Some(&folder.built(BUILT))), Ok(Vec::new()));
    // A copy of the program that was built.
    folder.program("target/release/app", "new");
    assert_eq!(outcome(&folder.config(copy), Some(&folder.built(BUILT))), Ok(Vec::new()));
    // The same file under another name.
    fs::remove_file(folder.path("target/release/app")).unwrap();
    fs::hard_link(folder.path(BUILT), folder.path("target/release/app")).unwrap();
    folder.write(BUILT, "newer");
    assert_eq!(outcome(&folder.config(copy), Some(&folder.built(BUILT))), Ok(Vec::new()));
    // An example with the name of a program.
    folder.program_of("target/release/examples/app", "old", "examples/app.rs");
    let example = folder.config("FROM x\nCOPY target/release/examples/app /app\n");
    assert_eq!(outcome(&example, Some(&folder.built(BUILT))), Ok(Vec::new()));
    // Another package, which this run of cargo does not build.
    folder.program_of("target/release/other", "old", "other/main.rs");
    let other = folder.config("FROM x\nCOPY target/release/other /other\n");
    assert_eq!(outcome(&other, Some(&folder.built(BUILT))), Ok(Vec::new()));
}

#[test]
fn symbolic_links_are_followed() {
    let copy = "FROM x\nCOPY target/release/app /app\n";
    let folder = Folder::new();
    folder.program("build/release/app", "old").program("build/x/release/app", "new");
    symlink("build", folder.path("target")).unwrap();
    let built = folder.built("build/x/release/app");
    let [error, _] = outcome(&folder.config(copy), Some(&built)).unwrap_err();
    assert!(error.ends_with("but cargo built `build/x/release/app`"), "{error}");
    fs::remove_dir_all(folder.path("build/release")).unwrap();
    symlink("x/release", folder.path("build/release")).unwrap();
    assert_eq!(outcome(&folder.config(copy), Some(&built)), Ok(Vec::new()));
}

#[test]
fn renamed_program_is_recognized_by_crate_root() {
    let folder = Folder::new();
    folder.program("target/release/app", "old").program("target/release/server", "new");
    let config = folder.config("FROM x\nCOPY target/release/app /app\n");
    let [error, help] = outcome(&config, Some(&folder.built("target/release/server"))).unwrap_err();
    assert!(error.ends_with("but cargo built `target/release/server`"), "{error}");
    assert!(help.starts_with("copy `target/release/server` in line 2 of `"), "{help}");
}

#[test]
fn fix_depends_on_place_of_built_program() {
    let table = [
        // dir, copied, built, help
        (
            "",
            "target/release/app",
            "target/debug/app",
            "pass `--release`, or add `\"--release\"` to `cargo-build` in `[package.metadata.kdev]`",
        ),
        (
            "",
            "target/debug/app",
            "target/release/app",
            "copy `target/release/app` in line 2 of `[DOCKERFILE]`",
        ),
        (
            "",
            "target/release/app.wasm",
            "target/dist/app.wasm",
            "copy `target/dist/app.wasm` in line 2 of `[DOCKERFILE]`",
        ),
        (
            "",
            "target/release/app",
            "build/release/app",
            "copy `build/release/app` in line 2 of `[DOCKERFILE]`",
        ),
        (
            "a/b/",
            "target/release/app",
            "target/release/app",
            "set `context = \"../..\"` in `[package.metadata.kdev]`",
        ),
        (
            "a/",
            "target/release/app",
            "build/release/app",
            "add `\"--target-dir=target\"` to `cargo-build` in `[package.metadata.kdev]`",
        ),
        (
            "a/",
            "out/release/app",
            "build/release/app",
            "add `\"--target-dir=out\"` to `cargo-build` in `[package.metadata.kdev]`",
        ),
        (
            "a/",
            "target/release/app",
            "build/x/release/app",
            "add `\"--target-dir=target\"` to `cargo-build` in `[package.metadata.kdev]`",
        ),
    ];
    for (dir, copied, built, expected) in table {
        let folder = Folder::new();
        folder.program(&format!("{dir}{copied}"), "old").program(built, "new");
        let config = folder.config_in(dir, &format!("FROM x\nCOPY {copied} /app\n"));
        let [_, help] = outcome(&config, Some(&folder.built(built))).unwrap_err();
        let help = help.replace(&config.dockerfile.display().to_string(), "[DOCKERFILE]");
        assert_eq!(help, expected, "{dir} {copied} {built}");
    }
}

#[test]
fn missing_program_of_target_directory_is_error() {
    let folder = Folder::new();
    folder.program(BUILT, "new");
    let built = folder.built(BUILT);
    for copied in ["target/release/app", "target/*/app", "./target/release/../debug/app"] {
        let config = folder.config(&format!("FROM x\nCOPY {copied} /app\n"));
        let [error, _] = outcome(&config, Some(&built)).unwrap_err();
        assert!(error.ends_with(&format!("but cargo built `{BUILT}`")), "{copied}: {error}");
    }
    for copied in ["app", "target/release/other", "target/*/release/app", "out/app"] {
        let config = folder.config(&format!("FROM x\nCOPY {copied} /app\n"));
        assert_eq!(outcome(&config, Some(&built)), Ok(Vec::new()), "{copied}");
    }
}

#[test]
fn program_older_than_source_is_noted() {
    let folder = Folder::new();
    folder.program("target/release/app", "old").write("src/main.rs", "fn main() {}");
    let at = |name: &str, seconds: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
        File::options().write(true).open(folder.path(name)).unwrap().set_modified(time).unwrap();
    };
    let note = "`target/release/app` is older than its source `src/main.rs`, so the image does not contain the latest changes";
    let table = [
        ("COPY target/release/app /app", 1, Some(note)),
        ("COPY target/release/app /app\nCOPY target/release/app /app2", 1, Some(note)),
        ("COPY target/release/ /app/", 1, Some(note)),
        ("COPY . /src/", 1, None),
        ("COPY target/release/app /app", 0, None),
        ("COPY src/main.rs /app", 1, None),
    ];
    at("target/release/app", 0);
    for (copy, seconds, expected) in table {
        at("src/main.rs", seconds);
        let config = folder.config(&format!("FROM x\n{copy}\n"));
        let expected = expected.map(str::to_owned).into_iter().collect();
        assert_eq!(outcome(&config, None), Ok(expected), "{copy} {seconds}");
    }
    folder.write(".dockerignore", "**/app");
    let config = folder.config("FROM x\nCOPY target/release/ /app/\n");
    assert_eq!(outcome(&config, None), Ok(Vec::new()));
    folder.write(".dockerignore", "");
    // cargo has found the program up to date.
    at("src/main.rs", 1);
    let config = folder.config("FROM x\nCOPY target/release/app /app\n");
    assert_eq!(outcome(&config, Some(&folder.built("target/release/app"))), Ok(Vec::new()));
}

#[test]
fn program_that_image_runs_from_copied_folder_is_the_built_one() {
    let folder = Folder::new();
    folder.write("src/main.rs", "").program("target/release/app", "old").program(BUILT, "new");
    let artifacts = folder.built(BUILT);
    let check = |text: &str| {
        let config = folder.config(text);
        check(&config, text, Some(&artifacts)).map_err(|stale| (stale.copied, stale.fix))
    };
    let table = [
        ("COPY . /srv/", "/srv/target/release/app", "/srv/target/x/release/app"),
        ("COPY target /srv", "/srv/release/app", "/srv/x/release/app"),
        ("COPY src target/ /", "/release/app", "/x/release/app"),
    ];
    for (copy, used, instead) in table {
        let text = |path: &str| format!("FROM scratch\n{copy}\nENTRYPOINT [\"{path}\"]\n");
        let fix = StaleCopyFix::Use(instead.into(), 3);
        assert_eq!(check(&text(used)), Err(("target/release/app".into(), fix)), "{copy}");
        assert_eq!(check(&text(instead)), Ok(Vec::new()), "{copy}");
    }
    // The image builds its own program.
    let own = "FROM rust\nCOPY . /s\nRUN cargo build\nFROM scratch\nCOPY --from=0 /s/target/release/app /\n";
    assert_eq!(check(own), Ok(Vec::new()));
    // The program is not in the context.
    folder.write(".dockerignore", "target\n");
    assert_eq!(check(&format!("FROM a\n{}\nCMD {}\n", table[0].0, table[0].1)), Ok(Vec::new()));
}

#[test]
fn program_of_search_path_or_manifest_is_the_built_one() {
    let folder = Folder::new();
    folder.write("src/main.rs", "").program("target/release/app", "old").program(BUILT, "new");
    let artifacts = folder.built(BUILT);
    let check = |text: &str, program: &str| {
        let mut config = folder.config(text);
        config.programs = vec![program.to_owned()];
        check(&config, text, Some(&artifacts)).map_err(|stale| (stale.line, stale.fix))
    };
    let on_path =
        |path: &str| format!("FROM scratch\nCOPY . /app\nENV PATH={path}:$PATH\nCMD [\"app\"]\n");
    let built = PathBuf::from("/app/target/x/release/app");
    let expected = Err((2, StaleCopyFix::Use(built.clone(), 4)));
    assert_eq!(check(&on_path("/app/target/release"), ""), expected);
    assert_eq!(check(&on_path("/app/target/x/release"), ""), Ok(Vec::new()));
    let copy = "FROM scratch\nCOPY . /app\n";
    let expected = Err((2, StaleCopyFix::UseInManifest(built)));
    assert_eq!(check(copy, "/app/target/release/app"), expected);
    assert_eq!(check(copy, "/app/target/x/release/app"), Ok(Vec::new()));
    assert_eq!(check(copy, "/app/src/main.rs"), Ok(Vec::new()));
    let renamed = "FROM scratch\nCOPY target/ /app\n";
    let expected = Err((2, StaleCopyFix::UseInManifest("/app/x/release/app".into())));
    assert_eq!(check(renamed, "/app/release/app"), expected);
}
