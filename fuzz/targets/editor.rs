//! Whatever text a manifest is: it is edited or refused, and what is edited
//! needs no further edit.

#![no_main]

use kdev::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let image = Reference::parse("app").expect("it is one");
    let Ok(rendered) = kdev::inside::render(text, &image, "kdev-1") else { return };
    let again = kdev::inside::render(&rendered, &image, "kdev-1");
    assert_eq!(again.as_ref(), Ok(&rendered));
});
