//! What the load saw of each failure.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::load::{self, Load, Tally};

/// How much is asked.
pub(crate) struct Size {
    /// Pods that ask all the time.
    pub(crate) pods: usize,
    /// Tries of each in each state.
    pub(crate) tries: usize,
}

/// Whether tries may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    /// They must not.
    Never,
    /// While the agent is away, or cannot serve.
    Meanwhile,
}

/// A row.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    fails: Fails,
    tally: Tally,
    recovered: Duration,
}

impl Row {
    /// The load has ended some tries after the failure did, at `ended`.
    pub(crate) fn new(
        what: &str,
        fails: Fails,
        load: Load<'_, '_>,
        ended: Duration,
    ) -> Result<Self> {
        let tally = load.finish().with_context(|| what.to_owned())?;
        let recovered = tally.recovered_after(ended);
        Ok(Self { what: what.to_owned(), fails, tally, recovered })
    }

    /// Whether it is as it must be.
    pub(crate) fn ensure(&self) -> Result<()> {
        self.tally.ensure_safe().with_context(|| self.what.clone())?;
        ensure!(self.fails == Fails::Meanwhile || self.tally.failed == 0, "{self:?}");
        Ok(())
    }
}

/// The end of a failure: now.
pub(crate) fn ended() -> Result<Duration> {
    load::now()
}

/// All rows, as Markdown. What was made are looks for credentials, each of three requests.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = "| failure | made | failed | wrong | leaked | last failure after its end |\n\
                |---|---|---|---|---|---|\n";
    let rows = rows.iter().map(|Row { what, tally, recovered, .. }| {
        let Tally { made, failed, wrong, leaked, .. } = tally;
        let recovered = match (failed, recovered) {
            (0, _) => "none failed".to_owned(),
            (_, recovered) => format!("{:.1} s", recovered.as_secs_f64()),
        };
        format!("| {what} | {made} | {failed} | {wrong} | {leaked} | {recovered} |\n")
    });
    head.to_owned() + &rows.collect::<String>()
}
