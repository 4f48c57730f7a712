//! The images that are loaded: made here, of noise or of real files.

use super::ways::{Bench, PREFIX};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// Layers below the one that changes.
const BASE_LAYERS: u64 = 3;

/// What a base is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuff {
    /// No compressor makes it smaller.
    Noise,
    /// Files of the Rust toolchain.
    Files,
}

/// An image whose top layer changes from build to build.
pub(crate) struct Image {
    name: String,
    builds: u32,
    folder: PathBuf,
    /// What the newest build is called.
    pub(crate) reference: String,
}

impl Image {
    /// With a base of so many bytes, in three layers.
    pub(crate) fn new(bench: &Bench, name: &str, stuff: Stuff, base: u64) -> Result<Self> {
        let name = format!("{PREFIX}-{name}");
        let folder = bench.folder.join(&name);
        fs::create_dir_all(&folder)?;
        let mut source: Box<dyn Read> = match stuff {
            Stuff::Noise => Box::new(File::open("/dev/urandom")?),
            Stuff::Files => Box::new(toolchain(bench)?),
        };
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

    /// A new build: its top layer is so many bytes of fresh noise.
    pub(crate) fn with_noise(&mut self, bench: &Bench, bytes: u64) -> Result<&str> {
        let mut noise = File::open("/dev/urandom")?.take(bytes);
        io::copy(&mut noise, &mut File::create(self.folder.join("top"))?)?;
        self.with_top(bench)
    }

    /// A new build: its top layer is this file.
    pub(crate) fn with_file(&mut self, bench: &Bench, file: &Path) -> Result<&str> {
        fs::copy(file, self.folder.join("top")).with_context(|| format!("{}", file.display()))?;
        self.with_top(bench)
    }

    fn with_top(&mut self, bench: &Bench) -> Result<&str> {
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

/// The toolchain's libraries, one behind the other.
fn toolchain(bench: &Bench) -> Result<impl Read + use<>> {
    let root = cmd!(bench.sh, "rustc --print sysroot").quiet().read()?;
    let mut files = files(&Path::new(root.trim()).join("lib"))?;
    files.sort_unstable();
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for file in files {
        all = Box::new(all.chain(File::open(file)?));
    }
    Ok(all)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => found.append(&mut files(&entry.path())?),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    Ok(found)
}

/// A Rust service, built again and again with one more condition in it.
pub(crate) struct Program {
    folder: PathBuf,
    conditions: u32,
}

impl Program {
    pub(crate) fn new(bench: &Bench) -> Result<Self> {
        let folder = bench.folder.join("service");
        let from = crate::root().join("xtask/bench-service");
        fs::create_dir_all(folder.join("src"))?;
        for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
            fs::copy(from.join(file), folder.join(file))?;
        }
        Ok(Self { folder, conditions: 0 })
    }

    /// The next build's binary, stripped.
    pub(crate) fn build(&mut self, bench: &Bench) -> Result<PathBuf> {
        const MARK: &str = "// CONDITION\n";
        let main = self.folder.join("src/main.rs");
        let number = self.conditions;
        self.conditions += 1;
        let condition = format!(
            "if order.item.len() == {number} {{ return Err(StatusCode::CONFLICT); }}\n    {MARK}"
        );
        let text = fs::read_to_string(&main)?.replace(MARK, &condition);
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
