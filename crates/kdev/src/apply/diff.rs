//! The output of `kubectl diff`: each object in the cluster, and after a dry run of the apply.
//!
//! kubectl writes both to files and starts a program that compares them. kdev needs their
//! content, also that of files without a difference, because it has the field managers. So the
//! program is `grep`, which prints every line of all files: kubectl accepts only letters,
//! digits, `-`, and `=` in the arguments of the program.

use kdev_core::kube::applyset;
use kdev_core::kube::managed_fields;
use kdev_core::kube::object::text;
use kdev_manifest::expected;
use serde_json::Value;

/// Prints each line with the path of its file and its number. No line of a YAML object is
/// only a `=`.
pub(crate) const PRINT_FILES: &str = "grep -r -n -H -a -v -x -e =";

/// An object in the cluster, and the same object after a dry run of the apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectDiff {
    /// Null if it does not exist yet. kubectl masks the values of Secrets.
    pub(crate) live: Value,
    pub(crate) merged: Value,
}

/// The documents that an apply would change, and their objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// The objects that could be compared.
    pub(crate) objects: Vec<ObjectDiff>,
    pub(crate) changed: Vec<String>,
}

impl Differences {
    /// Returns all documents as changed.
    pub(crate) fn all(documents: &[String]) -> Self {
        Self { objects: Vec::new(), changed: documents.to_vec() }
    }

    /// Finds the changed documents in the output of `kubectl diff`. A document whose objects
    /// are not all found counts as changed.
    pub(crate) fn from_output(documents: &[String], stdout: &[u8], manager: &str) -> Self {
        let objects = parse(&String::from_utf8_lossy(stdout));
        let differs = |object: &Value| {
            let found = objects.iter().find(|diff| diff.is_of(object));
            !object.is_null() && found.is_none_or(|diff| diff.differs(manager))
        };
        let is_changed = |document: &&String| expected::objects_in(document).iter().any(differs);
        let changed = documents.iter().filter(is_changed).cloned().collect();
        Self { objects, changed }
    }
}

impl ObjectDiff {
    /// Whether an object of a manifest is this one. Only one of them can have a namespace: that
    /// of a manifest can be implied, and that of a cluster-scoped object is ignored.
    pub(crate) fn is_of(&self, object: &Value) -> bool {
        let named = text(object, "/metadata/namespace");
        let namespace = text(&self.merged, "/metadata/namespace");
        applyset::id(&self.merged) == applyset::id(object)
            && (named.is_empty() || namespace.is_empty() || named == namespace)
    }

    /// Whether the apply would change more than the fields of other managers. An object without
    /// other differences is applied if kdev does not own its fields yet, because kdev can only
    /// remove fields that it owns.
    fn differs(&self, manager: &str) -> bool {
        let Self { live, merged } = self;
        without_managers(live) != without_managers(merged)
            || !managed_fields::has_same_fields(live, merged, manager)
            || self.hand_over(manager).is_some()
    }

    /// Returns the JSON patch that hands over fields of kubectl to `manager`.
    pub(crate) fn hand_over(&self, manager: &str) -> Option<Value> {
        managed_fields::hand_over(&self.live, &self.merged, manager)
    }
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// Parses `DIR/LIVE-1/FILE:LINE:TEXT` and the same for `MERGED-2`, which follows.
fn parse(output: &str) -> Vec<ObjectDiff> {
    let files = split_files(output);
    let in_folder = |folder: &'static str| {
        let files = files.iter().filter_map(|file| {
            let (parent, name) = file.path.rsplit_once('/')?;
            let is_in = parent.rsplit('/').next()?.starts_with(folder);
            let object = is_in.then(|| serde_yaml::from_str::<Value>(&file.content).ok())??;
            Some((name, object))
        });
        files.collect::<Vec<_>>()
    };
    let live = in_folder("LIVE-");
    let find = |name: &str| live.iter().find(|(known, _)| *known == name);
    let pair = |(name, merged)| {
        let live = find(name).map(|(_, object)| object.clone()).unwrap_or_default();
        ObjectDiff { live, merged }
    };
    in_folder("MERGED-").into_iter().map(pair).collect()
}

#[derive(Default)]
struct PrintedFile<'a> {
    path: &'a str,
    lines: usize,
    content: String,
}

/// Splits the output at the lines with the number 1. Names can contain a `:`, so a line belongs
/// to the same file if it has the next number.
fn split_files(output: &str) -> Vec<PrintedFile<'_>> {
    let mut files: Vec<PrintedFile> = Vec::new();
    for line in output.lines() {
        let next = files.last_mut().and_then(|file| {
            let rest = line.strip_prefix(file.path)?;
            let text = rest.strip_prefix(&format!(":{}:", file.lines + 1))?;
            Some((file, text))
        });
        if let Some((file, text)) = next {
            file.lines += 1;
            file.content.push_str(text);
            file.content.push('\n');
        } else if let Some((path, text)) = split_first_line(line) {
            files.push(PrintedFile { path, lines: 1, content: format!("{text}\n") });
        }
    }
    files
}

/// Splits the first line of a file, which is a key of the object. A name can contain `:1:`.
fn split_first_line(line: &str) -> Option<(&str, &str)> {
    let is_key = |text: &str| {
        text.split_once(':').is_some_and(|(key, value)| {
            let is_name = key.chars().all(|c| c.is_ascii_alphanumeric());
            is_name && (value.is_empty() || value.starts_with(' '))
        })
    };
    let mut splits =
        line.match_indices(":1:").map(|(at, found)| (&line[..at], &line[at + found.len()..]));
    splits.find(|(_, text)| is_key(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PATH: &str = "/tmp/LIVE-1/v1.ConfigMap.n.a";

    /// Prints an object as `grep` does.
    fn print(folder: &str, file: &str, object: &str) -> String {
        let print = |(index, line)| format!("/tmp/{folder}/{file}:{}:{line}\n", index + 1);
        object.lines().enumerate().map(print).collect()
    }

    fn map(name: &str, data: &str, managers: &str) -> String {
        format!(
            "apiVersion: v1\ndata:\n  k: |\n    a:1:\n\n    {data}\nkind: ConfigMap\nmetadata:\n  managedFields: {managers}\n  name: {name}\n  namespace: n\n"
        )
    }

    #[test]
    fn files_are_split_by_line_numbers() {
        let output = format!(
            "{PATH}:1:a: |\n{PATH}:2:  b:1:c\n{PATH}:3:\n{PATH}:1:b:1:x: 1\n{PATH}:1:b:2:y: 2\n"
        );
        let files: Vec<_> = split_files(&output)
            .into_iter()
            .map(|file| (file.path.to_owned(), file.content))
            .collect();
        let second = (format!("{PATH}:1:b"), "x: 1\ny: 2\n".to_owned());
        assert_eq!(files, [(PATH.to_owned(), "a: |\n  b:1:c\n\n".to_owned()), second]);
    }

    #[test]
    fn documents_that_differ_are_found() {
        let document =
            |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        let fields = |manager: &str, operation: &str| {
            format!(
                "[{{manager: {manager}, operation: {operation}, apiVersion: v1, fieldsV1: {{'f:data': {{'f:k': {{}}}}}}, time: t}}]"
            )
        };
        let (kdev, kubectl) =
            (fields("kdev", "Apply"), fields("kubectl-client-side-apply", "Update"));
        let rows = [
            ("same", Some(map("same", "1", "[]")), map("same", "1", "[]")),
            ("content", Some(map("content", "1", "[]")), map("content", "2", "[]")),
            (
                "managers",
                Some(map("managers", "1", &kdev)),
                map("managers", "1", &kdev.replace("time: t", "time: u")),
            ),
            ("not owned", Some(map("not owned", "1", "[]")), map("not owned", "1", &kdev)),
            ("kubectl", Some(map("kubectl", "1", &kubectl)), map("kubectl", "1", &kdev)),
            ("new", None, map("new", "1", "[]")),
        ];
        let mut documents: Vec<String> = rows.iter().map(|(name, _, _)| document(name)).collect();
        documents.push(document("missing"));
        let file = |name: &str| format!("v1.ConfigMap.n.{name}");
        let live = rows
            .iter()
            .filter_map(|(name, live, _)| Some(print("LIVE-1", &file(name), live.as_ref()?)));
        let merged = rows.iter().map(|(name, _, merged)| print("MERGED-2", &file(name), merged));
        let output: String = live.chain(merged).collect();
        let differences = Differences::from_output(&documents, output.as_bytes(), "kdev");
        let changed = ["content", "not owned", "kubectl", "new", "missing"].map(document);
        assert_eq!(differences.changed, changed);
        assert_eq!(differences.objects.len(), 6);
        assert_eq!(differences.objects[5].live, Value::Null);
        assert_eq!(differences.objects[0].live["data"], json!({"k": "a:1:\n\n1\n"}));
    }
}
