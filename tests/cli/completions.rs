//! Completions in a real bash, the candidates, and the manual pages.

use std::fs;
use std::path::Path;

use crate::project::Project;

/// Completes a line as bash does: words end at blanks, `=` and `:`. `_cargo` stands for the
/// completion that this one replaces.
const COMPLETE: &str = r#"
complete_line() {
	read -ra COMP_WORDS <<<"$(sed 's/[=:]/ & /g' <<<"$1")"
	[[ $1 != *' ' ]] || COMP_WORDS+=('')
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
	local function
	function=$(complete -p cargo) && function=${function#*-F } && function=${function%% *}
	"$function" cargo "${COMP_WORDS[COMP_CWORD]}"
	echo "$1: ${COMPREPLY[*]}"
}
_cargo() { COMPREPLY=(of-cargo); }
"#;

/// Runs a script in bash, with `cargo-kdev` on PATH, and returns its output.
#[expect(clippy::disallowed_methods, reason = "a test runs a shell")]
fn bash(project: &Project, script: &str) -> String {
    let plain = project.command(&["--version"]);
    let mut path = Path::new(plain.get_program()).parent().unwrap().as_os_str().to_owned();
    let variables: Vec<_> =
        plain.get_envs().filter_map(|(key, value)| Some((key, value?))).collect();
    let old = variables.iter().find(|(key, _)| *key == "PATH").unwrap().1;
    path.push(":");
    path.push(old);
    let mut bash = std::process::Command::new("/bin/bash");
    bash.args(["--norc", "-c", &format!("{COMPLETE}{script}")]).env_clear().envs(variables);
    let output = bash.env("PATH", path).current_dir(project.path("")).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn project() -> Project {
    let project = Project::new();
    fs::create_dir(project.path(".kube")).unwrap();
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    // Names of contexts in EKS have colons.
    project.write(".kube/config", &contexts.replace("\"prod\"", "\"arn:aws:eks:prod\""));
    project
}

#[test]
fn bash_completes_kdev_and_leaves_rest_to_cargo() {
    let project = project();
    let script = r"
complete -F _cargo cargo
source <(cargo-kdev completions bash)
# A second time, as when a shell reads its settings again.
source <(cargo-kdev completions bash)
complete_line 'cargo kdev up --co'
complete_line 'cargo +stable kdev down --delete'
complete_line 'cargo kdev up --context k'
complete_line 'cargo kdev up --context=k'
complete_line 'cargo kdev up --context arn:aws:'
complete_line 'cargo kdev up --context=arn:aws:e'
complete_line 'cargo kdev load --package '
complete_line 'cargo kdev up --workspace --exclude '
complete_line 'cargo build --'
complete_line 'cargo kde'
";
    let expected = "\
cargo kdev up --co: --context --color
cargo +stable kdev down --delete: --delete-data
cargo kdev up --context k: kind-test
cargo kdev up --context=k: kind-test
cargo kdev up --context arn:aws:: eks:prod
cargo kdev up --context=arn:aws:e: eks:prod
cargo kdev load --package : app
cargo kdev up --workspace --exclude : app
cargo build --: of-cargo
cargo kde: of-cargo
";
    assert_eq!(bash(&project, script), expected);
}

#[test]
fn bash_loads_completion_of_cargo_when_it_is_needed() {
    // The functions of bash-completion 2.11 and 2.12.
    for loader in ["_completion_loader", "_comp_load"] {
        let script = format!(
            "{loader}() {{ complete -F _cargo cargo; return 124; }}
source <(cargo-kdev completions bash)
complete_line 'cargo build --'
complete_line 'cargo kdev ini'
complete_line 'cargo build --'
"
        );
        let expected = "cargo build --: of-cargo\ncargo kdev ini: init\ncargo build --: of-cargo\n";
        assert_eq!(bash(&project(), &script), expected, "{loader}");
    }
    let alone = "source <(cargo-kdev completions bash)\ncomplete_line 'cargo build --'\n";
    assert_eq!(bash(&project(), alone), "cargo build --: \n");
}

#[test]
fn candidates_have_descriptions_and_never_fail() {
    let project = project();
    let complete = |words: &[&str]| {
        let args = [&["complete", "--"], words].concat();
        project.run(&args).code(0).stderr("").out().to_owned()
    };
    assert_eq!(complete(&["man"]), "man\tWrite the manual pages\n");
    assert_eq!(complete(&["completions", "f"]), "fish\n");
    assert_eq!(complete(&["up", "--color=al"]), "--color=always\n");
    // `complete` is hidden.
    assert!(complete(&["comple"]).starts_with("completions\t"));
    assert_eq!(complete(&["comple"]).lines().count(), 1);
    assert_eq!(complete(&["up", "--manifest-path", "Cargo.t"]), "Cargo.toml\n");
    assert_eq!(complete(&["up", "--node", "zzz"]), "");
    assert_eq!(complete(&["nosuch", "--"]).lines().count(), complete(&["--"]).lines().count());
    for shell in ["zsh", "fish"] {
        let script = project.run(&["completions", shell]).code(0).out().to_owned();
        assert!(script.contains("cargo-kdev kdev complete -- "), "{script}");
    }
}

#[test]
fn manual_has_page_for_each_command() {
    let project = Project::new();
    project.run(&["man", "share/man1"]).code(0);
    let help = project.run(&["--help"]).code(0).out().to_owned();
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !["", "help"].contains(name)).collect();
    assert!(names.contains(&"man"), "{names:?}");
    for name in &names {
        let page = fs::read_to_string(project.path(&format!("share/man1/cargo-kdev-{name}.1")));
        let page = page.unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let page = fs::read_to_string(project.path("share/man1/cargo-kdev.1")).unwrap();
    assert!(page.contains("cargo\\-kdev\\-up(1)"), "{page}");
    assert_eq!(fs::read_dir(project.path("share/man1")).unwrap().count(), names.len() + 1);
    project.run(&["man", "Cargo.toml/x"]).code(90).stderr(
        "error: failed to write manual pages to `Cargo.toml/x`
  caused by: Not a directory (os error 20)\n",
    );
}
