//! The program `cargo-kdev`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_kdev::run(std::env::args_os())
}
