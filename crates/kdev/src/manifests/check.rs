//! Checks that the manifests can be edited and use the image.

use std::path::PathBuf;

use kdev_core::image::reference::{PLACEHOLDER_TAG, split_tag};
use kdev_manifest::error::Error as ManifestError;
use kdev_manifest::objects::Object;
use kdev_manifest::report::{FieldOutcome, HAS_DIGEST};
use kdev_manifest::update::ImageUpdate;
use kdev_manifest::{Rendered, image_fields, yaml};

use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::manifests::definitions::check_objects;
use crate::manifests::error::{Error, Result};
use crate::manifests::source::Manifest;

/// Checks that all manifests can be rendered and applied, and reports what will not be updated.
/// `namespace` is that of objects that do not set one, if it is known.
pub(crate) fn check(
    cx: &Cx,
    manifests: &[Manifest],
    config: &Config,
    namespace: Option<&str>,
) -> Result<()> {
    let update = image_update(config, PLACEHOLDER_TAG);
    for manifest in manifests {
        report_mentions(cx, manifest, &manifest.render(&update)?);
    }
    check_objects(manifests, config, namespace)
}

/// Reports each place that contains the image's name but will not be updated.
pub(crate) fn report_mentions(cx: &Cx, manifest: &Manifest, rendered: &Rendered) {
    let pinned = rendered.fields.iter().filter(|field| field.outcome == FieldOutcome::HasDigest);
    let pinned = pinned.map(|field| (field.line, field.to_string()));
    let others = rendered.mentions.iter().map(|other| (other.line, other.to_string()));
    let mut notes: Vec<(usize, String)> = pinned.chain(others).collect();
    notes.sort();
    for (line, note) in notes {
        let text = format!("{}:{line}: {note}", manifest.path.display());
        cx.emit(Event::Note { text });
    }
}

/// Returns all objects, or an error if no container uses the image.
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

/// Returns the error for an object whose kind is a mistyped workload kind.
fn find_mistyped_kind(manifests: &[Manifest]) -> Option<Error> {
    manifests.iter().find_map(|manifest| {
        let text = manifest.text.strip_prefix('\u{feff}').unwrap_or(&manifest.text);
        let mut error = None;
        for document in yaml::documents(text).ok()? {
            image_fields::each_node(&document, &mut |kind, object| {
                let Some((workload, node)) = kind.nearest_workload().zip(object.get("kind")) else {
                    return;
                };
                let message = format!("unknown kind `{}`; did you mean `{workload}`?", kind.kind);
                error.get_or_insert_with(|| node.error(message));
            });
        }
        error.map(|error| manifest.error(error))
    })
}

/// Finds the image whose name is most similar to the project's: file, line, and image.
fn find_similar_image(
    manifests: &[Manifest],
    update: &ImageUpdate,
) -> Option<(PathBuf, usize, String)> {
    let name = update.name.familiar();
    let fields = manifests.iter().filter_map(|manifest| {
        let fields = manifest.render(update).ok()?.fields.into_iter();
        let containers = fields.filter(|field| field.field.rsplit('.').next() == Some("image"));
        Some(containers.map(|field| (manifest.path.clone(), field.line, field.image)))
    });
    let similarity = |image: &str| strsim::jaro_winkler(split_tag(image).0, &name);
    let similar = fields.flatten().filter(|(_, _, image)| similarity(image) > 0.8);
    similar.max_by(|(_, _, a), (_, _, b)| similarity(a).total_cmp(&similarity(b)))
}

/// Returns the error for an image that is pinned by a digest.
fn find_pinned_image(manifests: &[Manifest], update: &ImageUpdate) -> Option<Error> {
    manifests.iter().find_map(|manifest| {
        let fields = manifest.render(update).ok()?.fields;
        let field = fields.into_iter().find(|field| field.outcome == FieldOutcome::HasDigest)?;
        let (line, column) = (field.line, field.column);
        Some(manifest.error(ManifestError {
            line,
            column,
            reason: format!("`{}`: {HAS_DIGEST}", field.image),
        }))
    })
}

/// Returns the update of the image to this tag, as configured.
pub(crate) fn image_update<'a>(config: &'a Config, tag: &'a str) -> ImageUpdate<'a> {
    let name = config.image.name();
    ImageUpdate { name, tag, policy: config.pull_policy, paths: &config.image_paths }
}
