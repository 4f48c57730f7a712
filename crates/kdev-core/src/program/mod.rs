//! Programs in the format ELF: what they need to run, and their debug information.
//!
//! - `debug_info.rs`: removes debug information
//! - `image_libraries.rs`: the shared libraries in an image
//! - `name_lookup.rs`: how a static program looks up names

mod debug_info;
mod image_libraries;
mod name_lookup;

use object::elf::{
    DT_NEEDED, EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, FileHeader32,
    FileHeader64, Machine, PT_INTERP,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionTable};
use object::{Endianness, FileKind};

pub use debug_info::without_debug_info;
pub use image_libraries::{ImageLibraries, Unmet};
use serde::{Deserialize, Serialize};

/// How many bytes of a file show its platform.
pub const HEADER: usize = 20;

/// A version of the GNU C library, such as 2.36.
pub type GlibcVersion = (u32, u32);

/// A program, as far as it decides where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The platform, such as `linux/amd64`.
    pub platform: &'static str,
    /// What it needs to run.
    pub needs: Needs,
    /// Whether it is static, and loads libraries when it looks up the name of a host.
    pub loads_name_services: bool,
}

/// The files that a program needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The path of the dynamic loader; `None` if the program is static.
    pub interpreter: Option<String>,
    /// The names of the shared libraries.
    pub libraries: Vec<String>,
    /// The lowest version of the GNU C library that has all symbols, if the program uses it.
    pub glibc: Option<GlibcVersion>,
}

/// Why bytes are not a program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProgram {
    /// Such as a script, or a program for another operating system.
    #[error("it is not in the format ELF")]
    NotElf,
    /// A machine that has no name in the OCI image specification.
    #[error("it is for machine {0}, which is not supported")]
    UnknownMachine(u16),
    /// The path of its loader cannot be read.
    #[error("it is damaged: the path of its loader is outside the file")]
    NoInterpreter,
    /// Its headers or tables cannot be read.
    #[error("it is damaged: {0}")]
    Damaged(#[from] object::read::Error),
}

impl Program {
    /// Reads a program.
    pub fn read(data: &[u8]) -> Result<Self, InvalidProgram> {
        match FileKind::parse(data) {
            Ok(FileKind::Elf64) => read(FileHeader64::<Endianness>::parse(data)?, data),
            Ok(FileKind::Elf32) => read(FileHeader32::<Endianness>::parse(data)?, data),
            _ => Err(InvalidProgram::NotElf),
        }
    }
}

impl Needs {
    /// Returns whether the program runs without a loader and libraries.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none()
    }
}

/// Returns the newest version of the GNU C library whose symbols a library defines.
pub fn defined_glibc(library: &[u8]) -> Option<GlibcVersion> {
    fn defined<E: FileHeader<Endian = Endianness>>(data: &[u8]) -> Option<GlibcVersion> {
        let header = E::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, data).ok()?;
        let (mut definitions, link) = sections.gnu_verdef(endian, data).ok()??;
        let strings = sections.strings(endian, data, link).ok()?;
        let mut newest = None;
        while let Some((_, mut names)) = definitions.next().ok()? {
            while let Some(name) = names.next().ok()? {
                newest = newest.max(glibc_version(name.name(endian, strings).ok()?));
            }
        }
        newest
    }
    match FileKind::parse(library).ok()? {
        FileKind::Elf64 => defined::<FileHeader64<Endianness>>(library),
        FileKind::Elf32 => defined::<FileHeader32<Endianness>>(library),
        _ => None,
    }
}

fn read<E: FileHeader<Endian = Endianness>>(
    header: &E,
    data: &[u8],
) -> Result<Program, InvalidProgram> {
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let interpreter = segments.iter().find(|segment| segment.p_type(endian) == PT_INTERP);
    let interpreter = interpreter.map(|segment| segment.data(endian, data)).transpose();
    let interpreter = interpreter.map_err(|()| InvalidProgram::NoInterpreter)?;
    let sections = header.sections(endian, data)?;
    let loads_name_services =
        interpreter.is_none() && name_lookup::loads_libraries(&sections, endian, data)?;
    Ok(Program {
        platform: platform(header.e_machine(endian), endian)
            .ok_or_else(|| InvalidProgram::UnknownMachine(header.e_machine(endian).0))?,
        needs: Needs {
            interpreter: interpreter.map(until_nul),
            libraries: libraries(&sections, endian, data)?,
            glibc: needed_glibc(&sections, endian, data)?,
        },
        loads_name_services,
    })
}

/// Returns the platform of a program from the first bytes of its file (`e_machine` of the System V
/// ABI).
pub fn header_platform(head: &[u8; HEADER]) -> Option<&'static str> {
    if head[..4] != object::elf::ELFMAG {
        return None;
    }
    let machine = [head[18], head[19]];
    Some(match head[5] {
        2 => platform(Machine(u16::from_be_bytes(machine)), Endianness::Big)?,
        _ => platform(Machine(u16::from_le_bytes(machine)), Endianness::Little)?,
    })
}

fn platform(machine: Machine, endian: Endianness) -> Option<&'static str> {
    Some(match (machine, endian) {
        (EM_X86_64, _) => "linux/amd64",
        (EM_AARCH64, _) => "linux/arm64",
        (EM_386, _) => "linux/386",
        (EM_ARM, _) => "linux/arm",
        (EM_RISCV, _) => "linux/riscv64",
        (EM_S390, _) => "linux/s390x",
        (EM_PPC64, Endianness::Little) => "linux/ppc64le",
        _ => return None,
    })
}

fn libraries<E: FileHeader<Endian = Endianness>>(
    sections: &SectionTable<E>,
    endian: Endianness,
    data: &[u8],
) -> Result<Vec<String>, InvalidProgram> {
    let Some((entries, link)) = sections.dynamic(endian, data)? else { return Ok(Vec::new()) };
    let strings = sections.strings(endian, data, link)?;
    let needed = entries.iter().filter(|entry| entry.d_tag(endian) == DT_NEEDED);
    Ok(needed
        .filter_map(|entry| entry.string(endian, strings).ok())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

fn needed_glibc<E: FileHeader<Endian = Endianness>>(
    sections: &SectionTable<E>,
    endian: Endianness,
    data: &[u8],
) -> Result<Option<GlibcVersion>, InvalidProgram> {
    let Some((mut needs, link)) = sections.gnu_verneed(endian, data)? else { return Ok(None) };
    let strings = sections.strings(endian, data, link)?;
    let mut newest = None;
    while let Some((_, mut versions)) = needs.next()? {
        while let Some(version) = versions.next()? {
            newest = newest.max(glibc_version(version.name(endian, strings)?));
        }
    }
    Ok(newest)
}

/// Parses a symbol version such as `GLIBC_2.34`. Version 2.36 has introduced the loader that
/// supports `DT_RELR`.
fn glibc_version(name: &[u8]) -> Option<GlibcVersion> {
    let version = str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    if version == "ABI_DT_RELR" {
        return Some((2, 36));
    }
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn until_nul(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_version_is_parsed() {
        let table: [(&[u8], _); 7] = [
            (b"GLIBC_2.34", Some((2, 34))),
            (b"GLIBC_2.2.5", Some((2, 2))),
            (b"GLIBC_ABI_DT_RELR", Some((2, 36))),
            (b"GLIBC_PRIVATE", None),
            (b"GCC_3.0", None),
            (b"GLIBC_2", None),
            (b"\xff", None),
        ];
        for (name, expected) in table {
            assert_eq!(glibc_version(name), expected, "{name:?}");
        }
    }

    #[test]
    fn other_formats_are_rejected() {
        assert_eq!(Program::read(b"#!/bin/sh\n"), Err(InvalidProgram::NotElf));
        assert_eq!(Program::read(b""), Err(InvalidProgram::NotElf));
        let mut sparc = vec![0; 64];
        sparc[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
        sparc[18..20].copy_from_slice(&43_u16.to_be_bytes());
        sparc[52..54].copy_from_slice(&64_u16.to_be_bytes());
        assert_eq!(Program::read(&sparc), Err(InvalidProgram::UnknownMachine(43)));
        sparc[32] = 0xff;
        sparc[56] = 0xff;
        assert!(matches!(Program::read(&sparc), Err(InvalidProgram::Damaged(_))));
    }
}
