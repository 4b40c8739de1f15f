//! What has moved since the figures that were kept: ratios alone, which mean the same on every machine.

use super::figure::{Figure, Report, Unit};

/// A ratio that is another than it was, by more than either measurement's own spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The part.
    pub part: String,
    /// What it was.
    pub before: Figure,
    /// What it is.
    pub now: Figure,
}

/// What has moved in a part.
#[must_use]
pub fn moved(before: &Report, now: &Report) -> Vec<Moved> {
    let pairs = now.figures.iter().filter_map(|now| Some((before.figure(&now.name)?, now)));
    pairs
        .filter(|(before, now)| now.unit == Unit::Ratio && has_moved(before, now))
        .map(|(before, figure)| Moved {
            part: now.part.clone(),
            before: before.clone(),
            now: figure.clone(),
        })
        .collect()
}

/// Of few rounds the quartiles say little: a hundredth is nothing in any case.
fn has_moved(before: &Figure, now: &Figure) -> bool {
    const LEAST: f64 = 0.01;
    let spread = |figure: &Figure| figure.high - figure.low;
    (now.value - before.value).abs() > spread(before).max(spread(now)).max(LEAST)
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { part, before, now } = self;
        write!(
            f,
            "{part}: {}: {:.3} ({:.3} to {:.3}), was {:.3} ({:.3} to {:.3}): {}",
            now.name, now.value, now.low, now.high, before.value, before.low, before.high, now.what
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Machine, Size};
    use super::*;

    fn report(unit: Unit, rounds: &[f64]) -> Report {
        let machine = Machine::this();
        let figures = vec![Figure::new("a", "", unit, rounds)];
        Report { part: "p".to_owned(), size: Size::Full, machine, figures, lines: Vec::new() }
    }

    #[test]
    fn what_stays_within_the_spread_has_not_moved() {
        let before = report(Unit::Ratio, &[1.0, 1.02, 1.04]);
        assert_eq!(moved(&before, &report(Unit::Ratio, &[1.03, 1.03, 1.03])), []);
        let moved = moved(&before, &report(Unit::Ratio, &[1.2, 1.2, 1.2]));
        assert_eq!(moved.len(), 1);
        assert!(moved[0].to_string().starts_with("p: a: 1.200"), "{}", moved[0]);
    }

    #[test]
    fn times_are_the_machines() {
        let before = report(Unit::Microseconds, &[10.0]);
        assert_eq!(moved(&before, &report(Unit::Microseconds, &[1000.0])), []);
    }
}
