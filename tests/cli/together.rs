//! `up` and `build` of several packages at the same time, with the real cargo.

use std::fs;
use std::path::Path;

use crate::project::{Project, Ran};
use crate::services;

/// The workspace of `services.rs`, whose Dockerfiles copy the program of cargo, with a manifest for
/// each package.
fn workspace(settings: &str) -> Project {
    let project = services::workspace();
    let manifest = fs::read_to_string(project.path("app/k8s/app.yaml")).unwrap();
    for name in ["api", "app", "webapp"] {
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        let kdev =
            format!("[package.metadata.kdev]\ncargo-build = []\ncontext = \"..\"\n{settings}");
        project.write(&format!("{name}/Cargo.toml"), &format!("{package}{kdev}"));
        let dockerfile = format!("FROM scratch\nCOPY target/debug/{name} /\n");
        project.write(&format!("{name}/Dockerfile"), &dockerfile);
        fs::create_dir_all(project.path(&format!("{name}/k8s"))).unwrap();
        let manifest = manifest.replace("image: app\n", &format!("image: {name}\n"));
        let manifest = manifest.replace("name: app\n", &format!("name: {name}\n"));
        project.write(&format!("{name}/k8s/app.yaml"), &manifest);
    }
    project
}

fn up(project: &Project, args: &[&str]) -> Ran {
    run(project, &[&["up", "--workspace"], args].concat())
}

fn run(project: &Project, args: &[&str]) -> Ran {
    let fakes = ["bin", "tools"].map(|dir| project.path(dir).display().to_string()).join(":");
    let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
    let path = format!("{fakes}:{cargo}:/usr/bin:/bin");
    project.run_with(&[("PATH", path.as_str())], args)
}

/// The calls of cargo in the output of `--verbose`.
fn cargo_calls(ran: &Ran) -> Vec<String> {
    let calls = ran.err().lines().filter_map(|line| {
        let (_, call) = line.split_once("Building ")?.1.split_once("cargo build ")?;
        Some(call.to_owned())
    });
    calls.collect()
}

#[test]
fn toolchain_is_asked_once_for_all_packages() {
    let project = workspace("");
    for name in ["api", "app", "webapp"] {
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        let kdev = "[package.metadata.kdev]\nbuilder = \"cargo\"\n";
        project.write(&format!("{name}/Cargo.toml"), &format!("{package}{kdev}"));
    }
    let cargo = Path::new(env!("CARGO"));
    for tool in ["cargo", "rustc"] {
        let real = cargo.with_file_name(tool);
        let log = format!("printf '{tool} %s\\n' \"$*\" >>\"$FAKE/log\"");
        project.script(tool, &format!("{log}\nexec '{}' \"$@\"", real.display()));
    }
    let ran = up(&project, &["--timeout", "1"]);
    let calls = project.calls();
    let count = |call: &str| calls.matches(call).count();
    assert_eq!(count("\ncargo build "), 1, "{}", ran.err());
    // One for each C library, the second of which needs the flags of the user.
    let targets = count("\nrustc --print target-libdir ");
    assert!((1..=2).contains(&targets), "{calls}");
    assert_eq!(count("\ncargo config get "), targets - 1, "{calls}");
}

#[test]
fn packages_with_same_options_are_built_by_one_call() {
    let project = workspace("");
    let ran = up(&project, &["--verbose", "--timeout", "1"]);
    let expected = ["--package api --package app --package webapp"];
    assert_eq!(cargo_calls(&ran), expected, "{}", ran.err());
    for name in ["api", "app", "webapp"] {
        let build = format!("docker build --tag {name}:latest ");
        assert_eq!(project.calls().matches(&build).count(), 1, "{}", project.calls());
    }
    // What they share is asked for once.
    assert_eq!(project.calls().matches("ssh -V\n").count(), 1, "{}", project.calls());
    for node in ["n1", "n2"] {
        let loads = ran.err().matches(&format!(": {node}: ")).count();
        assert!(loads >= 3, "{node} {}", ran.err());
    }
    let calls = project.calls();
    assert_eq!(calls.matches("ctr -n k8s.io version\n").count(), 2);
    assert_eq!(calls.matches(" get nodes,namespaces ").count(), 1, "{calls}");
}

#[test]
fn program_that_does_not_compile_stops_only_its_package() {
    let project = workspace("");
    project.write("api/src/main.rs", "fn main() { absent() }\n");
    let ran = up(&project, &["--verbose", "--timeout", "1"]);
    let stderr = ran.code(101).err();
    assert_eq!(stderr.matches("cannot find function `absent`").count(), 1, "{stderr}");
    assert!(stderr.contains("\nerror: api: failed to build"), "{stderr}");
    assert_eq!(cargo_calls(&ran).len(), 1, "{stderr}");
    let calls = project.calls();
    assert!(calls.contains("docker build --tag app:") && calls.contains("build --tag webapp:"));
    assert!(!calls.contains("docker build --tag api:"), "{calls}");
    let ran = up(&project, &["--quiet", "--timeout", "1"]);
    assert_eq!(ran.code(101).err().matches("cannot find function `absent`").count(), 1);
}

#[test]
fn programs_with_same_name_are_not_mixed() {
    let project = workspace("");
    for name in ["api", "webapp"] {
        let cargo = fs::read_to_string(project.path(&format!("{name}/Cargo.toml"))).unwrap();
        let bin = "[[bin]]\nname = \"server\"\npath = \"src/main.rs\"\n";
        project.write(&format!("{name}/Cargo.toml"), &format!("{cargo}{bin}"));
        let program = format!("fn main() {{ println!(\"from {name}\") }}\n");
        project.write(&format!("{name}/src/main.rs"), &program);
        project.write(&format!("{name}/Dockerfile"), "FROM scratch\nCOPY target/debug/server /\n");
    }
    let docker = fs::canonicalize("../../tests/cli/fakes/docker").unwrap();
    let root = project.path("");
    project.script(
        "docker",
        &format!(
            "case \"$*\" in *'build --tag '*) sleep 0.3; grep -ao 'from [a-z]*' {root}/target/debug/server | sed \"s/^/$3 has /\" >> {root}/fake/programs ;; esac\nexec sh {} \"$@\"",
            docker.display(),
            root = root.display(),
        ),
    );
    let ran = up(&project, &["--verbose", "--timeout", "1"]);
    assert_eq!(cargo_calls(&ran).len(), 3, "{}", ran.err());
    let programs = fs::read_to_string(project.path("fake/programs")).unwrap();
    let has = |name: &str| format!("{name}:latest has from {name}\n");
    assert!(programs.contains(&has("api")) && programs.contains(&has("webapp")), "{programs}");
}

#[test]
fn packages_with_other_options_have_own_calls() {
    let project = workspace("");
    let cargo = fs::read_to_string(project.path("app/Cargo.toml")).unwrap();
    let args = "cargo-build = [\"--config\", \"profile.dev.debug=0\"]";
    project.write("app/Cargo.toml", &cargo.replace("cargo-build = []", args));
    fs::create_dir(project.path("webapp/.cargo")).unwrap();
    project.write("webapp/.cargo/config.toml", "[profile.dev]\ndebug = 0\n");
    let ran = up(&project, &["--verbose", "--timeout", "1"]);
    let calls = cargo_calls(&ran);
    assert_eq!(calls.len(), 3, "{}", ran.err());
    assert!(calls.iter().all(|call| call.matches("--package").count() == 1), "{calls:?}");
}

#[test]
fn build_has_one_call_of_cargo_and_reports_each_failure() {
    let project = workspace("");
    let build = |args: &[&str]| run(&project, &[&["build", "--workspace"], args].concat());
    let ran = build(&["--verbose"]);
    ran.code(0);
    assert_eq!(cargo_calls(&ran), ["--package api --package app --package webapp"]);
    let image_builds =
        |name: &str| project.calls().matches(&format!("--tag {name}:latest ")).count();
    assert_eq!(["api", "app", "webapp"].map(image_builds), [1; 3], "{}", project.calls());
    project.write("app/src/main.rs", "fn main() { absent() }\n");
    let ran = build(&[]);
    assert!(ran.code(101).err().contains("\nerror: app: failed to build"), "{}", ran.err());
    assert_eq!(["api", "app", "webapp"].map(image_builds), [2, 1, 2], "{}", project.calls());
}

#[test]
fn dry_run_prints_one_package_after_another() {
    let project = workspace("");
    let ran = up(&project, &["--dry-run"]);
    let stdout = ran.code(0).out();
    assert!(
        stdout
            .starts_with("cd [ROOT] && cargo build --package api --package app --package webapp\n")
    );
    let builds: Vec<usize> = ["api", "app", "webapp"]
        .map(|name| stdout.find(&format!("docker build --tag {name}:latest ")).unwrap())
        .into();
    let applies: Vec<usize> = stdout.match_indices(" apply ").map(|(at, _)| at).collect();
    assert!(builds.is_sorted(), "{stdout}");
    assert!(applies.iter().any(|at| (builds[0]..builds[1]).contains(at)), "{stdout}");
}
