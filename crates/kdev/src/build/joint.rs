//! One `cargo build` for several packages of a workspace.
//!
//! Separate builds would wait for each other's lock, and could compile a shared dependency twice,
//! because each package selects its own features of it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use xshell::cmd;

use crate::build::artifacts::{self, Artifact, BuildArgs};
use crate::build::error::Result;
use crate::config::{BuilderChoice, Config};
use crate::cx::Cx;
use crate::event::Event;
use crate::process::{self, Command, Outcome};
use crate::tools::CARGO;

/// Continues with the other packages if one of them cannot be compiled.
const KEEP_GOING: &str = "--keep-going";
/// Files in the folder of a package that change what cargo does there.
const CARGO_FILES: [&str; 4] =
    [".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"];

/// The packages whose turn is still to come, and what cargo has built of them.
#[derive(Debug, Default)]
pub(crate) struct JointBuild {
    packages: Vec<Config>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The packages of the joint builds that were started.
    tried: Vec<String>,
    done: Vec<Done>,
}

/// How a package is built.
pub(super) enum Built {
    /// The package must be built alone.
    Alone,
    /// cargo has built it with others, and has written these files, if it reports them.
    Jointly(Option<Vec<Artifact>>),
}

/// A joint build that has succeeded.
#[derive(Debug)]
struct Done {
    args: Vec<String>,
    packages: Vec<String>,
    artifacts: Option<Vec<Artifact>>,
}

impl JointBuild {
    /// `configs` are in the order in which the packages are deployed.
    pub(crate) fn new(configs: Vec<Config>) -> Self {
        let packages = configs.into_iter().filter(can_be_joined).collect();
        Self { packages, state: Mutex::default() }
    }

    /// Returns what cargo has built of a package. The first package for which this is called starts
    /// the build of all that have the same arguments.
    pub(super) fn build(&self, cx: &Cx, config: &Config, args: &[String]) -> Result<Built> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.tried.contains(&config.package) {
            let packages = self.joined_with(config, &state.tried);
            if packages.len() < 2 {
                return Ok(Built::Alone);
            }
            state.tried.extend(packages.iter().cloned());
            if let Built::Jointly(artifacts) = run(&cx.for_all_services(), config, args, &packages)?
            {
                state.done.push(Done { args: args.to_vec(), packages, artifacts });
            }
        }
        let is_own = |done: &&Done| done.args == args && done.packages.contains(&config.package);
        let Some(done) = state.done.iter().find(is_own) else {
            return Ok(Built::Alone);
        };
        let of_package = |artifact: &&Artifact| {
            artifact.program.as_ref().is_none_or(|program| program.is_of_package(&config.dir))
        };
        let artifacts = done.artifacts.as_ref();
        Ok(Built::Jointly(artifacts.map(|all| all.iter().filter(of_package).cloned().collect())))
    }

    /// Returns a package and those after it that cargo builds in the same way, except for those that
    /// were built.
    fn joined_with(&self, config: &Config, built: &[String]) -> Vec<String> {
        let later = self.packages.iter().skip_while(|one| one.package != config.package);
        let is_same = |one: &&Config| {
            one.cargo_build == config.cargo_build
                && is_cargo(one) == is_cargo(config)
                && one.workspace_root == config.workspace_root
                && !built.contains(&one.package)
        };
        later.filter(is_same).map(|one| one.package.clone()).collect()
    }
}

fn is_cargo(config: &Config) -> bool {
    config.builder == BuilderChoice::Cargo
}

/// Options of cargo with a path that is relative to the current directory, or that select packages.
const LOCAL_OPTIONS: [&str; 10] = [
    "--target-dir",
    "--artifact-dir",
    "--out-dir",
    "--config",
    "--manifest-path",
    "--lockfile-path",
    "-C",
    "--package",
    "--workspace",
    "--exclude",
];

/// Returns whether kdev builds a package with cargo, and cargo does the same in the folder of the
/// package as in that of the workspace.
fn can_be_joined(config: &Config) -> bool {
    let is_local = |arg: &String| {
        LOCAL_OPTIONS.contains(&arg.split('=').next().unwrap_or_default()) || arg.starts_with("-p")
    };
    if config.cargo_build.iter().flatten().any(is_local) {
        return false;
    }
    let is_built = config.cargo_build.is_some() || is_cargo(config);
    let is_below = config.dir.starts_with(&config.workspace_root);
    let has_file = |dir: &Path| CARGO_FILES.iter().any(|name| dir.join(name).exists());
    let mut dirs = config.dir.ancestors().take_while(|dir| *dir != config.workspace_root);
    is_built && is_below && !dirs.any(has_file)
}

/// Runs `cargo build` for several packages. If it fails, each package is built alone, which shows
/// the errors of this package.
fn run(cx: &Cx, config: &Config, args: &[String], packages: &[String]) -> Result<Built> {
    let cargo = CARGO.find()?;
    let sh = cx.shell()?;
    sh.change_dir(&config.workspace_root);
    let has_flag = args.iter().any(|arg| arg == KEEP_GOING);
    let packages_and_flag: Vec<&str> = packages
        .iter()
        .flat_map(|name| ["--package", name])
        .chain((!has_flag).then_some(KEEP_GOING))
        .collect();
    let selected = &packages_and_flag;
    let command = |args: &[String]| {
        Command::new(cmd!(sh, "{cargo} build {selected...} {args...}")).show_dir()
    };
    let display = command(args).to_string();
    if cx.is_dry_run() {
        cx.emit(Event::WouldRun { command: display });
        return Ok(Built::Jointly(None));
    }
    cx.emit(Event::Building { target: packages.join(", "), command: display });
    let BuildArgs { args, has_messages } = artifacts::with_messages(args);
    let result = if has_messages {
        command(&args).run_and_read(cx, "cargo").map(Some)
    } else {
        command(&args).run(cx, "cargo").map(|()| None)
    };
    match result {
        Ok(None) => Ok(Built::Jointly(None)),
        Ok(Some(lines)) => {
            let (artifacts, other) = artifacts::read_messages(lines);
            for line in other {
                cx.emit(Event::ToolOutput { tool: "cargo", line });
            }
            Ok(Built::Jointly(Some(artifacts)))
        }
        Err(failure) if matches!(failure.outcome, Outcome::Interrupted) => {
            Err(process::Error::from(process::Interrupted).into())
        }
        Err(_) => {
            let text = "cargo failed to build some of the packages, so each of them is built alone";
            cx.emit(Event::Note { text: text.to_owned() });
            Ok(Built::Alone)
        }
    }
}
