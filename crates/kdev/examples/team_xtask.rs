//! A team's own task on top of the library: one service after the other, each
//! from its own package, with the team's words around it.
//!
//! Run it in a workspace of your own: `cargo run --example team_xtask -- api worker`

use std::process::ExitCode;

use kdev::{Cx, Event, Interrupt, UpRequest, PackageSelection, ClusterTarget};

fn main() -> ExitCode {
    let interrupt = Interrupt::on_signals();
    for package in std::env::args().skip(1) {
        if let Err(error) = bring_up(&package, &interrupt) {
            say(&format!("{package}: {error}"));
            if let Some(help) = error.help() {
                say(&format!("try this: {help}"));
            }
            return ExitCode::from(error.exit_code());
        }
    }
    ExitCode::SUCCESS
}

fn bring_up(package: &str, interrupt: &Interrupt) -> Result<(), kdev::Error> {
    let tell = |event| match event {
        Event::Built { image, .. } => say(&format!("built {image}")),
        Event::Loaded { node, bytes, .. } => say(&format!("{node} got {bytes} bytes")),
        Event::Ready { workload, pods, .. } => say(&format!("{workload} runs with {pods} pods")),
        _ => {}
    };
    // With a cache, only the layers that changed are sent.
    let cx = Cx::new(&tell).with_interrupt(interrupt.clone()).with_cache_dir("target/kdev");
    let request = UpRequest {
        selection: PackageSelection { package: Some(package.to_owned()), ..PackageSelection::default() },
        // Naming a context is consent to change it.
        target: ClusterTarget { context: Some("kdev-lab".to_owned()), ..ClusterTarget::default() },
        ..UpRequest::default()
    };
    kdev::up(&cx, &request)
}

#[expect(clippy::print_stdout, reason = "an example of a program")]
fn say(text: &str) {
    println!("{text}");
}
