//! `cargo kdev logs`: flags and output.

use std::fmt::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use jiff::SignedDuration;
use kdev::{ConfigLayer, Error, LogBatch, LogsRequest, color_index, push_visible};
use serde::Serialize;

use crate::flags::{ClusterArgs, PackagesArgs};
use crate::ui::Ui;

/// The colors of labels.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
];
/// Lines of pods that are being deleted.
const OLD: Style = Style::new().dimmed();
const RESET: &str = "\x1b[0m";

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Pod or workload, as NAME or KIND/NAME
    /// [default: all pods that run the project's image]
    #[arg(value_name = "POD|WORKLOAD")]
    query: Option<String>,
    #[command(flatten)]
    project: PackagesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    /// Namespace to use [default: the context's namespace]
    #[arg(short, long, env = "KDEV_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Keep printing new lines, also of new pods, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Container to show [default: those that run the project's image]
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Show only lines that are not older than this, such as 5m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse_since)]
    since: Option<Duration>,
    /// Show only this number of lines at the end of each log
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Print the time of each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Show the previous run of each container
    #[arg(long, conflicts_with = "follow")]
    previous: bool,
}

/// Parses a duration as `kubectl` does.
fn parse_since(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok();
    let positive = parsed.and_then(|duration| Duration::try_from(duration).ok());
    positive
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "use a number with a unit, such as 30s, 5m, or 2h".to_owned())
}

impl From<LogsArgs> for LogsRequest {
    fn from(logs: LogsArgs) -> Self {
        Self {
            selection: logs.project.into(),
            target: logs.cluster.into(),
            query: logs.query,
            container: logs.container,
            follow: logs.follow,
            since: logs.since,
            tail: logs.tail,
            previous: logs.previous,
            flags: ConfigLayer {
                image: logs.image,
                namespace: logs.namespace,
                ..ConfigLayer::default()
            },
        }
    }
}

/// A line in the JSON output.
#[derive(Serialize)]
struct JsonLine<'a> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    record: LogRecord<'a>,
}

/// The fields of a line.
#[derive(Serialize)]
struct LogRecord<'a> {
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    time: &'a str,
    line: &'a str,
}

impl Ui {
    /// Ends the output. An interrupt needs no message: it is how following ends. The exit code is
    /// that of `kubectl logs`.
    pub(crate) fn end_logs(&self, result: Result<(), Error>, code: &mut u8) -> Result<(), Error> {
        match result {
            Err(error) if error.is_interrupt() => {
                if !self.stdout.has_ended() {
                    *code = error.exit_code();
                }
                Ok(())
            }
            result => result,
        }
    }

    /// Prints lines of a log.
    pub(crate) fn print_log(&self, batch: &LogBatch, timestamps: bool) {
        if self.json {
            return self.stdout.write(&format_json(batch));
        }
        let (text, is_styled) = format(batch, timestamps);
        if is_styled { self.stdout.write_styled(text) } else { self.stdout.write(&text) }
    }
}

fn format_json(batch: &LogBatch) -> String {
    let mut text = String::new();
    for line in batch.lines {
        let record = LogRecord {
            namespace: batch.namespace,
            pod: batch.pod,
            container: batch.container,
            time: line.time,
            line: &line.text,
        };
        let line = JsonLine { version: kdev::JSON_VERSION, reason: "log", record };
        text.push_str(&serde_json::to_string(&line).unwrap_or_default());
        text.push('\n');
    }
    text
}

/// Formats lines, and returns whether they have colors.
fn format(batch: &LogBatch, timestamps: bool) -> (String, bool) {
    let mut text = String::new();
    let label = batch.label.as_ref().map(|label| {
        let color = COLORS[color_index(batch.pod, COLORS.len())].on_default();
        format!("{color}{label}{color:#} ")
    });
    let is_old = batch.is_terminating && label.is_some();
    let mut is_styled = label.is_some();
    for line in batch.lines {
        text.push_str(label.as_deref().unwrap_or_default());
        if is_old {
            let _ = write!(text, "{OLD}");
        }
        if timestamps {
            text.push_str(line.time);
            text.push(' ');
        }
        let has_color = push_visible(&mut text, &line.text);
        if has_color || is_old {
            text.push_str(RESET);
        }
        is_styled |= has_color;
        text.push('\n');
    }
    (text, is_styled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_needs_number_with_unit() {
        assert_eq!(parse_since("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_since("1h30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "5", "-5m", "0s", "yesterday"] {
            assert!(parse_since(text).is_err(), "{text}");
        }
    }
}
