//! Reads what is scraped, as strictly as the OpenMetrics specification (1.0, "Text format") has it for the
//! kinds of metrics that podrole has.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// Values by series: a sample's name with its labels, as they were written.
pub type Samples = BTreeMap<String, i64>;

/// Reads a whole exposition.
///
/// # Errors
/// Where a line is out of place, a sample has no family, a series is there twice, or the end is missing.
pub fn read(text: &str) -> Result<Samples> {
    let body = text.strip_suffix("# EOF\n").context("the exposition does not end with # EOF")?;
    let mut samples = Samples::new();
    let mut family: Option<Family<'_>> = None;
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').context("a HELP without a text")?;
            family = Some(Family { name, kind: None });
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').context("a TYPE without a type")?;
            let family = family.as_mut().filter(|family| family.name == name);
            family.with_context(|| format!("no HELP before {line:?}"))?.kind = Some(kind);
        } else {
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("{line:?}"))?;
            let family = family.as_ref().with_context(|| format!("no family for {line:?}"))?;
            family.check(series)?;
            let value = number(value).with_context(|| format!("the value of {line:?}"))?;
            ensure!(samples.insert(series.to_owned(), value).is_none(), "{series} is there twice");
        }
    }
    Ok(samples)
}

/// A number; of one that is not whole, what is before the point.
#[expect(clippy::cast_possible_truncation, reason = "what is counted is far below 2^53")]
fn number(text: &str) -> Result<i64> {
    ensure!(!text.ends_with('.'), "{text:?}");
    let number: f64 = text.parse()?;
    ensure!(number.is_finite(), "{text:?}");
    Ok(number as i64)
}

/// Whether a series tells how often something happened or how many there are: all others measure time or
/// the process, and move by themselves.
#[must_use]
pub fn is_count(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    let is_of_process = name.starts_with("process_");
    !name.contains("_seconds") && name != "podrole_sts_requests_allowed" && !is_of_process
}

/// Which series differ, and by how much; one that is not there is at 0.
#[must_use]
pub fn moved(before: &Samples, after: &Samples) -> Samples {
    let value = |samples: &Samples, series| samples.get(series).copied().unwrap_or_default();
    let all = before.keys().chain(after.keys());
    let by = all.map(|series| (series.clone(), value(after, series) - value(before, series)));
    by.filter(|(_, by)| *by != 0).collect()
}

struct Family<'t> {
    name: &'t str,
    kind: Option<&'t str>,
}

impl Family<'_> {
    fn check(&self, series: &str) -> Result<()> {
        let suffix = match self.kind {
            Some("histogram") => ["_bucket", "_sum", "_count"]
                .into_iter()
                .find(|suffix| series.split('{').next().is_some_and(|name| name.ends_with(suffix)))
                .with_context(|| format!("{series} is no part of a histogram"))?,
            Some("counter") => "_total",
            Some("info") => "_info",
            Some("gauge") => "",
            kind => bail!("{series} is of the kind {kind:?}"),
        };
        let labels = series
            .strip_prefix(self.name)
            .and_then(|rest| rest.strip_prefix(suffix))
            .with_context(|| format!("{series} does not belong to {}", self.name))?;
        if labels.is_empty() {
            return Ok(());
        }
        let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
        let inner = inner.with_context(|| format!("the labels of {series}"))?;
        for label in inner.split(',') {
            let (key, value) = label.split_once('=').with_context(|| format!("{label:?}"))?;
            let is_quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            ensure!(is_quoted && key.chars().all(is_name), "the label {label:?} of {series}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_b Some.\n# TYPE a_b counter\na_b_total{x=\"1\",y=\"\"} 7\n# EOF\n";

    #[test]
    fn samples_are_read() {
        assert_eq!(read(GOOD).unwrap(), [("a_b_total{x=\"1\",y=\"\"}".to_owned(), 7)].into());
    }

    #[test]
    fn what_is_not_openmetrics_is_refused() {
        for (what, with) in [
            ("# EOF\n", ""),
            ("# HELP a_b Some.\n", ""),
            ("counter", "histogram"),
            ("counter", "summary"),
            ("_total", ""),
            (" 7", " x"),
            (" 7", " 7."),
            ("\"1\"", "1"),
            ("# EOF", "a_b_total{x=\"1\",y=\"\"} 8\n# EOF"),
        ] {
            assert!(read(&GOOD.replace(what, with)).is_err(), "{what:?} as {with:?}");
        }
    }

    #[test]
    fn series_that_come_and_go_have_moved() {
        let before = [("a".to_owned(), 1), ("b".to_owned(), 2)].into();
        let after = [("b".to_owned(), 2), ("c".to_owned(), 3)].into();
        assert_eq!(moved(&before, &after), [("a".to_owned(), -1), ("c".to_owned(), 3)].into());
    }
}
