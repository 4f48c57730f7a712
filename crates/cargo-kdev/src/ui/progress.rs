//! The last lines of the screen, where it is shown what is under way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

const VERB: Style = AnsiColor::Cyan.on_default().bold();
/// How often a second bars are drawn at most.
const REDRAWS_PER_SECOND: u8 = 20;
/// What stays free at the end of a line: there the terminal shows a ^C, which would
/// else go to the next one and be missed when the bars are taken away.
const MARGIN: u16 = 3;

/// All bars, by node or by workload.
pub(crate) struct Bars {
    all: MultiProgress,
    by_key: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    pub(crate) fn new(are_wanted: bool) -> Self {
        let term = Term::buffered_stderr();
        let target = if are_wanted && term.is_term() && !is_dumb() {
            let region = Region { term, drawn: Mutex::default() };
            ProgressDrawTarget::term_like_with_hz(Box::new(region), REDRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { all: MultiProgress::with_draw_target(target), by_key: Mutex::default() }
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.all.is_hidden()
    }

    /// Takes them away while something else is written.
    pub(crate) fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        self.all.suspend(write)
    }

    /// How far a load is.
    pub(crate) fn start_load(&self, node: &str, bytes: u64) {
        let style = "{prefix} {msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}";
        self.add(node, ProgressBar::new(bytes), style, "Loading").set_message(node.to_owned());
    }

    pub(crate) fn advance(&self, node: &str, bytes: u64) {
        if let Some(bar) = self.by_key().get(node) {
            // docker tells an image's size only roughly.
            if bar.length().is_some_and(|length| length < bytes) {
                bar.set_length(bytes);
            }
            bar.set_position(bytes);
        }
    }

    /// That something is under way whose end nobody knows.
    pub(crate) fn show_spinner(&self, key: &str, verb: &str, words: String) {
        let known = self.by_key().get(key).cloned();
        let bar = known.unwrap_or_else(|| {
            self.add(key, ProgressBar::new_spinner(), "{prefix} {wide_msg} {elapsed}", verb)
        });
        bar.set_message(words);
    }

    pub(crate) fn clear(&self, key: &str) {
        if let Some(bar) = self.by_key().remove(key) {
            bar.finish_and_clear();
        }
    }

    /// Takes all of them away.
    pub(crate) fn finish(&self) {
        for bar in std::mem::take(&mut *self.by_key()).into_values() {
            bar.finish_and_clear();
        }
    }

    fn add(&self, key: &str, bar: ProgressBar, template: &str, verb: &str) -> ProgressBar {
        let verb = adapt_colors(&format!("{VERB}{verb:>12}{VERB:#}"), &io::stderr());
        let bar = self.all.add(bar).with_prefix(verb);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        self.by_key().insert(key.to_owned(), bar.clone());
        bar
    }

    fn by_key(&self) -> MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The room for the words of `wait`, on a screen of this width.
pub(crate) fn message_width(width: usize) -> usize {
    width.saturating_sub("     Waiting  999s".len() + usize::from(MARGIN))
}

/// Whether the terminal can do nothing but write line after line.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// The text with its colours, or without them where the stream takes none.
pub(crate) fn adapt_colors(text: &str, stream: &impl anstream::stream::RawStream) -> String {
    let choice = anstream::AutoStream::choice(stream);
    let mut coloured = anstream::AutoStream::new(Vec::new(), choice);
    let _ = io::Write::write_all(&mut coloured, text.as_bytes());
    String::from_utf8_lossy(&coloured.into_inner()).into_owned()
}

/// Draws all bars in one go. indicatif's own terminal knows how many lines it has
/// drawn, but not that there are more of them once the screen has become narrower.
#[derive(Debug)]
struct Region {
    term: Term,
    drawn: Mutex<Drawn>,
}

/// What stands in the region.
#[derive(Debug, Default)]
struct Drawn {
    lengths: Vec<usize>,
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
        // Bars are filled up with spaces.
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
    /// From the end of what was drawn last, on a screen that is now this wide.
    fn redraw(&mut self, width: usize) -> String {
        let rows = |length: &usize| length.div_ceil(width.max(1)).max(1);
        let before: usize = self.lengths.iter().map(rows).sum();
        let next = std::mem::take(&mut self.next);
        self.lengths = next.iter().map(|line| console::measure_text_width(line)).collect();
        let mut text = String::new();
        if before > 1 {
            let _ = write!(text, "\x1b[{}A", before - 1);
        }
        if before > 0 {
            text.push_str("\r\x1b[J");
        }
        text + &next.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_is_taken_away_whole() {
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
        // The terminal shows thirteen characters in three lines.
        assert_eq!(draw(&["four"], 5), "\x1b[3A\r\x1b[Jfour");
        assert_eq!(draw(&[], 40), "\r\x1b[J");
        assert_eq!(draw(&[], 40), "");
    }
}
