//! Builds the images that are loaded, from random bytes or real files.

use super::methods::{Bench, PREFIX};
use crate::lab::{self, ImageLayout, Node};
use crate::paths;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// Layers below the one that changes.
const BASE_LAYERS: u64 = 3;

/// The content of the lower layers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Random bytes, which cannot be compressed.
    Noise,
    /// Files of the Rust toolchain.
    Files,
}

impl Content {
    pub(crate) fn open(self, bench: &Bench) -> Result<Box<dyn Read>> {
        Ok(match self {
            Self::Noise => Box::new(File::open("/dev/urandom")?),
            Self::Files => Box::new(open_toolchain(bench)?),
        })
    }
}

/// An image whose top layer changes from build to build.
pub(crate) struct Image {
    name: String,
    builds: u32,
    folder: PathBuf,
    /// The name of the latest build.
    pub(crate) reference: String,
}

impl Image {
    /// Builds an image with `base` bytes in three layers.
    pub(crate) fn new(bench: &Bench, name: &str, content: Content, base: u64) -> Result<Self> {
        let name = format!("{PREFIX}-{name}");
        let folder = bench.folder.join(&name);
        fs::create_dir_all(&folder)?;
        let mut source = content.open(bench)?;
        let mut dockerfile = "FROM scratch\n".to_owned();
        for layer in 0..BASE_LAYERS {
            let file = format!("base-{layer}");
            let mut part = (&mut source).take(base / BASE_LAYERS);
            io::copy(&mut part, &mut File::create(folder.join(&file))?)?;
            writeln!(dockerfile, "COPY {file} /{file}")?;
        }
        let image = Self { reference: format!("{name}:base"), name, builds: 0, folder };
        image.build(bench, &image.reference, &dockerfile)?;
        for layer in 0..BASE_LAYERS {
            fs::remove_file(image.folder.join(format!("base-{layer}")))?;
        }
        Ok(image)
    }

    /// Builds a new version with random bytes as the top layer. Returns its name.
    pub(crate) fn rebuild_with_noise(&mut self, bench: &Bench, bytes: u64) -> Result<&str> {
        let mut noise = File::open("/dev/urandom")?.take(bytes);
        io::copy(&mut noise, &mut File::create(self.folder.join("top"))?)?;
        self.rebuild(bench)
    }

    /// Builds a new version with a file as the top layer. Returns its name.
    pub(crate) fn rebuild_with_file(&mut self, bench: &Bench, file: &Path) -> Result<&str> {
        fs::copy(file, self.folder.join("top")).with_context(|| format!("{}", file.display()))?;
        self.rebuild(bench)
    }

    fn rebuild(&mut self, bench: &Bench) -> Result<&str> {
        self.builds += 1;
        self.reference = format!("{}:{}", self.name, self.builds);
        let dockerfile = format!("FROM {}:base\nCOPY top /top\n", self.name);
        self.build(bench, &self.reference, &dockerfile)?;
        Ok(&self.reference)
    }

    fn build(&self, bench: &Bench, reference: &str, dockerfile: &str) -> Result<()> {
        let folder = &self.folder;
        fs::write(folder.join("Dockerfile"), dockerfile)?;
        let build = cmd!(bench.sh, "docker build --quiet --tag {reference} {folder}").quiet();
        Ok(build.ignore_stdout().ignore_stderr().run()?)
    }
}

/// Adds images to a node: each has its own layer, configuration and manifest.
pub(crate) fn fill_node(bench: &Bench, node: &Node, images: u16) -> Result<()> {
    // The content of a file in a tar archive follows its header of 512 bytes.
    const CONTENT: std::ops::Range<usize> = 512..520;
    let folder = &bench.folder;
    fs::write(folder.join("number"), [0; 8])?;
    let mut layer = lab::create_layer(&bench.sh, folder, "number")?;
    let mut layout = ImageLayout::create(folder.join("crowd"))?;
    for image in 0..u64::from(images) {
        layer[CONTENT].copy_from_slice(&image.to_le_bytes());
        layout.add(&format!("docker.io/library/{PREFIX}-crowd:{image}"), "/number", &layer)?;
    }
    let archive = folder.join("crowd.tar");
    layout.pack(&bench.sh, &archive)?;
    let (sh, enter) = (&bench.sh, node.nsenter_args()?);
    // The archive is outside the node.
    let import = "ctr -n k8s.io image import - >/dev/null 2>&1";
    let archive = fs::read(archive)?;
    Ok(cmd!(sh, "nsenter {enter...} sh -c {import}").stdin(archive).quiet().run()?)
}

/// Returns the libraries of the Rust toolchain as one stream.
fn open_toolchain(bench: &Bench) -> Result<impl Read + use<>> {
    let root = cmd!(bench.sh, "rustc --print sysroot").quiet().read()?;
    let mut files = list_files(&Path::new(root.trim()).join("lib"))?;
    files.sort_unstable();
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for file in files {
        all = Box::new(all.chain(File::open(file)?));
    }
    Ok(all)
}

fn list_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => found.append(&mut list_files(&entry.path())?),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    Ok(found)
}

/// A Rust service that is rebuilt many times, each time with one more condition.
pub(crate) struct Program {
    folder: PathBuf,
    conditions: u32,
}

impl Program {
    pub(crate) fn new(bench: &Bench) -> Result<Self> {
        let folder = bench.folder.join("service");
        let from = paths::repository().join("xtask/bench-service");
        fs::create_dir_all(folder.join("src"))?;
        for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
            fs::copy(from.join(file), folder.join(file))?;
        }
        Ok(Self { folder, conditions: 0 })
    }

    /// Builds the next version. Returns the path of the stripped binary.
    pub(crate) fn build(&mut self, bench: &Bench) -> Result<PathBuf> {
        const MARKER: &str = "// CONDITION\n";
        let main = self.folder.join("src/main.rs");
        let number = self.conditions;
        self.conditions += 1;
        let condition = format!(
            "if order.item.len() == {number} {{ return Err(StatusCode::CONFLICT); }}\n    {MARKER}"
        );
        let text = fs::read_to_string(&main)?.replace(MARKER, &condition);
        fs::write(&main, text)?;
        let manifest = self.folder.join("Cargo.toml");
        let target = self.folder.join("target");
        cmd!(bench.sh, "cargo build --quiet --locked --manifest-path {manifest}")
            .env("CARGO_TARGET_DIR", &target)
            .quiet()
            .run()?;
        Ok(target.join("debug/orders"))
    }
}
