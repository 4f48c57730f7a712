//! `cargo kdev man`: writes the manual pages.

use std::path::PathBuf;

use clap::{Args, Command};
use kdev::{Error, FileError, ProcessError};

use crate::ui::{DONE, Ui};

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory to write the pages to, such as ~/.local/share/man/man1
    dir: PathBuf,
}

impl Ui {
    /// Writes a page for `cargo kdev`, and one for each command.
    pub(crate) fn write_man(&self, args: &ManArgs, kdev: Command) -> Result<(), Error> {
        let dir = &args.dir;
        let failed = |source| {
            let error = FileError { action: "write manual pages to", path: dir.clone(), source };
            Error::Process(ProcessError::File(error))
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        clap_mangen::generate_to(kdev.disable_help_subcommand(true), dir).map_err(failed)?;
        if !self.json && !self.quiet {
            self.print_line(DONE, "Created", &format!("manual pages in {}", dir.display()));
        }
        Ok(())
    }
}
