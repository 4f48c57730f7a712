//! One request for a log, which shows the lines that were not shown before.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kdev_core::log::cursor::{Cursor, Novelty};
use kdev_core::log::label::Source;
use kdev_core::log::line::{decode, split_time};
use kdev_core::text::printable;

use crate::cluster::{self, Cluster, NO_REQUEST_TIMEOUT};
use crate::cx::Cx;
use crate::event::Event;
use crate::logs::error::Result;
use crate::logs::lines::{LineReader, Piece};
use crate::logs::output::{LogLine, Output};
use crate::process::{Command, Failure};

/// The texts of the API server for a container that has no log yet.
const NOT_STARTED: [&str; 2] = ["is waiting to start", "is not available"];
/// The text for a previous run that the kubelet has removed.
const NO_PREVIOUS: &str = "previous terminated container";

/// The part of a log to read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    /// Only lines that are not older than this.
    pub(crate) since: Option<Duration>,
    /// Only this number of lines at the end.
    pub(crate) tail: Option<u64>,
    /// The previous run of each container.
    pub(crate) previous: bool,
}

/// The beginnings of the texts that a kubelet returns in place of a log that is removed: those of
/// the runtime, and of the file of a pod that is being deleted.
const LOG_REMOVED: [&str; 3] = [
    "unable to retrieve container logs for ",
    "failed to try resolving symlinks in path ",
    "failed to open log file ",
];

/// How a request has ended.
pub(crate) enum Ending {
    /// The log has ended, or the connection.
    End,
    /// The request was interrupted, perhaps because of a long time without output.
    Interrupted,
    /// The container has no log, or no longer has one.
    NotStarted,
    /// The pod does not exist.
    Gone,
    /// It can be repeated.
    Failed(cluster::Error),
}

/// Reads the log of a container, as often as necessary.
pub(crate) struct LogRequest<'a> {
    pub(crate) cx: Cx<'a>,
    pub(crate) cluster: Cluster,
    pub(crate) source: Source,
    output: &'a Output<'a>,
    range: Range,
    started: Instant,
    cursor: Cursor,
    reader: ReaderState,
    /// The last note, which is not repeated.
    last_note: String,
    /// The text of the kubelet, if the log is removed.
    removed: Option<String>,
    /// The last line of a log that has ended without a newline, while it is unknown whether its
    /// container has.
    unfinished: Option<Vec<u8>>,
    /// The time after which lines are missing.
    gap: Option<Timestamp>,
    /// Whether the pod is being deleted.
    pub(crate) is_terminating: Arc<AtomicBool>,
}

/// The state within the output of a request.
#[derive(Default)]
struct ReaderState {
    /// The number of lines that were shown.
    shown: u64,
    /// The time of a line whose first part was shown, and whose other parts follow.
    long_line: Option<String>,
    /// The end of the output after the last newline.
    rest: Vec<u8>,
    ended_within_long_line: bool,
}

impl<'a> LogRequest<'a> {
    pub(crate) fn new(
        cx: &Cx<'a>,
        cluster: &Cluster,
        source: &Source,
        output: &'a Output<'a>,
        range: Range,
    ) -> Self {
        Self {
            cx: cx.clone(),
            cluster: cluster.with_namespace(Some(&source.namespace)),
            source: source.clone(),
            output,
            range,
            started: Instant::now(),
            cursor: Cursor::default(),
            reader: ReaderState::default(),
            last_note: String::new(),
            removed: None,
            unfinished: None,
            gap: None,
            is_terminating: Arc::default(),
        }
    }

    /// Reads the log of the current or the previous run to its end, from the last line on.
    pub(crate) fn read_once(&mut self, previous: bool) -> Result<Ending> {
        let flags: &[&str] = if previous { &["--previous"] } else { &[] };
        let ending = self.run(&self.cx.clone(), flags, &|| ())?;
        self.show_rest();
        Ok(ending)
    }

    /// Reads the end of the current run, if the container has started again and its state does not
    /// show that yet: then the kubelet has it as the previous run. Otherwise, the previous run is
    /// older, and all its lines were shown.
    pub(crate) fn read_if_restarted(&mut self) -> Result<()> {
        if matches!(self.run(&self.cx.clone(), &["--previous"], &|| ())?, Ending::End) {
            self.show_rest();
            self.expect_new_run();
        }
        Ok(())
    }

    /// Reads the log of the current run until it or the connection ends. Calls `on_output` for
    /// each output.
    pub(crate) fn follow(&mut self, cx: &Cx, on_output: &(dyn Fn() + Sync)) -> Result<Ending> {
        self.run(cx, &[NO_REQUEST_TIMEOUT, "--follow"], on_output)
    }

    /// Returns the number of lines that were shown.
    pub(crate) fn shown(&self) -> u64 {
        self.reader.shown
    }

    /// Expects the log of another run.
    pub(crate) fn expect_new_run(&mut self) {
        self.cursor.expect_new_run();
    }

    /// Records that lines after the last one are missing.
    pub(crate) fn expect_gap(&mut self) {
        self.gap = self.gap.or(self.cursor.latest()).or(Some(Timestamp::UNIX_EPOCH));
    }

    /// Reports lines that are missing at the end.
    pub(crate) fn report_gap(&mut self) {
        if let Some(from) = self.gap.take() {
            self.emit_gap(from, None);
        }
    }

    /// Returns the text of the kubelet, if the log is removed.
    pub(crate) fn take_removed(&mut self) -> Option<String> {
        self.removed.take()
    }

    pub(crate) fn note(&mut self, text: String) {
        if text != self.last_note {
            self.last_note.clone_from(&text);
            self.cx.emit(Event::Note { text });
        }
    }

    fn run(&mut self, cx: &Cx, flags: &[&str], on_output: &(dyn Fn() + Sync)) -> Result<Ending> {
        let sh = cx.shell()?;
        let Source { pod, container, .. } = self.source.clone();
        let cmd = self
            .cluster
            .cmd(&sh, None)
            .args(["logs", &pod, "--container", &container, "--timestamps"])
            .args(flags)
            .args(self.range_flags());
        let next = ReaderState { shown: self.reader.shown, ..ReaderState::default() };
        let last = std::mem::replace(&mut self.reader, next);
        let command = Command::new(cmd);
        let ending = match command.read_with(cx, |stdout| self.consume(stdout, on_output)) {
            Ok(()) => Ending::End,
            Err(failure) => self.classify(failure)?,
        };
        if !matches!(ending, Ending::End) && self.reader.shown == last.shown {
            // The request has not returned the end of the last one again.
            self.reader = last;
        }
        Ok(ending)
    }

    fn classify(&self, failure: Failure) -> Result<Ending> {
        if failure.is_interrupt() {
            // The caller checks for the interrupt.
            return Ok(Ending::Interrupted);
        }
        let has = |text: &str| failure.stderr.contains(text);
        let pod = format!("pods \"{}\" not found", self.source.pod);
        if has(&pod) {
            return Ok(Ending::Gone);
        }
        if NOT_STARTED.iter().any(|text| has(text)) || has(NO_PREVIOUS) {
            return Ok(Ending::NotStarted);
        }
        let error = self.cluster.request_error(failure, "read logs");
        if cluster::pods::is_permanent(&error) {
            Err(error.into())
        } else {
            Ok(Ending::Failed(error))
        }
    }

    /// Returns the flags that select the lines after the last one.
    fn range_flags(&mut self) -> Vec<String> {
        if let Some(time) = self.cursor.resume() {
            return vec![format!("--since-time={time}")];
        }
        let elapsed = self.started.elapsed();
        let Range { since, tail, .. } = self.range;
        if tail == Some(0) && elapsed > Duration::from_secs(1) {
            return vec![format!("--since={}s", elapsed.as_secs() + 1)];
        }
        // Whole seconds, so that no line of the range is missing.
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let since = since.map(|since| seconds(since).max(1) + elapsed.as_secs());
        let since = since.map(|since| format!("--since={since}s"));
        since.into_iter().chain(tail.map(|tail| format!("--tail={tail}"))).collect()
    }

    fn consume(&mut self, stdout: impl Read, on_output: &(dyn Fn() + Sync)) {
        let mut reader = LineReader::new(stdout);
        while let Ok(true) = reader.read(|pieces| self.show(pieces)) {
            on_output();
        }
        let (rest, is_long) = reader.rest();
        (self.reader.rest, self.reader.ended_within_long_line) = (rest.to_vec(), is_long);
    }

    /// Shows the text after the last newline: the container has ended without one.
    pub(crate) fn show_rest(&mut self) {
        let mut rest = std::mem::take(&mut self.reader.rest);
        if rest.is_empty() {
            rest = self.unfinished.take().unwrap_or_default();
        }
        match std::mem::take(&mut self.reader.ended_within_long_line) {
            true => self.show(&[Piece::LastPart(&rest)]),
            false if !rest.is_empty() => self.show(&[Piece::Line(&rest)]),
            false => {}
        }
    }

    /// Keeps the text after the last newline. If the container has started again before its state
    /// shows that, no later request returns it.
    pub(crate) fn keep_rest(&mut self) {
        let ReaderState { rest, ended_within_long_line, .. } = &mut self.reader;
        if !rest.is_empty() && !*ended_within_long_line {
            self.unfinished = Some(std::mem::take(rest));
        }
    }

    /// Shows the line that was kept, if a line with this time is one of another run.
    fn show_unfinished(&mut self, next: Timestamp) {
        let Some(kept) = self.unfinished.take() else { return };
        let Some((time, parsed, text)) = split_time(&kept) else { return };
        if parsed < next {
            self.cursor.accept(parsed, text);
            self.cursor.expect_new_run();
            self.flush(&mut vec![LogLine { time, text: decode(text) }]);
        } else if parsed > next {
            self.unfinished = Some(kept);
        }
    }

    /// Forgets a line that the connection has cut: the next request returns it again.
    pub(crate) fn forget_rest(&mut self) {
        if std::mem::take(&mut self.reader.ended_within_long_line) {
            self.cursor.forget_last();
        }
    }

    fn show(&mut self, pieces: &[Piece]) {
        let mut lines: Vec<LogLine> = Vec::with_capacity(pieces.len());
        let long_line = self.reader.long_line.take();
        for piece in pieces {
            let (Piece::Line(bytes) | Piece::Part(bytes) | Piece::LastPart(bytes)) = *piece;
            if let (Piece::LastPart(_) | Piece::Part(_), Some(time)) = (piece, &long_line) {
                // The beginning of the line has decided whether it is shown.
                if !time.is_empty() {
                    lines.push(LogLine { time, text: decode(bytes) });
                }
                if matches!(piece, Piece::Part(_)) {
                    self.reader.long_line.clone_from(&long_line);
                }
                continue;
            }
            let Some((time, parsed, text)) = split_time(bytes) else {
                self.flush(&mut lines);
                self.note_kubelet(bytes);
                continue;
            };
            if self.unfinished.is_some() {
                self.flush(&mut lines);
                self.show_unfinished(parsed);
            }
            let novelty = self.cursor.accept(parsed, text);
            let is_seen = novelty == Novelty::Seen;
            if matches!(piece, Piece::Part(_)) {
                self.reader.long_line = Some(if is_seen { "" } else { time }.to_owned());
            }
            if is_seen {
                continue;
            }
            let gap = match novelty {
                Novelty::AfterGap(from) => self.gap.take().or(Some(from)),
                _ => self.gap.take(),
            };
            if let Some(from) = gap {
                self.flush(&mut lines);
                self.emit_gap(from, Some(parsed));
            }
            lines.push(LogLine { time, text: decode(text) });
        }
        self.flush(&mut lines);
    }

    fn flush(&mut self, lines: &mut Vec<LogLine>) {
        self.reader.shown += lines.len() as u64;
        self.output.show(&self.source, self.is_terminating.load(Ordering::Relaxed), lines);
        lines.clear();
    }

    /// Reports a line that the kubelet has written instead of the log.
    fn note_kubelet(&mut self, line: &[u8]) {
        let text = printable(&String::from_utf8_lossy(line));
        if text.trim().is_empty() {
            return;
        }
        let Source { pod, container, .. } = &self.source;
        let note =
            format!("the kubelet reports for container `{container}` of pod `{pod}`: {text}");
        if LOG_REMOVED.iter().any(|removed| text.starts_with(removed)) {
            self.removed = Some(note);
        } else {
            self.note(note);
        }
    }

    fn emit_gap(&self, from: Timestamp, to: Option<Timestamp>) {
        let Source { namespace, pod, container } = self.source.clone();
        let from = (from != Timestamp::UNIX_EPOCH).then(|| from.to_string());
        let to = to.map(|to| to.to_string());
        self.cx.emit(Event::LogGap { namespace, pod, container, from, to });
    }
}
