//! What the agent answers to the other commands, over its socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::inspect::Ready;
use super::inspect::status::{PodStatus, Status, Verdict};
use crate::callers::Callers;
use crate::callers::pods::Pod;
use crate::operate::control::{Answers, Question};
use crate::operate::metrics::Metrics;
use crate::operate::readiness::Readiness;
use crate::roles::{Decision, Roles};

/// Knows what there is to know of this node.
pub(super) struct Knowing {
    /// The node's name.
    pub(super) node: String,
    /// When the agent started.
    pub(super) started: SystemTime,
    /// Whether it serves.
    pub(super) readiness: Readiness,
    /// The node's pods.
    pub(super) callers: Callers,
    /// Which role a pod has.
    pub(super) roles: Roles,
    /// What was counted.
    pub(super) metrics: Arc<Metrics>,
}

impl Answers for Knowing {
    async fn answer(&self, question: Question) -> Result<Value, String> {
        match question {
            Question::Ready => json(&self.ready()),
            Question::Status => json(&self.status()),
            Question::Explain { .. } => Err("not in this version".into()),
        }
    }
}

impl Knowing {
    fn ready(&self) -> Ready {
        let missing: Vec<_> = self.readiness.missing().into_iter().map(str::to_owned).collect();
        Ready { ready: missing.is_empty(), missing }
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.clone(),
            started: rfc3339(self.started),
            ready: self.ready(),
            pods: self.callers.all().iter().map(|pod| self.pod(pod)).collect(),
            counters: self.metrics.text().map(|text| counted(&text)).unwrap_or_default(),
        }
    }

    fn pod(&self, pod: &Pod) -> PodStatus {
        let decision = self.roles.decide(pod);
        let (verdict, grant, reason) = match &decision {
            Decision::Granted(grant) => (Verdict::Granted, Some(grant), None),
            Decision::Refused(refusal) => (Verdict::Refused, None, Some(refusal.to_string())),
            Decision::NotYet(what) => (Verdict::NotYet, None, Some(what.to_string())),
            Decision::None => (Verdict::None, None, None),
        };
        PodStatus {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
            verdict,
            rule: grant.map(|grant| grant.rule.to_string()),
            role: grant.and_then(|grant| grant.role()).map(ToString::to_string),
            reason,
            session: None,
        }
    }
}

fn json(answer: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(answer).map_err(|error| error.to_string())
}

/// As people and programs read it, to the second.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What of a page of metrics is not zero, but for histograms (OpenMetrics 1.0, "Text format").
fn counted(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let value = value.parse::<f64>().ok().filter(|value| *value != 0.0)?;
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.split('{').next().is_some_and(|name| name.ends_with(end)));
        (!of_histogram).then(|| (name.to_owned(), value))
    });
    samples.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_metrics_page() {
        let page = "# TYPE podrole_requests counter\n\
            podrole_requests_total{document=\"token\",status=\"200\"} 3\n\
            podrole_requests_total{document=\"token\",status=\"401\"} 0\n\
            podrole_fetch_seconds_bucket{le=\"1.0\"} 4\npodrole_fetch_seconds_sum 2.5\n\
            podrole_sessions 2\n# EOF\n";
        let counted = counted(page);
        let names: Vec<_> = counted.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["podrole_requests_total{document=\"token\",status=\"200\"}", "podrole_sessions"]
        );
    }

    #[test]
    fn times_are_to_the_second() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        assert_eq!(rfc3339(time), "1970-01-01T00:00:01Z");
    }
}
