//! Words that errors are made of. Pure.

use std::path::Path;

use crate::error::Reason;
use crate::fault::NodeError;
use crate::refusal::{Conflict, Immutable};

pub(crate) fn ids(immutables: &[Immutable]) -> String {
    list(&immutables.iter().map(Immutable::id).collect::<Vec<_>>())
}

/// Each owner with its fields.
pub(crate) fn conflicts_in_words(conflicts: &[Conflict]) -> Reason {
    let words = |c: &Conflict| format!("`{}` is owned by `{}`", c.field, c.manager);
    Reason(conflicts.iter().map(words).collect::<Vec<_>>().join(", "))
}

/// Each object with its field.
pub(crate) fn immutables_in_words(immutables: &[Immutable]) -> Reason {
    let words = |i: &Immutable| format!("`{}` of {} is fixed once it is created", i.field, i.id());
    Reason(immutables.iter().map(words).collect::<Vec<_>>().join(", "))
}

pub(crate) fn nodes_failed(failures: &[NodeError]) -> String {
    let names: Vec<&str> = failures.iter().map(|f| f.node.as_str()).collect();
    match names.as_slice() {
        [one] => format!("cannot use node `{one}`"),
        many => format!("cannot use nodes {}", list(many)),
    }
}

pub(crate) fn text_of(path: &Path, made_by: Option<&str>) -> String {
    match made_by {
        Some(command) => format!("what `{command}` makes"),
        None => format!("`{}`", path.display()),
    }
}

pub(crate) fn pod_words(pod: Option<&str>, node: Option<&str>) -> String {
    match (pod, node) {
        (Some(pod), Some(node)) => format!("pod `{pod}` on node `{node}` does not start"),
        (Some(pod), None) => format!("pod `{pod}` does not start"),
        _ => "its controller reports a failure".to_owned(),
    }
}

/// With a capital at its beginning, as a question has one.
pub(crate) fn capitalised(words: &str) -> String {
    let (first, rest) = words.split_at(words.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}", first.to_uppercase())
}

/// `a`, `b` and `c`, each in backticks.
pub(crate) fn list<S: AsRef<str>>(items: &[S]) -> String {
    let mut quoted: Vec<String> = items.iter().map(|i| format!("`{}`", i.as_ref())).collect();
    match quoted.pop() {
        None => "nothing".to_owned(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} and {last}", quoted.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list::<&str>(&[]), "nothing");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
