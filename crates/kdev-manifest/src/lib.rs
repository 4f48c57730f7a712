//! Edits manifests as text: changes the image and the pull policy of containers that use
//! the project's image, and no other byte. Internal to `cargo kdev`, without a promise of
//! stability.
//!
//! Every edit is verified: source and result are parsed with `serde_yaml` and may differ in
//! these fields only.

use crate::edit::EditPlan;
use crate::error::Error;
use crate::report::{ImageField, Mention};
use crate::update::ImageUpdate;

pub mod documents;
pub mod edit;
pub mod error;
pub mod expected;
pub mod image_fields;
pub mod mentions;
pub mod objects;
pub mod parse_error;
pub mod pull_policy;
pub mod report;
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
