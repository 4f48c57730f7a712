//! `cargo kdev`: arguments in, words and an exit code out. All work is the
//! library's.

mod cli;
mod commands;
mod flags;
mod ui;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cargo, Command, Kdev};
use etcetera::BaseStrategy;
use kdev::{Cx, Interrupt};
use ui::Ui;

fn main() -> ExitCode {
    let Cargo::Kdev(Kdev { command, output }) = Cargo::parse_from(cli::cargo_args());
    let term = Ui::new(&output);
    let draw = |event| term.print_event(event);
    let interrupt = Interrupt::on_signals();
    let ask = |question: &str| term.ask(question, &interrupt);
    let mut cx = Cx::new(&draw)
        .with_interrupt(interrupt.clone())
        .with_build_output(term.build_output())
        .with_dry_run(command.is_dry_run());
    if let Ok(base) = etcetera::choose_base_strategy() {
        cx = cx.with_cache_dir(base.cache_dir().join("kdev"));
    }
    if term.can_ask() {
        cx = cx.with_confirmation(&ask);
    }
    let mut code = 0;
    let result = match command {
        Command::Up(up) => kdev::up(&cx, &up.into()),
        Command::Down(down) => kdev::down(&cx, &down.into()),
        Command::Load(load) => kdev::load(&cx, &load.into()),
        Command::Why(why) => kdev::why(&cx, &why.into()).map(|answer| term.print_why_report(&answer)),
        Command::Status(status) => {
            let watch = status.watch;
            let shown = kdev::status(&cx, &status.into(), |status| term.print_status(status, watch));
            shown.inspect(|()| term.end_watch(watch))
        }
        Command::Doctor(doctor) => {
            term.start_checks();
            kdev::doctor(&cx, &doctor.into(), |checkup| code = term.print_doctor_report(checkup))
        }
        Command::Render(render) => {
            let (diff, explain) = (render.diff, render.explain);
            kdev::render(&cx, &render.into())
                .map(|rendered| term.print_rendered(&rendered, diff, explain))
        }
    };
    term.clear_bars();
    match result {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            term.print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
