//! The files of the project that are in the image beside the program.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kdev_core::image::assembly::{Content, Entry};

use crate::build::assemble::error::Error;
use crate::build::error::Result;
use crate::config::{Asset, Config};
use crate::process;

/// The permissions of files, of programs and scripts, and of directories. Those on this machine
/// depend on the umask, so equal files would give different images.
const FILE: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;
const DIRECTORY: u32 = 0o755;

/// Returns the entries of all assets, without those that are listed twice: the last one stays.
pub(super) fn entries(config: &Config) -> Result<Vec<Entry<'static>>> {
    let mut entries: Vec<Entry> = Vec::new();
    for asset in &config.container.assets {
        let source = find(config, asset)?;
        let mut added = Vec::new();
        collect(&source, &image_path(asset), asset, &mut added)
            .map_err(process::Error::read(&source))?;
        entries.retain(|old| !added.iter().any(|new| new.path == old.path));
        entries.extend(added);
    }
    Ok(entries)
}

/// Returns the file or directory of an asset, which must be in the workspace.
fn find(config: &Config, asset: &Asset) -> Result<PathBuf, Error> {
    let path = config.dir.join(&asset.from);
    let Ok(found) = path.canonicalize() else {
        return Err(Error::AssetNotFound { path });
    };
    let roots = [&config.dir, &config.workspace_root];
    let is_inside = |root: &&PathBuf| root.canonicalize().is_ok_and(|root| found.starts_with(root));
    if roots.iter().any(is_inside) { Ok(found) } else { Err(Error::AssetOutside { path }) }
}

/// Returns the path in the image, without a leading `/`.
fn image_path(asset: &Asset) -> String {
    asset.to.trim_matches('/').to_owned()
}

fn collect(
    source: &Path,
    path: &str,
    asset: &Asset,
    entries: &mut Vec<Entry<'static>>,
) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    let mut add = |mode, content| {
        entries.push(Entry { path: path.to_owned(), mode, owner: asset.owner, content });
    };
    if metadata.is_symlink() {
        let target = fs::read_link(source)?.to_string_lossy().into_owned();
        add(0o777, Content::Link(target));
    } else if metadata.is_file() {
        let is_executable = metadata.permissions().mode() & 0o111 != 0;
        let mode = asset.mode.unwrap_or(if is_executable { EXECUTABLE } else { FILE });
        let file = File::open(source)?;
        add(mode, Content::File(Box::new(file), metadata.len()));
    } else if metadata.is_dir() {
        add(DIRECTORY, Content::Directory);
        let mut names: Vec<_> = fs::read_dir(source)?.collect::<io::Result<_>>()?;
        names.sort_by_key(fs::DirEntry::file_name);
        for name in names {
            let child = format!("{path}/{}", name.file_name().to_string_lossy());
            collect(&name.path(), &child, asset, entries)?;
        }
    }
    // Sockets and devices cannot be in an image.
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::ConfigLayer;

    /// Returns the settings of a package with files and these assets.
    fn config(dir: &Path, assets: &str) -> Config {
        let mut config = Config::from_flags(ConfigLayer::default()).unwrap();
        (config.dir, config.workspace_root) = (dir.to_owned(), dir.to_owned());
        config.container.assets = serde_json::from_str(assets).unwrap();
        config
    }

    fn describe(entry: Entry) -> String {
        let content = match entry.content {
            Content::Directory => "directory".to_owned(),
            Content::File(mut file, _) => io::read_to_string(&mut file).unwrap(),
            Content::Link(target) => format!("-> {target}"),
        };
        format!("{} {:o} {:?} {content}", entry.path, entry.mode, entry.owner)
    }

    #[test]
    fn folders_are_copied_with_links_and_common_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("static/js")).unwrap();
        fs::write(path("static/js/a.js"), "a").unwrap();
        fs::write(path("static/run.sh"), "run").unwrap();
        fs::write(path("key"), "key").unwrap();
        symlink("js/a.js", path("static/link")).unwrap();
        let set = |name: &str, mode| {
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        set("static/js/a.js", 0o600);
        set("static/run.sh", 0o700);
        let assets = r#"["static:/srv", {"from": "key", "to": "/srv/run.sh", "mode": "0400", "owner": "1:2"}]"#;
        let found = entries(&config(dir.path(), assets)).unwrap();
        let expected = [
            "srv 755 (0, 0) directory",
            "srv/js 755 (0, 0) directory",
            "srv/js/a.js 644 (0, 0) a",
            "srv/link 777 (0, 0) -> js/a.js",
            "srv/run.sh 400 (1, 2) key",
        ];
        assert_eq!(found.into_iter().map(describe).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn missing_and_outside_files_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("package");
        fs::create_dir(&package).unwrap();
        fs::write(dir.path().join("secret"), "").unwrap();
        symlink("../secret", package.join("link")).unwrap();
        let table = [
            ("absent", "absent` in `assets` not found"),
            ("../secret", "../secret` in `assets` is outside of the workspace"),
            ("link", "link` in `assets` is outside of the workspace"),
        ];
        for (from, error) in table {
            let found = entries(&config(&package, &format!("[\"{from}:/file\"]")));
            let found = found.err().unwrap().to_string();
            assert!(found.ends_with(error), "{found}");
        }
    }
}
