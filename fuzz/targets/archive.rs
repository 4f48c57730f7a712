//! Whatever bytes an archive is: it is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = kdev::inside::reads_archive(bytes);
});
