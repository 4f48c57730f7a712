//! `cargo kdev init`: the files that it writes, and when it writes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::project::Project;
use crate::repository::{files, root};

const SERVER: &str = "\
use std::net::TcpListener;
fn main() {
    for client in TcpListener::bind(\"0.0.0.0:8080\").unwrap().incoming() {
        drop(client);
    }
}
";

/// Creates a package `app` as `cargo new` does, in a repository, with a toolchain for which
/// programs can be linked statically.
fn new_package(main: &str) -> Project {
    let project = Project::new();
    project.remove("Dockerfile").remove("k8s/app.yaml");
    fs::remove_dir(project.path("k8s")).unwrap();
    fs::create_dir(project.path(".git")).unwrap();
    project.write("src/main.rs", main).write(".gitignore", "/target\n");
    let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
    project.script(
        "rustc",
        &format!(
            "case \"$*\" in -vV) printf 'host: x86_64-unknown-linux-gnu\\nrelease: 1.95.0\\n' ;; *cfg*) exec {} \"$@\" ;; *) echo \"$HOME/sysroot\" ;; esac",
            rustc.display()
        ),
    );
    project.script("cc", "echo /usr/lib/libc.a");
    fs::create_dir_all(project.path("sysroot/lib/rustlib/x86_64-unknown-linux-gnu/lib")).unwrap();
    project
}

/// The files of the project, without those of the fakes.
fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    // cargo creates its list of installed programs.
    const FOREIGN: [&str; 8] =
        [".git/", "bin/", "fake/", "tools/", "target/", "sysroot/", ".cache/", ".cargo/.crates"];
    let relative = files(dir).into_iter().map(|path| path.strip_prefix(dir).unwrap().to_owned());
    relative
        .filter(|path| !FOREIGN.iter().any(|one| path.to_str().unwrap().starts_with(one)))
        .map(|path| (path.clone(), fs::read_to_string(dir.join(&path)).unwrap()))
        .collect()
}

#[test]
fn new_service_gets_all_files_once() {
    let project = new_package(SERVER);
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.run(&["init", "--yes"]).code(0).stderr(
        "       Found package: package `app`, edition 2024 (Cargo.toml)
       Found binary: `app` (src/main.rs)
       Found port: 8080 (src/main.rs:3)
       Found workload: Deployment and Service: the program listens on a port (src/main.rs:3)
       Found builder: Docker 20.10.24 with the legacy builder (PATH)
       Found toolchain: Rust 1.95.0 with targets x86_64-unknown-linux-gnu (rustc)
       Found context: none (kubeconfig)
       Found build: by cargo on this machine, without a Dockerfile (it can build a static program on this machine)
        Note the source of cargo-kdev is not known; set `KDEV_SOURCE` in `scripts/onboard.sh`
        Note the program has no handler for SIGTERM, so each rollout kills it; to end on its own, it needs:
    // In `main`, after `cargo add signal-hook`:
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).unwrap();
    std::thread::spawn(move || {
        signals.forever().next();
        std::process::exit(0);
    });
     Created k8s/app.yaml
    Extended Cargo.toml
    Extended .gitignore
     Created scripts/onboard.sh
    Finished next, run `cargo kdev up`\n",
    );
    let written = tree(&project.path(""));
    let text = |name: &str| written[Path::new(name)].as_str();
    assert!(text("Cargo.toml").starts_with(&format!("{cargo}\n[package.metadata.kdev]\n")));
    assert_eq!(text(".gitignore"), "/target\n/kdev.local.toml\n");
    assert!(text("k8s/app.yaml").contains("containerPort: 8080"), "{}", text("k8s/app.yaml"));
    assert!(!written.contains_key(Path::new("kdev.local.toml")));
    // Nothing is missing any more, so no confirmation is needed.
    let again = project.run(&["init"]).code(0).stdout("").err().to_owned();
    assert!(
        again.ends_with("   Unchanged all files exist\n    Finished next, run `cargo kdev up`\n")
    );
    assert_eq!(tree(&project.path("")), written);
    // The settings are valid.
    let settings = "builder = \"cargo\"\ncargo-build = [\"--release\"]\ncontainer.ports = [8080]\n";
    assert!(text("Cargo.toml").ends_with(settings), "{}", text("Cargo.toml"));
    assert!(!text("scripts/onboard.sh").contains("need docker"), "{}", text("scripts/onboard.sh"));
    let checks = project.run(&["doctor"]).out().to_owned();
    assert!(checks.contains("ok       manifests "), "{checks}");
}

#[test]
fn dry_run_and_unanswered_question_write_nothing() {
    let project = new_package(SERVER);
    // The script contains a question, which the terminal of this test would answer.
    fs::create_dir(project.path("scripts")).unwrap();
    project.write("scripts/onboard.sh", "mine\n");
    let before = tree(&project.path(""));
    let shown = project.run(&["init", "--dry-run"]).code(0).out().to_owned();
    assert!(shown.starts_with("--- /dev/null\n+++ k8s/app.yaml\n@@ -0,0 +1,"), "{shown}");
    assert!(shown.contains("\n--- Cargo.toml\n+++ Cargo.toml\n"), "{shown}");
    assert_eq!(tree(&project.path("")), before);
    project.run(&["init", "--quiet"]).code(2).stderr(
        "error: refusing to write files without confirmation
  help: pass `--yes` to write the files\n",
    );
    let answered = project.run_in_terminal(&["init", "--color", "never"], "n");
    assert_eq!(answered.matches("Question").count(), 1, "{answered}");
    assert!(answered.contains("no file was written"), "{answered}");
    assert_eq!(tree(&project.path("")), before);
    project.run_in_terminal(&["init", "--color", "never"], "y");
    assert!(project.path("k8s/app.yaml").exists());
}

#[test]
fn json_lists_findings_and_files() {
    let project = new_package("fn main() {}\n");
    let output =
        project.run(&["init", "--yes", "--message-format", "json"]).code(0).out().to_owned();
    let lines: Vec<serde_json::Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [plan, result] = lines.as_slice() else { panic!("{output}") };
    assert_eq!((&plan["reason"], &plan["version"]), (&"init-plan".into(), &1.into()));
    let workload = &plan["findings"][2];
    assert_eq!(workload["subject"], "workload");
    assert_eq!(
        workload["value"],
        "Job: the program ends on its own, and a Deployment would restart it forever"
    );
    assert_eq!(plan["files"][0]["action"], "create");
    assert!(plan["files"][0]["text"].as_str().unwrap().contains("kind: Job"), "{plan}");
    assert_eq!(plan["handler"], serde_json::Value::Null);
    assert_eq!((&result["reason"], &result["written"]), (&"init-result".into(), &true.into()));
}

#[test]
fn existing_files_are_kept() {
    let project = new_package(SERVER);
    fs::create_dir(project.path("k8s")).unwrap();
    fs::create_dir(project.path("scripts")).unwrap();
    let own = [
        ("k8s/mine.yml", "kind: ConfigMap\n"),
        (".dockerignore", "target\n"),
        ("scripts/onboard.sh", "mine\n"),
        ("kdev.local.toml", "timeout = 5\n"),
    ];
    for (name, text) in own {
        project.write(name, text);
    }
    let flags = ["init", "--yes", "--builder", "auto", "--context", "prod"];
    let notes = project.run(&flags).code(0).err().to_owned();
    for (name, text) in own {
        assert_eq!(fs::read_to_string(project.path(name)).unwrap(), text, "{name}");
    }
    assert!(!project.path("k8s/app.yaml").exists());
    let ignored = "Note `.dockerignore` exists; if the build of the image does not find a file, add `!target/*/release/app`";
    assert!(notes.contains(ignored), "{notes}");
    let local = "Note `kdev.local.toml` exists; set `contexts = [\"prod\"]` in it";
    assert!(notes.contains(local), "{notes}");
}

#[test]
fn context_is_kept_in_local_settings() {
    let project = new_package(SERVER);
    fs::create_dir(project.path(".kube")).unwrap();
    fs::copy(project.path("fake/contexts.json"), project.path(".kube/config")).unwrap();
    // `--yes` does not permit changes to a cluster.
    project.run(&["init", "--yes"]).code(0);
    assert!(!project.path("kdev.local.toml").exists());
    project.run(&["init", "--yes", "--quiet", "--context", "other"]).code(92).stderr(
        "error: context `other` not found in the kubeconfig
  help: pass one of these to `--context`: `kind-test` and `prod`\n",
    );
    project.run(&["init", "--yes", "--context", "prod"]).code(0);
    let local = fs::read_to_string(project.path("kdev.local.toml")).unwrap();
    assert!(local.ends_with("\ncontexts = [\"prod\"]\n"), "{local}");
    let again = project.run(&["init", "--context", "prod"]).code(0).err().to_owned();
    assert!(again.contains("Unchanged all files exist"), "{again}");
}

#[test]
fn unsuitable_packages_are_refused() {
    let project = new_package(SERVER);
    fs::remove_dir(project.path(".git")).unwrap();
    let before = tree(&project.path(""));
    project.run(&["init", "--yes", "--quiet"]).code(90).stderr(
        "error: `[ROOT]` is not in a git repository
  help: run `git init` so that the new files can be reviewed, or pass `--allow-no-vcs`\n",
    );
    assert_eq!(tree(&project.path("")), before);
    fs::create_dir(project.path("src/bin")).unwrap();
    project.write("src/bin/tool.rs", "fn main() {}\n");
    project.run(&["init", "--yes", "--quiet", "--allow-no-vcs"]).code(90).stderr(
        "error: package `app` has several binaries: `app` and `tool`
  help: set `default-run = \"app\"` in `[package]`\n",
    );
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let with_default = cargo.replace("edition", "default-run = \"app\"\nedition");
    project.write("Cargo.toml", &with_default);
    project.run(&["init", "--dry-run"]).code(0);
    fs::remove_dir_all(project.path("src/bin")).unwrap();
    project.remove("src/main.rs").write("src/lib.rs", "").write("Cargo.toml", &cargo);
    project.run(&["init", "--yes", "--quiet", "--allow-no-vcs"]).code(90).stderr(
        "error: package `app` has no binary, only a library
  help: add `src/main.rs`, or select another package with `--package NAME`\n",
    );
    project.write("Cargo.toml", &format!("{cargo}\n[package.metadata]\nkdev = {{}}\n"));
    project.remove("src/lib.rs").write("src/main.rs", SERVER);
    // A table that exists is not extended, but the missing line is shown.
    let notes = project.run(&["init", "--yes", "--allow-no-vcs"]).code(0).err().to_owned();
    assert!(notes.contains("the image needs `cargo-build = ["), "{notes}");
    project.write("Cargo.toml", "[workspace]\n");
    project.run(&["init", "--yes", "--quiet"]).code(90).stderr(
        "error: the workspace has no packages
  help: add one to `members` in `[workspace]`, for example with `cargo new`\n",
    );
}

#[test]
fn inline_metadata_is_not_changed() {
    let project = new_package(SERVER);
    let cargo = "[package]\nname = \"app\"\nmetadata = { x = 1 }\n[workspace]\n";
    project.write("Cargo.toml", cargo);
    let error = project.run(&["init", "--yes", "--quiet"]).code(90).err().to_owned();
    let expected = "error: cannot append `[package.metadata.kdev]` to `[ROOT]/Cargo.toml`\n  help: add these lines to the `metadata` of the package:\n";
    assert!(error.starts_with(expected), "{error}");
    assert!(!project.path("k8s").exists());
}

#[test]
fn image_with_rust_and_buildkit_builds_in_docker() {
    let project = new_package(SERVER);
    let image = r#"{"Repository":"rust","Tag":"1.95","ID":"sha256:1","CreatedSince":"1 day ago","CreatedAt":""}"#;
    project.write("fake/images.json", &format!("{image}\n"));
    let build = |variables: &[(&str, &str)]| {
        let flags = ["init", "--dry-run", "--builder", "auto"];
        project.run_with(variables, &flags).code(0).out().to_owned()
    };
    assert!(build(&[]).contains("\n+FROM scratch\n+COPY target/*/release/app /app\n"));
    let docker = build(&[("DOCKER_BUILDKIT", "1")]);
    assert!(docker.contains("\n+FROM rust:1.95 AS build\n"), "{docker}");
    assert!(docker.contains("--mount=type=cache,sharing=locked,target=/src/target"), "{docker}");
    assert!(!docker.contains("cargo-build = "), "{docker}");
}

#[test]
fn builder_of_flag_is_set() {
    let project = new_package(SERVER);
    project.run(&["init", "--yes", "--builder", "podman"]).code(0);
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    assert!(cargo.contains("\nbuilder = \"podman\"\n"), "{cargo}");
    assert!(project.path("Dockerfile").exists());
    // The table exists.
    let notes = project.run(&["init", "--builder", "cargo"]).code(0).err().to_owned();
    let note =
        "Note the image needs `builder = \"cargo\"` in `[package.metadata.kdev]`, which exists";
    assert!(notes.contains(note), "{notes}");
    project.run(&["init", "--builder", "buildah", "--quiet"]).code(2);
    // Docker is not needed.
    let project = new_package(SERVER);
    project.remove("bin/docker");
    let path = ["bin", "tools"].map(|dir| project.path(dir).display().to_string()).join(":");
    let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
    let path = format!("{path}:{cargo}:/usr/bin:/bin");
    let ran = project.run_with(&[("PATH", &path)], &["init", "--yes"]);
    assert!(!ran.code(0).err().to_lowercase().contains("docker "), "{}", ran.err());
    // A Dockerfile that exists stays in use.
    let project = new_package(SERVER);
    project.write("Dockerfile", "FROM scratch\n");
    project.run(&["init", "--yes"]).code(0);
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    assert!(!cargo.contains("builder"), "{cargo}");
    // The flag applies to it.
    let project = new_package(SERVER);
    project.write("Dockerfile", "FROM scratch\n");
    project.run(&["init", "--yes", "--builder", "podman"]).code(0);
    let cargo = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    assert!(cargo.contains("\nbuilder = \"podman\"\n"), "{cargo}");
    let notes = project.run(&["init", "--builder", "docker"]).code(0).err().to_owned();
    assert!(notes.contains("Note the image needs `builder = \"docker\"` in"), "{notes}");
}

#[test]
fn flags_of_project_do_not_break_static_build() {
    // With the settings of cargo, the flags in the output of the program.
    let table = [
        "[build]\nrustflags = [\"--cfg=of_project\"]\n",
        "[build]\nrustflags = \"--cfg=of_project\"\n",
        "[target.'cfg(unix)']\nrustflags = \"--cfg=of_project\"\n",
        "[target.x86_64-unknown-linux-gnu]\nrustflags = [\"--cfg=of_project\"]\n",
        "[build]\nrustflags = [\"--cfg=of_project\"]\n[target.'cfg(windows)']\nrustflags = [\"--cfg=other\"]\n",
    ];
    let main = "fn main() { println!(\"{} {}\", cfg!(of_project), cfg!(target_feature = \"crt-static\")) }\n";
    for config in table {
        let project = new_package(main);
        fs::create_dir_all(project.path(".cargo")).unwrap();
        project.write(".cargo/config.toml", config);
        project.run(&["init", "--yes", "--builder", "docker"]).code(0);
        let text = fs::read_to_string(project.path("Cargo.toml")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("cargo-build = ")).unwrap();
        let args: Vec<String> = serde_json::from_str(line).unwrap();
        assert!(args.contains(&"--target=host-tuple".to_owned()), "{args:?}");
        #[expect(clippy::disallowed_methods, reason = "a test follows the settings")]
        let mut run = std::process::Command::new(env!("CARGO"));
        run.args(["run", "--quiet", "--target-dir", "target"]).args(&args);
        run.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let output = run.current_dir(project.path("")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "true true\n", "{config}{stderr}");
    }
}

#[test]
fn loopback_address_and_missing_port_are_explained() {
    let project = new_package(&SERVER.replace("0.0.0.0", "127.0.0.1"));
    let notes = project.run(&["init", "--dry-run"]).code(0).err().to_owned();
    let loopback = "Note src/main.rs:3 listens on a loopback address, which no other pod can reach; listen on `0.0.0.0:8080`";
    assert!(notes.contains(loopback), "{notes}");
    project.write("src/main.rs", "fn main() {}\n");
    let service = ["init", "--dry-run", "--quiet", "--kind", "service"];
    project.run(&service).code(2).stderr(
        "error: no port found in the source files
  help: pass `--port NUMBER`\n",
    );
    let with_port = project.run(&[&service[..], &["--port", "9000"]].concat());
    assert!(
        with_port.code(0).out().contains("containerPort: 9000 # --port"),
        "{}",
        with_port.out()
    );
}

/// The templates, with the packages in them and the flags with which `init` writes their files.
const TEMPLATES: [(&str, &[&[&str]]); 6] = [
    ("service", &[&["--builder", "auto"]]),
    ("worker", &[&["--builder", "auto"]]),
    ("job", &[&[]]),
    ("service-kustomize", &[&["--manifests", "kustomize"]]),
    ("service-chart", &[&["--manifests", "chart", "--builder", "auto"]]),
    (
        "workspace",
        &[
            &["--package", "api", "--builder", "auto"],
            &["--package", "reporter", "--builder", "auto"],
        ],
    ),
];

/// The sample has more lines in these files: it runs two pods, on two nodes.
const EXTENDED: [&str; 1] = ["k8s/hello.yaml"];

#[test]
fn templates_are_output_of_init() {
    for (name, runs) in TEMPLATES {
        let project = new_package("");
        project.remove("src/main.rs").remove("Cargo.toml").remove(".gitignore");
        let template = tree(&root().join("templates").join(name));
        for (path, text) in &template {
            let text = text.split("\n[package.metadata.kdev]\n").next().unwrap();
            let text = text.replace("/kdev.local.toml\n", "");
            let is_written = ["Dockerfile", ".dockerignore", "onboard.sh"];
            let is_written = is_written.iter().any(|one| path.ends_with(one))
                || path.iter().any(|folder| folder == "k8s");
            if !is_written {
                fs::create_dir_all(project.path("").join(path).parent().unwrap()).unwrap();
                project.write(path.to_str().unwrap(), &text);
            }
        }
        for flags in runs {
            project.run(&[&["init", "--yes"], *flags].concat()).code(0);
        }
        let written = tree(&project.path(""));
        let names = |files: &BTreeMap<PathBuf, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written), names(&template), "{name}");
        for (path, text) in &written {
            let expected = &template[path];
            if name == "service" && EXTENDED.iter().any(|one| path.ends_with(one)) {
                let mut rest = expected.lines();
                let missing = text.lines().find(|line| !rest.any(|other| other == *line));
                assert_eq!(missing, None, "{name}: {}", path.display());
            } else {
                assert_eq!(text, expected, "{name}: {}", path.display());
            }
        }
    }
}
