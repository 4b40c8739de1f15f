//! Names, help texts and labels of what is scraped, and whether the documentation has them all.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const DOCUMENTATION: &str = include_str!("../../../../docs/metrics.md");

struct Counts;

impl KernelCounts for Counts {
    fn of(&self, event: Event) -> u64 {
        100 + u64::from(event as u32)
    }

    fn audited(&self, event: Event) -> u64 {
        200 + u64::from(event as u32)
    }

    fn forward_drops(&self) -> BTreeMap<Arc<str>, u64> {
        [("docker0".into(), 7), ("pods".into(), 5)].into()
    }
}

fn metrics() -> Metrics {
    let mut metrics = Metrics::default();
    metrics.ask(Arc::new(Counts), || 3);
    metrics.missing("forward").set(0);
    metrics
}

/// One family of samples, as the text has it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    sample: String,
    labels: BTreeMap<String, BTreeSet<String>>,
    values: BTreeMap<String, u64>,
}

/// The families of the text by the names of their samples.
fn families(text: &str) -> Vec<Family> {
    let mut families = Vec::<Family>::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", _, help] => {
                families.push(Family { help: (*help).to_owned(), ..Family::default() });
            }
            ["#", "TYPE", _, kind] => (*kind).clone_into(&mut families.last_mut().unwrap().kind),
            ["#", "EOF"] => {}
            [series, value] => families.last_mut().unwrap().add(series, value),
            _ => panic!("{line:?}"),
        }
    }
    families
}

impl Family {
    fn add(&mut self, series: &str, value: &str) {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        if self.kind == "histogram" {
            // Its buckets are the same for ever, and follow from each other.
            let known = ["_bucket", "_sum", "_count"];
            let name = known.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap();
            name.clone_into(&mut self.sample);
            self.values.insert(series.to_owned(), 0);
            return;
        }
        name.clone_into(&mut self.sample);
        for label in labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty())
        {
            let (key, value) = label.split_once('=').unwrap();
            let values = self.labels.entry(key.to_owned()).or_default();
            values.insert(value.trim_matches('"').to_owned());
        }
        let value = value.strip_suffix(".0").unwrap_or(value);
        self.values.insert(labels.trim_end_matches('}').to_owned(), value.parse().unwrap());
    }
}

fn value(metrics: &Metrics, sample: &str, labels: &str) -> u64 {
    let families = families(&metrics.text().unwrap());
    let family = families.iter().find(|family| family.sample == sample).unwrap();
    family.values[labels]
}

#[test]
fn every_metric_is_named_by_prometheus_rules() {
    let families = families(&metrics().text().unwrap());
    assert!(families.len() >= 10, "{}", families.len());
    for Family { kind, help, sample, labels, values } in &families {
        let name = sample.strip_prefix("podrole_").unwrap();
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(plain(name) && labels.keys().all(|label| plain(label)), "{sample} {labels:?}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{sample} is a {kind}");
        assert_eq!(name.ends_with("_info"), kind == "info", "{sample} is a {kind}");
        assert!(help.len() > 20 && help.ends_with('.') && !help.ends_with(".."), "{help}");
        assert!(!values.is_empty(), "{sample}");
    }
    let names: BTreeSet<_> = families.iter().map(|family| &family.sample).collect();
    assert_eq!(names.len(), families.len(), "a name twice");
}

#[test]
fn no_label_has_many_values_or_the_name_of_a_pod() {
    for Family { sample, labels, .. } in families(&metrics().text().unwrap()) {
        for (label, values) in labels {
            let known = [
                "version",
                "reason",
                "interface",
                "document",
                "status",
                "outcome",
                "guard",
                "identity",
                "limit",
                "would",
            ];
            assert!(known.contains(&label.as_str()), "{sample} has a new label {label}");
            assert!(values.len() <= STATUSES.len() + 1, "{sample} {label}: {values:?}");
        }
    }
}

#[test]
fn the_text_ends_as_openmetrics_demands() {
    assert!(metrics().text().unwrap().ends_with("\n# EOF\n"));
}

#[test]
fn each_event_of_the_programs_has_its_series() {
    let metrics = metrics();
    assert_eq!(value(&metrics, "podrole_redirects_total", ""), 100);
    for (number, reason) in
        (101..).zip(["connect", "datagram", "packet", "forward", "bind", "syn_rate"])
    {
        let labels = format!("reason=\"{reason}\"");
        assert_eq!(value(&metrics, "podrole_refusals_total", &labels), number, "{reason}");
    }
    let docker = "interface=\"docker0\"";
    assert_eq!(value(&metrics, "podrole_forward_drops_total", docker), 7);
    assert_eq!(value(&metrics, "podrole_pods", ""), 3);
}

#[test]
fn each_request_and_call_is_counted_in_its_own_series() {
    let metrics = metrics();
    for document in Document::ALL {
        for status in &STATUSES {
            metrics.requests.count(document, *status);
        }
        metrics.requests.count(document, StatusCode::IM_A_TEAPOT);
    }
    for outcome in Outcome::ALL {
        metrics.sessions.calls.count(outcome);
    }
    for family in families(&metrics.text().unwrap()) {
        let (expected, series) = match family.sample.as_str() {
            "podrole_requests_total" => (1, Document::ALL.len() * (STATUSES.len() + 1)),
            "podrole_sts_requests_total" => (1, Outcome::ALL.len()),
            _ => continue,
        };
        assert_eq!(family.values.len(), series, "{family:?}");
        assert!(family.values.values().all(|value| *value == expected), "{family:?}");
    }
}

#[test]
fn a_known_status_is_counted_as_itself() {
    let metrics = metrics();
    metrics.requests.count(Document::Credentials, StatusCode::FORBIDDEN);
    let labels = "document=\"credentials\",status=\"403\"";
    assert_eq!(value(&metrics, "podrole_requests_total", labels), 1);
}

/// What the documentation's table must say.
fn table(families: &[Family]) -> String {
    let mut rows: Vec<_> = families.iter().map(row).collect();
    rows.sort();
    format!("| metric | type | labels | what it tells |\n|---|---|---|---|\n{}", rows.concat())
}

fn row(family: &Family) -> String {
    let Family { kind, help, sample, labels, .. } = family;
    let labels: Vec<_> = labels.keys().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    format!("| `{sample}` | {kind} | {labels} | {help} |\n")
}

#[test]
fn the_documentation_has_every_metric_and_every_value_of_a_label() {
    let families = families(&metrics().text().unwrap());
    let table = table(&families);
    assert!(DOCUMENTATION.contains(&table), "docs/metrics.md must have this table:\n\n{table}");
    for (label, values) in families.iter().flat_map(|family| &family.labels) {
        let documented =
            DOCUMENTATION.lines().find(|line| line.starts_with(&format!("| `{label}` |")));
        let documented =
            documented.unwrap_or_else(|| panic!("docs/metrics.md has no row for {label}"));
        for value in values.iter().filter(|_| label != "version") {
            let value = format!("`{value}`");
            assert!(documented.contains(&value), "docs/metrics.md, {label}: no {value}");
        }
    }
}
