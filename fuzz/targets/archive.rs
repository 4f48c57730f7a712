//! Reads any bytes as an image archive without a panic.

#![no_main]

use kdev_core::image::archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = archive::read_image(bytes, "linux/amd64", |_, _| Ok(()));
});
