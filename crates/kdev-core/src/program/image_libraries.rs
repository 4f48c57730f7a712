//! The shared libraries in an image, and whether a program finds its own there.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::path::normalized_path;
use crate::program::{GlibcVersion, Needs, defined_glibc};

/// The prefix of the name of a file that a layer removes (OCI image spec, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// The file that hides everything of the layers below in its directory.
const OPAQUE: &str = ".wh..wh..opq";
/// How many links lead to a file, as in Linux.
const MAX_LINKS: usize = 40;
/// A C library is smaller.
const MAX_LIBRARY_BYTES: u64 = 32 << 20;

/// The shared libraries and the links in an image, by their path without a leading `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLibraries(BTreeMap<String, Found>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Found {
    Library,
    /// The GNU C library.
    Glibc(GlibcVersion),
    Link(String),
}

/// Why a program does not run in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The loader, and the libraries that the image does not have.
    Files(Vec<String>),
    /// The program needs a newer version of the GNU C library.
    Glibc { needed: GlibcVersion, found: GlibcVersion },
}

impl ImageLibraries {
    /// Adds the libraries of a layer, an uncompressed tar. The lowest layer is the first.
    pub fn add_layer(&mut self, layer: impl Read) -> io::Result<()> {
        let mut added = BTreeMap::new();
        let mut archive = tar::Archive::new(layer);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = normalized_path(&entry.path()?.to_string_lossy());
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if name == OPAQUE {
                self.remove_below(dir);
                continue;
            }
            if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                let hidden = format!("{dir}/{hidden}");
                self.remove(hidden.trim_start_matches('/'));
                continue;
            }
            let kind = entry.header().entry_type();
            let target = entry.link_name()?.map(|target| target.to_string_lossy().into_owned());
            let found = match target {
                Some(target) if kind.is_symlink() => Some(Found::Link(target)),
                // The path of a hard link begins at the root.
                Some(target) if is_library(name) => Some(Found::Link(format!("/{target}"))),
                None if kind.is_file() && is_library(name) => Some(read_library(name, &mut entry)?),
                _ => None,
            };
            if !kind.is_dir() {
                self.remove(&path);
            } else if let Some(Found::Link(_)) = self.0.get(&path) {
                self.0.remove(&path);
            }
            added.extend(found.map(|found| (path, found)));
        }
        self.0.extend(added);
        Ok(())
    }

    /// Returns why a program does not run in the image. Every directory can be one with libraries.
    pub fn unmet(&self, needs: &Needs) -> Option<Unmet> {
        let has_name = |name: &str| self.0.keys().any(|path| path.rsplit('/').next() == Some(name));
        let loader = needs.interpreter.iter().filter(|path| self.resolve(path).is_none());
        let libraries = needs.libraries.iter().filter(|name| !has_name(name));
        let missing: Vec<String> = loader.chain(libraries).cloned().collect();
        if !missing.is_empty() {
            return Some(Unmet::Files(missing));
        }
        let (needed, found) = (needs.glibc?, self.glibc()?);
        (found < needed).then_some(Unmet::Glibc { needed, found })
    }

    /// Returns the version of the GNU C library.
    fn glibc(&self) -> Option<GlibcVersion> {
        let version = |found: &Found| match found {
            Found::Glibc(version) => Some(*version),
            Found::Library | Found::Link(_) => None,
        };
        self.0.values().filter_map(version).max()
    }

    /// Returns the library at a path, to which links may lead.
    fn resolve(&self, path: &str) -> Option<&Found> {
        let mut path = normalized_path(path);
        for _ in 0..MAX_LINKS {
            let parts = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let link = parts.into_iter().find_map(|end| match self.0.get(&path[..end])? {
                Found::Link(target) => Some((end, target)),
                Found::Library | Found::Glibc(_) => None,
            });
            let Some((end, target)) = link else { return self.0.get(&path) };
            let (link, rest) = path.split_at(end);
            let dir = link.rsplit_once('/').map_or("", |(dir, _)| dir);
            let start = if target.starts_with('/') { "" } else { dir };
            path = normalized_path(&format!("{start}/{target}{rest}"));
        }
        None
    }

    fn remove(&mut self, path: &str) {
        self.0.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, dir: &str) {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let below = self.0.range(prefix.clone()..).map(|(path, _)| path.clone());
        for path in below.take_while(|path| path.starts_with(&prefix)).collect::<Vec<_>>() {
            self.0.remove(&path);
        }
    }
}

/// Returns whether a file has the name of a library or of a loader, such as `libc.so.6`.
fn is_library(name: &str) -> bool {
    name.split('.').skip(1).any(|part| part == "so")
}

fn read_library(name: &str, content: &mut impl Read) -> io::Result<Found> {
    // Older versions are called `libc-2.31.so`.
    if !name.starts_with("libc.so") && !name.starts_with("libc-") {
        return Ok(Found::Library);
    }
    let mut bytes = Vec::new();
    content.take(MAX_LIBRARY_BYTES).read_to_end(&mut bytes)?;
    Ok(defined_glibc(&bytes).map_or(Found::Library, Found::Glibc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{EntryType, Header};

    /// Returns a layer with files, directories (`/` at the end), and links (`FROM -> TO`).
    fn layer(entries: &[&str]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = Header::new_ustar();
            header.set_size(0);
            if let Some((from, to)) = entry.split_once(" -> ") {
                header.set_entry_type(EntryType::Symlink);
                tar.append_link(&mut header, from, to).unwrap();
                continue;
            }
            let is_dir = entry.ends_with('/');
            header.set_entry_type(if is_dir { EntryType::Directory } else { EntryType::Regular });
            tar.append_data(&mut header, entry, io::empty()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn libraries(layers: &[&[&str]]) -> ImageLibraries {
        let mut libraries = ImageLibraries::default();
        for entries in layers {
            libraries.add_layer(layer(entries).as_slice()).unwrap();
        }
        libraries
    }

    fn needs(interpreter: &str, library: &str) -> Needs {
        let (interpreter, libraries) = (Some(interpreter.to_owned()), vec![library.to_owned()]);
        Needs { interpreter, libraries, glibc: None }
    }

    #[test]
    fn libraries_are_found_in_layers() {
        const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
        let usr_merged =
            ["lib64 -> usr/lib64", "usr/lib64/ld-linux-x86-64.so.2", "usr/lib/libz.so.1"];
        let linked =
            ["lib64/ld-linux-x86-64.so.2 -> ../lib/x/ld-2.31.so", "lib/x/ld-2.31.so", "libz.so.1"];
        let looped = ["lib64 -> /lib64", "libz.so.1"];
        let table: [(&[&[&str]], &[&str]); 10] = [
            (&[&usr_merged], &[]),
            (&[&linked], &[]),
            (&[&usr_merged, &["usr/lib/"]], &[]),
            (&[&looped], &[LOADER]),
            (&[], &[LOADER, "libz.so.1"]),
            (&[&["lib64/ld-linux-x86-64.so.2"]], &["libz.so.1"]),
            (&[&usr_merged, &["usr/lib/.wh.libz.so.1"]], &["libz.so.1"]),
            (&[&usr_merged, &["usr/lib/.wh..wh..opq", "usr/lib/libz.so.1"]], &[]),
            (&[&usr_merged, &["usr/.wh.lib"]], &["libz.so.1"]),
            (&[&usr_merged, &[".wh.lib64"]], &[LOADER]),
        ];
        for (layers, missing) in table {
            let unmet = libraries(layers).unmet(&needs(LOADER, "libz.so.1"));
            let expected = missing.iter().map(ToString::to_string).collect::<Vec<_>>();
            let expected = (!expected.is_empty()).then_some(Unmet::Files(expected));
            assert_eq!(unmet, expected, "{layers:?}");
        }
    }

    #[test]
    fn older_c_library_is_found() {
        let path = "lib/libc.so.6".to_owned();
        let libraries = ImageLibraries([(path, Found::Glibc((2, 36)))].into());
        let needs = |glibc| Needs { interpreter: None, libraries: Vec::new(), glibc };
        let unmet = Unmet::Glibc { needed: (2, 38), found: (2, 36) };
        for (needed, expected) in [
            (None, None),
            (Some((2, 36)), None),
            (Some((2, 4)), None),
            (Some((2, 38)), Some(unmet)),
        ] {
            assert_eq!(libraries.unmet(&needs(needed)), expected, "{needed:?}");
        }
    }
}
