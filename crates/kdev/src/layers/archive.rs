//! Unpacks an image archive, so that its layers are files like those in the cache.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use kdev_core::image::archive::{self, Files, Image};
use kdev_core::image::built::BuiltImage;
use kdev_core::image::reference::Reference;
use kdev_core::rust_target;

use crate::cx::Cx;
use crate::details::Details;
use crate::layers::cache::{Blob, Layer, LayerCache};
use crate::layers::error::{Error, Result};
use crate::layers::unavailable::Unavailable;
use crate::process;
use crate::process::scratch_dir::ScratchDir;

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
    /// The image under each of its names; never empty.
    pub(crate) images: Vec<BuiltImage>,
    pub(crate) layers: LayerCache,
    _directory: ScratchDir,
}

impl Archive {
    /// Returns the archive that an argument names, or `None` if it is an image name.
    pub(crate) fn from_arg(text: &str) -> Option<Self> {
        match text {
            "-" => Some(Self::Stdin),
            _ if archive::is_path(text) => Some(Self::File(text.into())),
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
        let layers = LayerCache::open_in(directory.path()).map_err(|e| self.error(e.into()))?;
        let images = match self {
            Self::File(path) => {
                let file = File::open(path).map_err(|e| self.error(e.into()))?;
                read_images(cx, file, &layers)
            }
            Self::Stdin if io::stdin().is_terminal() => Err("standard input is a terminal".into()),
            Self::Stdin => read_images(cx, io::stdin().lock(), &layers),
        };
        cx.check_interrupt()?;
        let images = images.map_err(|reason| self.error(reason))?;
        Ok(UnpackedArchive { images, layers, _directory: directory })
    }

    fn error(&self, unavailable: Unavailable) -> Error {
        let (is_full, archive) = (unavailable.is_cache_disk_full(), self.display_name());
        let reason = Details(unavailable.reason);
        if is_full {
            return Error::DiskFull { archive, reason };
        }
        Error::InvalidArchive { archive, reason }
    }
}

/// Creates the temporary directory.
fn create_directory(cache: Option<&Path>) -> io::Result<ScratchDir> {
    let in_cache = cache.and_then(|dir| {
        std::fs::create_dir_all(dir).ok()?;
        ScratchDir::create_in(dir, DIR_PREFIX).ok()
    });
    in_cache.map_or_else(|| ScratchDir::create_in(&std::env::temp_dir(), "kdev-"), Ok)
}

/// Reads the image of an archive, and returns it under each of its names.
fn read_images(
    cx: &Cx,
    archive: impl Read,
    into: &LayerCache,
) -> Result<Vec<BuiltImage>, Unavailable> {
    let (image, size) =
        store_image(cx, archive, into, |images| select_image(images).map_err(Unavailable::from))?;
    let with_name = |reference| BuiltImage {
        reference,
        config_digest: image.config_digest.clone(),
        platform: image.platform.clone().unwrap_or_default(),
        size,
        id: String::new(),
        layers: image.diff_ids.clone(),
    };
    Ok(references(&image)?.into_iter().map(with_name).collect())
}

/// Stores an image of an archive, and its configuration. Returns the size of its layers in bytes, too.
pub(super) fn store_file<E: From<Unavailable>>(
    cx: &Cx,
    path: &Path,
    into: &LayerCache,
    select: impl FnOnce(Vec<Image>) -> Result<Image, E>,
) -> Result<(Image, u64), E> {
    let file = File::open(path).map_err(Unavailable::from)?;
    store_image(cx, file, into, select)
}

fn store_image<E: From<Unavailable>>(
    cx: &Cx,
    archive: impl Read,
    into: &LayerCache,
    select: impl FnOnce(Vec<Image>) -> Result<Image, E>,
) -> Result<(Image, u64), E> {
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
    let files = files.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => Unavailable::from(error),
        _ => format!("failed to read the archive: {error}").into(),
    })?;
    let image = select(files.images().map_err(Unavailable::from)?)?;
    let layers: Vec<&Layer> = image
        .layers
        .iter()
        .map(|path| {
            found.get(files.resolve_link(path)).ok_or_else(|| format!("`{path}` is missing"))
        })
        .collect::<Result<_, String>>()
        .map_err(Unavailable::from)?;
    let is_sound = layers.iter().map(|layer| &layer.diff_id).eq(&image.diff_ids);
    if !is_sound {
        let reason = "the layers do not match the image configuration";
        return Err(Unavailable::from(reason).into());
    }
    into.store(image.config.as_slice()).map_err(Unavailable::from)?;
    let size = layers.iter().map(|layer| layer.size).sum();
    Ok((image, size))
}

/// Returns the names of an image, each once; an error if it has none.
fn references(image: &Image) -> Result<Vec<Reference>, String> {
    let mut references = Vec::new();
    for name in &image.names {
        let reference = Reference::parse(name).map_err(|error| error.to_string())?;
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    if references.is_empty() { Err("the image has no name".to_owned()) } else { Ok(references) }
}

/// Selects the image for this machine's platform, or the first one.
fn select_image(images: Vec<Image>) -> Result<Image, String> {
    let mut platforms: Vec<_> = images.iter().map(|image| &image.platform).collect();
    platforms.sort_unstable();
    // The images for several platforms have the same name.
    let has_other_name = |image: &Image| {
        let own = references(image);
        own.is_ok()
            && images.iter().any(|other| references(other).is_ok_and(|names| Ok(names) != own))
    };
    if platforms.windows(2).any(|pair| pair[0] == pair[1]) || images.iter().any(has_other_name) {
        let names = images.iter().flat_map(|image| &image.names);
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let names =
            if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        return Err(format!("it contains {} images{names}", images.len()));
    }
    let own = rust_target::host_platform();
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
            names: Vec::new(),
            config: Vec::new(),
            config_digest: String::new(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
            platform: platform.map(str::to_owned),
            layer_bytes: 0,
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
    fn select_image_rejects_platforms_with_different_names() {
        let named = |platform, names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            Image { names, ..image(Some(platform)) }
        };
        let arm = |names| named("linux/arm64", names);
        let selected = |arm| select_image(vec![named("linux/amd64", &["a:1"]), arm]);
        assert!(selected(arm(&["docker.io/library/a:1"])).is_ok());
        assert!(selected(arm(&[])).is_ok());
        assert_eq!(selected(arm(&["b:1"])).unwrap_err(), "it contains 2 images: `a:1`, `b:1`");
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
