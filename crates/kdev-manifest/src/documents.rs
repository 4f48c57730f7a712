//! Splits a YAML text into documents.

/// Splits a text into its documents, without the separators. A line that begins with `---`
/// ends a document (YAML 1.2, 9.1.2), as it does for kubectl; lines in block scalars are
/// indented.
pub fn split(text: &str) -> Vec<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut documents, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let is_mark = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_mark {
            documents.push(&text[start..at]);
            // Text after the separator on the same line belongs to the document.
            let comment =
                line[3..].trim_start().is_empty() || line[3..].trim_start().starts_with('#');
            start = if comment { at + line.len() } else { at + 3 };
        }
        at += line.len();
    }
    documents.push(&text[start..]);
    // Comments and directives alone do not make a document.
    let is_talk = |line: &str| line.trim().is_empty() || line.starts_with(['#', '%']);
    documents.retain(|document| !document.lines().all(is_talk));
    documents
}
