//! The program of the image: selects it, and stores its layer.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use kdev_core::image::assembly::{Content, Entry};
use kdev_core::image::built::BuiltImage;
use kdev_core::program::without_debug_info;

use crate::build::artifacts::{Artifact, BuiltProgram, is_same_file};
use crate::build::assemble::error::Error;
use crate::build::assemble::layer::store;
use crate::build::assemble::requirements::{Requirements, read_program};
use crate::build::assemble::unchanged::{FileVersion, ProgramRecord, StoredProgram};
use crate::build::error::Result;
use crate::config::Config;
use crate::process;

/// The directory of the program in the image. It is on `PATH`.
const PROGRAM_DIR: &str = "usr/local/bin";
/// The permissions of the program.
const MODE: u32 = 0o755;
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

/// A program whose layer is in the cache.
pub(super) struct ProgramLayer<'a> {
    config: &'a Config,
    built: &'a BuiltProgram,
    version: FileVersion,
    pub(super) stored: StoredProgram,
    /// The program, if this run has read it.
    original: Option<Vec<u8>>,
}

impl<'a> ProgramLayer<'a> {
    /// Finds the layer of an unchanged program in the cache. Otherwise reads the program and stores
    /// its layer. Checks that the program runs in the image.
    pub(super) fn find_or_store(
        requirements: &Requirements<'a>,
        built: &'a BuiltProgram,
        platform: &str,
    ) -> Result<Self> {
        let Requirements { config, cache, cache_dir, .. } = *requirements;
        let keeps_debug_info = config.container.keep_debug_info.unwrap_or(false);
        let is_above_base = requirements.base.is_some();
        let settings = format!("{platform} {keeps_debug_info} {is_above_base}");
        let record = ProgramRecord::new(cache_dir, &built.path, &settings);
        let read_at = SystemTime::now();
        let version = FileVersion::read(&built.path).map_err(process::Error::read(&built.path))?;
        let is_cached = |stored: &StoredProgram| {
            cache.get_and_mark(&stored.diff_id).is_some_and(|layer| layer.size == stored.size)
        };
        let (stored, original) = if let Some(stored) = record.find(&version).filter(is_cached) {
            requirements.check(&built.path, &stored.needs)?;
            (stored, None)
        } else {
            let (stored, original) =
                read_and_store(requirements, built, platform, keeps_debug_info)?;
            record.put(version.clone(), read_at, &stored);
            (stored, Some(original))
        };
        if stored.loads_name_services {
            requirements.note_name_services(&built.name, platform)?;
        }
        Ok(Self { config, built, version, stored, original })
    }

    /// Writes the program with debug information to a directory of this build, so that its
    /// backtraces can be read later. Removes those of older builds.
    pub(super) fn keep_debug_info(&self, image: &BuiltImage) -> io::Result<()> {
        let Some(tag) = image.reference.tag().filter(|_| self.stored.is_stripped) else {
            return Ok(());
        };
        let root = self.config.target_dir.join("kdev/debug").join(&self.config.package);
        let dir = root.join(tag);
        let path = dir.join(&self.built.name);
        if path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&dir)?;
        // A run that is killed leaves no file that looks complete.
        let mut partial = tempfile::NamedTempFile::new_in(&dir)?;
        match &self.original {
            Some(original) => partial.write_all(original)?,
            None => self.copy_unchanged(&mut partial)?,
        }
        partial.as_file().set_permissions(fs::Permissions::from_mode(MODE))?;
        partial.persist(path)?;
        remove_old(&root);
        Ok(())
    }

    fn copy_unchanged(&self, to: &mut impl Write) -> io::Result<()> {
        io::copy(&mut fs::File::open(&self.built.path)?, to)?;
        let is_unchanged = FileVersion::read(&self.built.path)? == self.version;
        let changed = || io::Error::other("the program was built again in the meantime");
        is_unchanged.then_some(()).ok_or_else(changed)
    }
}

/// Returns what is stored, and the program with its debug information.
fn read_and_store(
    requirements: &Requirements,
    built: &BuiltProgram,
    platform: &str,
    keeps_debug_info: bool,
) -> Result<(StoredProgram, Vec<u8>)> {
    let original = fs::read(&built.path).map_err(process::Error::read(&built.path))?;
    let program = read_program(&built.path, &original, platform)?;
    requirements.check(&built.path, &program.needs)?;
    let stripped = if keeps_debug_info { None } else { without_debug_info(&original) };
    let shipped = stripped.as_ref().unwrap_or(&original);
    let entry = Entry {
        path: path_in_image(&built.name),
        mode: MODE,
        owner: (0, 0),
        content: Content::File(Box::new(shipped.as_slice()), shipped.len() as u64),
    };
    let (diff_id, size) = store(requirements.cache, vec![entry], requirements.base.is_some())?;
    let stored = StoredProgram {
        diff_id,
        size,
        is_stripped: stripped.is_some(),
        loads_name_services: program.loads_name_services,
        needs: program.needs,
    };
    Ok((stored, original))
}

/// Returns the path of a program in the image, without the leading `/`.
pub(super) fn path_in_image(name: &str) -> String {
    format!("{PROGRAM_DIR}/{name}")
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
