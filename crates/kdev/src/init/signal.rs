//! The handler for SIGTERM that `init` shows.

/// Returns lines for `main`, if the program keeps running and has no handler.
pub(crate) fn handler(is_async: bool) -> &'static str {
    if is_async { TOKIO } else { THREAD }
}

const TOKIO: &str = "\
// In `main`; tokio needs the feature `signal`:
tokio::spawn(async {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::terminate()).unwrap().recv().await;
    std::process::exit(0);
});";
const THREAD: &str = "\
// In `main`, after `cargo add signal-hook`:
let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).unwrap();
std::thread::spawn(move || {
    signals.forever().next();
    std::process::exit(0);
});";
