//! `cargo kdev status`: flags and output. Prints a table, and redraws it with `--watch`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use anstyle::{AnsiColor, Style};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kdev::{BuildStatus, ConfigLayer, Reference, Status, StatusRequest, StatusRow};
use serde::Serialize;

use crate::flags::{BuilderArgs, ClusterArgs, PackagesArgs};
use crate::ui::progress::{adapt_colors, is_dumb};
use crate::ui::rollout::shorten_start;
use crate::ui::stdout::Stdout;
use crate::ui::wrap::{stdout_width, wrap_text};
use crate::ui::{NOTE, Ui};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    project: PackagesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Refresh every two seconds until interrupted; if stdout is not a
    /// terminal, print only changes
    #[arg(short, long)]
    pub(crate) watch: bool,
}

impl From<StatusArgs> for StatusRequest {
    fn from(status: StatusArgs) -> Self {
        Self {
            selection: status.project.into(),
            target: status.cluster.into(),
            watch: status.watch,
            flags: ConfigLayer {
                image: status.image,
                builder: status.builder.builder,
                namespace: status.namespace,
                ..ConfigLayer::default()
            },
        }
    }
}

/// A row in the JSON output.
#[derive(Serialize)]
struct StatusLine<'a> {
    version: u32,
    /// `status`, or `gone` for a row of the previous status that no longer exists.
    reason: &'static str,
    latest: Option<&'a str>,
    #[serde(flatten)]
    row: &'a StatusRow,
}

/// Prints a line for each row that changed or no longer exists.
fn print_status_lines(stdout: &Stdout, status: &Status, last: Option<&Status>) {
    let line = |reason, row| {
        let latest = status.latest.as_deref();
        stdout.write_json(&StatusLine { version: kdev::JSON_VERSION, reason, latest, row });
    };
    let before = last.map(|last| last.rows.as_slice()).unwrap_or_default();
    let has_same_latest = last.is_some_and(|last| last.latest == status.latest);
    status
        .rows
        .iter()
        .filter(|row| !has_same_latest || !before.contains(row))
        .for_each(|row| line("status", row));
    let still_exists = |old: &&StatusRow| {
        status.rows.iter().any(|row| (&row.workload, &row.pod) == (&old.workload, &old.pod))
    };
    before.iter().filter(|old| !still_exists(old)).for_each(|row| line("gone", row));
}

impl Ui {
    /// Prints a status. A watch on a terminal redraws the screen; otherwise the status is printed
    /// only if it changed.
    pub(crate) fn print_status(&self, status: &Status, watch: bool) {
        let last = self.state().status.replace(status.clone());
        if self.json {
            return print_status_lines(&self.stdout, status, last.as_ref());
        }
        let is_changed = last.as_ref() != Some(status);
        let screen = Screen::from_stdout();
        match (watch, screen) {
            (true, Some(screen)) => {
                self.stdout.write(&screen.format_redraw(status, last.is_none()));
            }
            _ if is_changed => {
                let between = if last.is_some() { "\n" } else { "" };
                let text = format_table(status, Timestamp::now(), stdout_width());
                self.stdout.write_styled(format_args!("{between}{text}"));
                if !self.quiet {
                    for note in notes(status) {
                        self.print_line(NOTE, "Note", &note);
                    }
                }
            }
            _ => {}
        }
    }

    /// Ends the line on which the terminal printed `^C`.
    pub(crate) fn end_watch(&self, watch: bool) {
        if watch && !self.json && io::stderr().is_terminal() {
            let _ = writeln!(io::stderr());
        }
    }
}

const HEAD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const OUTDATED: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const PLAIN: Style = Style::new();
/// The number of spaces between columns.
const GAP: usize = 2;
/// The columns that can be shortened on a narrow terminal, with their minimum widths. Names keep
/// their end, other cells their beginning.
const MIN_WIDTHS: [(&str, usize); 5] =
    [("POD", 9), ("WORKLOAD", 9), ("NAMESPACE", 9), ("STATUS", 11), ("BUILD", 9)];

/// The name and the cells of a column.
struct Column {
    name: &'static str,
    cells: Vec<String>,
}

/// The columns that are removed on a narrow terminal, in this order. With a value, a column is
/// removed only if it has no other value.
const OPTIONAL_COLUMNS: [(&str, Option<&str>); 7] = [
    ("RESTARTS", Some("0")),
    ("POLICY", Some("Never")),
    ("TAG", None),
    ("AGE", None),
    ("POLICY", None),
    ("RESTARTS", None),
    ("NODE", None),
];

/// Pod states that are not a problem.
const NORMAL_STATES: [&str; 7] = [
    "Ready",
    "Running",
    "Completed",
    "Pending",
    "ContainerCreating",
    "Initializing",
    "Terminating",
];

/// The size of a terminal that can be redrawn.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    width: usize,
    height: usize,
}

impl Screen {
    /// Returns the terminal of stdout, if it is one.
    pub(crate) fn from_stdout() -> Option<Self> {
        let (height, width) = console::Term::stdout().size_checked()?;
        (width > 0 && height > 1 && !is_dumb())
            .then_some(Self { width: width.into(), height: height.into() })
    }

    /// Formats a redraw of the screen, for a single write, which avoids flicker.
    pub(crate) fn format_redraw(self, status: &Status, is_first: bool) -> String {
        let colored = adapt_colors(&self.format_page(status, Timestamp::now()), &io::stdout());
        let begin = if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H" };
        format!("{begin}{}\x1b[J", colored.replace('\n', "\x1b[K\n"))
    }

    /// Formats the table and the notes. The last line of the screen stays free for the cursor.
    fn format_page(self, status: &Status, now: Timestamp) -> String {
        let notes = notes(status);
        let notes: Vec<String> =
            notes.iter().map(|note| wrap_text(note, 0, 2, Some(self.width))).collect();
        let rows = |note: &String| {
            note.lines().map(|line| char_count(line).div_ceil(self.width)).sum::<usize>()
        };
        let room = self.height.saturating_sub(1 + notes.iter().map(rows).sum::<usize>()).max(2);
        let text = format_table(status, now, Some(self.width));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() > room {
            let more = lines.split_off(room - 1).len();
            lines.push(format!("… {more} more"));
        }
        lines.extend(notes);
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

/// Formats the table; empty if nothing was applied.
pub(crate) fn format_table(status: &Status, now: Timestamp, width: Option<usize>) -> String {
    if is_nothing_applied(status) {
        return String::new();
    }
    let mut columns = build_columns(&status.rows, now);
    if let Some(width) = width {
        fit_columns(&mut columns, width);
    }
    let head: Vec<(String, Style)> =
        columns.iter().map(|column| (column.name.to_owned(), HEAD)).collect();
    let mut text = format_row(&columns, &head);
    for (at, row) in status.rows.iter().enumerate() {
        let cell = |column: &Column| {
            let style = if column.name == "BUILD" { build_style(row.build) } else { PLAIN };
            (column.cells[at].clone(), style)
        };
        let cells: Vec<(String, Style)> = columns.iter().map(cell).collect();
        text.push_str(&format_row(&columns, &cells));
    }
    text
}

/// Returns the notes on a status.
pub(crate) fn notes(status: &Status) -> Vec<String> {
    let Status { package, context, namespace, flags, .. } = status;
    if is_nothing_applied(status) {
        return vec![format!(
            "`{package}` is not applied to namespace `{namespace}` of context `{context}`; run `cargo kdev up{flags}` to apply it"
        )];
    }
    let is_outdated = |row: &StatusRow| {
        row.build == Some(BuildStatus::Outdated) && row.applied != Some(BuildStatus::Latest)
    };
    let mut notes = Vec::new();
    if let Some(error) = &status.docker_error {
        notes.push(format!("the latest build is unknown: {error}"));
    } else if status.latest.is_none() {
        notes.push(format!(
            "the latest build is unknown: {} has no image of this project",
            status.engine
        ));
    }
    if status.rows.iter().any(is_outdated) {
        notes.push(format!(
            "some pods use an outdated build; run `cargo kdev up{flags}` to deploy the latest"
        ));
    }
    if status.rows.iter().any(needs_attention) {
        notes.push(format!(
            "some pods have problems; run `cargo kdev why{flags}` to find the cause"
        ));
    }
    notes
}

/// Returns whether a row has a state or build that will not resolve itself.
fn needs_attention(row: &StatusRow) -> bool {
    let is_job = row.workload.starts_with("job/") || row.workload.starts_with("cronjob/");
    let is_not_replaced =
        row.build == Some(BuildStatus::Outdated) && row.applied == Some(BuildStatus::Latest);
    matches!(row.build, Some(BuildStatus::Missing | BuildStatus::NotThisProject))
        || is_not_replaced
        || (!is_job && row.ready < row.desired)
        || (row.pod.is_some() && !NORMAL_STATES.contains(&row.state.as_str()))
}

fn is_nothing_applied(status: &Status) -> bool {
    status.rows.iter().all(StatusRow::is_absent)
}

fn build_columns(rows: &[StatusRow], now: Timestamp) -> Vec<Column> {
    let column = |name, cell: &dyn Fn(&StatusRow) -> String| Column {
        name,
        cells: rows.iter().map(cell).collect(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut columns = vec![
        column("NAMESPACE", &|row| row.namespace.clone()),
        column("WORKLOAD", &|row| row.workload.clone()),
        column("READY", &|row| match (row.ready, row.desired) {
            (Some(ready), Some(wanted)) => format!("{ready}/{wanted}"),
            _ => "-".to_owned(),
        }),
        column("POD", &|row| text(&row.pod)),
        column("NODE", &|row| text(&row.node)),
        column("STATUS", &|row| row.state.clone()),
        column("TAG", &image_label),
        column("BUILD", &|row| row.build.map_or("-", build_label).to_owned()),
        column("POLICY", &|row| text(&row.pull_policy)),
        column("RESTARTS", &|row| match row.pod {
            Some(_) => row.restarts.to_string(),
            None => "-".to_owned(),
        }),
        column("AGE", &|row| {
            let created = row.created.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
            created.map_or_else(|| "-".to_owned(), |time| format_age(now.duration_since(time)))
        }),
    ];
    if rows.iter().all(|row| row.namespace == rows[0].namespace) {
        columns.remove(0);
    }
    columns
}

/// Returns the tag, or the full name of an image that is not a build of the project.
fn image_label(row: &StatusRow) -> String {
    let Some(image) = &row.image else { return "-".to_owned() };
    match Reference::parse(image) {
        Ok(reference) if row.build == Some(BuildStatus::NotThisProject) => reference.familiar(),
        Ok(reference) => reference.tag().unwrap_or(image).to_owned(),
        Err(_) => image.clone(),
    }
}

fn build_label(build: BuildStatus) -> &'static str {
    match build {
        BuildStatus::Latest => "latest",
        BuildStatus::NotStarted => "not started",
        BuildStatus::Outdated => "outdated",
        BuildStatus::NotThisProject => "other image",
        BuildStatus::Missing => "not on node",
        _ => "unknown",
    }
}

fn build_style(build: Option<BuildStatus>) -> Style {
    match build {
        Some(BuildStatus::Latest) => GOOD,
        Some(BuildStatus::Outdated) => OUTDATED,
        Some(BuildStatus::NotThisProject | BuildStatus::Missing) => BAD,
        _ => PLAIN,
    }
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(String::as_str).chain([self.name]).map(char_count).max().unwrap_or(0)
    }

    /// The width of the shortened column.
    fn min_width(&self) -> usize {
        let least = MIN_WIDTHS.iter().find(|(name, _)| *name == self.name);
        least.map_or(self.width(), |(_, least)| self.width().min(*least))
    }

    fn contains_only(&self, value: &str) -> bool {
        self.cells.iter().all(|cell| cell == value || cell == "-")
    }
}

/// The width of a text; names in Kubernetes are ASCII.
fn char_count(text: &str) -> usize {
    text.chars().count()
}

fn total_width(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + GAP).sum::<usize>().saturating_sub(GAP)
}

/// Removes columns, then shortens cells, until the table fits.
fn fit_columns(columns: &mut Vec<Column>, width: usize) {
    for (name, value) in OPTIONAL_COLUMNS {
        if total_width(columns) > width {
            columns.retain(|column| {
                column.name != name || value.is_some_and(|value| !column.contains_only(value))
            });
        }
    }
    for name in [less_informative_column(columns), "NAMESPACE"] {
        let least: usize = columns.iter().map(|column| column.min_width() + GAP).sum();
        if least.saturating_sub(GAP) > width {
            columns.retain(|column| column.name != name);
        }
    }
    for (name, least) in MIN_WIDTHS {
        let excess = total_width(columns).saturating_sub(width);
        if let Some(column) = columns.iter_mut().find(|column| column.name == name) {
            let room = column.width().saturating_sub(excess).max(least);
            column.cells.iter_mut().for_each(|cell| *cell = shorten_cell(name, cell, room));
        }
    }
}

/// Returns the column to remove first. The name of a pod contains that of its workload, so it is
/// sufficient if there is only one workload.
fn less_informative_column(columns: &[Column]) -> &'static str {
    let cells = |name: &str| {
        let column = columns.iter().find(|column| column.name == name);
        column.map(|column| column.cells.as_slice()).unwrap_or_default()
    };
    let workloads = cells("WORKLOAD");
    let has_one_workload = workloads.iter().all(|workload| *workload == workloads[0]);
    let has_pods = cells("POD").iter().all(|pod| pod != "-");
    if has_one_workload && has_pods { "WORKLOAD" } else { "POD" }
}

fn shorten_cell(column: &str, cell: &str, room: usize) -> String {
    match column {
        "STATUS" | "BUILD" if char_count(cell) > room => {
            format!("{}…", cell.chars().take(room - 1).collect::<String>())
        }
        _ => shorten_start(cell, room),
    }
}

fn format_row(columns: &[Column], cells: &[(String, Style)]) -> String {
    let mut line = String::new();
    for (at, (column, (cell, style))) in columns.iter().zip(cells).enumerate() {
        let is_last = at + 1 == columns.len();
        let space = if is_last { 0 } else { column.width() + GAP - char_count(cell) };
        let _ = write!(line, "{style}{cell}{style:#}{:space$}", "");
    }
    line.push('\n');
    line
}

/// Formats an age as `kubectl` does: the older, the less precise.
fn format_age(time: SignedDuration) -> String {
    let seconds = u64::try_from(time.as_secs()).unwrap_or_default();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let format_two = |big: u64, unit: char, small: u64, part: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{part}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format_two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => format_two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => format_two(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
