//! The lines of a watch.

use std::time::Duration;

use kdev::pluralize;

/// Formats the files whose changes start a cycle.
pub(super) fn format_changed(changed: &[String]) -> String {
    match changed {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// Formats how long a cycle and its stages took.
pub(super) fn format_times(duration: Duration, stages: &[(&'static str, Duration)]) -> String {
    let stages: Vec<String> =
        stages.iter().map(|(name, time)| format!("{name} {:.1}", time.as_secs_f64())).collect();
    let separator = if stages.is_empty() { "" } else { ": " };
    format!("in {:.1}s{separator}{}", duration.as_secs_f64(), stages.join(", "))
}

/// Formats what a watch waits for.
pub(super) fn format_watching(inputs: usize, newer: u32) -> String {
    let inputs = pluralize(inputs as u64, "input");
    match newer {
        0 => inputs,
        newer => format!("{inputs}; {}", pluralize(u64::from(newer), "newer change")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_each_stage_that_ran() {
        let ms = Duration::from_millis;
        assert_eq!(format_times(ms(240), &[]), "in 0.2s");
        let stages = [("cargo", ms(700)), ("start", ms(1130))];
        assert_eq!(format_times(ms(2400), &stages), "in 2.4s: cargo 0.7, start 1.1");
    }

    #[test]
    fn changed_files_are_counted() {
        let table = [
            (&["a"][..], "a"),
            (&["a", "b"], "a (and 1 more)"),
            (&["a", "b", "c", "d"], "a (and 3 more)"),
        ];
        for (changed, expected) in table {
            let changed: Vec<String> = changed.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(format_changed(&changed), expected);
        }
    }
}
