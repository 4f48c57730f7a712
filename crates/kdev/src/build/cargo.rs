//! Runs `cargo build`.

use std::path::{Path, PathBuf};

use xshell::cmd;

use crate::build::artifacts::{self, Artifact, BuildArgs};
use crate::build::error::{Error, Result};
use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::{Command, Failure, Outcome};
use crate::tools::{self, CARGO};

/// The options that mean the same for several packages, and in each directory, without and with a
/// value.
const COMMON: [&str; 11] = [
    "--release",
    "-r",
    "--all-features",
    "--no-default-features",
    "--locked",
    "--offline",
    "--frozen",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
];
const COMMON_WITH_VALUE: [&str; 8] =
    ["--profile", "--features", "-F", "--target", "--jobs", "-j", "--color", "--config"];
/// The files in a directory that change what cargo does there.
const SETTINGS: [&str; 4] =
    [".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"];
/// The subcommand of cargo that builds programs.
pub(super) const BUILD: &str = "build";
/// Makes cargo build the other packages if one fails.
const KEEP_GOING: &str = "--keep-going";

/// The files that cargo has written for a package, if it reports them.
pub(super) type Built = Result<Option<Vec<Artifact>>>;

/// A call of `cargo build` for one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CargoRequest {
    cargo: PathBuf,
    pub(super) package: String,
    dir: PathBuf,
    subcommand: &'static str,
    args: Vec<String>,
    /// The directory for a call for several packages; `None` if that could do something else.
    common_dir: Option<PathBuf>,
}

impl CargoRequest {
    /// Creates the call with a subcommand of cargo that has the arguments of `cargo build`.
    pub(super) fn new(
        config: &Config,
        subcommand: &'static str,
        args: Vec<String>,
    ) -> Result<Self> {
        let is_common =
            are_common(&args) && has_common_settings(&config.dir, &config.workspace_root);
        Ok(Self {
            cargo: CARGO.find()?,
            package: config.package.clone(),
            dir: config.dir.clone(),
            common_dir: is_common.then(|| config.workspace_root.clone()),
            subcommand,
            args,
        })
    }

    /// Returns a call of a program, for tests of other files.
    #[cfg(test)]
    pub(super) fn of_program(cargo: &Path, args: &[&str]) -> Self {
        let dir = cargo.parent().unwrap_or(cargo).to_owned();
        let args = args.iter().map(ToString::to_string).collect();
        Self {
            cargo: cargo.to_owned(),
            package: "app".to_owned(),
            dir,
            subcommand: BUILD,
            args,
            common_dir: None,
        }
    }

    /// Returns whether one call can build both packages.
    pub(super) fn can_join(&self, other: &Self) -> bool {
        self.common_dir.is_some()
            && (&self.common_dir, self.subcommand, &self.args)
                == (&other.common_dir, other.subcommand, &other.args)
    }

    /// Runs the call. Returns the files that cargo has written, if it reports them.
    pub(super) fn run(&self, cx: &Cx) -> Built {
        let packages = [self.package.as_str()];
        // In the package's directory, so that its `.cargo/config.toml` applies.
        let ran = self.start(cx, &packages, &self.dir, &[])?;
        ran.result.map_err(|failure| self.error(failure, ran.display))?;
        Ok(ran.artifacts)
    }

    /// Runs cargo with the arguments of this call.
    fn start(&self, cx: &Cx, packages: &[&str], dir: &Path, own: &[String]) -> Result<Ran> {
        let (cargo, subcommand) = (&self.cargo, self.subcommand);
        let sh = cx.shell()?;
        sh.change_dir(dir);
        let command = |args: &[String]| {
            let flags = packages.iter().flat_map(|package| ["--package", package]);
            Command::new(cmd!(sh, "{cargo} {subcommand} {flags...} {args...}")).show_dir()
        };
        // Messages do not show the flags that are only for kdev.
        let display = command(&self.args).to_string();
        let mut ran = Ran { display, artifacts: None, result: Ok(()) };
        if cx.is_dry_run() {
            cx.emit(Event::WouldRun { command: ran.display.clone() });
            return Ok(ran);
        }
        let (target, command_text) = (packages.join(", "), ran.display.clone());
        cx.emit(Event::Building { target, command: command_text, tool: "cargo" });
        let BuildArgs { args, has_messages } = artifacts::with_messages(&self.args);
        let command = command(&[own, &args].concat());
        if !has_messages {
            ran.result = command.run(cx, "cargo");
            return Ok(ran);
        }
        let (lines, result) = command.run_and_read(cx, "cargo");
        let (artifacts, other) = artifacts::read_messages(lines);
        for line in other {
            cx.emit(Event::ToolOutput { tool: "cargo", line });
        }
        (ran.artifacts, ran.result) = (Some(artifacts), result);
        Ok(ran)
    }

    fn manifest(&self) -> PathBuf {
        self.dir.join("Cargo.toml")
    }

    fn error(&self, failure: Failure, display: String) -> Error {
        build_error(failure, "cargo", self.package.clone(), display)
    }
}

/// What a call of cargo has done.
struct Ran {
    display: String,
    /// The files that it has written, if it reports them.
    artifacts: Option<Vec<Artifact>>,
    result: Result<(), Failure>,
}

/// Runs one call for several packages with these programs. Returns the result of each package, or
/// `None` if only a call for the package alone can show it.
pub(super) fn run_joined(
    cx: &Cx,
    requests: &[&CargoRequest],
    programs: &[&[String]],
) -> Option<Vec<Option<Built>>> {
    let dir = requests.first()?.common_dir.as_ref()?;
    let packages: Vec<&str> = requests.iter().map(|request| request.package.as_str()).collect();
    let ran = requests[0].start(cx, &packages, dir, &[KEEP_GOING.to_owned()]).ok()?;
    let Some(artifacts) = ran.artifacts else {
        return cx.is_dry_run().then(|| requests.iter().map(|_| Some(Ok(None))).collect());
    };
    let result = |(request, programs): (&&CargoRequest, &&[String])| {
        let own: Vec<Artifact> = of_package(&artifacts, request, requests);
        let Err(failure) = &ran.result else { return Some(Ok(Some(own))) };
        if failure.is_interrupt() {
            return Some(Err(request.error(failure.clone(), ran.display.clone())));
        }
        // An older cargo rejects the flag.
        if artifacts.is_empty() || programs.is_empty() {
            return None;
        }
        let is_built = |name: &&String| {
            let built = own.iter().filter_map(|one| one.program.as_ref());
            built.filter(|one| one.is_binary).any(|one| {
                one.name == **name && artifacts::is_same_file(&one.manifest, &request.manifest())
            })
        };
        match programs.iter().filter(is_built).count() {
            count if count == programs.len() => Some(Ok(Some(own))),
            0 => Some(Err(request.error(failure.clone(), ran.display.clone()))),
            // A program can also be missing because it requires a feature.
            _ => None,
        }
    };
    Some(requests.iter().zip(programs).map(result).collect())
}

/// Returns the files that a call for the package alone would have reported: not the programs of
/// the others.
fn of_package(
    artifacts: &[Artifact],
    package: &CargoRequest,
    all: &[&CargoRequest],
) -> Vec<Artifact> {
    let others = all.iter().filter(|one| one.package != package.package);
    let others: Vec<PathBuf> = others.map(|one| one.manifest()).collect();
    let is_of_other = |one: &&Artifact| {
        let manifest = one.program.as_ref().map(|program| &program.manifest);
        manifest.is_some_and(|manifest| {
            others.iter().any(|other| artifacts::is_same_file(other, manifest))
        })
    };
    artifacts.iter().filter(|one| !is_of_other(one)).cloned().collect()
}

/// Returns whether cargo does the same with these arguments for several packages, and in another
/// directory.
fn are_common(args: &[String]) -> bool {
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        if COMMON.contains(&name) && value.is_none() {
            continue;
        }
        if !COMMON_WITH_VALUE.contains(&name) {
            return false;
        }
        let Some(value) = value.or_else(|| words.next().map(String::as_str)) else { return false };
        let is_path = match name {
            "--config" => !value.contains('='),
            "--target" => value.contains(['/', '.']),
            _ => false,
        };
        if is_path {
            return false;
        }
    }
    true
}

/// Returns the directory whose settings of cargo and whose toolchain a package uses.
pub(super) fn settings_dir(config: &Config) -> &Path {
    let is_common = has_common_settings(&config.dir, &config.workspace_root);
    if is_common { &config.workspace_root } else { &config.dir }
}

/// Returns whether the settings of cargo and the toolchain are those of the workspace.
fn has_common_settings(dir: &Path, workspace_root: &Path) -> bool {
    let Ok(inner) = dir.strip_prefix(workspace_root) else { return false };
    let mut dirs = dir.ancestors().take(inner.components().count());
    !dirs.any(|dir| SETTINGS.iter().any(|file| dir.join(file).exists()))
}

/// Runs a build. Its error shows `display` as the command.
pub(super) fn run_build(
    cx: &Cx,
    command: Command,
    tool: &'static str,
    name: String,
    display: String,
) -> Result<()> {
    command.run(cx, tool).map_err(|failure| build_error(failure, tool, name, display))
}

fn build_error(failure: Failure, tool: &str, name: String, display: String) -> Error {
    let source = Failure { command: display, ..failure };
    if matches!(source.outcome, Outcome::NotStarted(_)) {
        return tools::Error::Command { action: format!("run `{tool}`"), source }.into();
    }
    Error::Failed { name, source, hint: None }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn options_of_one_directory_or_package_are_not_common() {
        let table: [(&[&str], bool); 12] = [
            (&[], true),
            (&["--release", "--features", "a,b"], true),
            (&["--profile=dev", "--locked", "-v"], true),
            (&["--target", "x86_64-unknown-linux-musl", "--config", "a.b=['c']"], true),
            (&["--target", "targets/mine.json"], false),
            (&["--config", "settings.toml"], false),
            (&["--target-dir", "out"], false),
            (&["--bin", "a"], false),
            (&["--package=a"], false),
            (&["--manifest-path", "Cargo.toml"], false),
            (&["--release=yes"], false),
            (&["--profile"], false),
        ];
        for (args, expected) in table {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            assert_eq!(are_common(&args), expected, "{args:?}");
        }
    }

    #[test]
    fn settings_below_workspace_are_not_common() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("services/app");
        fs::create_dir_all(dir.join(".cargo")).unwrap();
        fs::write(root.path().join("rust-toolchain.toml"), "").unwrap();
        assert!(has_common_settings(root.path(), root.path()));
        assert!(has_common_settings(&dir, root.path()));
        assert!(!has_common_settings(root.path(), &dir));
        let settings = dir.join(".cargo/config.toml");
        fs::write(&settings, "").unwrap();
        assert!(!has_common_settings(&dir, root.path()));
        fs::remove_file(settings).unwrap();
        fs::write(root.path().join("services/rust-toolchain"), "").unwrap();
        assert!(!has_common_settings(&dir, root.path()));
    }

    #[test]
    fn programs_of_other_packages_are_left_out() {
        let request = |package: &str| CargoRequest {
            cargo: "cargo".into(),
            package: package.to_owned(),
            subcommand: BUILD,
            dir: format!("/w/{package}").into(),
            args: Vec::new(),
            common_dir: Some("/w".into()),
        };
        let artifact = |package: &str| Artifact {
            files: vec![format!("/t/{package}").into()],
            program_root: Some("/w/main.rs".into()),
            program: Some(artifacts::BuiltProgram {
                path: format!("/t/{package}").into(),
                name: package.to_owned(),
                manifest: format!("/w/{package}/Cargo.toml").into(),
                is_binary: true,
            }),
        };
        let library = Artifact { files: vec!["/t/libx.rlib".into()], ..Artifact::default() };
        let all = [artifact("a"), library.clone(), artifact("b"), artifact("c")];
        let (a, b) = (request("a"), request("b"));
        assert_eq!(of_package(&all, &a, &[&a, &b]), [artifact("a"), library, artifact("c")]);
    }
}
