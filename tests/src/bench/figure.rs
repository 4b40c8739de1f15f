//! What a measurement comes to: figures with their spread, and lines for plots.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// A moment: whether it works at all.
    Smoke,
    /// Less than two minutes for everything: whether anything has become slower.
    Quick,
    /// As long as the figures need to settle.
    Full,
}

impl Size {
    /// The one that is meant of three.
    #[must_use]
    pub fn of<T>(self, smoke: T, quick: T, full: T) -> T {
        match self {
            Self::Smoke => smoke,
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// What a figure is a number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Of two things that were run in turn.
    Ratio,
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Events a second.
    PerSecond,
    /// 1024 bytes.
    Kibibytes,
    /// Things.
    Count,
    /// Hundredths.
    Percent,
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name within its part.
    pub name: String,
    /// What it is, for the table.
    pub what: String,
    /// The median.
    pub value: f64,
    /// A quarter of the rounds had less.
    pub low: f64,
    /// A quarter of the rounds had more.
    pub high: f64,
    /// How many rounds.
    pub rounds: usize,
    /// What it is a number of.
    pub unit: Unit,
    /// What it is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// A line of a plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// What a part measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Its figures.
    pub figures: Vec<Figure>,
    /// What is drawn of it.
    pub lines: Vec<Line>,
}

/// What a part measured, where and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The part's name.
    pub part: String,
    /// For how long.
    pub size: Size,
    /// On which machine.
    pub machine: Machine,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// What is drawn of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
}

/// What figures depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
}

impl Report {
    /// What was measured, on this machine.
    #[must_use]
    pub fn new(part: &str, size: Size, measured: Measured) -> Self {
        let Measured { figures, lines } = measured;
        Self { part: part.to_owned(), size, machine: Machine::this(), figures, lines }
    }

    /// The figure of this name.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

impl Machine {
    /// This one (proc(5)).
    #[must_use]
    pub fn this() -> Self {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: model.unwrap_or("unknown").to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl Figure {
    /// The median of `rounds` with its quartiles.
    #[must_use]
    pub fn new(name: &str, what: &str, unit: Unit, rounds: &[f64]) -> Self {
        let [low, value, high] = [0.25, 0.5, 0.75].map(|part| quantile(rounds, part));
        Self {
            name: name.to_owned(),
            what: what.to_owned(),
            value,
            low,
            high,
            rounds: rounds.len(),
            unit,
            target: None,
        }
    }

    /// What each of `ours` is in units of its neighbour in `theirs`.
    #[must_use]
    pub fn ratio(name: &str, what: &str, ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(own, other)| own / other).collect();
        Self::new(name, what, Unit::Ratio, &ratios)
    }

    /// With what it is to be.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Whether it is what it is to be, where that is said.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtMost(most) => self.value <= most,
            Target::AtLeast(least) => self.value >= least,
        })
    }
}

/// The value below which so much of all lies; not a number where there is none.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = part * count(last);
    let (below, above) = (index(place.floor(), last), index(place.ceil(), last));
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// The middle one.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number that is no more than `last`"
)]
fn index(place: f64, last: usize) -> usize {
    (place as usize).min(last)
}

/// A number of things, for arithmetic.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn count(number: usize) -> f64 {
    number as f64
}

/// A number that a kernel or a clock counted, for arithmetic.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "what is lost is far below any spread")]
pub fn wide(number: u64) -> f64 {
    number as f64
}

/// In milliseconds.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(figure: &Figure, expected: [f64; 3]) -> bool {
        let found = [figure.low, figure.value, figure.high];
        found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn quartiles_lie_between_the_values() {
        let figure = Figure::new("a", "", Unit::Count, &[4.0, 1.0, 3.0, 2.0, 5.0]);
        assert!(is(&figure, [2.0, 3.0, 4.0]), "{figure:?}");
        assert!((quantile(&[1.0, 2.0], 0.5) - 1.5).abs() < 1e-9);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_ratio_is_made_of_each_round_by_itself() {
        // The machine was ten times slower in the second round: of the ratio that shows nothing.
        let figure = Figure::ratio("a", "", &[2.0, 20.0], &[1.0, 10.0]);
        assert!(is(&figure, [2.0; 3]), "{figure:?}");
    }

    #[test]
    fn a_target_is_met_or_not() {
        let figure = Figure::new("a", "", Unit::Ratio, &[1.02]);
        assert_eq!(figure.is_met(), None);
        assert_eq!(figure.clone().target(Target::AtMost(1.03)).is_met(), Some(true));
        assert_eq!(figure.target(Target::AtLeast(1.03)).is_met(), Some(false));
    }
}
