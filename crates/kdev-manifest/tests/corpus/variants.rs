//! The variants: a kind, a layout, quotes, a pull policy, line endings, a spelling of the
//! image, and an extra field that a careless tool would damage.

/// The new tag.
pub(crate) const TAG: &str = "kdev-0123456789ab";
/// Each kind with its version and the path of its pod spec.
pub(crate) const KINDS: [(&str, &str, &[&str]); 9] = [
    ("Pod", "v1", &["spec"]),
    ("PodTemplate", "v1", &["template", "spec"]),
    ("ReplicationController", "v1", &["spec", "template", "spec"]),
    ("Deployment", "apps/v1", &["spec", "template", "spec"]),
    ("StatefulSet", "apps/v1", &["spec", "template", "spec"]),
    ("DaemonSet", "apps/v1", &["spec", "template", "spec"]),
    ("ReplicaSet", "apps/v1", &["spec", "template", "spec"]),
    ("Job", "batch/v1", &["spec", "template", "spec"]),
    ("CronJob", "batch/v1", &["spec", "jobTemplate", "spec", "template", "spec"]),
];
/// Spellings of the project's image, without and with a tag.
pub(crate) const IMAGES: [(&str, &str); 4] = [
    ("app", "app"),
    ("app", "app:latest"),
    ("docker.io/library/app", "docker.io/library/app:1.10"),
    ("index.docker.io/app", "index.docker.io/app"),
];
/// Pull policies: none, one to be changed, and the requested one.
pub(crate) const POLICIES: [Option<&str>; 3] = [None, Some("Always"), Some("Never")];
/// Annotations in YAML's block style.
pub(crate) const SPICES: [&str; 12] = [
    "a: \"yes\"   # a text, not a truth",
    "a: \"1_000\"\nb: '0644'\nc: \"1.10\"",
    "a: |\n  containers:\n  ---\n  - image: app\n  \n   deeper",
    "a: >-\n  folded\n\n  --- image: app",
    "größe: \"日本 🦀\"\n# ein Kommentar mit Ümlauten",
    "a: 'it''s \"ours\"'\nb: \"tab\\t \\\"image: app\\\" \\u00e9\"",
    "a: &x same\nb: *x",
    "? a\n: explicit",
    "a: \"{{ .not.a.template }}\"",
    "a: \"\"\nb: ''   \n\n\nc: \"x\"   # trailing",
    "a: !!str 123\nb: !!str \"yes\"",
    "{\"a\": \"b\", 'c': d}",
];
/// Numbers that parsers treat differently, in a field of any type.
const NUMBERS: &str = "{name: c, defaultMode: 0644, n: 1_000, big: 123456789012345678901234567890, truth: yes, version: 1.10}";

/// The layout of a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    /// Block style, lists at their key's column.
    Block,
    /// Block style, lists indented, the image first.
    Indented,
    /// The containers in flow style.
    Flow,
    /// One container merged into another one with the project's image.
    Merged,
    /// JSON on one line.
    Json,
    /// JSON on many lines, indented with tabs.
    Pretty,
    /// An item of a `List`.
    List,
}

/// Quotes around image and policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quote {
    Plain,
    Single,
    Double,
}

/// Line endings, end of the text and start of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ends {
    Lf,
    Crlf,
    NoLast,
    Bom,
}

impl Layout {
    pub(crate) const ALL: [Self; 7] = [
        Self::Block,
        Self::Indented,
        Self::Flow,
        Self::Merged,
        Self::Json,
        Self::Pretty,
        Self::List,
    ];
}

impl Quote {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Single, Self::Double];

    fn around(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Single => format!("'{text}'"),
            Self::Double => format!("\"{text}\""),
        }
    }
}

impl Ends {
    pub(crate) const ALL: [Self; 4] = [Self::Lf, Self::Crlf, Self::NoLast, Self::Bom];
}

#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) kind: usize,
    pub(crate) layout: Layout,
    pub(crate) quote: Quote,
    pub(crate) policy: usize,
    pub(crate) ends: Ends,
    pub(crate) image: usize,
    pub(crate) spice: usize,
}

/// Returns every variant.
pub(crate) fn all() -> Vec<Form> {
    let mut forms = Vec::new();
    for kind in 0..KINDS.len() {
        for layout in Layout::ALL {
            for quote in Quote::ALL {
                for policy in 0..POLICIES.len() {
                    for ends in Ends::ALL {
                        for image in 0..IMAGES.len() {
                            let spices = 0..SPICES.len();
                            forms.extend(spices.map(|spice| Form {
                                kind,
                                layout,
                                quote,
                                policy,
                                ends,
                                image,
                                spice,
                            }));
                        }
                    }
                }
            }
        }
    }
    forms
}

/// Writes the image and the pull policy of a container.
struct Values {
    image: String,
    policy: Option<String>,
}

impl Form {
    /// Returns the source text.
    pub(crate) fn source(&self) -> String {
        let policy = POLICIES[self.policy].map(|policy| self.quoted(policy));
        self.text(&Values { image: self.quoted(IMAGES[self.image].1), policy })
    }

    /// Returns the expected text. An inserted policy is not quoted, except in JSON.
    pub(crate) fn rendered(&self) -> String {
        let image = self.quoted(&format!("{}:{TAG}", IMAGES[self.image].0));
        let policy = match POLICIES[self.policy] {
            None if !self.is_json() => "Never".to_owned(),
            _ => self.quoted("Never"),
        };
        self.text(&Values { image, policy: Some(policy) })
    }

    /// Whether it can be combined with other documents.
    pub(crate) fn joins(&self) -> bool {
        self.ends != Ends::Bom && !self.is_json()
    }

    pub(crate) fn extension(&self) -> &'static str {
        if self.is_json() { "json" } else { "yaml" }
    }

    fn is_json(&self) -> bool {
        matches!(self.layout, Layout::Json | Layout::Pretty)
    }

    fn quoted(&self, text: &str) -> String {
        if self.is_json() { format!("\"{text}\"") } else { self.quote.around(text) }
    }

    fn text(&self, values: &Values) -> String {
        let text = match self.layout {
            Layout::Json => self.json(values),
            Layout::Pretty => {
                self.json(values).replace("{\"", "{\n\t\t\"").replace(",\"", ",\n\t\"")
            }
            Layout::List => {
                format!("apiVersion: v1\nkind: List\nitems:\n{}", item(&self.block(values)))
            }
            _ => self.block(values),
        };
        match self.ends {
            Ends::Lf => text,
            Ends::Crlf => text.replace('\n', "\r\n"),
            Ends::NoLast => text.trim_end_matches('\n').to_owned(),
            Ends::Bom => format!("\u{feff}{text}"),
        }
    }

    fn json(&self, Values { image, policy }: &Values) -> String {
        let (kind, version, path) = KINDS[self.kind];
        let policy = policy.as_ref().map(|policy| format!(", \"imagePullPolicy\": {policy}"));
        let container =
            format!("{{\"name\":\"ü\",\"image\":{image}{}}}", policy.unwrap_or_default());
        let other =
            r#"{"image":"redis:7.2","name":"other","args":["\"image\": \"app\"","\u00e9"]}"#;
        let spec = format!("{{\"containers\":[{container},{other}],\"n\":12345678901234567890}}");
        let nested =
            path.iter().rev().fold(spec, |inner, field| format!("{{\"{field}\":{inner}}}"));
        let rest = nested.strip_prefix('{').unwrap_or_default();
        format!(
            "{{\"apiVersion\":\"{version}\",\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"x\"}},{rest}\n"
        )
    }

    fn block(&self, values: &Values) -> String {
        let (kind, version, path) = KINDS[self.kind];
        let mut text = format!(
            "# {kind}, as a person wrote it\napiVersion: {version}\nkind: {kind}\nmetadata:\n  name: x\n  annotations:\n{}",
            indented(SPICES[self.spice], 4)
        );
        for (depth, field) in path.iter().enumerate() {
            text.extend([&" ".repeat(depth * 2), *field, ":\n"]);
        }
        text + &indented(&self.spec(values), path.len() * 2)
    }

    fn spec(&self, Values { image, policy }: &Values) -> String {
        let line = policy
            .as_ref()
            .map(|policy| format!("  imagePullPolicy: {policy}\n"))
            .unwrap_or_default();
        let entry = policy
            .as_ref()
            .map(|policy| format!(", imagePullPolicy: {policy}"))
            .unwrap_or_default();
        let other = "- name: other\n  image: redis:7.2   # not ours\n  imagePullPolicy: Always\n";
        let containers = match self.layout {
            Layout::Flow => {
                return format!(
                    "volumes: [{{name: v, configMap: {NUMBERS}}}]\ncontainers: [{{name: c, image: {image}{entry}, env: [{{name: A, value: \"yes\"}}]}}, {{name: other, image: 'redis'}}] # two\n"
                );
            }
            Layout::Merged => format!(
                "- &ours\n  image: {image}\n{line}  env: &env\n  - {{name: A, value: 'no'}}\n- <<: *ours\n  name: d\n{other}  env: *env\n"
            ),
            Layout::Indented => indented(&format!("- image: {image}\n{line}  name: c\n{other}"), 2),
            _ => format!(
                "{other}- name: c\n  # the image\n  image: {image} # ours\n{line}  command: [sh, -c, \"echo '--- image: app'\"]\n"
            ),
        };
        format!("volumes:\n- name: v\n  configMap: {NUMBERS}\n\ncontainers:\n{containers}")
    }
}

/// Indents the lines as an item of a list.
fn item(text: &str) -> String {
    indented(text, 2).replacen("  #", "-\n  #", 1)
}

fn indented(text: &str, columns: usize) -> String {
    let indent = " ".repeat(columns);
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") })
        .collect::<Vec<_>>()
        .concat()
}
