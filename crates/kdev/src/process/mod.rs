//! Composes, runs and terminates child processes. All child processes start here.
//!
//! - `background.rs`: children that run while other commands do
//! - `child.rs`: starts, supervises and terminates children
//! - `command.rs`: commands, their output and their failures
//! - `disk.rs`: keeps free space on a disk
//! - `environment.rs`: the variables that kdev sets or removes for a program
//! - `json_file.rs`: files with what earlier runs have learned
//! - `lines.rs`: the lines that a running child prints
//! - `scratch_dir.rs`: temporary directories of this process

mod background;
pub(crate) mod child;
mod command;
mod disk;
mod environment;
mod error;
pub(crate) mod json_file;
mod lines;
pub(crate) mod scratch_dir;

use xshell::Shell;

use crate::cx::Cx;

pub(crate) use background::BackgroundChild;
pub use child::kill_children;
pub(crate) use command::{Command, Output};
pub use command::{Failure, Outcome};
pub(crate) use disk::{Disk, DiskWatch};
pub use error::{Error, FileError, Interrupted};
pub(crate) use error::{Result, is_interrupt};
pub(crate) use lines::Lines;

impl Cx<'_> {
    /// Creates a shell to compose commands with. It is not `Sync`, so each thread needs
    /// a separate one.
    #[expect(clippy::unused_self, reason = "a shell is only created during a run")]
    pub(crate) fn shell(&self) -> Result<Shell> {
        Shell::new().map_err(|e| Error::CurrentDir { reason: e.to_string() })
    }

    /// Returns an error after the run was interrupted.
    pub(crate) fn check_interrupt(&self) -> Result<()> {
        if self.interrupt().is_raised() { Err(Interrupted.into()) } else { Ok(()) }
    }
}
