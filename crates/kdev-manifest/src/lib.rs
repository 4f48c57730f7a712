//! Edits manifests as text: changes the image and the pull policy of containers that use
//! the project's image, and no other byte. Internal to `cargo kdev`, without a promise of
//! stability.
//!
//! Every edit is verified: source and result are parsed with `serde_yaml` and may differ in
//! these fields only.
//!
//! - `chart.rs`: the template functions of a chart, and fields that differ between renderings
//! - `definitions.rs`: the places of objects, and objects that cannot be applied
//! - `documents.rs`: splits a text into documents
//! - `edit.rs`: plans the edits of a text
//! - `endpoints.rs`: where a workload can be reached
//! - `error.rs`: the error of this crate
//! - `expected.rs`: compares live objects with the applied images and pull policies
//! - `image_fields.rs`: the fields that hold an image
//! - `mentions.rs`: finds mentions of the image that are not edited
//! - `objects.rs`: the Kubernetes objects in a text
//! - `parse_error.rs`: explains syntax errors
//! - `pull_policy.rs`: the pull policy of containers that use the image
//! - `report.rs`: describes image fields and mentions
//! - `shared.rs`: workloads with the image of another package of the workspace
//! - `update.rs`: the requested edit
//! - `values.rs`: parses documents with `serde_yaml`
//! - `verify.rs`: verifies an edit
//! - `yaml.rs`: a syntax tree with byte positions

use crate::edit::EditPlan;
use crate::error::Error;
use crate::report::{ImageField, Mention};
use crate::update::ImageUpdate;

pub mod chart;
pub mod definitions;
pub mod documents;
pub mod edit;
pub mod endpoints;
pub mod error;
pub mod expected;
pub mod image_fields;
pub mod mentions;
pub mod objects;
pub mod parse_error;
pub mod pull_policy;
pub mod report;
pub mod shared;
pub mod update;
pub mod values;
pub mod verify;
pub mod yaml;

/// An edited text and a report of the edits.
#[derive(Debug)]
pub struct Rendered {
    pub text: String,
    pub fields: Vec<ImageField>,
    pub mentions: Vec<Mention>,
}

/// Edits a text and verifies the edit.
pub fn render(text: &str, update: &ImageUpdate) -> Result<Rendered, Error> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = &text[..text.len() - body.len()];
    let documents = yaml::documents(body)?;
    let plan = EditPlan::new(body, &documents, update)?;
    let rendered = plan.apply(body);
    verify::verify(body, &rendered, &documents, &plan.fields, update)?;
    let mentions = mentions::find(&documents, &plan.values, update.name);
    Ok(Rendered { text: format!("{mark}{rendered}"), fields: plan.fields, mentions })
}

#[cfg(test)]
mod tests;
