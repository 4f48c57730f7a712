//! Finds programs of cargo that the Dockerfile copies, but that are not the ones that cargo
//! has just built, or are older than their sources.
//!
//! Only files with a dependency file of cargo beside them are judged, because other programs
//! also write to target directories.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::build::artifacts::{self, Artifact};
use crate::build::dockerignore::Dockerignore;
use crate::build::error::{StaleCopy, StaleCopyFix};
use crate::build::sources::{self, ContextSource};
use crate::build::used_files::{ImageUse, UsedFile, used_files};
use crate::config::{Config, cargo_flags};

/// The patterns below a copied folder where programs are looked for.
const IN_FOLDER: [&str; 3] = ["", "*/", "*/*/"];

/// Checks the copied files before an image is built. `artifacts` are the files that cargo has
/// just written, if that is known. Returns one line for each program that is older than its
/// sources.
pub(crate) fn check(
    config: &Config,
    dockerfile: &str,
    artifacts: Option<&[Artifact]>,
) -> Result<Vec<String>, StaleCopy> {
    let Ok(context) = config.context.canonicalize() else { return Ok(Vec::new()) };
    let ignore = Dockerignore::read(config);
    let check = Check { config, dockerfile, context, ignore, artifacts };
    let sources = sources::configured_sources(config, dockerfile);
    let mut notes = Vec::new();
    for instruction in sources.chunk_by(|a, b| a.line == b.line) {
        check.check_instruction(instruction, &mut notes)?;
    }
    notes.dedup();
    Ok(notes)
}

struct Check<'a> {
    config: &'a Config,
    /// The text of the Dockerfile.
    dockerfile: &'a str,
    /// The build context without symbolic links.
    context: PathBuf,
    ignore: Dockerignore,
    artifacts: Option<&'a [Artifact]>,
}

impl Check<'_> {
    fn check_instruction(
        &self,
        sources: &[ContextSource],
        notes: &mut Vec<String>,
    ) -> Result<(), StaleCopy> {
        let mut files: Vec<PathBuf> = Vec::new();
        for path in sources.iter().flat_map(|source| self.find(&source.path)) {
            if path.is_dir() {
                self.check_used_files(sources[0].line, &path, notes)?;
                notes.extend(self.check_folder(sources[0].line, &path)?);
                continue;
            }
            // Of files with the same name, the last one stays in the image.
            files.retain(|file| file.file_name() != path.file_name());
            files.push(path);
        }
        for source in sources {
            self.check_missing(source, &files)?;
        }
        for path in files {
            notes.extend(self.check_file(sources[0].line, &path)?);
        }
        Ok(())
    }

    /// Returns the files and folders in the context that a glob matches, in order.
    fn find(&self, pattern: &str) -> Vec<PathBuf> {
        let context = glob::Pattern::escape(&self.context.to_string_lossy());
        let found = glob::glob(&format!("{context}/{pattern}")).into_iter().flatten().flatten();
        found.filter(|path| !self.ignore.may_exclude(self.in_context(path))).collect()
    }

    fn in_context<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.context).unwrap_or(path)
    }

    fn check_file(&self, line: usize, path: &Path) -> Result<Option<String>, StaleCopy> {
        let Ok(real) = path.canonicalize() else { return Ok(None) };
        if self.files().any(|file| is_same_file(file, &real)) {
            return Ok(None);
        }
        let Some(sources) = self.program_sources(&real) else { return Ok(None) };
        match self.built_instead(&real, &sources) {
            Some(built) if has_same_content(built, &real) => Ok(None),
            Some(built) => Err(self.stale_copy(line, path, built)),
            None => Ok(self.older_than_source(&real, &sources)),
        }
    }

    /// Checks the programs of a copied folder that the Dockerfile uses.
    fn check_used_files(
        &self,
        line: usize,
        dir: &Path,
        notes: &mut Vec<String>,
    ) -> Result<(), StaleCopy> {
        let (target, programs) = (self.config.target.as_deref(), &self.config.programs);
        for used in used_files(self.dockerfile, line, ImageUse { target, programs }) {
            let file = dir.join(&used.path);
            if file.is_file() && !self.ignore.may_exclude(self.in_context(&file)) {
                let checked = self.check_file(line, &file);
                notes.extend(checked.map_err(|stale| self.use_in_folder(stale, dir, &used))?);
            }
        }
        Ok(())
    }

    /// Changes the fix to the use of another program in a copied folder.
    fn use_in_folder(&self, mut stale: StaleCopy, dir: &Path, used: &UsedFile) -> StaleCopy {
        let built = self.context.join(&stale.built);
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        if let (StaleCopyFix::Copy(_), Ok(path)) = (&stale.fix, built.strip_prefix(dir)) {
            let path = Path::new("/").join(&used.folder).join(path);
            stale.fix = match used.line {
                Some(line) => StaleCopyFix::Use(path, line),
                None => StaleCopyFix::UseInManifest(path),
            };
        }
        stale
    }

    /// Checks a folder in a target directory: it has the programs of this build if it has one
    /// of them.
    fn check_folder(&self, line: usize, dir: &Path) -> Result<Option<String>, StaleCopy> {
        let Ok(real) = dir.canonicalize() else { return Ok(None) };
        if !self.is_in_target_dir(&real) {
            return Ok(None);
        }
        let in_context = glob::Pattern::escape(&self.in_context(dir).to_string_lossy());
        if self.artifacts.is_none() {
            let package = self.find(&format!("{in_context}/{}", self.config.package));
            return package.first().map_or(Ok(None), |path| self.check_file(line, path));
        }
        let programs = || self.programs().filter(|file| file.exists());
        if programs().any(|file| file.canonicalize().is_ok_and(|file| file.starts_with(&real))) {
            return Ok(None);
        }
        for name in programs().filter_map(|file| file.file_name()?.to_str()) {
            let name = glob::Pattern::escape(name);
            for parents in IN_FOLDER {
                let pattern = format!("{in_context}/{parents}{name}");
                for path in self.find(&pattern).iter().filter(|path| path.is_file()) {
                    self.check_file(line, path).map_err(copy_folder)?;
                }
            }
        }
        Ok(None)
    }

    /// A file that does not exist is copied, and cargo has built it elsewhere.
    fn check_missing(&self, source: &ContextSource, found: &[PathBuf]) -> Result<(), StaleCopy> {
        let path = Path::new(&source.path);
        let is_found = |name| found.iter().any(|file| file.file_name() == Some(name));
        let Some(name) = path.file_name().filter(|name| !is_found(name)) else { return Ok(()) };
        let copied = self.context.join(path);
        let is_in_target = path.starts_with("target") || self.is_in_target_dir(&copied);
        if copied.exists() || !is_in_target || self.ignore.may_exclude(path) {
            return Ok(());
        }
        let built = closest(self.programs().filter(|file| file.file_name() == Some(name)), &copied);
        match built.filter(|_| self.find(&source.path).is_empty()) {
            Some(built) => Err(self.stale_copy(source.line, &copied, built)),
            None => Ok(()),
        }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.artifacts.into_iter().flatten().flat_map(|one| one.files.iter().map(PathBuf::as_path))
    }

    fn programs(&self) -> impl Iterator<Item = &Path> {
        let programs =
            self.artifacts.into_iter().flatten().filter(|one| one.program_root.is_some());
        programs.flat_map(|one| one.files.iter().map(PathBuf::as_path))
    }

    /// Returns the sources of a file that cargo has written.
    fn program_sources(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let text = fs::read_to_string(path.with_extension("d")).ok()?;
        artifacts::parse_dep_info(&text, &self.config.dir)
    }

    /// Returns the file that cargo has built under the name of `path`, or the program that
    /// was renamed: it has the same crate root.
    fn built_instead(&self, path: &Path, sources: &[PathBuf]) -> Option<&Path> {
        // An example can have the name of a program.
        let is_alternative = |file: &&Path| {
            file.file_name() == path.file_name() && is_example(file) == is_example(path)
        };
        let same_name = self.files().filter(is_alternative);
        closest(same_name, path).or_else(|| {
            let is_renamed = |one: &&Artifact| {
                one.program_root.as_ref().is_some_and(|root| sources.contains(root))
            };
            let renamed = self.artifacts?.iter().find(is_renamed)?;
            renamed.files.first().map(PathBuf::as_path)
        })
    }

    fn older_than_source(&self, path: &Path, sources: &[PathBuf]) -> Option<String> {
        let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        let built = modified(path)?;
        let newer = sources.iter().find(|source| modified(source).is_some_and(|at| at > built))?;
        Some(format!(
            "`{}` is older than its source `{}`, so the image does not contain the latest changes",
            self.in_context(path).display(),
            self.in_context(newer).display()
        ))
    }

    fn is_in_target_dir(&self, path: &Path) -> bool {
        let is_tagged = |dir: &Path| {
            let tag = fs::read_to_string(dir.join("CACHEDIR.TAG"));
            tag.is_ok_and(|text| text.contains("created by cargo"))
        };
        let is_written_by_cargo = |dir: &Path| is_tagged(dir) || dir.join(".fingerprint").is_dir();
        let mut dirs = path.ancestors().take_while(|dir| dir.starts_with(&self.context));
        dirs.any(is_written_by_cargo) || path.starts_with(&self.config.target_dir)
    }

    fn stale_copy(&self, line: usize, copied: &Path, built: &Path) -> StaleCopy {
        let built = built.canonicalize().unwrap_or_else(|_| built.to_owned());
        StaleCopy {
            dockerfile: self.config.dockerfile.clone(),
            line,
            copied: self.in_context(copied).to_owned(),
            fix: self.fix(self.in_context(copied), &built),
            built: self.in_context(&built).to_owned(),
        }
    }

    fn fix(&self, copied: &Path, built: &Path) -> StaleCopyFix {
        if let Ok(built) = built.strip_prefix(&self.context) {
            let is_debug_build = replace_component(copied, "release", "debug") == built;
            let args = self.config.cargo_build.as_deref().unwrap_or_default();
            return if is_debug_build && cargo_flags::profile(args).is_none() {
                StaleCopyFix::Release
            } else {
                StaleCopyFix::Copy(built.into())
            };
        }
        let dir = self.config.dir.canonicalize().unwrap_or_else(|_| self.config.dir.clone());
        let root = built.ancestors().find(|root| root.join(copied) == built);
        if let Some(levels) = root.and_then(|root| dir.strip_prefix(root).ok()) {
            return StaleCopyFix::Context(levels.components().map(|_| "..").collect());
        }
        let target = self.target_dir_of(copied, built);
        StaleCopyFix::TargetDir(target.strip_prefix(&dir).map(Path::to_owned).unwrap_or(target))
    }

    /// Returns the target directory in which the copied file would be the one that cargo
    /// builds.
    fn target_dir_of(&self, copied: &Path, built: &Path) -> PathBuf {
        let (mut copied, mut built) = (copied.components(), built.components());
        let first = copied.clone().next();
        while copied.clone().next_back() == built.next_back() {
            copied.next_back();
        }
        // Another profile or platform is a separate problem.
        let is_profile =
            copied.clone().count() > 1 && first == Some(Component::Normal("target".as_ref()));
        let target = if is_profile { Path::new("target") } else { copied.as_path() };
        self.context.join(target)
    }
}

/// Changes the fix to a copy of the folder.
fn copy_folder(mut stale: StaleCopy) -> StaleCopy {
    if let StaleCopyFix::Copy(path) = &mut stale.fix {
        path.pop();
    }
    stale
}

fn replace_component(path: &Path, before: &str, after: &str) -> PathBuf {
    let replace = |part: &OsStr| if part == before { after.into() } else { part.to_owned() };
    path.iter().map(replace).collect()
}

fn is_example(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("examples"))
}

/// Returns the path that has the longest end in common with `path`.
fn closest<'a>(paths: impl Iterator<Item = &'a Path>, path: &Path) -> Option<&'a Path> {
    let common = |other: &Path| {
        let pairs = other.components().rev().zip(path.components().rev());
        pairs.take_while(|(a, b)| a == b).count()
    };
    paths.max_by_key(|other| common(other))
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    a == b || identity(a).is_some_and(|a| identity(b) == Some(a))
}

fn has_same_content(a: &Path, b: &Path) -> bool {
    let size = |path: &Path| fs::metadata(path).map(|data| data.len()).ok();
    size(a) == size(b) && fs::read(a).ok().is_some_and(|content| fs::read(b).ok() == Some(content))
}

#[cfg(test)]
#[path = "stale_tests.rs"]
mod tests;
