//! Why a text is no manifest that can be edited with certainty: what a parser
//! calls a syntax error is most often a template, or a tab.

use crate::documents;
use crate::error::Error;

/// The largest request that the API takes; no object can be larger.
const DOCUMENT_LIMIT: usize = 3 * 1024 * 1024;

/// Refuses what is too large to be one object.
pub fn check_size(text: &str) -> Result<(), Error> {
    let documents = documents::split(text);
    let Some(large) = documents.iter().find(|document| document.len() > DOCUMENT_LIMIT) else {
        return Ok(());
    };
    let begun = large.as_ptr() as usize - text.as_ptr() as usize;
    let (size, limit) = (large.len() / 1024, DOCUMENT_LIMIT / 1024);
    Err(Error {
        line: text[..begun].matches('\n').count() + 1,
        column: 1,
        reason: format!("a document of {size} KiB is larger than the API takes: {limit} KiB"),
    })
}

/// The fault as its author would call it.
pub fn explain(text: &str, fault: Error) -> Error {
    find_template(text).or_else(|| find_tab(text, fault.line)).unwrap_or(fault)
}

/// The first template that is no comment: `{{` may stand in a text that is
/// YAML all the same, so this is asked only of one that is not.
fn find_template(text: &str) -> Option<Error> {
    lines(text).find_map(|(line, words)| {
        let before = &words[..words.find("{{")?];
        let column = before.chars().count() + 1;
        let is_comment = before.trim_start().starts_with('#');
        (!is_comment).then(|| Error { line, column, reason: CONTAINS_TEMPLATES.to_owned() })
    })
}

/// What is said of a template.
pub const CONTAINS_TEMPLATES: &str = "it holds templates (`{{ }}`)";

/// A tab before the text of the faulty line, or of the one above it: the
/// parser may notice only then.
fn find_tab(text: &str, faulty: usize) -> Option<Error> {
    let near = |number: usize| number == faulty || number + 1 == faulty;
    lines(text).filter(|(number, _)| near(*number)).find_map(|(number, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let at = indent.find('\t')?;
        Some(Error {
            line: number,
            column: at + 1,
            reason: "a tab indents this line; YAML takes spaces only".to_owned(),
        })
    })
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

#[cfg(test)]
#[path = "parse_error_tests.rs"]
mod tests;
