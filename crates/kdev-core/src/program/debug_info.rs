//! Removes debug information, and keeps the names of functions for backtraces.

use std::ops::Range;

use object::elf::{
    FileHeader32, FileHeader64, SHF_ALLOC, SHT_NOBITS, SHT_NULL, SectionHeader32, SectionHeader64,
};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind};

/// Where the format has the fields that change. Offsets in bytes.
struct Fields {
    /// The offset of the table of sections, in the header of the file.
    table: usize,
    /// The offset of its bytes, in the header of a section.
    section_offset: usize,
    /// The size of such an offset.
    width: usize,
    /// The size of the header of a section.
    entry: usize,
}

/// `Elf32_Ehdr` and `Elf32_Shdr` of the specification of ELF.
const ELF32: Fields = Fields {
    table: 0x20,
    section_offset: 0x10,
    width: 4,
    entry: size_of::<SectionHeader32<Endianness>>(),
};
/// `Elf64_Ehdr` and `Elf64_Shdr`.
const ELF64: Fields = Fields {
    table: 0x28,
    section_offset: 0x18,
    width: 8,
    entry: size_of::<SectionHeader64<Endianness>>(),
};
/// The alignment of a page, which no section of a program exceeds.
const MAX_ALIGNMENT: u64 = 1 << 16;
/// The type of a section is in the second word of its header in both formats.
const SECTION_TYPE: usize = 4;

/// Returns a program without the sections that only debuggers read, or `None` if it has none.
///
/// The bytes that the kernel loads stay where they are. The headers of removed sections stay
/// as unused ones, because other sections refer to sections by their number.
pub fn without_debug_info(program: &[u8]) -> Option<Vec<u8>> {
    match FileKind::parse(program).ok()? {
        FileKind::Elf64 => strip(FileHeader64::<Endianness>::parse(program).ok()?, program, &ELF64),
        FileKind::Elf32 => strip(FileHeader32::<Endianness>::parse(program).ok()?, program, &ELF32),
        _ => None,
    }
}

fn strip<E: FileHeader<Endian = Endianness>>(
    header: &E,
    program: &[u8],
    fields: &Fields,
) -> Option<Vec<u8>> {
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, program).ok()?;
    let table = usize::try_from(header.e_shoff(endian).into()).ok()?;
    let mut headers =
        program.get(table..table + sections.len().checked_mul(fields.entry)?)?.to_vec();
    let loaded = header.program_headers(endian, program).ok()?.iter();
    let loaded = loaded.map(|segment| range(segment.file_range(endian)));
    let allocated = sections.iter().filter(|section| is_allocated::<E>(section, endian));
    let allocated = allocated.filter_map(|section| section.file_range(endian).map(range));
    let segments: u64 = header.e_phoff(endian).into();
    let size = u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian));
    let table_of_segments = range((segments, size));
    let kept = loaded.chain(allocated).chain([table_of_segments]);
    let end = kept.map(|range| range.end).max()?;
    let mut out = program.get(..end)?.to_vec();
    let mut has_debug_info = false;
    for (index, section) in sections.enumerate() {
        let at = index.0 * fields.entry;
        let Some(bytes) = section.file_range(endian).map(range) else { continue };
        if bytes.is_empty() || is_allocated::<E>(section, endian) || bytes.end <= end {
            continue;
        }
        if is_debug_info(sections.section_name(endian, section).ok()?) {
            headers.get_mut(at..at + fields.entry)?.fill(0);
            put(&mut headers, at + SECTION_TYPE, 4, SHT_NULL.0.into(), endian);
            has_debug_info = true;
            continue;
        }
        let align: u64 = section.sh_addralign(endian).into();
        let align = usize::try_from(align.max(1)).ok().filter(|_| align <= MAX_ALIGNMENT)?;
        out.resize(out.len().next_multiple_of(align), 0);
        let offset = out.len() as u64;
        put(&mut headers, at + fields.section_offset, fields.width, offset, endian);
        out.extend_from_slice(program.get(bytes)?);
    }
    out.resize(out.len().next_multiple_of(fields.width), 0);
    let table = out.len() as u64;
    put(&mut out, fields.table, fields.width, table, endian);
    out.extend_from_slice(&headers);
    has_debug_info.then_some(out)
}

/// Returns whether the kernel loads a section, or reserves memory for it.
fn is_allocated<E: FileHeader<Endian = Endianness>>(
    section: &E::SectionHeader,
    endian: Endianness,
) -> bool {
    section.sh_flags(endian).contains(SHF_ALLOC) || section.sh_type(endian) == SHT_NOBITS
}

fn is_debug_info(name: &[u8]) -> bool {
    name.starts_with(b".debug_") || name.starts_with(b".zdebug_") || name == b".gdb_index"
}

fn range((offset, size): (u64, u64)) -> Range<usize> {
    let position = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    position(offset)..position(offset.saturating_add(size))
}

/// Writes a number of `width` bytes.
fn put(to: &mut [u8], at: usize, width: usize, value: u64, endian: Endianness) {
    let bytes = match endian {
        Endianness::Little => value.to_le_bytes()[..width].to_vec(),
        Endianness::Big => value.to_be_bytes()[8 - width..].to_vec(),
    };
    to[at..at + width].copy_from_slice(&bytes);
}
