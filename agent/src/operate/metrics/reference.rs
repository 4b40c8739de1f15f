//! The table of all metrics, for the documentation: made of what an agent answers when it is scraped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podrole_ebpf::Event;

use super::{KernelCounts, Metrics, POD_INTERFACES};
use crate::operate::readiness::Readiness;

/// A node on which nothing has happened.
struct Nothing;

impl KernelCounts for Nothing {
    fn of(&self, _: Event) -> u64 {
        0
    }

    fn audited(&self, _: Event) -> u64 {
        0
    }

    fn forward_drops(&self) -> BTreeMap<Arc<str>, u64> {
        [(POD_INTERFACES.into(), 0)].into()
    }
}

/// All metrics of an agent that has just started, in Markdown: name, type, labels, what each tells.
#[must_use]
pub fn table() -> String {
    let mut metrics = Metrics::default();
    metrics.ask(Arc::new(Nothing), || 0, Readiness::default());
    let _ = metrics.missing("forward");
    // A string takes all that is written to it.
    let text = metrics.text().unwrap_or_default();
    let mut rows: Vec<_> = families(&text).map(|family| family.row()).collect();
    rows.sort();
    format!("| metric | type | labels | what it tells |\n|---|---|---|---|\n{}", rows.concat())
}

/// What is said of one metric (OpenMetrics 1.0, "Text format").
struct Family<'t> {
    name: &'t str,
    help: &'t str,
    kind: &'t str,
    labels: BTreeSet<&'t str>,
}

fn families(text: &str) -> impl Iterator<Item = Family<'_>> {
    text.split("# HELP ").filter_map(|family| {
        let (name, rest) = family.split_once(' ')?;
        let (help, rest) = rest.split_once('\n')?;
        let (type_of, samples) = rest.split_once('\n')?;
        let kind = type_of.rsplit(' ').next()?;
        let labels = samples.lines().filter_map(|sample| {
            let (_, labels) = sample.split_once('{')?;
            Some(labels.split_once('}')?.0)
        });
        let labels = labels.flat_map(|labels| labels.split(','));
        let names = labels.filter_map(|label| Some(label.split_once('=')?.0));
        // Every histogram has it, and it says nothing of what is measured.
        let labels = names.filter(|name| *name != "le").collect();
        Some(Family { name, help, kind, labels })
    })
}

impl Family<'_> {
    fn row(&self) -> String {
        let Self { name, help, kind, labels } = self;
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        format!("| `{name}{suffix}` | {kind} | {labels} | {help} |\n")
    }
}
