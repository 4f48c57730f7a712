//! `cargo kdev images`: flags and output.

use std::fmt::Write as _;

use clap::Args;
use indicatif::HumanBytes;
use jiff::{SignedDuration, Timestamp};
use kdev::{ConfigLayer, ImageRow, ImagesReport, ImagesRequest, pluralize};
use serde::Serialize;

use crate::flags::{BuilderArgs, ClusterArgs, ProjectArgs};
use crate::ui::wrap::stdout_width;
use crate::ui::{NOTE, Ui};

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// List the images of this node only (repeatable) [default: all nodes that accept pods]
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// SSH configuration file to use instead of the default
    #[arg(long, env = "KDEV_SSH_CONFIG", hide_env_values = true, value_name = "PATH")]
    ssh_config: Option<std::path::PathBuf>,
}

impl From<ImagesArgs> for ImagesRequest {
    fn from(images: ImagesArgs) -> Self {
        Self {
            selection: images.project.into(),
            target: images.cluster.into(),
            nodes: images.nodes,
            flags: ConfigLayer {
                image: images.image,
                builder: images.builder.builder,
                ssh_config: images.ssh_config,
                ..ConfigLayer::default()
            },
        }
    }
}

/// A row in the JSON output.
#[derive(Serialize)]
struct ImageLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    row: &'a ImageRow,
}

/// The number of spaces between columns.
const GAP: usize = 2;
/// Without a terminal, lines have any length.
const NO_LIMIT: usize = usize::MAX;
/// The columns that are removed on a narrow terminal, in this order.
const OPTIONAL: [&str; 3] = ["SHARED", "AGE", "SIZE"];
/// The shortest width of the last column, for which the others make room.
const MIN_LAST: usize = 10;

impl Ui {
    /// Prints the builds as a table, or as a line of JSON each.
    pub(crate) fn print_images(&self, report: &ImagesReport) {
        if self.json {
            for row in &report.rows {
                let (version, reason) = (kdev::JSON_VERSION, "image");
                self.stdout.write_json(&ImageLine { version, reason, row });
            }
        } else if report.rows.is_empty() {
            self.print_line(NOTE, "Note", &format!("no builds of `{}` found", report.image));
        } else {
            let text = format_table(&report.rows, Timestamp::now(), stdout_width());
            self.stdout.write_styled(format_args!("{text}"));
        }
    }
}

/// Formats the table.
fn format_table(rows: &[ImageRow], now: Timestamp, width: Option<usize>) -> String {
    let width = width.unwrap_or(NO_LIMIT);
    let bytes = |bytes: Option<u64>| {
        bytes.map_or_else(|| "-".to_owned(), |bytes| HumanBytes(bytes).to_string())
    };
    let place = |row: &ImageRow| {
        let engine = row.engine.map(|engine| engine.to_string());
        row.node.clone().or(engine).unwrap_or_default()
    };
    let cells = |cell: &dyn Fn(&ImageRow) -> String| rows.iter().map(cell).collect();
    let mut columns: Vec<(&str, Vec<String>)> = vec![
        ("WHERE", cells(&place)),
        ("TAG", cells(&|row| row.tag.clone())),
        ("SIZE", cells(&|row| bytes(row.bytes))),
        ("SHARED", cells(&|row| bytes(row.shared_bytes))),
        ("AGE", cells(&|row| age(row, now))),
        ("USED BY", cells(&users)),
    ];
    for name in OPTIONAL {
        if fixed_width(&columns) + MIN_LAST > width {
            columns.retain(|(column, _)| *column != name);
        }
    }
    let last = width.saturating_sub(fixed_width(&columns)).max(MIN_LAST);
    let mut text = String::new();
    for at in 0..=rows.len() {
        let cell = |(name, cells): &(&str, Vec<String>)| {
            at.checked_sub(1).map_or_else(|| (*name).to_owned(), |at| cells[at].clone())
        };
        let mut line = String::new();
        for (index, column) in columns.iter().enumerate() {
            let cell = cell(column);
            if index + 1 == columns.len() {
                line.push_str(&shorten(&cell, last));
            } else {
                let _ = write!(line, "{cell:0$}", column_width(column) + GAP);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns the width of all columns except for the last one, with their gaps.
fn fixed_width(columns: &[(&str, Vec<String>)]) -> usize {
    columns.iter().rev().skip(1).map(|column| column_width(column) + GAP).sum()
}

fn column_width((name, cells): &(&str, Vec<String>)) -> usize {
    cells
        .iter()
        .map(String::as_str)
        .chain([*name])
        .map(|cell| cell.chars().count())
        .max()
        .unwrap_or(0)
}

fn shorten(cell: &str, room: usize) -> String {
    if cell.chars().count() <= room {
        return cell.to_owned();
    }
    format!("{}…", cell.chars().take(room - 1).collect::<String>())
}

/// Returns the pods or the number of containers that use a build, and its marks.
fn users(row: &ImageRow) -> String {
    let users = match (row.pods.as_slice(), row.containers) {
        ([], None | Some(0)) => None,
        ([], Some(count)) => Some(pluralize(count, "container")),
        (pods, _) => Some(pods.join(", ")),
    };
    let latest = (row.latest == Some(true)).then(|| "latest".to_owned());
    let pinned = (row.pinned == Some(true)).then(|| "pinned".to_owned());
    let marks: Vec<String> = [latest, pinned].into_iter().flatten().collect();
    match (users, marks.is_empty()) {
        (Some(users), true) => users,
        (Some(users), false) => format!("{users} ({})", marks.join(", ")),
        (None, true) => "-".to_owned(),
        (None, false) => format!("- ({})", marks.join(", ")),
    }
}

fn age(row: &ImageRow, now: Timestamp) -> String {
    let time = row.time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
    time.map_or_else(|| "-".to_owned(), |time| format_age(now.duration_since(time)))
}

/// Formats an age with its largest unit.
fn format_age(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn row(fields: &Value) -> ImageRow {
        let mut row = json!({"node": "node-1", "engine": null, "image": "app:kdev-0123456789ab",
            "tag": "kdev-0123456789ab", "latest": null, "bytes": null, "shared_bytes": null,
            "time": null, "pinned": null, "pods": [], "containers": null});
        for (key, value) in fields.as_object().unwrap() {
            row[key] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn rows() -> Vec<ImageRow> {
        [
            json!({"latest": true, "bytes": 5_300_000, "shared_bytes": 4_200_000, "pinned": true,
                "time": "2026-01-01T00:00:00Z", "pods": ["default/hello-5d9c7b8f-x2x7p"], "containers": 1}),
            json!({"pinned": false, "containers": 0}),
            json!({"node": null, "engine": "docker", "latest": true, "bytes": 5_000_000,
                "time": "2025-12-30T00:00:00Z", "containers": 2}),
        ]
        .iter()
        .map(row)
        .collect()
    }

    #[test]
    fn table_fits_the_terminal() {
        let now: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
        let table = [
            (
                None,
                "WHERE   TAG                SIZE      SHARED    AGE  USED BY
node-1  kdev-0123456789ab  5.05 MiB  4.01 MiB  5m   default/hello-5d9c7b8f-x2x7p (latest, pinned)
node-1  kdev-0123456789ab  -         -         -    -
Docker  kdev-0123456789ab  4.77 MiB  -         2d   2 containers (latest)
",
            ),
            (
                Some(80),
                "WHERE   TAG                SIZE      SHARED    AGE  USED BY
node-1  kdev-0123456789ab  5.05 MiB  4.01 MiB  5m   default/hello-5d9c7b8f-x2x7…
node-1  kdev-0123456789ab  -         -         -    -
Docker  kdev-0123456789ab  4.77 MiB  -         2d   2 containers (latest)
",
            ),
            (
                Some(40),
                "WHERE   TAG                USED BY
node-1  kdev-0123456789ab  default/hell…
node-1  kdev-0123456789ab  -
Docker  kdev-0123456789ab  2 containers…
",
            ),
        ];
        for (width, expected) in table {
            assert_eq!(format_table(&rows(), now, width), expected);
        }
    }
}
