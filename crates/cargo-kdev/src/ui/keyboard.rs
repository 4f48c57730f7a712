//! Reads single keys from the terminal, without Enter.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{Pid, getpgrp, read, tcgetpgrp};

/// How often a reader notices that it is in the foreground again, or that the watch has ended.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a signal may take to stop this process.
const SIGNAL_DELAY: Duration = Duration::from_millis(500);
/// The keys of the terminal that stop or end a process, which must restore the mode first. Ctrl-C
/// stays one: kdev handles its signal.
const SIGNAL_KEYS: [(SpecialCharacterIndices, Signal); 2] = [
    (SpecialCharacterIndices::VSUSP, Signal::SIGTSTP),
    (SpecialCharacterIndices::VQUIT, Signal::SIGQUIT),
];

/// The original mode, for the end of the process.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// The keyboard of the terminal. The mode of the terminal only differs from the original one while
/// a key is awaited in the foreground.
pub(crate) struct Keyboard {
    /// The original mode. Its lock is held while a key is awaited.
    mode: Mutex<Termios>,
    is_suspended: AtomicBool,
}

/// What was read.
pub(crate) enum Input {
    Key(u8),
    /// The signal of a key. The mode of the terminal is the original one.
    Signal(Signal),
}

impl Keyboard {
    /// Returns the keyboard, if standard input is a terminal.
    pub(crate) fn open() -> Option<Self> {
        let stdin = io::stdin();
        let mode = if stdin.is_terminal() { tcgetattr(&stdin).ok()? } else { return None };
        *ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(mode.clone());
        Some(Self { mode: Mutex::new(mode), is_suspended: AtomicBool::new(false) })
    }

    /// Waits for a key, for a limited time.
    pub(crate) fn read(&self) -> Option<Input> {
        if self.is_suspended.load(Ordering::SeqCst) || !is_in_foreground() {
            thread::sleep(INTERVAL);
            return None;
        }
        let original = self.lock();
        set_key_mode(&original);
        let byte = read_byte()?;
        let is_key = |(index, _): &&(SpecialCharacterIndices, Signal)| {
            original.control_chars[*index as usize] == byte
        };
        match SIGNAL_KEYS.iter().find(is_key) {
            Some((_, signal)) if byte != libc::_POSIX_VDISABLE => {
                restore(&original);
                Some(Input::Signal(*signal))
            }
            _ => Some(Input::Key(byte)),
        }
    }

    /// Restores the mode of the terminal, after the last key.
    pub(crate) fn close(&self) {
        restore(&self.lock());
    }

    /// Restores the mode of the terminal while `ask` reads a line.
    pub(crate) fn suspend<R>(&self, ask: impl FnOnce() -> R) -> R {
        self.is_suspended.store(true, Ordering::SeqCst);
        let original = self.lock();
        restore(&original);
        let answer = ask();
        drop(original);
        self.is_suspended.store(false, Ordering::SeqCst);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Termios> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        restore(&self.lock());
    }
}

/// Restores the mode of the terminal. In the background, the mode is that of another program, and
/// a change would stop this process.
fn restore(original: &Termios) {
    if is_in_foreground() {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, original);
    }
}

/// Sets the mode without lines and echo, unless it is set.
fn set_key_mode(original: &Termios) {
    let is_line_mode = |mode: &Termios| mode.local_flags.contains(LocalFlags::ICANON);
    if !tcgetattr(io::stdin()).is_ok_and(|mode| is_line_mode(&mode)) {
        return;
    }
    let mut mode = original.clone();
    mode.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    mode.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    mode.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    for (index, _) in SIGNAL_KEYS {
        mode.control_chars[index as usize] = libc::_POSIX_VDISABLE;
    }
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &mode);
}

/// Restores the mode of the terminal, if it was changed, before the process exits immediately.
pub(crate) fn restore_terminal() {
    if let Some(original) = &*ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) {
        restore(original);
    }
}

/// Sends a signal to all processes of this group: also to cargo, which has started kdev. Returns
/// when this process continues.
#[expect(clippy::exit, reason = "without its children, the process cannot continue")]
pub(crate) fn signal_group(signal: Signal) {
    if signal == Signal::SIGQUIT {
        // It ends this process without a further step, and does not reach the children.
        kdev::kill_children();
    }
    let _ = kill(Pid::from_raw(0), signal);
    // Another thread may receive the signal, later.
    thread::sleep(SIGNAL_DELAY);
    if signal == Signal::SIGQUIT {
        std::process::exit(128 + signal as i32);
    }
}

/// Returns whether this process may use the terminal.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

fn read_byte() -> Option<u8> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&stdin), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::ZERO);
    if poll(&mut fds, timeout).unwrap_or(0) == 0 {
        return None;
    }
    let mut byte = [0];
    if read(&stdin, &mut byte) == Ok(1) {
        return Some(byte[0]);
    }
    // The terminal is gone.
    thread::sleep(INTERVAL);
    None
}
