//! `cargo kdev render`: flags and output. Prints the rendered manifests, a diff or explanations.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use clap::Args;
use kdev::{ConfigLayer, FieldOutcome, RenderRequest, Rendering};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::flags::{BuilderArgs, PackagesArgs, PullPolicyArg};
use crate::ui::{NOTE, Ui};

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    project: PackagesArgs,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// Pull policy of the containers that run the image [default: Never]
    #[arg(long, env = "KDEV_PULL_POLICY", hide_env_values = true, value_name = "POLICY")]
    pull_policy: Option<PullPolicyArg>,
    /// Show the difference from the source files
    #[arg(long)]
    pub(crate) diff: bool,
    /// Explain the change to each container
    #[arg(long)]
    pub(crate) explain: bool,
}

impl From<RenderArgs> for RenderRequest {
    fn from(render: RenderArgs) -> Self {
        Self {
            selection: render.project.into(),
            flags: ConfigLayer {
                image: render.image,
                builder: render.builder.builder,
                pull_policy: render.pull_policy.map(PullPolicyArg::into),
                ..ConfigLayer::default()
            },
        }
    }
}

/// A rendered manifest in the JSON output.
#[derive(Serialize)]
struct RenderedLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    rendering: &'a Rendering,
}

impl Ui {
    /// Prints the rendered manifests on stdout, and explanations on stderr.
    pub(crate) fn print_rendered(&self, renderings: &[Rendering], diff: bool, explain: bool) {
        if self.json {
            for rendering in renderings {
                self.stdout.write_json(&RenderedLine {
                    version: kdev::JSON_VERSION,
                    reason: "rendered",
                    rendering,
                });
            }
            return;
        }
        if explain {
            for (verb, text) in explain_fields(renderings) {
                self.print_line(NOTE, verb, &text);
            }
        }
        if diff {
            self.stdout.write_styled(format_diff(renderings));
        } else {
            // Removing colors could change the bytes.
            self.stdout.write(&join_manifests(renderings));
        }
    }
}

const TITLE: Style = Style::new().bold();
const HUNK: Style = AnsiColor::Cyan.on_default();
const OLD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Green.on_default();
/// The number of context lines in a diff.
const CONTEXT: usize = 3;

/// Joins all manifests to a stream for `kubectl`; a single one is unchanged.
pub(crate) fn join_manifests(renderings: &[Rendering]) -> String {
    let mut stream = String::new();
    for Rendering { text, .. } in renderings {
        if !stream.is_empty() {
            if !stream.ends_with('\n') {
                stream.push('\n');
            }
            stream.push_str("---\n");
        }
        let rest = if stream.is_empty() { text } else { text.trim_start_matches('\u{feff}') };
        stream.push_str(rest);
    }
    stream
}

/// Formats the difference from the source files, with colors.
pub(crate) fn format_diff(renderings: &[Rendering]) -> String {
    let mut lines = String::new();
    for rendering in renderings.iter().filter(|rendering| rendering.source != rendering.text) {
        let path = rendering.path.display().to_string();
        let rendered = format!("{path} (rendered)");
        write_diff(&mut lines, (&path, &rendered), &rendering.source, &rendering.text);
    }
    lines
}

/// Writes the difference of a file, below both of its names.
pub(crate) fn write_diff(
    lines: &mut String,
    (before, after): (&str, &str),
    source: &str,
    text: &str,
) {
    let _ = writeln!(lines, "{TITLE}--- {before}{TITLE:#}\n{TITLE}+++ {after}{TITLE:#}");
    let diff = TextDiff::from_lines(source, text);
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let _ = writeln!(lines, "{HUNK}{}{HUNK:#}", hunk.header());
        for change in hunk.iter_changes() {
            let (style, sign) = match change.tag() {
                ChangeTag::Delete => (OLD, '-'),
                ChangeTag::Insert => (NEW, '+'),
                ChangeTag::Equal => (Style::new(), ' '),
            };
            let line = change.value();
            let _ = writeln!(
                lines,
                "{style}{sign}{}{style:#}",
                line.strip_suffix('\n').unwrap_or(line)
            );
            if change.missing_newline() {
                lines.push_str("\\ No newline at end of file\n");
            }
        }
    }
}

/// Explains the change to each image field. Fields with a digest are left out: a note reports
/// them.
pub(crate) fn explain_fields(renderings: &[Rendering]) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for Rendering { path, fields, .. } in renderings {
        for field in fields.iter().filter(|field| field.outcome != FieldOutcome::HasDigest) {
            let verb = if field.outcome == FieldOutcome::OtherImage { "Kept" } else { "Rendered" };
            lines.push((verb, format!("{}:{}: {field}", path.display(), field.line)));
        }
    }
    lines
}
