//! Explains syntax errors: most of them are caused by a template or a tab.

use crate::documents;
use crate::error::Error;

/// The maximum size of an API request, and so of an object.
const DOCUMENT_LIMIT: usize = 3 * 1024 * 1024;

/// Rejects a document that is too large to be one object.
pub fn check_size(text: &str) -> Result<(), Error> {
    let documents = documents::split(text);
    let Some(large) = documents.iter().find(|document| document.len() > DOCUMENT_LIMIT) else {
        return Ok(());
    };
    let start = large.as_ptr() as usize - text.as_ptr() as usize;
    let (size, limit) = (large.len() / 1024, DOCUMENT_LIMIT / 1024);
    Err(Error {
        line: text[..start].matches('\n').count() + 1,
        column: 1,
        reason: format!("the document has {size} KiB, more than the API's limit of {limit} KiB"),
    })
}

/// Replaces a syntax error by its likely cause.
pub fn explain(text: &str, error: Error) -> Error {
    find_template(text).or_else(|| find_tab(text, error.line)).unwrap_or(error)
}

/// Finds the first template outside of a comment. Valid YAML can contain `{{`, so this is
/// for texts that are not valid.
fn find_template(text: &str) -> Option<Error> {
    lines(text).find_map(|(line, line_text)| {
        let before = &line_text[..line_text.find("{{")?];
        let column = before.chars().count() + 1;
        let is_comment = before.trim_start().starts_with('#');
        (!is_comment).then(|| Error { line, column, reason: CONTAINS_TEMPLATES.to_owned() })
    })
}

/// The reason for a text with templates.
pub const CONTAINS_TEMPLATES: &str = "it contains templates (`{{ }}`)";

/// Finds a tab in the indentation of the faulty line or the one above, where the parser may
/// notice it late.
fn find_tab(text: &str, faulty: usize) -> Option<Error> {
    let near = |number: usize| number == faulty || number + 1 == faulty;
    lines(text).filter(|(number, _)| near(*number)).find_map(|(number, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let at = indent.find('\t')?;
        Some(Error {
            line: number,
            column: at + 1,
            reason: "the line is indented with a tab; YAML allows spaces only".to_owned(),
        })
    })
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

#[cfg(test)]
#[path = "parse_error_tests.rs"]
mod tests;
