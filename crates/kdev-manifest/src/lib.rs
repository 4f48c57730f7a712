//! Manifests as text: the image and the pull policy of containers that run our image
//! are edited, and no byte around them is. Internal to `cargo kdev`: nothing here is
//! promised to stay.
//!
//! Every edit is proven: source and result are read with `serde_yaml`, and must differ
//! in just these fields.

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

/// A text, and what has been made of it.
#[derive(Debug)]
pub struct Rendered {
    pub text: String,
    pub places: Vec<ImageField>,
    pub untouched: Vec<Mention>,
}

/// Edits a text, and proves the edit.
pub fn render(text: &str, want: &ImageUpdate) -> Result<Rendered, Error> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = &text[..text.len() - body.len()];
    let documents = yaml::documents(body)?;
    let plan = EditPlan::of(body, &documents, want)?;
    let rendered = plan.apply(body);
    verify::verify(body, &rendered, &documents, &plan.places, want)?;
    let untouched = mentions::find(&documents, &plan.values, want.name);
    Ok(Rendered { text: format!("{mark}{rendered}"), places: plan.places, untouched })
}

#[cfg(test)]
mod tests;
