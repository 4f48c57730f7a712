//! Makes sure that the manifests can be edited, and run the image.

use std::path::PathBuf;

use kdev_core::image::reference::split_tag;
use kdev_manifest::error::Error as ManifestError;
use kdev_manifest::objects::Object;
use kdev_manifest::report::{FieldOutcome, PINNED};
use kdev_manifest::update::ImageUpdate;
use kdev_manifest::{Rendered, image_fields, yaml};

use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::manifests::error::{Error, Result};
use crate::manifests::source::Manifest;

/// Makes sure that all can be rendered, and says what will stay as it is.
pub(crate) fn check(cx: &Cx, manifests: &[Manifest], config: &Config) -> Result<()> {
    let want = image_update(config, "kdev-000000000000");
    for manifest in manifests {
        report_mentions(cx, manifest, &manifest.render(&want)?);
    }
    Ok(())
}

/// Says what holds the image's name and stays as it is, each with its place.
pub(crate) fn report_mentions(cx: &Cx, manifest: &Manifest, rendered: &Rendered) {
    let pinned = rendered.places.iter().filter(|place| place.fate == FieldOutcome::Pinned);
    let pinned = pinned.map(|place| (place.line, place.to_string()));
    let others = rendered.untouched.iter().map(|other| (other.line, other.to_string()));
    let mut notes: Vec<(usize, String)> = pinned.chain(others).collect();
    notes.sort();
    for (line, words) in notes {
        let text = format!("{}:{line}: {words}", manifest.path.display());
        cx.emit(Event::Note { text });
    }
}

/// Makes sure that a container runs the image, and gives all objects.
pub(crate) fn collect_objects(manifests: &[Manifest], config: &Config) -> Result<Vec<Object>> {
    let image = &config.image;
    let mut objects = Vec::new();
    for manifest in manifests {
        objects.extend(manifest.objects(&config.image_paths)?);
    }
    if objects.iter().any(|object| object.uses(image.name())) {
        return Ok(objects);
    }
    if let Some(error) = find_pinned_image(manifests, &image_update(config, "latest")) {
        return Err(error);
    }
    if let Some(error) = find_mistyped_kind(manifests) {
        return Err(error);
    }
    let mut found: Vec<String> = objects.into_iter().flat_map(|object| object.images).collect();
    found.sort();
    found.dedup();
    let nearest = find_similar_image(manifests, &image_update(config, "latest"));
    Err(Error::ImageNotUsed {
        image: image.name().familiar(),
        files: manifests.iter().map(|m| m.path.display().to_string()).collect(),
        found,
        nearest,
    })
}

/// An object that is no workload only since a letter of its kind is wrong.
fn find_mistyped_kind(manifests: &[Manifest]) -> Option<Error> {
    manifests.iter().find_map(|manifest| {
        let text = manifest.text.strip_prefix('\u{feff}').unwrap_or(&manifest.text);
        let mut fault = None;
        for document in yaml::documents(text).ok()? {
            image_fields::each_node(&document, &mut |kind, object| {
                let Some((meant, node)) = kind.nearest_workload().zip(object.get("kind")) else {
                    return;
                };
                let words = format!(
                    "kind `{}` is none that Kubernetes brings; did you mean `{meant}`?",
                    kind.kind
                );
                fault.get_or_insert_with(|| node.error(words));
            });
        }
        fault.map(|fault| manifest.error(fault))
    })
}

/// Where an image is named that looks most like ours: file, line and image.
fn find_similar_image(manifests: &[Manifest], want: &ImageUpdate) -> Option<(PathBuf, usize, String)> {
    let name = want.name.familiar();
    let places = manifests.iter().filter_map(|manifest| {
        let places = manifest.render(want).ok()?.places.into_iter();
        let containers = places.filter(|place| place.field.rsplit('.').next() == Some("image"));
        Some(containers.map(|place| (manifest.path.clone(), place.line, place.image)))
    });
    let likeness = |image: &str| strsim::jaro_winkler(split_tag(image).0, &name);
    let alike = places.flatten().filter(|(_, _, image)| likeness(image) > 0.8);
    alike.max_by(|(_, _, a), (_, _, b)| likeness(a).total_cmp(&likeness(b)))
}

/// Where the image is pinned, if it is nowhere named by a tag.
fn find_pinned_image(manifests: &[Manifest], want: &ImageUpdate) -> Option<Error> {
    manifests.iter().find_map(|manifest| {
        let places = manifest.render(want).ok()?.places;
        let place = places.into_iter().find(|place| place.fate == FieldOutcome::Pinned)?;
        let (line, column) = (place.line, place.column);
        Some(manifest.error(ManifestError { line, column, reason: format!("`{}`: {PINNED}", place.image) }))
    })
}

/// What the settings want for a build with this tag.
pub(crate) fn image_update<'a>(config: &'a Config, tag: &'a str) -> ImageUpdate<'a> {
    let name = config.image.name();
    ImageUpdate { name, tag, policy: config.pull_policy, paths: &config.image_paths }
}
