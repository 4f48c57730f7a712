//! `cargo kdev`: parses the arguments, calls the library, and prints the results.
//!
//! The program is one call of [`run`]. The xtask of a project can be the same:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     cargo_kdev::run(std::env::args_os())
//! }
//! ```
//!
//! Requests and results without the command line are in the crate `kdev`.

mod cli;
mod commands;
mod flags;
mod ui;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cargo, Command, Kdev};
use etcetera::BaseStrategy;
use kdev::{Cx, DockerSettings, Interrupt};
use ui::Ui;

/// Runs `cargo kdev` with the arguments of a process, of which the first is the name of the program,
/// and returns its exit code. It reads the environment, prints, and handles signals, so a process
/// calls it once, from `main`: kdev starts the process again to enter a network namespace.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(result) = kdev::run_namespace_helper(args.get(1..).unwrap_or_default()) {
        // Only kdev itself runs the helper, and uses the exit code.
        return if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let Cargo::Kdev(Kdev { command, output }) = match Cargo::try_parse_from(cli::cargo_args(args)) {
        Ok(cargo) => cargo,
        Err(help_or_error) => return ui::print_usage(&help_or_error),
    };
    let ui = Ui::new(&output, command.must_notify());
    let interrupt = Interrupt::on_signals(end_immediately);
    let on_event = |event| ui.print_event(event, &interrupt);
    let ask = |question: &str| ui.ask(question, &interrupt);
    let mut cx = Cx::new(&on_event)
        .with_interrupt(interrupt.clone())
        .with_build_output(ui.build_output())
        .with_docker_settings(docker_settings())
        .with_dry_run(command.is_dry_run());
    cx = with_paths(cx);
    if ui.can_ask() {
        cx = cx.with_confirmation(&ask);
    }
    let mut code = 0;
    let result = match command {
        Command::Up(up) if up.inputs => {
            kdev::list_inputs(&cx, &up.into(), |report| ui.print_inputs(report))
        }
        Command::Up(up) if up.watch.watch => {
            let timings = up.watch.timings;
            ui.end_logs(ui.watch(&cx, up.into(), &interrupt, timings), &mut code)
        }
        Command::Up(up) => kdev::up(&cx, &up.into()),
        Command::Build(build) => kdev::build(&cx, &build.into()),
        Command::Down(down) => kdev::down(&cx, &down.into()),
        Command::Load(load) => kdev::load(&cx, &load.into()),
        Command::Prune(prune) => kdev::prune(&cx, &prune.into()),
        Command::Images(images) => {
            kdev::images(&cx, &images.into(), |report| ui.print_images(report))
        }
        Command::Why(why) => kdev::why(&cx, &why.into()).map(|report| ui.print_why_report(&report)),
        Command::Status(status) => {
            let watch = status.watch;
            let show = |status: &kdev::Status| {
                ui.print_status(status, watch);
                // Without a reader, the watch would never end.
                if ui.stdout.has_ended() {
                    interrupt.raise();
                }
            };
            let result = kdev::status(&cx, &status.into(), show);
            result.inspect(|()| ui.end_watch(watch))
        }
        Command::Logs(logs) => {
            let timestamps = logs.timestamps;
            let show = |batch: &kdev::LogBatch| {
                ui.print_log(batch, timestamps);
                // Without a reader, following would never end.
                if ui.stdout.has_ended() {
                    interrupt.raise();
                }
            };
            ui.end_logs(kdev::logs(&cx, &logs.into(), &show), &mut code)
        }
        Command::Forward(forward) => kdev::forward(&cx, &forward.into()),
        Command::Doctor(doctor) => {
            ui.start_checks();
            kdev::doctor(&cx, &doctor.into(), |report| code = ui.print_doctor_report(report))
        }
        Command::Config(config) => {
            kdev::list_settings(&cx, &config.into()).map(|values| ui.print_config(&values))
        }
        Command::Completions(completions) => {
            ui.print_completions(&completions);
            Ok(())
        }
        Command::Complete(complete) => {
            ui.print_candidates(complete, cli::kdev_command());
            Ok(())
        }
        Command::Man(man) => ui.write_man(&man, cli::kdev_command()),
        Command::Init(init) => ui.init(&cx, init),
        Command::Render(render) => {
            let (diff, explain) = (render.diff, render.explain);
            kdev::render(&cx, &render.into())
                .map(|rendered| ui.print_rendered(&rendered, diff, explain))
        }
    };
    ui.clear_bars();
    if let Err(error) = result {
        ui.print_error(&error);
        code = error.exit_code();
    }
    ExitCode::from(ui.finish(code))
}

/// Ends the process after a second Ctrl-C, also during an apply.
#[expect(clippy::exit, reason = "the main thread may be blocked")]
fn end_immediately() {
    kdev::kill_children();
    ui::keyboard::restore_terminal();
    ui::leave_line();
    std::process::exit(i32::from(kdev::ExitCode::Interrupted as u8));
}

/// Sets the directories and the program that depend on this machine.
fn with_paths(mut cx: Cx) -> Cx {
    if let Ok(base) = etcetera::choose_base_strategy() {
        cx = cx.with_cache_dir(base.cache_dir().join("kdev"));
        if let Some(state_dir) = base.state_dir() {
            cx = cx.with_state_dir(state_dir.join("kdev"));
        }
    }
    if let Some(home) = cargo_home() {
        cx = cx.with_cargo_home(home);
    }
    if let Ok(program) = std::env::current_exe() {
        cx = cx.with_program(program);
    }
    cx
}

/// Returns the directory of cargo.
fn cargo_home() -> Option<PathBuf> {
    let own = std::env::var_os("CARGO_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    own.or_else(|| etcetera::home_dir().ok().map(|home| home.join(".cargo")))
}

/// Reads the variables of the Docker client.
fn docker_settings() -> DockerSettings {
    let variable = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    let variables: BTreeMap<String, String> =
        DockerSettings::VARIABLES.into_iter().filter_map(variable).collect();
    let own = variables.get("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || etcetera::home_dir().ok().map(|home| home.join(".docker"));
    DockerSettings { variables, config_dir: own.or_else(home) }
}
