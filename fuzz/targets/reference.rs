//! Parses any text as an image reference without a panic; its full and familiar forms parse to
//! the same reference.

#![no_main]

use kdev_core::image::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = Reference::parse(text) else { return };
    for form in [reference.to_string(), reference.familiar()] {
        assert_eq!(Reference::parse(&form).as_ref(), Ok(&reference), "{form}");
    }
});
