//! `cargo xtask book`: renders the pages in docs/ with mdbook.

use crate::cargo_program::MDBOOK;
use crate::paths;
use crate::term;
use anyhow::Result;
use xshell::{Shell, cmd};

pub(crate) fn run() -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(paths::repository());
    let mdbook = MDBOOK.ensure(&sh)?;
    cmd!(sh, "{mdbook} build docs").env("MDBOOK_LOG", "warn").quiet().run()?;
    let page = paths::repository().join("target/book/index.html");
    term::status("Finished", page.display());
    Ok(())
}
