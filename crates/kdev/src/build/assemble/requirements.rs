//! Checks that the program runs in the image, before anything is sent.

use std::path::Path;

use kdev_core::program::{Needs, Program, Unmet};
use kdev_core::rust_target;

use crate::build::assemble::base::Base;
use crate::build::assemble::error::Error;
use crate::build::assemble::target::Target;
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::layers::cache::LayerCache;

/// The library with which a static program looks up names by DNS.
const NAME_SERVICE: &str = "libnss_dns.so.2";

/// What decides whether a program runs in the image.
pub(super) struct Requirements<'a> {
    pub(super) cx: &'a Cx<'a>,
    pub(super) config: &'a Config,
    pub(super) cache_dir: &'a Path,
    pub(super) cache: &'a LayerCache,
    pub(super) base: Option<&'a Base>,
}

impl Requirements<'_> {
    /// Checks that the image has the loader, the libraries, and the version of the GNU C library
    /// that a program needs.
    pub(super) fn check(&self, path: &Path, needs: &Needs) -> Result<()> {
        if needs.is_static() {
            return Ok(());
        }
        let path = path.to_owned();
        let Some(base) = self.base else {
            // The loader is a file, too.
            let files = needs.interpreter.iter().chain(&needs.libraries);
            return Err(Error::Dynamic { path, libraries: files.cloned().collect() }.into());
        };
        if base.is_on_nodes() {
            let text = format!(
                "`{}` needs libraries of base `{}`, which are not checked, because they are on the nodes",
                path.display(),
                base.name
            );
            self.cx.emit(Event::Note { text });
            return Ok(());
        }
        let unmet = base.libraries(self.cx, self.cache_dir, self.cache)?.unmet(needs);
        let base = base.name.clone();
        Err(match unmet {
            None => return Ok(()),
            Some(Unmet::Files(libraries)) => Error::NotInBase { path, base, libraries }.into(),
            Some(Unmet::Glibc { needed, found }) => {
                Error::OlderGlibc { path, needed, base, found }.into()
            }
        })
    }

    /// Notes that a program loads libraries to look up names, unless the base has them. It is not an
    /// error, because each program that listens on an address has the function that looks up names.
    pub(super) fn note_name_services(&self, name: &str, platform: &str) -> Result<()> {
        let needs = Needs { libraries: vec![NAME_SERVICE.to_owned()], ..Needs::default() };
        let has_libraries = match self.base {
            Some(base) if base.is_on_nodes() => false,
            Some(base) => {
                base.libraries(self.cx, self.cache_dir, self.cache)?.unmet(&needs).is_none()
            }
            None => false,
        };
        if !has_libraries {
            self.cx.emit(Event::Note { text: note_about_names(self.config, name, platform) });
        }
        Ok(())
    }
}

/// Reads a program, which must be for a platform.
pub(super) fn read_program(path: &Path, content: &[u8], platform: &str) -> Result<Program, Error> {
    let path = path.to_owned();
    let program = Program::read(content)
        .map_err(|source| Error::InvalidProgram { path: path.clone(), source })?;
    if !rust_target::is_same_platform(platform, program.platform) {
        let built = program.platform.to_owned();
        return Err(Error::OtherPlatform { path, built, platform: platform.to_owned() });
    }
    Ok(program)
}

/// Returns why a program cannot look up names.
fn note_about_names(config: &Config, name: &str, platform: &str) -> String {
    let fix = match rust_target::static_target(platform) {
        None => "link a newer one".to_owned(),
        Some(musl) if Target::is_of_user(config) => {
            format!("set `--target={musl}` in `cargo-build`")
        }
        Some(musl) => format!("run `rustup target add {musl}`"),
    };
    format!(
        "`{name}` cannot look up host names in the image, because its GNU C library is older than 2.34 and loads `libnss_dns.so` for that; if it needs names, {fix}"
    )
}
