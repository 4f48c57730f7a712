//! The text of the live line: the running tasks, their progress and the remaining time.

use std::time::Duration;

/// The share and the time of a build after which the remaining time is estimated.
const MIN_SHARE: f64 = 0.03;
const MIN_ELAPSED: Duration = Duration::from_secs(5);

/// The progress of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The number of packages that are compiled, or of files that are downloaded
    pub(crate) done: usize,
    /// 0 if the number is unknown
    pub(crate) total: usize,
    /// The size of the source code of `done`: the sizes of packages differ by a factor of 10,000
    pub(crate) weight_done: u64,
    pub(crate) weight_total: u64,
}

impl Progress {
    pub(crate) fn sum(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            total: self.total + other.total,
            weight_done: self.weight_done + other.weight_done,
            weight_total: self.weight_total + other.weight_total,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn share(self) -> f64 {
        self.weight_done as f64 / self.weight_total.max(1) as f64
    }
}

/// A task and its progress at one time.
#[derive(Clone, Debug)]
pub(crate) struct TaskState {
    pub(crate) verb: String,
    pub(crate) name: String,
    pub(crate) progress: Progress,
    pub(crate) elapsed: Duration,
}

impl TaskState {
    fn has_total(&self) -> bool {
        self.progress.total > 0
    }
}

/// Returns the verb and the text for all tasks. The text has at most `columns` characters.
/// Tasks with a known total come first, because they take the longest.
pub(crate) fn format_line(tasks: &[TaskState], columns: usize) -> (String, String) {
    let Some(first) = tasks.iter().find(|task| task.has_total()).or(tasks.first()) else {
        return Default::default();
    };
    let (same, other): (Vec<_>, Vec<_>) = tasks
        .iter()
        .partition(|task| task.verb == first.verb && task.has_total() == first.has_total());
    let names = same.iter().map(|task| &*task.name).collect::<Vec<_>>().join(", ");
    let suffix = format_others(&other);
    let variants = if first.has_total() {
        format_with_total(&names, &same)
    } else {
        format_without_total(&names, first)
    };
    let long = variants.first().map(|variant| format!("{variant}{suffix}"));
    (first.verb.clone(), longest_fit(long.into_iter().chain(variants), columns))
}

/// Formats the tasks with another verb: `; also installing Debian packages`.
fn format_others(tasks: &[&TaskState]) -> String {
    let texts = tasks.iter().map(|task| format!("{} {}", task.verb.to_lowercase(), task.name));
    let texts = texts.collect::<Vec<_>>().join(", ");
    if texts.is_empty() { texts } else { format!("; also {texts}") }
}

/// Returns variants of the text, the longest first.
fn format_with_total(names: &str, tasks: &[&TaskState]) -> Vec<String> {
    let sum = tasks.iter().map(|task| task.progress).fold(Progress::default(), Progress::sum);
    let elapsed = tasks.iter().map(|task| task.elapsed).max().unwrap_or_default();
    let Progress { done, total, .. } = sum;
    let left = estimate_time_left(sum.share(), elapsed).map(format_estimate);
    let rest = left.map(|left| format!(", {left} left")).unwrap_or_default();
    let count = format!("{done} of {total}");
    vec![
        format!("{names}: {count} packages{rest}"),
        format!("{count} packages{rest}"),
        format!("{count}{rest}"),
        format!("{count}{}", rest.replace("about ", "")),
        count,
    ]
}

/// Returns variants of the text, the longest first.
fn format_without_total(names: &str, task: &TaskState) -> Vec<String> {
    let seconds = task.elapsed.as_secs();
    let count = match task.progress.done {
        0 => String::new(),
        done => format!(" ({done})"),
    };
    vec![format!("{names}{count}, {seconds} s so far"), format!("{names}{count}"), names.to_owned()]
}

fn longest_fit(variants: impl Iterator<Item = String>, columns: usize) -> String {
    let mut last = String::new();
    for variant in variants {
        if variant.chars().count() <= columns {
            return variant;
        }
        last = variant;
    }
    last.chars().take(columns).collect()
}

/// Estimates the remaining time from the share that is done.
fn estimate_time_left(share: f64, elapsed: Duration) -> Option<Duration> {
    let is_known = share >= MIN_SHARE && elapsed >= MIN_ELAPSED;
    is_known.then(|| elapsed.mul_f64(((1.0 - share) / share).max(0.0)))
}

/// Formats a duration, no more precisely than it is estimated.
fn format_estimate(time: Duration) -> String {
    match time.as_secs() {
        0..=10 => "a few seconds".to_owned(),
        seconds @ 11..=50 => format!("about {} s", seconds.div_ceil(10) * 10),
        seconds => format!("about {} min", (seconds + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(verb: &str, name: &str, counts: (usize, usize), elapsed: u64) -> TaskState {
        let (done, total) = counts;
        let (weight_done, weight_total) = (done as u64, total as u64);
        let progress = Progress { done, total, weight_done, weight_total };
        let (verb, name) = (verb.to_owned(), name.to_owned());
        TaskState { verb, name, progress, elapsed: Duration::from_secs(elapsed) }
    }

    #[test]
    fn line_fits_into_columns() {
        let apt = task("Installing", "16 Debian packages", (0, 0), 12);
        let modules = task("Downloading", "Go modules", (61, 0), 12);
        let go = task("Building", "Kubernetes", (855, 1710), 120);
        let helm = task("Building", "Helm", (0, 90), 0);
        let table = [
            (vec![], 80, "", ""),
            (vec![&apt], 65, "Installing", "16 Debian packages, 12 s so far"),
            (vec![&modules], 65, "Downloading", "Go modules (61), 12 s so far"),
            (
                vec![&apt, &modules],
                65,
                "Installing",
                "16 Debian packages, 12 s so far; also downloading Go modules",
            ),
            (vec![&apt, &modules], 25, "Installing", "16 Debian packages"),
            (vec![&go], 65, "Building", "Kubernetes: 855 of 1710 packages, about 2 min left"),
            (vec![&apt, &go], 65, "Building", "Kubernetes: 855 of 1710 packages, about 2 min left"),
            (
                vec![&go, &helm],
                65,
                "Building",
                "Kubernetes, Helm: 855 of 1800 packages, about 2 min left",
            ),
            (vec![&go], 40, "Building", "855 of 1710 packages, about 2 min left"),
            (vec![&go], 25, "Building", "855 of 1710, 2 min left"),
            (vec![&go], 8, "Building", "855 of 1"),
        ];
        for (tasks, columns, verb, text) in table {
            let tasks: Vec<TaskState> = tasks.into_iter().cloned().collect();
            assert_eq!(format_line(&tasks, columns), (verb.to_owned(), text.to_owned()));
        }
    }

    #[test]
    fn time_left_is_estimated_from_share() {
        let table = [
            (0.0, 60, None),
            (0.02, 60, None),
            (0.5, 4, None),
            (0.1, 30, Some("about 5 min")),
            (0.5, 90, Some("about 2 min")),
            (0.75, 90, Some("about 30 s")),
            (0.99, 300, Some("a few seconds")),
            (1.0, 300, Some("a few seconds")),
        ];
        for (share, elapsed, expected) in table {
            let left = estimate_time_left(share, Duration::from_secs(elapsed)).map(format_estimate);
            assert_eq!(left.as_deref(), expected, "{share} in {elapsed} s");
        }
    }
}
