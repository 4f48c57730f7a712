//! Composes, runs, watches and ends child processes. Nothing else starts one.
//!
//! - `child.rs`: one child: started, watched, ended
//! - `command.rs`: commands, and what they print

pub(crate) mod child;
mod command;
mod error;

use xshell::Shell;

use crate::cx::Cx;

pub use command::{Failure, Outcome};
pub(crate) use command::{Lines, Output, Task};
pub use error::{Error, FileError, Interrupted};
pub(crate) use error::{Result, is_interrupt};

impl Cx<'_> {
    /// A shell to compose commands with. It holds cells, so each thread takes
    /// its own.
    #[expect(clippy::unused_self, reason = "nobody takes a shell outside a run")]
    pub(crate) fn shell(&self) -> Result<Shell> {
        Shell::new().map_err(|e| Error::CurrentDir { reason: e.to_string() })
    }

    /// An error once the work should stop.
    pub(crate) fn check_interrupt(&self) -> Result<()> {
        if self.interrupt().is_raised() { Err(Interrupted.into()) } else { Ok(()) }
    }
}
