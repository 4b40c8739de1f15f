//! Names, help texts and labels of what is scraped, and whether the documentation has them all.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use http::StatusCode;

use super::requests::STATUSES;
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
    metrics.ask(Arc::new(Counts), || 3, Readiness::default());
    metrics.requests.count(Document::Token, StatusCode::OK, Some("shop"));
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
    values: BTreeMap<String, f64>,
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
        let (mut name, labels) = series.split_once('{').unwrap_or((series, "}"));
        if self.kind == "histogram" {
            let known = ["_bucket", "_sum", "_count"];
            name = known.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap();
        }
        name.clone_into(&mut self.sample);
        for label in labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty())
        {
            let (key, value) = label.split_once('=').unwrap();
            // The buckets of a histogram are the same for ever.
            if key == "le" {
                continue;
            }
            let values = self.labels.entry(key.to_owned()).or_default();
            values.insert(value.trim_matches('"').to_owned());
        }
        self.values.insert(labels.trim_end_matches('}').to_owned(), value.parse().unwrap());
    }
}

fn value(metrics: &Metrics, sample: &str, labels: &str) -> f64 {
    let families = families(&metrics.text().unwrap());
    let family = families.iter().find(|family| family.sample == sample).unwrap();
    family.values[labels]
}

#[test]
fn every_metric_is_named_by_prometheus_rules() {
    let families = families(&metrics().text().unwrap());
    assert!(families.len() >= 10, "{}", families.len());
    for Family { kind, help, sample, labels, values } in &families {
        let known = ["podrole_", "process_"];
        let name = known.iter().find_map(|prefix| sample.strip_prefix(prefix)).unwrap();
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
                "source",
                "rule",
                "verdict",
                "cache",
                "resource",
                "pod_namespace",
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
    let is = |sample, labels: &str, number: u32| {
        assert_eq!(value(&metrics, sample, labels).to_string(), number.to_string(), "{labels}");
    };
    is("podrole_redirects_total", "", 100);
    for (number, reason) in
        (101..).zip(["connect", "datagram", "packet", "forward", "bind", "syn_rate"])
    {
        let labels = format!("reason=\"{reason}\"");
        is("podrole_refusals_total", &labels, number);
    }
    is("podrole_forward_drops_total", "interface=\"docker0\"", 7);
    is("podrole_pods", "", 3);
    is("podrole_ready", "", 1);
}

#[test]
fn each_request_and_call_is_counted_in_its_own_series() {
    let metrics = metrics();
    for document in Document::ALL {
        for status in &STATUSES {
            metrics.requests.count(document, *status, None);
        }
        metrics.requests.count(document, StatusCode::IM_A_TEAPOT, None);
    }
    for source in CalledBy::ALL {
        for outcome in Outcome::ALL {
            metrics.sessions.calls.count(source, outcome, Duration::from_secs(1));
        }
    }
    for family in families(&metrics.text().unwrap()) {
        let series = match family.sample.as_str() {
            "podrole_requests_total" => Document::ALL.len() * (STATUSES.len() + 1) + 1,
            "podrole_sts_requests_total" => CalledBy::ALL.len() * Outcome::ALL.len(),
            _ => continue,
        };
        assert_eq!(family.values.len(), series, "{family:?}");
        assert!(family.values.values().all(|value| value.to_string() == "1"), "{family:?}");
    }
}

/// The samples of requests that are not zero, each as `DOCUMENT STATUS NAMESPACE COUNT`.
fn requests(requests: &Requests) -> BTreeSet<String> {
    let mut registry = Registry::with_prefix("podrole");
    requests.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let samples = text.lines().filter_map(|line| line.strip_prefix("podrole_requests_total{"));
    let counted = samples.filter(|line| !line.ends_with(" 0"));
    let plain = |line: &str| line.replace(['}', '"'], "").replace(',', " ");
    counted.map(plain).collect()
}

#[test]
fn requests_are_counted_by_the_namespace_of_their_pod() {
    let counted = Requests::default();
    counted.count(Document::Credentials, StatusCode::FORBIDDEN, Some("shop"));
    counted.count(Document::Credentials, StatusCode::FORBIDDEN, Some("shop"));
    counted.count(Document::Token, StatusCode::OK, None);
    let expected = [
        "document=credentials status=403 pod_namespace=shop 2",
        "document=token status=200 pod_namespace= 1",
    ];
    assert_eq!(requests(&counted), expected.map(str::to_owned).into());
}

#[test]
fn namespaces_beyond_the_cap_are_counted_together() {
    let counted = Requests::default();
    for number in 0..NAMESPACES + 3 {
        counted.count(Document::Token, StatusCode::OK, Some(&format!("team-{number}")));
    }
    counted.count(Document::Token, StatusCode::OK, Some("team-0"));
    let samples = requests(&counted);
    assert_eq!(samples.len(), NAMESPACES + 1);
    assert!(samples.contains("document=token status=200 pod_namespace=other 3"), "{samples:?}");
    assert!(samples.contains("document=token status=200 pod_namespace=team-0 2"), "{samples:?}");
}

#[test]
fn the_label_of_the_namespace_can_be_left_out() {
    let counted = Requests::new(false);
    counted.count(Document::Token, StatusCode::OK, Some("shop"));
    assert_eq!(requests(&counted), ["document=token status=200 1".to_owned()].into());
}

#[test]
fn each_decision_has_its_series_and_no_impossible_one() {
    let metrics = metrics();
    metrics.decisions.count(DecidedBy::PodAnnotation, Decided::Refused);
    metrics.decisions.count(DecidedBy::Nothing, Decided::None);
    let families = families(&metrics.text().unwrap());
    let decisions = families.iter().find(|family| family.sample == "podrole_decisions_total");
    let values = &decisions.unwrap().values;
    assert_eq!(values.len(), 5 * 3 + 1, "{values:?}");
    let counted: Vec<_> = values.iter().filter(|(_, value)| **value > 0.0).collect();
    assert_eq!(counted.len(), 2, "{counted:?}");
}

#[test]
fn the_documentation_has_every_metric_and_every_value_of_a_label() {
    let families = families(&metrics().text().unwrap());
    assert!(DOCUMENTATION.contains(&reference::table()), "run `cargo xtask docs`");
    for (label, values) in families.iter().flat_map(|family| &family.labels) {
        let documented =
            DOCUMENTATION.lines().find(|line| line.starts_with(&format!("| `{label}` |")));
        let documented =
            documented.unwrap_or_else(|| panic!("docs/metrics.md has no row for {label}"));
        for value in values.iter().filter(|_| label != "version" && label != "pod_namespace") {
            let value = format!("`{value}`");
            assert!(documented.contains(&value), "docs/metrics.md, {label}: no {value}");
        }
    }
}
