//! How a static program looks up the names of hosts.
//!
//! The GNU C library before 2.34 has the code for `/etc/hosts` and DNS in `libnss_files.so` and
//! `libnss_dns.so`, which also a static program loads. Later ones, and musl, link it.

use memchr::memmem::find;
use object::Endianness;
use object::elf::SHT_SYMTAB;
use object::read::elf::{FileHeader, SectionTable, Sym};

/// The function that looks up names.
const LOOKUP: &[u8] = b"getaddrinfo";
/// The prefix of functions of the GNU C library that choose how to look up.
const SWITCH: &[u8] = b"__nss_";
/// The prefix of its functions that ask a DNS server.
const DNS: &[u8] = b"_nss_dns_";

/// Texts of programs without a table of symbols: an error of `getaddrinfo`, the beginning of the
/// libraries' names, and the domain for addresses, which only the code for DNS has.
const LOOKUP_TEXT: &[u8] = b"Name or service not known";
const SWITCH_TEXT: &[u8] = b"libnss_";
const DNS_TEXT: &[u8] = b"in-addr.arpa";

/// Returns whether a static program loads libraries when it looks up a name.
pub(super) fn loads_libraries<E: FileHeader<Endian = Endianness>>(
    sections: &SectionTable<E>,
    endian: Endianness,
    data: &[u8],
) -> Result<bool, object::read::Error> {
    let symbols = sections.symbols(endian, data, SHT_SYMTAB)?;
    if symbols.is_empty() {
        let has = |text| find(data, text).is_some();
        return Ok(has(SWITCH_TEXT) && has(LOOKUP_TEXT) && !has(DNS_TEXT));
    }
    let (mut looks_up, mut switches) = (false, false);
    for symbol in symbols.iter().filter(|symbol| !symbol.is_undefined(endian)) {
        let name = symbol.name(endian, symbols.strings())?;
        if name.starts_with(DNS) {
            return Ok(false);
        }
        looks_up |= name == LOOKUP;
        switches |= name.starts_with(SWITCH);
    }
    Ok(looks_up && switches)
}
