//! Checks that each object in the manifests can be applied and is defined only once.

use std::collections::HashMap;
use std::path::Path;

use kdev_core::kube::object::format_id;
use kdev_manifest::definitions::{self, Definition, UnappliableCause};

use crate::config::Config;
use crate::cx::Cx;
use crate::event::Event;
use crate::manifests::error::{Error, Result};
use crate::manifests::generator::Generator;
use crate::manifests::source::Manifest;

/// More manifests than this are not listed in a help text.
const LISTED_LIMIT: usize = 5;

/// An object: group, kind, namespace, and name.
type Identity = (String, String, Option<String>, String);

/// Checks each object. `namespace` is that of objects that do not set one, if it is known.
pub(crate) fn check_objects(
    manifests: &[Manifest],
    config: &Config,
    namespace: Option<&str>,
) -> Result<()> {
    for manifest in manifests {
        check_appliable(manifest, manifests, config)?;
    }
    check_unique(manifests, namespace)
}

/// Reports the place of each object that an error of the API server names.
pub(crate) fn note_places(cx: &Cx, manifests: &[Manifest], error: &dyn std::error::Error) {
    let causes = std::iter::successors(Some(error), |cause| (*cause).source());
    let message = causes.map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for manifest in manifests {
        let definitions = definitions::definitions(&manifest.text).unwrap_or_default();
        for definition in definitions.iter().filter(|found| found.is_named_in(&message)) {
            let id = format_id(&definition.kind, &definition.name);
            let text = format!("{id} is defined at {}", manifest.location(definition.line));
            cx.emit(Event::Note { text });
        }
    }
}

fn check_appliable(manifest: &Manifest, all: &[Manifest], config: &Config) -> Result<()> {
    let found = definitions::find_unappliable(&manifest.text);
    let Some(found) = found.map_err(|error| manifest.error(error))? else { return Ok(()) };
    let location = manifest.location(found.line);
    Err(match found.cause {
        UnappliableCause::GeneratedName => Error::GeneratedName { location },
        UnappliableCause::NoName => Error::NoName { location },
        _ => {
            let fix = not_an_object_fix(manifest, all, config);
            let is_kustomization = found.cause == UnappliableCause::Kustomization;
            Error::NotAnObject { location, is_kustomization, fix }
        }
    })
}

/// Returns how to keep a file that does not contain objects out of the manifests.
fn not_an_object_fix(manifest: &Manifest, all: &[Manifest], config: &Config) -> Option<String> {
    let folder = manifest.path.parent().filter(|_| manifest.generated_by.is_none())?;
    if let Some(generator) = Generator::detect(folder) {
        return Some(format!(
            "set {} in `[package.metadata.kdev]` to render the {}",
            setting(&[folder], config),
            generator.source_noun()
        ));
    }
    let file = manifest.path.display();
    let is_clean =
        |other: &&Manifest| matches!(definitions::find_unappliable(&other.text), Ok(None));
    let others: Vec<&Path> = all.iter().filter(is_clean).map(|m| m.path.as_path()).collect();
    let move_it = format!("move `{file}` to another folder");
    if others.is_empty() || others.len() > LISTED_LIMIT {
        return Some(move_it);
    }
    let setting = setting(&others, config);
    Some(format!("{move_it}, or set {setting} in `[package.metadata.kdev]`"))
}

/// Returns the setting `manifests` with these paths.
fn setting(paths: &[&Path], config: &Config) -> String {
    let relative = |path: &&Path| {
        let path = path.strip_prefix(&config.dir).unwrap_or(path);
        format!("{:?}", path.to_string_lossy())
    };
    format!("`manifests = [{}]`", paths.iter().map(relative).collect::<Vec<_>>().join(", "))
}

/// Rejects objects that are defined twice with different contents. The last definition would
/// replace the others without a message.
fn check_unique(manifests: &[Manifest], namespace: Option<&str>) -> Result<()> {
    let mut known: HashMap<Identity, (Definition, &Manifest)> = HashMap::new();
    for manifest in manifests {
        let definitions = definitions::definitions(&manifest.text);
        for definition in definitions.map_err(|error| manifest.error(error))? {
            let identity = identity(&definition, namespace);
            match known.get(&identity) {
                Some((first, _)) if first.content == definition.content => {}
                Some((first, source)) => {
                    return Err(Error::DefinedTwice {
                        object: format_id(&definition.kind, &definition.name),
                        first: source.location(first.line),
                        second: manifest.location(definition.line),
                    });
                }
                None => {
                    known.insert(identity, (definition, manifest));
                }
            }
        }
    }
    Ok(())
}

fn identity(definition: &Definition, namespace: Option<&str>) -> Identity {
    let Definition { group, kind, namespace: own, name, .. } = definition;
    let own = own.as_deref().filter(|own| !own.is_empty());
    let namespace = own.or(namespace).map(str::to_owned);
    (group.clone(), kind.clone(), namespace, name.clone())
}
