//! Edits any text as a manifest without a panic; a second edit changes nothing.

#![no_main]

use kdev_core::image::reference::Reference;
use kdev_manifest::pull_policy::PullPolicy;
use kdev_manifest::update::ImageUpdate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let image = Reference::parse("app").expect("`app` is a valid reference");
    let policy = PullPolicy::Never;
    let update = ImageUpdate { name: image.name(), tag: "kdev-1", policy, paths: &[] };
    let Ok(rendered) = kdev_manifest::render(text, &update) else { return };
    let again = kdev_manifest::render(&rendered.text, &update);
    assert_eq!(again.map(|again| again.text).as_ref(), Ok(&rendered.text));
});
