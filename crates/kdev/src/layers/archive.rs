//! Unpacks an image archive, so that its layers are files like those in the cache.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use kdev_core::image::archive::{Files, Image};
use kdev_core::image::built::BuiltImage;
use kdev_core::image::reference::Reference;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::cx::Cx;
use crate::details::Details;
use crate::layers::cache::{Blob, Layer, LayerCache};
use crate::layers::error::{Error, Result};
use crate::process;

/// File name extensions of archives.
const EXTENSIONS: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// The first part of the names of the temporary directories.
const DIR_PREFIX: &str = "archive-";

/// Where an archive comes from.
#[derive(Clone, Debug)]
pub(crate) enum Archive {
    /// A file.
    File(PathBuf),
    /// `-`.
    Stdin,
}

/// A directory with the layers of an archive. It is deleted on drop.
pub(crate) struct UnpackedArchive {
    pub(crate) image: BuiltImage,
    pub(crate) layers: LayerCache,
    _directory: TempDir,
}

impl Archive {
    /// Returns the archive that an argument names, or `None` if it is an image name.
    pub(crate) fn from_arg(text: &str) -> Option<Self> {
        let is_path = ["/", "./", "../"].iter().any(|start| text.starts_with(start))
            || EXTENSIONS.iter().any(|end| text.ends_with(end));
        match text {
            "-" => Some(Self::Stdin),
            _ if is_path => Some(Self::File(text.into())),
            _ => None,
        }
    }

    /// Returns the name for messages.
    pub(crate) fn display_name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".to_owned(),
        }
    }

    /// Unpacks the archive into a temporary directory in the cache directory, where layers have
    /// enough space, or in the system's temporary directory.
    pub(crate) fn unpack(&self, cx: &Cx) -> Result<UnpackedArchive> {
        let directory = create_directory(cx.cache_dir())
            .map_err(process::Error::write("a temporary directory"))?;
        let layers =
            LayerCache::open_in(directory.path()).map_err(|e| self.error(e.to_string()))?;
        let image = match self {
            Self::File(path) => {
                let file = File::open(path).map_err(|e| self.error(e.to_string()))?;
                read_image(cx, file, &layers)
            }
            Self::Stdin if io::stdin().is_terminal() => {
                Err("standard input is a terminal".to_owned())
            }
            Self::Stdin => read_image(cx, io::stdin().lock(), &layers),
        };
        cx.check_interrupt()?;
        let image = image.map_err(|reason| self.error(reason))?;
        Ok(UnpackedArchive { image, layers, _directory: directory })
    }

    fn error(&self, reason: String) -> Error {
        Error::InvalidArchive { archive: self.display_name(), reason: Details(reason) }
    }
}

/// Creates the temporary directory. Its name contains the process ID, so that a later run can
/// remove the directory of a killed process.
fn create_directory(cache: Option<&Path>) -> io::Result<TempDir> {
    let in_cache = cache.and_then(|dir| {
        std::fs::create_dir_all(dir).ok()?;
        remove_orphaned_directories(dir);
        TempDir::with_prefix_in(format!("{DIR_PREFIX}{}-", std::process::id()), dir).ok()
    });
    in_cache.map_or_else(TempDir::new, Ok)
}

/// Removes the directories of processes that no longer exist.
fn remove_orphaned_directories(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(DIR_PREFIX)?.split('-').next());
        let owner = owner.and_then(|id| id.parse().ok()).map(Pid::from_raw);
        if owner.is_some_and(|id| kill(id, None) == Err(Errno::ESRCH)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn read_image(cx: &Cx, archive: impl Read, into: &LayerCache) -> Result<BuiltImage, String> {
    let mut found = HashMap::new();
    let archive = decompress(Interruptible { reader: archive, cx });
    let files = archive.and_then(|archive| {
        Files::read(archive, |path, body| {
            if let (_, Blob::Layer(layer)) = into.store(body)? {
                found.insert(path.to_owned(), layer);
            }
            Ok(())
        })
    });
    let files = files.map_err(|error| format!("failed to read the archive: {error}"))?;
    let image = select_image(files.images()?)?;
    let layers: Vec<&Layer> = image
        .layers
        .iter()
        .map(|path| {
            found.get(files.resolve_link(path)).ok_or_else(|| format!("`{path}` is missing"))
        })
        .collect::<Result<_, _>>()?;
    let is_sound = layers.iter().map(|layer| &layer.diff_id).eq(&image.diff_ids);
    if !is_sound {
        return Err("the layers do not match the image configuration".to_owned());
    }
    let name = image.name.ok_or("the image has no name")?;
    into.store(image.config.as_slice()).map_err(|error| error.to_string())?;
    Ok(BuiltImage {
        reference: Reference::parse(&name).map_err(|error| error.to_string())?,
        config_digest: image.config_digest,
        platform: image.platform.unwrap_or_default(),
        size: layers.iter().map(|layer| layer.size).sum(),
        id: String::new(),
        layers: image.diff_ids,
    })
}

/// Selects the image for this machine's platform, or the first one.
fn select_image(images: Vec<Image>) -> Result<Image, String> {
    let mut platforms: Vec<_> = images.iter().map(|image| &image.platform).collect();
    platforms.sort_unstable();
    if platforms.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("it contains {} images", images.len()));
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let own = format!("linux/{architecture}");
    let best = images.iter().position(|image| image.platform.as_ref() == Some(&own));
    images.into_iter().nth(best.unwrap_or(0)).ok_or_else(|| "it contains no image".to_owned())
}

/// Decompresses the archive itself, if it is compressed.
fn decompress<'a>(archive: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut archive = BufReader::with_capacity(1 << 20, archive);
    let mut first = [0; 4];
    let mut count = 0;
    while count < first.len() {
        match archive.read(&mut first[count..])? {
            0 => break,
            more => count += more,
        }
    }
    let whole = io::Cursor::new(first).take(count as u64).chain(archive);
    Ok(match first {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// A reader that fails after an interrupt.
struct Interruptible<'a, R> {
    reader: R,
    cx: &'a Cx<'a>,
}

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cx.interrupt().is_raised() {
            // `ErrorKind::Interrupted` would be retried.
            return Err(io::Error::other("interrupted"));
        }
        self.reader.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_arg_distinguishes_archive_from_image_name() {
        let table = [
            ("-", true),
            ("./app", true),
            ("/tmp/app", true),
            ("app.tar", true),
            ("out/app.tar.gz", true),
            ("app", false),
            ("app:1.tar.x", false),
            ("localhost:5000/app:1", false),
        ];
        for (text, is_archive) in table {
            assert_eq!(Archive::from_arg(text).is_some(), is_archive, "{text}");
        }
    }

    fn image(platform: Option<&str>) -> Image {
        Image {
            name: None,
            config: Vec::new(),
            config_digest: String::new(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
            platform: platform.map(str::to_owned),
        }
    }

    #[test]
    fn select_image_rejects_ambiguous_archive() {
        assert_eq!(select_image(Vec::new()).unwrap_err(), "it contains no image");
        let two = vec![image(Some("linux/amd64")), image(Some("linux/amd64"))];
        assert_eq!(select_image(two).unwrap_err(), "it contains 2 images");
        let platforms = ["linux/arm64", "linux/amd64"];
        let both = platforms.map(|platform| image(Some(platform))).to_vec();
        assert!(select_image(both).unwrap().platform.is_some());
        assert_eq!(select_image(vec![image(None)]).unwrap(), image(None));
    }

    #[test]
    fn create_dir_removes_directory_of_killed_process() {
        let cache = tempfile::tempdir().unwrap();
        let path = |name: String| cache.path().join(name);
        // No process has this ID: it exceeds the kernel's maximum.
        let (dead, own) = (path(format!("{DIR_PREFIX}2000000000-a")), path("layers".into()));
        for dir in [&dead, &own] {
            std::fs::create_dir(dir).unwrap();
        }
        let mine = create_directory(Some(cache.path())).unwrap();
        let another = create_directory(Some(cache.path())).unwrap();
        assert!(!dead.exists() && own.exists());
        assert!(mine.path().exists() && another.path().exists());
    }

    #[test]
    fn decompress_accepts_gzip_zstd_and_plain_tar() {
        use std::io::Write;
        let text = b"some bytes that are longer than the first four";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for archive in [text.to_vec(), gzip.finish().unwrap(), zstd] {
            let mut back = Vec::new();
            decompress(archive.as_slice()).unwrap().read_to_end(&mut back).unwrap();
            assert_eq!(back, text);
        }
        let mut short = Vec::new();
        decompress(&b"ab"[..]).unwrap().read_to_end(&mut short).unwrap();
        assert_eq!(short, b"ab");
    }
}
