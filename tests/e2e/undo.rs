//! Undoes a change to the cluster or to a machine, even if the test fails.

use std::process::Command;

/// Commands that undo a change when dropped. One that fails, because the test has already
/// undone its part, does not keep the others from running.
pub(crate) struct Undo(Vec<Command>);

impl Undo {
    pub(crate) fn new(commands: impl IntoIterator<Item = Command>) -> Self {
        Self(commands.into_iter().collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for command in &mut self.0 {
            let _ = command.output();
        }
    }
}
