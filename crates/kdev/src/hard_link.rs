//! Files with two names in docker's context, as cargo gives them to programs:
//! `target/release/NAME` and one below `deps`. docker's old builder compares what a
//! `COPY` names by its entry in the archive of the context, which for the second name
//! of a file is a mere reference: a program that has changed is taken for unchanged,
//! and an old one is built in.

use std::fs::{self, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// Lets each file that the Dockerfile copies from the context be a file of its own.
/// Content, mode and times stay; cargo links it anew when it builds.
pub(crate) fn part(context: &Path, dockerfile: &str) -> io::Result<()> {
    let context = glob::Pattern::escape(&context.to_string_lossy());
    for source in sources(dockerfile) {
        let pattern = format!("{context}/{}", source.trim_start_matches('/'));
        for path in glob::glob(&pattern).into_iter().flatten().flatten() {
            let data = path.symlink_metadata()?;
            if data.is_file() && data.nlink() > 1 {
                copy_over(&path, &data)?;
            }
        }
    }
    Ok(())
}

fn copy_over(path: &Path, data: &fs::Metadata) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let own = NamedTempFile::new_in(folder)?;
    fs::copy(path, own.path())?;
    let times = FileTimes::new().set_accessed(data.accessed()?).set_modified(data.modified()?);
    own.as_file().set_times(times)?;
    own.persist(path)?;
    Ok(())
}

/// What the instructions of a Dockerfile copy from the context; patterns stay patterns.
fn sources(dockerfile: &str) -> Vec<String> {
    let whole = dockerfile.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut sources = Vec::new();
    for line in whole.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_uppercase();
        if !["COPY", "ADD"].contains(&name.as_str()) {
            continue;
        }
        let words: Vec<&str> = words.collect();
        if words.iter().any(|word| word.starts_with("--from")) {
            continue;
        }
        let plain: Vec<&str> = words.into_iter().filter(|word| !word.starts_with("--")).collect();
        // As a list, in JSON, or as words.
        let list = serde_json::from_str(&plain.join(" ")).ok();
        let words = || plain.iter().map(|word| (*word).to_owned()).collect();
        let mut names: Vec<String> = list.unwrap_or_else(words);
        // The last one is where to.
        names.pop();
        sources.append(&mut names);
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_is_copied_from_the_context_is_found() {
        let table: [(&str, &[&str]); 8] = [
            ("FROM a\nCOPY target/release/app /app\n", &["target/release/app"]),
            ("copy --chown=1:1 a b /c/\n", &["a", "b"]),
            ("COPY [\"a\", \"b\", \"/c/\"]\n", &["a", "b"]),
            ("COPY [\"a\",\"/c\"]", &["a"]),
            ("COPY --from=build /app /app\n", &[]),
            ("ADD a \\\n  b \\\n  /c/\n", &["a", "b"]),
            ("COPY target/*/app /\n", &["target/*/app"]),
            ("RUN cp a b\n# COPY a b\n", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(sources(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_second_name_becomes_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("target/release/deps")).unwrap();
        fs::write(path("target/release/deps/app-1"), "one").unwrap();
        fs::set_permissions(path("target/release/deps/app-1"), fs::Permissions::from_mode(0o751))
            .unwrap();
        fs::hard_link(path("target/release/deps/app-1"), path("target/release/app")).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let file = fs::File::options().write(true).open(path("target/release/app")).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
        fs::write(path("alone"), "two").unwrap();
        let inode = |name: &str| fs::metadata(path(name)).unwrap().ino();
        let alone = inode("alone");
        part(folder.path(), "COPY target/*/app alone absent /\nCOPY target /\n").unwrap();
        let own = fs::metadata(path("target/release/app")).unwrap();
        assert_eq!((own.nlink(), own.mode() & 0o777), (1, 0o751));
        assert_eq!(own.modified().unwrap(), time);
        assert_eq!(fs::read_to_string(path("target/release/app")).unwrap(), "one");
        assert_eq!(inode("alone"), alone);
        assert_ne!(own.ino(), inode("target/release/deps/app-1"));
    }
}
