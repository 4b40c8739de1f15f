//! What is counted of pods' requests beside their answers: limits that were met, and questions to the real
//! metadata service.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Labels;

/// A limit of one pod, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Connections at a time.
    Connections,
    /// Requests a second.
    Requests,
}

impl Limited {
    const ALL: [Self; 2] = [Self::Connections, Self::Requests];

    const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
        }
    }
}

/// What pods asked beyond their limits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(super) family: Family<Labels<1>, Counter>,
    met: Arc<[Counter; Limited::ALL.len()]>,
}

impl Default for Limits {
    fn default() -> Self {
        let family = Family::<Labels<1>, Counter>::default();
        let met = Limited::ALL.map(|limit| family.get_or_create_owned(&[("limit", limit.label())]));
        Self { family, met: Arc::new(met) }
    }
}

impl Limits {
    /// Counts one request or connection that was refused.
    pub fn count(&self, limit: Limited) {
        self.met.get(limit as usize).map(Counter::inc);
    }
}

/// Questions to the real metadata service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UpstreamRequests {
    pub(super) family: Family<Labels<1>, Counter>,
    answered: Counter,
    failed: Counter,
}

impl Default for UpstreamRequests {
    fn default() -> Self {
        let family = Family::<Labels<1>, Counter>::default();
        let of = |outcome| family.get_or_create_owned(&[("outcome", outcome)]);
        Self { answered: of("ok"), failed: of("unavailable"), family }
    }
}

impl UpstreamRequests {
    /// Counts one that ended.
    pub fn count(&self, is_answered: bool) {
        if is_answered { &self.answered } else { &self.failed }.inc();
    }
}
