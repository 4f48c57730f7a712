//! Any text is edited as a manifest or rejected, and an edited text needs no further edit.

#![no_main]

use kdev_core::image::reference::Reference;
use kdev_manifest::pull_policy::PullPolicy;
use kdev_manifest::update::ImageUpdate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let image = Reference::parse("app").expect("it is one");
    let policy = PullPolicy::Never;
    let want = ImageUpdate { name: image.name(), tag: "kdev-1", policy, paths: &[] };
    let Ok(rendered) = kdev_manifest::render(text, &want) else { return };
    let again = kdev_manifest::render(&rendered.text, &want);
    assert_eq!(again.map(|again| again.text).as_ref(), Ok(&rendered.text));
});
