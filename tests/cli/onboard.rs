//! The onboarding script that `init` writes, in several shells, with fakes of all tools.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::repository::root;

/// A shell, and the arguments before the script.
type Shell = (&'static str, &'static [&'static str]);

/// The shells, with the arguments before the script.
const SHELLS: [Shell; 3] = [("dash", &[]), ("bash", &["--posix"]), ("busybox", &["sh"])];
/// Returns the shells of this machine; at least one is `/bin/sh` of most systems.
fn shells() -> Vec<Shell> {
    let is_installed = |shell: &Shell| Path::new("/bin").join(shell.0).exists();
    SHELLS.into_iter().filter(is_installed).collect()
}

/// The tools that the script checks.
const TOOLS: [&str; 6] = ["docker", "cargo", "cc", "git", "kubectl", "ssh"];
/// Real programs that the script needs.
const REAL: [&str; 5] = ["sed", "dirname", "cat", "chmod", "sh"];
const SOURCE: &str = "--git https://example.com/kdev --rev 1a2b";

/// A tool, and the command that installs it.
type Install = (&'static str, &'static str);

/// A project with the script, and a PATH with fakes only.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// Creates a machine with all tools.
    fn new(system: &str) -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        for dir in ["bin", "scripts"] {
            fs::create_dir(machine.path(dir)).unwrap();
        }
        let script = root().join("templates/worker/scripts/onboard.sh");
        fs::copy(script, machine.path("scripts/onboard.sh")).unwrap();
        fs::write(machine.path("os-release"), system).unwrap();
        for tool in REAL {
            let found = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(tool));
            let found = found.into_iter().find(|path| path.exists()).unwrap();
            symlink(found, machine.path("bin").join(tool)).unwrap();
        }
        machine.fake("uname", "[ \"$1\" = -m ] && echo x86_64 || cat \"$0.system\"");
        fs::write(machine.path("bin/uname.system"), "Linux\n").unwrap();
        machine.fake("id", "echo 1000");
        // As the package managers do it: the tool exists afterwards.
        let install = r#"echo "apt-get $*" >>"$LOG"
for tool; do
    case $tool in
    openssh*) tool=ssh ;;
    docker.io) tool=docker ;;
    build-essential) tool=cc ;;
    *) continue ;;
    esac
    printf '#!/bin/sh\n' >"$BIN/$tool"
    chmod 755 "$BIN/$tool"
done"#;
        machine.fake("apt-get", install);
        machine.fake("sudo", "exec \"$@\"");
        for tool in TOOLS.into_iter().chain(["cargo-kdev"]) {
            machine.fake(tool, &format!("echo \"{tool} $*\" >>\"$LOG\""));
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fake(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn remove(&self, tools: &[&str]) -> &Self {
        for tool in tools {
            fs::remove_file(self.path("bin").join(tool)).unwrap();
        }
        self
    }

    /// Runs the script, and returns its exit code, its output, and the calls of the fakes.
    #[expect(clippy::disallowed_methods, reason = "a test runs a shell")]
    fn run(&self, shell: (&str, &[&str]), source: &str, args: &[&str]) -> (i32, String, String) {
        let log = self.path("log");
        let _ = fs::remove_file(&log);
        let program = Path::new("/bin").join(shell.0);
        let mut command = Command::new(program);
        command.args(shell.1).arg(self.path("scripts/onboard.sh")).args(args).env_clear();
        command.env("PATH", self.path("bin")).env("HOME", self.dir.path());
        command.env("OS_RELEASE", self.path("os-release")).env("LOG", &log);
        command.env("BIN", self.path("bin")).stdin(Stdio::null());
        if !source.is_empty() {
            command.env("KDEV_SOURCE", source);
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let text = text.concat().replace(self.dir.path().to_str().unwrap(), "[ROOT]");
        // busybox does not use the fake of `id`, so there is no sudo if root runs the tests.
        let text = text.replace(": sudo ", ": ").replace("&& sudo ", "&& ");
        (output.status.code().unwrap(), text, fs::read_to_string(&log).unwrap_or_default())
    }
}

const DEBIAN: &str = "ID=debian\n";
const RUN: &str = "cargo kdev doctor\ncargo kdev up\n";

/// Returns the scripts of all templates.
fn scripts() -> Vec<PathBuf> {
    let templates = fs::read_dir(root().join("templates")).unwrap();
    let scripts = templates.map(|entry| entry.unwrap().path().join("scripts/onboard.sh"));
    let scripts: Vec<PathBuf> = scripts.collect();
    assert!(scripts.len() > 1);
    scripts
}

#[test]
fn script_is_valid_in_posix_shells() {
    for (shell, args) in shells() {
        for script in scripts() {
            #[expect(clippy::disallowed_methods, reason = "a test runs a shell")]
            let mut command = Command::new(Path::new("/bin").join(shell));
            let output = command.args(args).arg("-n").arg(script).output().unwrap();
            assert!(output.status.success(), "{shell}: {output:?}");
        }
    }
}

/// `cargo xtask test` installs the linter where it can run the lab.
#[test]
fn script_passes_shellcheck() {
    #[expect(clippy::disallowed_methods, reason = "a test runs a linter")]
    let mut shellcheck = Command::new("shellcheck");
    match shellcheck.arg("--shell=sh").args(scripts()).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        Err(error) if std::env::var_os("CI").is_some() => panic!("shellcheck: {error}"),
        Err(error) => {
            // Not captured by the test, unlike `eprintln!`.
            let text = format!("skipping script_passes_shellcheck: shellcheck: {error}\n");
            std::io::stderr().write_all(text.as_bytes()).unwrap();
        }
    }
}

#[test]
fn complete_machine_only_deploys() {
    for shell in shells() {
        let machine = Machine::new(DEBIAN);
        // The second run is the same.
        for _ in 0..2 {
            let (code, output, log) = machine.run(shell, "", &[]);
            assert_eq!((code, output.as_str(), log.as_str()), (0, "", RUN), "{shell:?}");
        }
        let (_, _, log) = machine.run(shell, "", &["--context", "a b"]);
        assert_eq!(log, "cargo kdev doctor --context a b\ncargo kdev up --context a b\n");
        let (code, output, log) = machine.run(shell, "", &["--nosuch"]);
        let expected = (2, "error: unknown argument: --nosuch\n", "");
        assert_eq!((code, output.as_str(), log.as_str()), expected);
        let (code, help, _) = machine.run(shell, "", &["--help"]);
        assert!(code == 0 && help.contains("usage: scripts/onboard.sh [--yes]"), "{help}");
    }
}

#[test]
fn each_missing_tool_is_named_with_install_command() {
    let table: [(&str, &str, &[Install]); 5] = [
        (
            "ID=ubuntu\nID_LIKE=debian\n",
            "Linux",
            &[
                ("cc", "apt-get update && apt-get install -y build-essential"),
                ("docker", "apt-get update && apt-get install -y docker.io"),
            ],
        ),
        (
            "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
            "Linux",
            &[("git", "dnf install -y git"), ("kubectl", "dnf install -y kubernetes-client")],
        ),
        (
            "ID=arch\n",
            "Linux",
            &[
                ("ssh", "pacman -S --noconfirm openssh"),
                ("kubectl", "pacman -S --noconfirm kubectl"),
            ],
        ),
        (
            "ID=alpine\n",
            "Linux",
            &[
                ("cc", "apk add --update-cache build-base"),
                ("ssh", "apk add --update-cache openssh-client"),
            ],
        ),
        (
            "",
            "Darwin",
            &[("kubectl", "brew install kubernetes-cli"), ("cc", "xcode-select --install")],
        ),
    ];
    for (at, (release, system, expected)) in table.into_iter().enumerate() {
        let shells = shells();
        let shell = shells[at % shells.len()];
        // One tool after the other.
        for tool in TOOLS {
            let machine = Machine::new(release);
            fs::write(machine.path("bin/uname.system"), format!("{system}\n")).unwrap();
            let (code, output, log) = machine.remove(&[tool]).run(shell, "", &[]);
            let missing: BTreeSet<&str> =
                output.lines().filter_map(|line| line.strip_prefix("missing: ")).collect();
            assert!(
                missing.iter().any(|line| line.starts_with(&format!("{tool}; install it with: "))),
                "{output}"
            );
            assert!(
                output.contains(&format!("error: missing: {tool}")) || tool == "cargo",
                "{output}"
            );
            // Nothing is installed without a yes.
            assert_eq!((code, log.as_str()), (1, ""), "{output}");
            for (_, command) in expected.iter().filter(|(name, _)| *name == tool) {
                let line = format!("missing: {tool}; install it with: {command}\n");
                assert!(output.contains(&line), "{release}: {output}");
            }
        }
    }
    let machine = Machine::new("ID=plan9\n");
    let (code, output, _) = machine.remove(&["git"]).run(shells()[0], "", &["--yes"]);
    assert_eq!(code, 1);
    assert!(
        output.starts_with("missing: git; install it with the package manager of your system\n"),
        "{output}"
    );
    assert!(
        output.ends_with("help: install them, or run [ROOT]/scripts/onboard.sh --yes\n"),
        "{output}"
    );
}

#[test]
fn missing_tools_are_installed_after_yes() {
    for shell in shells() {
        let machine = Machine::new(DEBIAN);
        machine.remove(&["docker", "cc", "ssh"]);
        let (code, output, log) = machine.run(shell, "", &["--yes"]);
        let installed = ["docker.io", "build-essential", "openssh-client"]
            .map(|package| format!("apt-get update\napt-get install -y {package}\n"))
            .concat();
        assert_eq!((code, log.as_str()), (0, format!("{installed}{RUN}").as_str()), "{output}");
        let (code, output, log) = machine.run(shell, "", &["--yes"]);
        assert_eq!((code, output.as_str(), log.as_str()), (0, "", RUN));
        // Podman replaces Docker.
        machine.remove(&["docker"]).fake("podman", "");
        assert_eq!(machine.run(shell, "", &[]), (0, String::new(), RUN.to_owned()));
    }
}

#[test]
fn kdev_is_installed_from_its_source_only() {
    for shell in shells() {
        let machine = Machine::new(DEBIAN);
        machine.remove(&["cargo-kdev"]);
        let install = format!("cargo install --locked {SOURCE} cargo-kdev");
        let (code, output, log) = machine.run(shell, SOURCE, &[]);
        let expected = format!(
            "missing: cargo-kdev; install it with: {install}\nerror: cargo-kdev is not installed\n"
        );
        assert_eq!((code, output, log), (1, expected, String::new()));
        let (code, _, log) = machine.run(shell, SOURCE, &["--yes"]);
        assert_eq!((code, log), (0, format!("{install}\n{RUN}")));
        // Anyone can publish a crate of that name.
        let (code, output, log) = machine.run(shell, "", &["--yes"]);
        assert_eq!((code, log.as_str()), (1, ""));
        assert!(output.starts_with("error: the source of cargo-kdev is not set\n"), "{output}");
    }
}

#[test]
fn failed_check_stops_before_deployment() {
    let machine = Machine::new(DEBIAN);
    machine.fake("cargo", "echo \"cargo $*\" >>\"$LOG\"; [ \"$2\" != doctor ] || exit 91");
    let (code, _, log) = machine.run(shells()[0], "", &[]);
    assert_eq!((code, log.as_str()), (91, "cargo kdev doctor\n"));
}
