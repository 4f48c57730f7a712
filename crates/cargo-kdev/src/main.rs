//! `cargo kdev`: arguments in, words and an exit code out. All work is the
//! library's.

mod args;
mod report;
mod term;

use std::process::ExitCode;

use clap::Parser;
use kdev::{Cx, Interrupt};

use args::{Cargo, Command, Kdev};
use term::Term;

fn main() -> ExitCode {
    let Cargo::Kdev(Kdev { command: Command::Up(up), output }) =
        Cargo::parse_from(args::of_cargo());
    let term = Term::new(&output);
    let draw = |event| term.draw(event);
    let interrupt = Interrupt::on_signals();
    let ask = |question: &str| term.ask(question, &interrupt);
    let mut cx = Cx::new(&draw)
        .interrupted_by(interrupt.clone())
        .build_output(term.build_output())
        .dry_run(up.dry_run);
    if term.can_ask() {
        cx = cx.asking(&ask);
    }
    let result = kdev::up(&cx, &up.into());
    term.finish();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            term.fail(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
