//! Breaks hard links in the build context, which the legacy builder caches wrongly.
//!
//! cargo hard-links programs: `target/release/NAME` and a file in `deps` are one file. The
//! legacy builder compares the entries of the context's archive, and the entry for the
//! second name of a file is only a reference. A changed program then looks unchanged, and
//! the build uses the cached layer with the old one.

use std::fs::{self, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use tempfile::NamedTempFile;

use crate::build::artifacts::Artifact;
use crate::build::dockerfile;

/// Replaces each hard-linked program that the Dockerfile copies from cargo's target directory with
/// a copy. Content, mode and times stay the same; cargo restores the hard link in its next build.
/// `artifacts` are the files that cargo has just written, maybe to another target directory.
pub(crate) fn break_hard_links(
    target: &Path,
    context: &Path,
    dockerfile: &str,
    artifacts: &[Artifact],
) -> io::Result<()> {
    let files = artifacts.iter().flat_map(|artifact| &artifact.files);
    let built: Vec<PathBuf> = files.filter_map(|file| file.canonicalize().ok()).collect();
    // It does not exist if cargo writes to another one.
    let target = target.canonicalize().ok();
    let is_of_cargo = |path: &Path| {
        target.as_ref().is_some_and(|target| path.starts_with(target))
            || built.iter().any(|file| file == path)
            || path.with_extension("d").is_file()
    };
    let context = context.canonicalize()?;
    let escaped = glob::Pattern::escape(&context.to_string_lossy());
    for source in dockerfile::context_sources(dockerfile) {
        if Path::new(&source).components().any(|part| part == Component::ParentDir) {
            continue;
        }
        let pattern = format!("{escaped}/{}", source.trim_start_matches('/'));
        for path in glob::glob(&pattern).into_iter().flatten().flatten() {
            // A parent directory may be a symbolic link.
            let real = path.canonicalize()?;
            if real.is_dir() {
                let inside = built.iter().filter(|file| file.starts_with(&real));
                inside.cloned().chain(programs_in(&real)?).try_for_each(|file| unlink(&file))?;
            } else if is_of_cargo(&real) && !path.is_symlink() {
                unlink(&real)?;
            }
        }
    }
    Ok(())
}

/// Returns the files of a folder that cargo has written: those with a dependency file.
fn programs_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = dir.read_dir()?.map(|entry| entry.map(|entry| entry.path()));
    let has_dependencies = |path: &PathBuf| path.with_extension("d").is_file();
    Ok(paths.collect::<io::Result<Vec<_>>>()?.into_iter().filter(has_dependencies).collect())
}

/// Replaces a file with a copy if it has other names.
fn unlink(path: &Path) -> io::Result<()> {
    let data = path.symlink_metadata()?;
    if data.is_file() && data.nlink() > 1 { replace_with_copy(path, &data) } else { Ok(()) }
}

fn replace_with_copy(path: &Path, data: &fs::Metadata) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let copy = NamedTempFile::new_in(dir)?;
    fs::copy(path, copy.path())?;
    let times = FileTimes::new().set_accessed(data.accessed()?).set_modified(data.modified()?);
    copy.as_file().set_times(times)?;
    copy.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    #[test]
    fn hard_link_in_target_becomes_separate_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("context/target/release/deps")).unwrap();
        fs::write(path("context/target/release/deps/app-1"), "one").unwrap();
        fs::set_permissions(
            path("context/target/release/deps/app-1"),
            fs::Permissions::from_mode(0o751),
        )
        .unwrap();
        fs::hard_link(
            path("context/target/release/deps/app-1"),
            path("context/target/release/app"),
        )
        .unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let file =
            fs::File::options().write(true).open(path("context/target/release/app")).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
        let linked = ["source", "../outside"];
        for name in linked {
            fs::write(path(&format!("context/{name}")), "two").unwrap();
            fs::hard_link(
                path(&format!("context/{name}")),
                path(&format!("{}-2", name.trim_start_matches("../"))),
            )
            .unwrap();
        }
        let inode = |name: &str| fs::metadata(path(name)).unwrap().ino();
        let before = linked.map(|name| inode(&format!("context/{name}")));
        let text = "ARG BIN\nCOPY target/*/$BIN source ../outside absent /\n";
        break_hard_links(&path("context/target"), &path("context"), text, &[]).unwrap();
        let own = fs::metadata(path("context/target/release/app")).unwrap();
        assert_eq!((own.nlink(), own.mode() & 0o777), (1, 0o751));
        assert_eq!(own.modified().unwrap(), time);
        assert_eq!(fs::read_to_string(path("context/target/release/app")).unwrap(), "one");
        assert_ne!(own.ino(), inode("context/target/release/deps/app-1"));
        // Files outside of the target directory are unchanged: cargo would not restore them.
        assert_eq!(linked.map(|name| inode(&format!("context/{name}"))), before);
    }

    #[test]
    fn hard_link_in_other_target_becomes_separate_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("deps")).unwrap();
        let program = |name: &str| {
            fs::create_dir_all(path(name)).unwrap();
            fs::write(path(&format!("{name}/app")), name).unwrap();
            let linked = path(&format!("deps/{}", name.replace('/', "-")));
            fs::hard_link(path(&format!("{name}/app")), linked).unwrap();
        };
        let links = |name: &str| fs::metadata(path(&format!("{name}/app"))).unwrap().nlink();
        let dirs = ["out/release", "out/debug", "other/a", "other/b", "bin"];
        for name in dirs {
            program(name);
        }
        fs::write(path("other/a/app.d"), "").unwrap();
        let files = vec![path("out/release/app"), path("out/debug/app")];
        let artifact = Artifact { files, ..Artifact::default() };
        let text =
            "COPY out/release/app /\nCOPY out/debug /debug/\nCOPY other/a other/b bin/app /\n";
        break_hard_links(&path("target"), dir.path(), text, &[artifact]).unwrap();
        // The last two are not known to be programs of cargo.
        assert_eq!(dirs.map(links), [1, 1, 1, 2, 2]);
    }
}
