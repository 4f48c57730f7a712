//! An xtask that deploys several services, one package after the other.
//!
//! Run it in your workspace: `cargo run --example team_xtask -- api worker`

use std::process::ExitCode;

use kdev::{ClusterTarget, Cx, Event, Interrupt, Message, PackageSelection, UpRequest};

fn main() -> ExitCode {
    let interrupt = Interrupt::on_signals(kdev::kill_children);
    for package in std::env::args().skip(1) {
        if let Err(error) = deploy(&package, &interrupt) {
            print(&format!("{package}: {error}"));
            if let Some(help) = error.help() {
                print(&format!("help: {help}"));
            }
            return ExitCode::from(error.exit_code());
        }
    }
    ExitCode::SUCCESS
}

fn deploy(package: &str, interrupt: &Interrupt) -> Result<(), kdev::Error> {
    let print_event = |message: Message| match message.event {
        Event::Built { image, .. } => print(&format!("built {image}")),
        Event::Loaded { node, bytes, .. } => print(&format!("sent {bytes} bytes to {node}")),
        Event::Ready { workload, pods, .. } => print(&format!("{workload} has {pods} ready pods")),
        _ => {}
    };
    // With a cache, only changed layers are sent.
    let cx = Cx::new(&print_event).with_interrupt(interrupt.clone()).with_cache_dir("target/kdev");
    let request = UpRequest {
        selection: PackageSelection {
            packages: vec![package.to_owned()],
            ..PackageSelection::default()
        },
        // Naming a context allows changes to its cluster.
        target: ClusterTarget { context: Some("kdev-lab".to_owned()), ..ClusterTarget::default() },
        ..UpRequest::default()
    };
    kdev::up(&cx, &request)
}

#[expect(clippy::print_stdout, reason = "an example of a program")]
fn print(text: &str) {
    println!("{text}");
}
