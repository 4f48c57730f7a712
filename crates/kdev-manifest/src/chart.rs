//! The template functions that a chart uses, and the fields that differ between two renderings.

use std::collections::BTreeSet;

use serde_yaml::Value;

use crate::definitions::Definition;

/// Functions whose result differs from one rendering to the next.
const VARYING: [&str; 21] = [
    "now",
    "ago",
    "randAlphaNum",
    "randAlpha",
    "randAscii",
    "randNumeric",
    "randBytes",
    "randInt",
    "shuffle",
    "uuidv4",
    "genPrivateKey",
    "genCA",
    "genCAWithKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "htpasswd",
    "bcrypt",
    "encryptAES",
    "getHostByName",
];

/// The functions and values that make the output of a chart depend on the cluster or the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChartFeatures {
    /// It reads live objects.
    pub uses_lookup: bool,
    /// It may create random values or read the time.
    pub may_vary: bool,
    /// It depends on the Kubernetes version or on the APIs of the cluster.
    pub uses_capabilities: bool,
    /// String literals in the templates that may be API versions, such as `apps/v1`.
    pub api_versions: BTreeSet<String>,
}

impl ChartFeatures {
    /// Adds the features of a file of the chart.
    pub fn add_file(&mut self, text: &str) {
        self.uses_capabilities |= text.lines().any(|line| line.starts_with("kubeVersion:"));
        let mut rest = text;
        while let Some((_, action)) = rest.split_once("{{") {
            let Some((action, after)) = action.split_once("}}") else { return };
            self.add_action(action);
            rest = after;
        }
    }

    fn add_action(&mut self, action: &str) {
        if action.trim_start_matches('-').trim_start().starts_with("/*") {
            return;
        }
        let quote = |c: char| c == '"' || c == '`';
        // Outside and inside of quotes, in turn.
        for (index, part) in action.split(quote).enumerate() {
            if index % 2 == 1 {
                if part.split('/').count() > 1 && !part.contains(char::is_whitespace) {
                    self.api_versions.insert(part.to_owned());
                }
                continue;
            }
            self.uses_capabilities |= part.contains(".Capabilities");
            for word in part.split(|c: char| !c.is_alphanumeric() && !"._$".contains(c)) {
                self.uses_lookup |= word == "lookup";
                self.may_vary |= VARYING.contains(&word);
            }
        }
    }
}

/// An object of which two renderings differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaryingObject {
    pub group: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    /// The fields that differ; empty if the second rendering does not have the object.
    pub fields: Vec<String>,
}

/// Returns the objects of the first rendering that the second one does not repeat.
pub fn varying_objects(first: &[Definition], second: &[Definition]) -> Vec<VaryingObject> {
    let mut found = Vec::new();
    for one in first {
        let key =
            |d: &Definition| (d.group.clone(), d.kind.clone(), d.namespace.clone(), d.name.clone());
        let other = second.iter().find(|other| key(other) == key(one));
        if other.is_some_and(|other| other.content == one.content) {
            continue;
        }
        let mut fields = Vec::new();
        if let Some(other) = other {
            differing_fields(&one.content, &other.content, &mut Vec::new(), &mut fields);
        }
        let (group, kind, namespace, name) = key(one);
        found.push(VaryingObject { group, kind, namespace, name, fields });
    }
    found
}

fn differing_fields(one: &Value, other: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Mapping(one), Value::Mapping(other)) => {
            for (key, value) in one {
                path.push(key.as_str().unwrap_or_default().to_owned());
                differing_fields(value, other.get(key).unwrap_or(&Value::Null), path, found);
                path.pop();
            }
        }
        (Value::Sequence(one), Value::Sequence(other)) if one.len() == other.len() => {
            for (one, other) in one.iter().zip(other) {
                differing_fields(one, other, path, found);
            }
        }
        _ if one == other => {}
        _ => found.push(path.join(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::definitions;

    fn features(text: &str) -> ChartFeatures {
        let mut features = ChartFeatures::default();
        features.add_file(text);
        features
    }

    #[test]
    fn functions_are_found_in_actions_only() {
        // Text, and whether it uses `lookup`, may vary, and uses capabilities.
        let table = [
            (
                "a: {{ (lookup \"v1\" \"Secret\" .Release.Namespace \"s\").data }}",
                (true, false, false),
            ),
            ("{{- $s := lookup\n  \"v1\" \"Secret\" }}", (true, false, false)),
            ("{{- /* lookup */ -}}{{/* now */}}", (false, false, false)),
            ("# lookup now\na: dns-lookup", (false, false, false)),
            ("{{ .Values.lookup }} {{ $now }} {{ include \"now\" . }}", (false, false, false)),
            ("{{ randAlphaNum 16 | b64enc }}", (false, true, false)),
            ("{{ date \"2006\" (now) }}", (false, true, false)),
            ("{{ $ca := genCA \"ca\" 365 }}", (false, true, false)),
            ("{{ if .Capabilities.APIVersions.Has \"a.b/v1\" }}", (false, false, true)),
            (
                "{{ if semverCompare \">=1.19\" $.Capabilities.KubeVersion.Version }}",
                (false, false, true),
            ),
            ("kubeVersion: '>=1.25'", (false, false, true)),
            ("{{ lookup", (false, false, false)),
        ];
        for (text, expected) in table {
            let found = features(text);
            let found = (found.uses_lookup, found.may_vary, found.uses_capabilities);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn possible_api_versions_are_collected() {
        let text = "{{ if .Capabilities.APIVersions.Has \"a.b/v1/Kind\" }}{{ end }}{{ include \"x y/z\" . }}{{ `c/v2` }} \"d/v1\"";
        let found = features(text).api_versions;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a.b/v1/Kind", "c/v2"]);
    }

    #[test]
    fn differing_fields_are_found_per_object() {
        let text = |password: &str, suffix: &str| {
            format!(
                "kind: Secret\nmetadata: {{name: s}}\ndata: {{a: '1', b: '{password}'}}\n---\nkind: ConfigMap\nmetadata: {{name: c}}\n---\nkind: Job\nmetadata: {{name: j-{suffix}}}\n---\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{image: 'a:{suffix}'}}]}}\n"
            )
        };
        let read = |text: &str| definitions(text).unwrap();
        let first = read(&text("x", "1"));
        assert_eq!(varying_objects(&first, &first), []);
        let found = varying_objects(&first, &read(&text("y", "2")));
        let found: Vec<_> = found.into_iter().map(|o| (o.name, o.fields.join(" "))).collect();
        let expected = [("s", "data.b"), ("j-1", ""), ("p", "spec.containers.image")];
        assert_eq!(found, expected.map(|(name, fields)| (name.to_owned(), fields.to_owned())));
    }
}
