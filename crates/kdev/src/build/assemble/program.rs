//! The program of the image: selects it, reads it, and checks that it runs there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kdev_core::image::built::BuiltImage;
use kdev_core::program::{Program, without_debug_info};
use kdev_core::rust_target;

use crate::build::artifacts::{Artifact, BuiltProgram};
use crate::build::assemble::error::Error;
use crate::build::assemble::target::Target;
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::process;

/// The permissions of the program.
pub(super) const MODE: u32 = 0o755;
/// For how many builds debug information is kept.
const KEPT_DEBUG_INFO: usize = 5;

/// Returns the only program of the package that cargo has built, the one that the command line
/// selects, or the one that `cargo run` would run.
pub(super) fn select(artifacts: Vec<Artifact>, config: &Config) -> Result<BuiltProgram, Error> {
    let manifest = config.dir.join("Cargo.toml");
    let is_own = |one: &BuiltProgram| is_same_file(&one.manifest, &manifest) && one.is_binary;
    let programs = artifacts.into_iter().filter_map(|one| one.program).filter(is_own);
    let mut programs: Vec<BuiltProgram> = programs.collect();
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    if !config.bins.is_empty() {
        // The settings can make cargo build others, too.
        programs.retain(|one| config.bins.iter().any(|bin| matches_name(bin, &one.name)));
    } else if programs.len() > 1
        && let Some(default) = &config.default_run
        && programs.iter().any(|one| one.name == *default)
    {
        programs.retain(|one| one.name == *default);
    }
    let package = config.package.clone();
    match programs.pop() {
        None => Err(Error::NoProgram { package }),
        Some(program) if programs.is_empty() => Ok(program),
        Some(last) => {
            programs.push(last);
            let names = programs.into_iter().map(|one| one.name).collect();
            Err(Error::SeveralPrograms { package, names })
        }
    }
}

/// Returns whether a value of `--bin` selects a program, as cargo does.
fn matches_name(pattern: &str, name: &str) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one).ok().is_some_and(|one| fs::canonicalize(other).ok() == Some(one))
}

/// The content of a program.
pub(super) struct ProgramContent {
    original: Vec<u8>,
    /// Without debug information, if it had any and the image must not have it.
    stripped: Option<Vec<u8>>,
}

impl ProgramContent {
    /// Reads a program, and checks that it runs in an image without other files.
    pub(super) fn read(
        cx: &Cx,
        config: &Config,
        built: &BuiltProgram,
        platform: &str,
    ) -> Result<Self> {
        let original = fs::read(&built.path).map_err(process::Error::read(&built.path))?;
        let program = check(&built.path, &original, platform)?;
        if program.loads_name_services {
            let text = note_about_names(config, &built.name, platform);
            cx.emit(Event::Note { text });
        }
        let keeps = config.container.keep_debug_info.unwrap_or(false);
        let stripped = if keeps { None } else { without_debug_info(&original) };
        Ok(Self { original, stripped })
    }

    /// Returns what is in the image.
    pub(super) fn shipped(&self) -> &[u8] {
        self.stripped.as_ref().unwrap_or(&self.original)
    }

    /// Writes the program with debug information to a directory of this build, so that its
    /// backtraces can be read later. Removes those of older builds.
    pub(super) fn keep_debug_info(
        &self,
        config: &Config,
        image: &BuiltImage,
        name: &str,
    ) -> io::Result<()> {
        let Some(tag) = image.reference.tag().filter(|_| self.stripped.is_some()) else {
            return Ok(());
        };
        let root = config.target_dir.join("kdev/debug").join(&config.package);
        let dir = root.join(tag);
        if dir.join(name).exists() {
            return Ok(());
        }
        fs::create_dir_all(&dir)?;
        // A run that is killed leaves no file that looks complete.
        let mut partial = tempfile::NamedTempFile::new_in(&dir)?;
        partial.write_all(&self.original)?;
        partial.as_file().set_permissions(fs::Permissions::from_mode(MODE))?;
        partial.persist(dir.join(name))?;
        remove_old(&root);
        Ok(())
    }
}

/// Removes all but the newest directories with debug information. Errors are ignored: the next
/// build tries again.
fn remove_old(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let time = |entry: &fs::DirEntry| entry.metadata().and_then(|data| data.modified()).ok();
    let mut dirs: Vec<_> = entries.map(|entry| (time(&entry), entry.path())).collect();
    dirs.sort();
    for (_, dir) in dirs.iter().rev().skip(KEPT_DEBUG_INFO) {
        let _ = fs::remove_dir_all(dir);
    }
}

/// Checks that a program runs on a platform in an image without other files.
fn check(path: &Path, content: &[u8], platform: &str) -> Result<Program, Error> {
    let path = path.to_owned();
    let program = Program::read(content)
        .map_err(|source| Error::InvalidProgram { path: path.clone(), source })?;
    if !rust_target::is_same_platform(platform, program.platform) {
        let built = program.platform.to_owned();
        return Err(Error::OtherPlatform { path, built, platform: platform.to_owned() });
    }
    if !program.is_static() {
        // The loader is a file, too.
        let files = program.interpreter.into_iter().chain(program.libraries);
        return Err(Error::Dynamic { path, libraries: files.collect() });
    }
    Ok(program)
}

/// Returns why a program cannot look up names. It is not an error, because each program that
/// listens on an address has the function that looks up names.
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
