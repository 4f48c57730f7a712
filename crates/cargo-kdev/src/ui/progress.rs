//! Progress bars, on the last lines of the screen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

const VERB: Style = AnsiColor::Cyan.on_default().bold();
/// The maximum number of redraws per second.
const REDRAWS_PER_SECOND: u8 = 20;
/// The columns that stay free at the end of a line for the `^C` that a terminal prints. If it went
/// to the next line, it would remain there after the bars are removed.
const MARGIN: u16 = 3;

/// The progress bars by node or workload.
pub(crate) struct Bars {
    all: MultiProgress,
    by_key: Mutex<BTreeMap<String, ProgressBar>>,
    /// The last line.
    status: Mutex<Option<ProgressBar>>,
}

impl Bars {
    pub(crate) fn new(is_enabled: bool) -> Self {
        let term = Term::buffered_stderr();
        let target = if is_enabled && term.is_term() && !is_dumb() {
            let region = Region { term, drawn: Mutex::default() };
            ProgressDrawTarget::term_like_with_hz(Box::new(region), REDRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        Self { all, by_key: Mutex::default(), status: Mutex::default() }
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.all.is_hidden()
    }

    /// Hides the bars during `write`.
    pub(crate) fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        self.all.suspend(write)
    }

    /// Adds the progress bar of a load.
    pub(crate) fn start_load(&self, node: &str, bytes: u64) {
        let style = "{prefix} {msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}";
        self.add(node, ProgressBar::new(bytes), style, "Loading").set_message(node.to_owned());
    }

    pub(crate) fn advance(&self, node: &str, bytes: u64) {
        if let Some(bar) = self.by_key().get(node) {
            // The size that Docker reports is approximate.
            if bar.length().is_some_and(|length| length < bytes) {
                bar.set_length(bytes);
            }
            bar.set_position(bytes);
        }
    }

    /// Shows a spinner for an operation of unknown length, or updates its message.
    pub(crate) fn show_spinner(&self, key: &str, verb: &str, message: String) {
        let known = self.by_key().get(key).cloned();
        let bar = known.unwrap_or_else(|| {
            self.add(key, ProgressBar::new_spinner(), "{prefix} {wide_msg} {elapsed}", verb)
        });
        bar.set_prefix(format_verb(verb));
        bar.set_message(message);
    }

    pub(crate) fn clear(&self, key: &str) {
        if let Some(bar) = self.by_key().remove(key) {
            bar.finish_and_clear();
        }
    }

    /// Removes all bars.
    pub(crate) fn finish(&self) {
        for bar in std::mem::take(&mut *self.by_key()).into_values() {
            bar.finish_and_clear();
        }
    }

    /// Shows a line below all bars, or changes its text.
    pub(crate) fn show_status(&self, verb: &str, message: String) {
        if self.is_hidden() {
            return;
        }
        let mut status = self.status();
        let bar = status.get_or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_prefix(format_verb(verb));
        bar.set_message(message);
    }

    pub(crate) fn hide_status(&self) {
        if let Some(bar) = self.status().take() {
            bar.finish_and_clear();
        }
    }

    pub(crate) fn has_status(&self) -> bool {
        self.status().is_some()
    }

    fn add(&self, key: &str, bar: ProgressBar, template: &str, verb: &str) -> ProgressBar {
        let bar = match &*self.status() {
            Some(status) => self.all.insert_before(status, bar),
            None => self.all.add(bar),
        };
        let bar = bar.with_prefix(format_verb(verb));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        self.by_key().insert(key.to_owned(), bar.clone());
        bar
    }

    fn status(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_key(&self) -> MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn format_verb(verb: &str) -> String {
    adapt_colors(&format!("{VERB}{verb:>12}{VERB:#}"), &io::stderr())
}

/// Returns the width of the message of a spinner on a terminal with `width` columns.
pub(crate) fn message_width(width: usize) -> usize {
    width.saturating_sub("     Waiting  999s".len() + usize::from(MARGIN))
}

/// Returns the width of the message of the status line on a terminal with `width` columns.
pub(crate) fn status_width(width: usize) -> usize {
    width.saturating_sub("    Watching ".len() + usize::from(MARGIN))
}

/// Returns whether the terminal does not support cursor movement.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// Removes the colors from the text if the stream does not support them.
pub(crate) fn adapt_colors(text: &str, stream: &impl anstream::stream::RawStream) -> String {
    let choice = anstream::AutoStream::choice(stream);
    let mut colored = anstream::AutoStream::new(Vec::new(), choice);
    let _ = io::Write::write_all(&mut colored, text.as_bytes());
    String::from_utf8_lossy(&colored.into_inner()).into_owned()
}

/// Draws all bars with a single write. The terminal of indicatif does not notice that the drawn
/// lines wrap when the terminal becomes narrower.
#[derive(Debug)]
struct Region {
    term: Term,
    drawn: Mutex<Drawn>,
}

/// The content of the region.
#[derive(Debug, Default)]
struct Drawn {
    lines: Vec<String>,
    width: usize,
    next: Vec<String>,
}

impl TermLike for Region {
    fn width(&self) -> u16 {
        self.term.size().1.saturating_sub(MARGIN).max(1)
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        // indicatif pads bars with spaces.
        if !text.trim().is_empty() {
            self.drawn().next.push(text.trim_end().to_owned());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let text = self.drawn().redraw(self.term.size().1.into());
        self.term.write_str(&text)?;
        self.term.flush()
    }
}

impl Region {
    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawn {
    /// Returns the text that replaces the drawn lines on a terminal with `width` columns.
    fn redraw(&mut self, width: usize) -> String {
        let next = std::mem::take(&mut self.next);
        if (&next, width) == (&self.lines, self.width) {
            return String::new();
        }
        let rows = |line: &String| console::measure_text_width(line).div_ceil(width.max(1)).max(1);
        let before: usize = self.lines.iter().map(rows).sum();
        self.width = width;
        let mut text = String::new();
        if before > 1 {
            let _ = write!(text, "\x1b[{}A", before - 1);
        }
        if before > 0 {
            text.push_str("\r\x1b[J");
        }
        self.lines = next;
        text + &self.lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redraw_removes_wrapped_lines() {
        let mut drawn = Drawn::default();
        let mut draw = |lines: &[&str], width| {
            drawn.next = lines.iter().map(|&line| line.to_owned()).collect();
            drawn.redraw(width)
        };
        assert_eq!(draw(&[], 40), "");
        assert_eq!(
            draw(&["\x1b[1mone\x1b[0m two three", "four"], 40),
            "\x1b[1mone\x1b[0m two three\nfour"
        );
        assert_eq!(draw(&["one two three", "four"], 40), "\x1b[1A\r\x1b[Jone two three\nfour");
        // Nothing has changed.
        assert_eq!(draw(&["one two three", "four"], 40), "");
        // Thirteen characters wrap to three lines.
        assert_eq!(draw(&["four"], 5), "\x1b[3A\r\x1b[Jfour");
        assert_eq!(draw(&[], 40), "\r\x1b[J");
        assert_eq!(draw(&[], 40), "");
    }
}
