//! Checks whether a value grows over a run, without I/O.

use crate::bench::median;
use std::fmt;

/// The medians of the first and the last tenth of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    first: f64,
    last: f64,
    unit: &'static str,
}

/// The maximum growth: a factor, plus an absolute amount.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) factor: f64,
    pub(super) amount: f64,
}

impl Growth {
    /// Compares the first and the last tenth of values, in the order of their measurement.
    pub(super) fn from_values(values: &[f64], unit: &'static str) -> Self {
        let tenth = values.len().div_ceil(10);
        let first = median(values[..tenth].to_vec());
        let last = median(values[values.len() - tenth..].to_vec());
        Self { first, last, unit }
    }

    pub(super) fn is_within(self, limit: Limit) -> bool {
        self.last <= self.first * limit.factor + limit.amount
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, unit } = self;
        write!(f, "{first:.1} {unit} in the first tenth, {last:.1} {unit} in the last tenth")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { factor: 1.5, amount: 0.5 };

    #[test]
    fn growth_compares_first_and_last_tenth() {
        let outlier: Vec<f64> = (0..40).map(|n| if n == 39 { 90.0 } else { 2.0 }).collect();
        let slow: Vec<f64> = (0..40).map(f64::from).collect();
        let cases: [(&[f64], bool); 8] = [
            (&[], true),
            (&[3.0], true),
            (&[2.0, 3.5], true),
            (&[2.0, 3.6], false),
            // Values in the middle do not count.
            (&[2.0, 9.0, 2.0], true),
            (&[9.0, 2.0], true),
            (&outlier, true),
            (&slow, false),
        ];
        for (values, expected) in cases {
            assert_eq!(Growth::from_values(values, "s").is_within(LIMIT), expected, "{values:?}");
        }
    }

    #[test]
    fn growth_displays_unit() {
        let expected = "1.0 s in the first tenth, 2.2 s in the last tenth";
        assert_eq!(Growth::from_values(&[1.0, 2.25], "s").to_string(), expected);
    }
}
