//! Latencies of many requests, as the load generator counts them.

use std::collections::BTreeMap;

use super::figure::wide;

/// How often each latency was seen, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram(BTreeMap<u64, u64>);

impl Histogram {
    /// Takes in so many of one latency.
    pub(super) fn add(&mut self, microseconds: u64, count: u64) {
        *self.0.entry(microseconds).or_default() += count;
    }

    /// Takes in all of another.
    pub(super) fn merge(&mut self, other: &Self) {
        for (&microseconds, &count) in &other.0 {
            self.add(microseconds, count);
        }
    }

    /// The latency that so much of all stays below or meets.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let all: u64 = self.0.values().sum();
        let wanted = part * wide(all);
        let mut seen = 0;
        for (&microseconds, &count) in &self.0 {
            seen += count;
            if wide(seen) >= wanted {
                return wide(microseconds);
            }
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_that_was_merged() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.add(10, 50);
        other.add(20, 49);
        other.add(900, 1);
        one.merge(&other);
        assert!((one.quantile(0.5) - 10.0).abs() < 1e-9);
        assert!((one.quantile(0.99) - 20.0).abs() < 1e-9);
        assert!((one.quantile(0.999) - 900.0).abs() < 1e-9);
        assert!(Histogram::default().quantile(0.5).is_nan());
    }
}
