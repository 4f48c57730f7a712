//! Runs `cargo build`.

use xshell::cmd;

use crate::build::artifacts::{self, Artifact, BuildArgs};
use crate::build::error::{Error, Result};
use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::process::{Command, Failure, Outcome};
use crate::tools::{self, CARGO};

/// Runs `cargo build` if it is configured. Returns the files that it has written, if it
/// reports them.
pub(super) fn build_if_configured(cx: &Cx, config: &Config) -> Result<Option<Vec<Artifact>>> {
    match &config.cargo_build {
        Some(args) => build(cx, config, args),
        None => Ok(None),
    }
}

/// Runs `cargo build`. Returns the files that it has written, if it reports them.
pub(super) fn build(cx: &Cx, config: &Config, args: &[String]) -> Result<Option<Vec<Artifact>>> {
    let (cargo, package) = (CARGO.find()?, &config.package);
    let sh = cx.shell()?;
    // In the package's directory, so that its `.cargo/config.toml` applies.
    sh.change_dir(&config.dir);
    let command = |args: &[String]| {
        Command::new(cmd!(sh, "{cargo} build --package {package} {args...}")).show_dir()
    };
    // Messages do not show the flags that are only for kdev.
    let display = command(args).to_string();
    if cx.is_dry_run() {
        cx.emit(Event::WouldRun { command: display });
        return Ok(None);
    }
    let (target, command_text) = (package.clone(), display.clone());
    cx.emit(Event::Building { target, command: command_text, tool: "cargo" });
    let BuildArgs { args, has_messages } = artifacts::with_messages(args);
    if !has_messages {
        run_build(cx, command(&args), "cargo", package.clone(), display)?;
        return Ok(None);
    }
    let failed = |failure| build_error(failure, "cargo", package.clone(), display);
    let lines = command(&args).run_and_read(cx, "cargo").map_err(failed)?;
    let (artifacts, other) = artifacts::read_messages(lines);
    for line in other {
        cx.emit(Event::ToolOutput { tool: "cargo", line });
    }
    Ok(Some(artifacts))
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
