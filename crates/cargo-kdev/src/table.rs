//! Draws a status: one table, as wide as there is room for.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};
use kdev::{Freshness, Reference, Row, Status};

const HEAD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const STALE: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const PLAIN: Style = Style::new();
/// Between two columns.
const GAP: usize = 2;
/// What is left of a pod's name where there is no room for it.
const SHORTEST: usize = 9;

/// What a column is called, and what it says of a row.
struct Column {
    name: &'static str,
    cells: Vec<String>,
}

/// What goes first where the terminal is narrow; the first two only where they
/// say what they say in most rows of most projects.
const DISPENSABLE: [(&str, Option<&str>); 7] = [
    ("RESTARTS", Some("0")),
    ("POLICY", Some("Never")),
    ("TAG", None),
    ("AGE", None),
    ("POLICY", None),
    ("RESTARTS", None),
    ("NODE", None),
];

/// A terminal that can be drawn on.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) width: usize,
    height: usize,
}

impl Screen {
    /// That of stdout, if it is one.
    pub(crate) fn here() -> Option<Self> {
        let (height, width) = console::Term::stdout().size_checked()?;
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        (width > 0 && height > 1 && !is_dumb)
            .then_some(Self { width: width.into(), height: height.into() })
    }

    /// Draws over what was drawn before, in one go, so that nothing flickers.
    pub(crate) fn redraw(self, status: &Status, is_first: bool) {
        let choice = anstream::AutoStream::choice(&io::stdout());
        let mut coloured = anstream::AutoStream::new(Vec::new(), choice);
        let _ = write!(coloured, "{}", self.page(status, Timestamp::now()));
        let coloured = String::from_utf8_lossy(&coloured.into_inner()).into_owned();
        let begin = if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H" };
        let drawn = format!("{begin}{}\x1b[J", coloured.replace('\n', "\x1b[K\n"));
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(drawn.as_bytes());
        let _ = stdout.flush();
    }

    /// Table and notes, as far as there is room; the last line is the cursor's.
    fn page(self, status: &Status, now: Timestamp) -> String {
        let notes = notes(status);
        let wrapped: usize = notes.iter().map(|note| chars(note).div_ceil(self.width)).sum();
        let room = self.height.saturating_sub(1 + wrapped).max(2);
        let text = text(status, now, Some(self.width));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() > room {
            let more = lines.split_off(room - 1).len();
            lines.push(format!("… {more} more"));
        }
        lines.extend(notes);
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

/// The table; nothing if nothing has been applied.
pub(crate) fn text(status: &Status, now: Timestamp, width: Option<usize>) -> String {
    if is_nothing_applied(status) {
        return String::new();
    }
    let mut columns = columns(&status.rows, now);
    if let Some(width) = width {
        fit(&mut columns, width);
    }
    let head: Vec<(String, Style)> =
        columns.iter().map(|column| (column.name.to_owned(), HEAD)).collect();
    let mut text = line(&columns, &head);
    for (at, row) in status.rows.iter().enumerate() {
        let cell = |column: &Column| {
            let style = if column.name == "BUILD" { style(row.build) } else { PLAIN };
            (column.cells[at].clone(), style)
        };
        let cells: Vec<(String, Style)> = columns.iter().map(cell).collect();
        text.push_str(&line(&columns, &cells));
    }
    text
}

/// What there is to say about it.
pub(crate) fn notes(status: &Status) -> Vec<String> {
    let Status { package, context, namespace, flags, .. } = status;
    if is_nothing_applied(status) {
        return vec![format!(
            "nothing of `{package}` is applied to namespace `{namespace}` of context `{context}`: `cargo kdev up{flags}` does that"
        )];
    }
    let is = |build: Freshness| status.rows.iter().any(|row| row.build == Some(build));
    let mut notes = Vec::new();
    if let Some(why) = &status.no_docker {
        notes.push(format!("which build is the newest is not known: {why}"));
    } else if status.newest.is_none() {
        notes.push(
            "docker here has no build of it, so that nobody knows which is the newest".into(),
        );
    }
    if is(Freshness::Old) {
        notes.push(format!("docker here has a newer build: `cargo kdev up{flags}` runs it"));
    }
    if is(Freshness::Missing) || is(Freshness::Other) {
        notes.push(format!("`cargo kdev why{flags}` tells why a pod has no image, or another"));
    }
    notes
}

fn is_nothing_applied(status: &Status) -> bool {
    status.rows.iter().all(Row::is_absent)
}

fn columns(rows: &[Row], now: Timestamp) -> Vec<Column> {
    let column = |name, cell: &dyn Fn(&Row) -> String| Column {
        name,
        cells: rows.iter().map(cell).collect(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut columns = vec![
        column("NAMESPACE", &|row| row.namespace.clone()),
        column("WORKLOAD", &|row| row.workload.clone()),
        column("READY", &|row| match (row.ready, row.wanted) {
            (Some(ready), Some(wanted)) => format!("{ready}/{wanted}"),
            _ => "-".to_owned(),
        }),
        column("POD", &|row| text(&row.pod)),
        column("NODE", &|row| text(&row.node)),
        column("STATUS", &|row| row.state.clone()),
        column("TAG", &tag),
        column("BUILD", &|row| row.build.map_or("-", word).to_owned()),
        column("POLICY", &|row| text(&row.pull_policy)),
        column("RESTARTS", &|row| match row.pod {
            Some(_) => row.restarts.to_string(),
            None => "-".to_owned(),
        }),
        column("AGE", &|row| {
            let created = row.created.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
            created.map_or_else(|| "-".to_owned(), |time| age(now.duration_since(time)))
        }),
    ];
    if rows.iter().all(|row| row.namespace == rows[0].namespace) {
        columns.remove(0);
    }
    columns
}

/// The tag; of an image that is not the project's, all of its name.
fn tag(row: &Row) -> String {
    let Some(image) = &row.image else { return "-".to_owned() };
    match Reference::parse(image) {
        Ok(reference) if row.build == Some(Freshness::Other) => reference.familiar(),
        Ok(reference) => reference.tag().unwrap_or(image).to_owned(),
        Err(_) => image.clone(),
    }
}

fn word(build: Freshness) -> &'static str {
    match build {
        Freshness::Newest => "newest",
        Freshness::NotStarted => "not started",
        Freshness::Old => "old build",
        Freshness::Other => "other image",
        Freshness::Missing => "not on the node",
        _ => "unknown",
    }
}

fn style(build: Option<Freshness>) -> Style {
    match build {
        Some(Freshness::Newest) => GOOD,
        Some(Freshness::Old) => STALE,
        Some(Freshness::Other | Freshness::Missing) => BAD,
        _ => PLAIN,
    }
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(String::as_str).chain([self.name]).map(chars).max().unwrap_or(0)
    }

    fn says_only(&self, word: &str) -> bool {
        self.cells.iter().all(|cell| cell == word || cell == "-")
    }
}

/// Kubernetes' names are ASCII.
fn chars(text: &str) -> usize {
    text.chars().count()
}

fn total(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + GAP).sum::<usize>().saturating_sub(GAP)
}

/// Leaves columns out, then shortens names, until all fits.
fn fit(columns: &mut Vec<Column>, width: usize) {
    for (name, word) in DISPENSABLE {
        if total(columns) > width {
            columns.retain(|one| one.name != name || word.is_some_and(|word| !one.says_only(word)));
        }
    }
    for name in ["POD", "WORKLOAD", "NAMESPACE"] {
        let excess = total(columns).saturating_sub(width);
        if let Some(column) = columns.iter_mut().find(|column| column.name == name) {
            let room = column.width().saturating_sub(excess).max(SHORTEST);
            column.cells.iter_mut().for_each(|cell| shorten(cell, room));
        }
    }
}

/// The end of a name tells more than its beginning.
fn shorten(name: &mut String, room: usize) {
    let length = chars(name);
    if length > room {
        *name = format!("…{}", name.chars().skip(length - room + 1).collect::<String>());
    }
}

fn line(columns: &[Column], cells: &[(String, Style)]) -> String {
    let mut line = String::new();
    for (at, (column, (cell, style))) in columns.iter().zip(cells).enumerate() {
        let is_last = at + 1 == columns.len();
        let space = if is_last { 0 } else { column.width() + GAP - chars(cell) };
        let _ = write!(line, "{style}{cell}{style:#}{:space$}", "");
    }
    line.push('\n');
    line
}

/// How long ago, as kubectl writes it: the older, the coarser.
fn age(time: SignedDuration) -> String {
    let seconds = u64::try_from(time.as_secs()).unwrap_or_default();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: u64, unit: char, small: u64, part: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{part}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
