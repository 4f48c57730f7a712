//! The documents of a text.

/// The documents of a text, without what is between them. A line that begins
/// with `---` ends a document wherever it stands (YAML 1.2, 9.1.2), and kubectl
/// splits there, too; a block scalar's lines are indented.
pub fn split(text: &str) -> Vec<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut documents, mut begun, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let is_mark = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_mark {
            documents.push(&text[begun..at]);
            // What follows on the mark's own line belongs to the document.
            let comment =
                line[3..].trim_start().is_empty() || line[3..].trim_start().starts_with('#');
            begun = if comment { at + line.len() } else { at + 3 };
        }
        at += line.len();
    }
    documents.push(&text[begun..]);
    // Comments and directives alone are no document.
    let is_talk = |line: &str| line.trim().is_empty() || line.starts_with(['#', '%']);
    documents.retain(|document| !document.lines().all(is_talk));
    documents
}
