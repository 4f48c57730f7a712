//! The pages in docs/ agree with the program, and their links resolve.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::json_schema;
use crate::project::Project;
use crate::repository::{files, read, root};

/// Markdown files outside of docs/ whose links are checked.
const TOP_LEVEL: [&str; 4] = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"];
const COMMANDS: [&str; 16] = [
    "up",
    "build",
    "down",
    "load",
    "prune",
    "images",
    "render",
    "status",
    "logs",
    "forward",
    "why",
    "doctor",
    "init",
    "config",
    "completions",
    "man",
];

/// The pages, relative to docs/.
fn pages() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_page = |name: &String| {
        Path::new(name).extension().is_some_and(|end| end == "md") && name != "SUMMARY.md"
    };
    names.filter(is_page).collect()
}

/// The text without fenced code blocks.
fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2);
    outside.collect()
}

/// The targets of the links in a text.
fn links(text: &str) -> Vec<String> {
    let ends = prose(text).replace('\n', " ");
    let targets = ends.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a page: explicit ones, and those of its headings as GitHub and mdbook
/// create them.
fn anchors(text: &str) -> BTreeSet<String> {
    let is_kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let of_titles = titles.map(|title| title.chars().filter(is_kept).collect::<String>());
    let explicit = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    of_titles.map(|title| title.replace(' ', "-")).chain(explicit.map(str::to_owned)).collect()
}

/// The section of a page below this heading, up to the next one of the same level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (level, _) = heading.split_once(' ').unwrap();
    let rest = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    rest.1.split(&format!("\n{level} ")).next().unwrap()
}

/// The texts in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The long flags that begin a text in backticks.
fn flags(text: &str) -> BTreeSet<&str> {
    let words = quoted(text).filter_map(|code| code.split([' ', ',']).next());
    words.filter(|word| word.starts_with("--")).collect()
}

#[test]
fn summary_lists_every_page_once() {
    let summary = read("docs/SUMMARY.md");
    let listed = links(&summary);
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice");
    assert_eq!(unique, pages());
}

#[test]
fn links_lead_to_existing_files_and_anchors() {
    let pages = pages().into_iter().map(|page| format!("docs/{page}"));
    let files = TOP_LEVEL.iter().map(ToString::to_string).chain(["docs/SUMMARY.md".to_owned()]);
    let mut count = 0;
    for file in files.chain(pages) {
        let text = read(&file);
        let folder = root().join(&file).parent().unwrap().to_owned();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(&file) } else { folder.join(path) };
            assert!(target.exists(), "{file}: `{link}` has no target file");
            if !anchor.is_empty() {
                let known = anchors(&fs::read_to_string(&target).unwrap());
                assert!(known.contains(anchor), "{file}: `{link}` has no target anchor");
            }
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
}

#[test]
fn commands_in_pages_have_existing_flags() {
    let project = Project::new();
    let help = |command: &str| project.run(&[command, "--help"]).code(0).out().to_owned();
    let known: BTreeMap<&str, String> =
        COMMANDS.iter().map(|command| (*command, help(command))).collect();
    let pages = pages().into_iter().map(|page| format!("docs/{page}"));
    let mut count = 0;
    for file in TOP_LEVEL.iter().map(ToString::to_string).chain(pages) {
        let text = read(&file);
        for (at, start) in text.match_indices("cargo kdev ") {
            let rest = &text[at + start.len()..];
            let command = rest.split(['`', '\n', '(', ';', '|', '&', '"']).next().unwrap();
            let mut words = command.split_whitespace();
            let name = words.next().unwrap_or_default();
            let Some(help) = known.get(name) else {
                let is_command = ["`", "\n    ", "$ "].iter().any(|s| text[..at].ends_with(s));
                assert!(!is_command || name == "COMMAND", "{file}: no command `{name}`");
                continue;
            };
            for flag in words.filter(|word| word.starts_with("--")) {
                let flag = flag.trim_end_matches(['.', ',', ':']).split('=').next().unwrap();
                let is_listed = help.split([' ', ',', '\n', '[']).any(|word| word == flag);
                assert!(is_listed, "{file}: `cargo kdev {command}`: no flag `{flag}`");
                count += 1;
            }
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn exit_codes_are_the_same_everywhere() {
    let page = read("docs/exit-codes.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rows = rows.filter_map(|(code, text)| Some((code.parse().ok()?, text.strip_suffix(" |")?)));
    let listed: Vec<(u8, String)> = rows.map(|(code, text)| (code, text.to_owned())).collect();
    let help = Project::new().run(&["--help"]).code(0).out().to_owned();
    let mut printed: Vec<(u8, String)> = Vec::new();
    for line in help.split_once("Exit codes:\n").unwrap().1.lines() {
        let Some(line) = line.strip_prefix(' ').map(str::trim_start) else { break };
        if let Some((Ok(code), text)) =
            line.split_once("  ").map(|(code, text)| (code.parse(), text))
        {
            printed.push((code, text.to_owned()));
        } else {
            let text = &mut printed.last_mut().unwrap().1;
            text.push(' ');
            text.push_str(line);
        }
    }
    assert_eq!(listed, printed);
    let code = read("crates/kdev/src/exit_code.rs");
    let variants = code.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let variants: Vec<u8> = variants.map(|(_, number)| number.parse().unwrap()).collect();
    assert!(variants.len() >= 10, "{variants:?}");
    assert_eq!(listed.iter().map(|(code, _)| *code).collect::<Vec<_>>(), variants);
}

#[test]
fn configuration_page_has_every_key() {
    let page = read("docs/configuration.md");
    let config = ["keys.rs", "node_settings.rs", "helm.rs"];
    let config = config.map(|file| read(&format!("crates/kdev/src/config/{file}"))).concat();
    let keys = |name: &str| {
        let list = config.split_once(&format!("const {name}: [")).unwrap().1;
        let list = list.split_once("];").unwrap().0.to_owned();
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (top, node, helm) = (keys("KEYS"), keys("NODE_KEYS"), keys("HELM_KEYS"));
    let tables = ["container", "helm", "nodes"];
    for key in top.iter().filter(|key| !tables.contains(&key.as_str())).chain(&helm) {
        assert!(page.contains(&format!("\n{key} = ")), "no example of `{key}`");
    }
    for key in &node {
        let is_shown = ["{", ","].iter().any(|before| page.contains(&format!("{before} {key} = ")));
        assert!(is_shown, "no example of `nodes.NAME.{key}`");
    }
    let rows = section(&page, "## Keys").lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let known: BTreeSet<&str> = top.iter().chain(&node).map(String::as_str).collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(listed.len(), top.len() + node.len(), "a key is listed twice");
    let rows = section(&page, "## Charts").lines().filter_map(|line| line.strip_prefix("| `"));
    assert_eq!(
        rows.filter_map(|row| row.split('`').next()).collect::<BTreeSet<_>>(),
        helm.iter().map(String::as_str).collect()
    );
}

#[test]
fn configuration_page_has_every_variable() {
    let page = read("docs/configuration.md");
    let listed = quoted(section(&page, "## Environment variables"));
    let listed: BTreeSet<&str> = listed.filter(|word| word.starts_with("KDEV_")).collect();
    let project = Project::new();
    let help = COMMANDS.map(|name| project.run(&[name, "--help"]).code(0).out().to_owned());
    let words =
        help.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_uppercase() && c != '_'));
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("KDEV_")).collect();
    assert_eq!(listed, used);
}

#[test]
fn commands_page_has_every_command_and_flag() {
    let page = read("docs/commands.md");
    let project = Project::new();
    let help = project.run(&["--help"]).code(0).out().to_owned();
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: BTreeSet<&str> = names.filter(|name| !["", "help"].contains(name)).collect();
    assert_eq!(names, COMMANDS.into_iter().collect());
    let of_rows = |heading: &str| {
        let rows: Vec<&str> =
            section(&page, heading).lines().filter(|line| line.starts_with("| `")).collect();
        rows.iter().map(|row| row.split('|').nth(1).unwrap()).collect::<String>()
    };
    let (shared, output) = (of_rows("## Shared flags"), of_rows("## Output flags"));
    for name in COMMANDS {
        let help = project.run(&[name, "--help"]).code(0).out().to_owned();
        let used = help.lines().filter_map(|line| {
            let line = line.trim_start();
            line.starts_with('-').then(|| line.split("--").nth(1)).flatten()
        });
        let used: BTreeSet<String> =
            used.map(|rest| format!("--{}", rest.split([' ', '=']).next().unwrap())).collect();
        let heading = format!("## {name}");
        let own = of_rows(&heading);
        let (_, list) = section(&page, &heading).split_once("Shared flags: ").unwrap();
        let of_others = flags(list.split("\n\n").next().unwrap());
        assert!(of_others.is_subset(&flags(&shared)), "{name}: {of_others:?}");
        let listed = flags(&own).into_iter().chain(of_others).chain(flags(&output));
        let listed: BTreeSet<&str> = listed.chain(["--help"]).collect();
        assert_eq!(listed, used.iter().map(String::as_str).collect(), "{name}");
    }
}

#[test]
fn commands_page_has_every_build_status() {
    let code = read("crates/cargo-kdev/src/commands/status.rs");
    let labels = code.split_once("fn build_label(").unwrap().1.split_once("\n}").unwrap().0;
    let labels: BTreeSet<&str> = labels.split('"').skip(1).step_by(2).collect();
    let page = read("docs/commands.md");
    let table = section(&page, "## status").split_once("| value |").unwrap().1;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), labels);
}

#[test]
fn json_page_has_every_event_with_its_fields() {
    let code = read("crates/kdev/src/event.rs");
    let (_, events) = code.split_once("pub enum Event {\n").unwrap();
    let (events, _) = events.split_once("\n}\n").unwrap();
    let mut expected: Vec<(String, Vec<String>)> = Vec::new();
    let mut renamed = None;
    for line in events.lines().filter(|line| !line.trim_start().starts_with("///")) {
        if let Some(name) = line.strip_prefix("    ").and_then(|line| line.strip_suffix(" {")) {
            let kebab = name.chars().enumerate().map(|(at, c)| match c {
                'A'..='Z' if at > 0 => format!("-{}", c.to_ascii_lowercase()),
                _ => c.to_ascii_lowercase().to_string(),
            });
            expected.push((kebab.collect(), Vec::new()));
        } else if let Some((_, rest)) = line.split_once("rename = \"") {
            renamed = rest.split('"').next().map(str::to_owned);
        } else if let Some((field, _)) = line.trim().split_once(": ") {
            let field = renamed.take().unwrap_or_else(|| field.to_owned());
            expected.last_mut().unwrap().1.push(field);
        }
    }
    let page = read("docs/json-messages.md");
    let rows = section(&page, "## Progress").lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<(String, Vec<String>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            let words = |cell: &str| quoted(cell).map(str::to_owned).collect::<Vec<_>>();
            (words(cells[1]).concat(), words(cells[2]))
        })
        .collect();
    assert_eq!(listed, expected);
    for (reason, fields) in expected {
        let in_schema = json_schema::fields(&reason);
        let of_schema = in_schema.map(BTreeSet::from_iter);
        let schema = "docs/json-messages.schema.json";
        assert_eq!(of_schema, Some(BTreeSet::from_iter(fields)), "{schema}: {reason}");
    }
}

/// The fields of a struct in this file that are serialized.
fn serialized(file: &str, name: &str) -> BTreeSet<String> {
    let code = read(file);
    let body = code.split_once(&format!("struct {name} {{\n")).unwrap().1;
    let body = body.split_once("\n}").unwrap().0;
    let mut lines = body.lines().map(str::trim).filter(|line| !line.starts_with("///"));
    let mut fields = BTreeSet::new();
    while let Some(line) = lines.next() {
        if line == "#[serde(skip)]" {
            lines.next();
        } else if !line.starts_with("#[") {
            let field = line.trim_start_matches("pub ").split(':').next().unwrap();
            fields.insert(field.to_owned());
        }
    }
    fields
}

#[test]
fn json_page_has_every_field_of_a_result() {
    let page = read("docs/json-messages.md");
    let commands = "crates/kdev/src/commands";
    let results = [
        ("## Status", format!("{commands}/status/rows.rs"), "StatusRow"),
        ("## Images", format!("{commands}/images.rs"), "ImageRow"),
        ("## Log lines", "crates/cargo-kdev/src/commands/logs.rs".to_owned(), "LogRecord<'a>"),
        ("## Diagnoses", format!("{commands}/why/mod.rs"), "WorkloadReport"),
        ("## Diagnoses", "crates/kdev-diagnosis/src/diagnosis.rs".to_owned(), "Diagnosis"),
        ("## Check results", format!("{commands}/doctor/report.rs"), "CheckResult"),
        ("## Rendered manifests", format!("{commands}/render.rs"), "Rendering"),
        ("## Settings", format!("{commands}/config.rs"), "ConfigValue"),
        ("## Inputs", format!("{commands}/inputs.rs"), "InputRow"),
        ("## First files", "crates/kdev/src/init/plan.rs".to_owned(), "InitReport"),
        ("## First files", "crates/kdev/src/init/plan.rs".to_owned(), "InitFinding"),
        ("## First files", "crates/kdev/src/init/plan.rs".to_owned(), "InitFile"),
        ("## Errors", "crates/cargo-kdev/src/ui/error.rs".to_owned(), "Report"),
    ];
    for (heading, file, name) in results {
        let listed: BTreeSet<&str> = quoted(section(&page, heading)).collect();
        let fields = serialized(&file, name);
        assert!(fields.len() > 2, "{name}: {fields:?}");
        for field in fields {
            assert!(listed.contains(field.as_str()), "{name}: `{field}` is not listed");
        }
    }
}

#[test]
fn doctor_page_has_every_check() {
    let folder = files(&root().join("crates/kdev/src/commands/doctor"));
    let sources = folder.iter().filter(|path| !path.ends_with("node_tests.rs"));
    let code: String = sources
        .map(|path| fs::read_to_string(path).unwrap())
        .map(|text| text.split("#[cfg(test)]").next().unwrap().to_owned())
        .collect();
    let results = code.split("CheckGroup::").skip(1).filter_map(|rest| {
        let (_, after) = rest.split_once(',').filter(|(group, _)| !group.contains(' '))?;
        after.trim_start().strip_prefix('"')?.split('"').next()
    });
    let literals: BTreeSet<&str> = code.split('"').skip(1).step_by(2).collect();
    let permissions = literals.iter().copied().filter(|text| text.starts_with("permissions-"));
    let used: BTreeSet<&str> = results.chain(permissions).collect();
    let page = read("docs/doctor.md");
    let rows = section(&page, "## Checks").lines().filter(|line| line.starts_with("| `"));
    let listed: BTreeSet<&str> =
        rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap())).collect();
    let tools = ["cargo", "docker", "podman", "kubectl", "ssh", "helm"];
    for check in &listed {
        assert!(literals.contains(check) || tools.contains(check), "no check is named `{check}`");
    }
    let missing: Vec<&&str> = used.difference(&listed).collect();
    assert!(used.len() > 25 && missing.is_empty(), "not listed: {missing:?}");
}
