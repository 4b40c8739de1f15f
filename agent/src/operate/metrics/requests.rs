//! Requests that were answered: by what was asked for, by status, by the namespace of the pod that asked, and
//! what they took. Whatever is counted here is counted while a pod waits: no allocation, no lock that
//! anybody else holds for long.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Labels;

/// How many namespaces have series of their own in `podrole_requests_total`.
pub const NAMESPACES: usize = 50;
/// The series of all further namespaces.
pub const OTHER_NAMESPACES: &str = "other";

/// From an answer out of memory to one that AWS is waited for: after 900 ms a pod is told to ask again, and
/// after a second SDKs have given up.
const SECONDS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0];

/// What was asked for, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// An IMDSv2 token.
    Token,
    /// The name of the role.
    RoleList,
    /// Credentials of a role.
    Credentials,
    /// `iam/info`
    IamInfo,
    /// Something of the node's own.
    Node,
    /// Anything else, or anything by a method that it does not have.
    Other,
}

impl Document {
    pub(super) const ALL: [Self; 6] =
        [Self::Token, Self::RoleList, Self::Credentials, Self::IamInfo, Self::Node, Self::Other];

    const fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::RoleList => "role_list",
            Self::Credentials => "credentials",
            Self::IamInfo => "iam_info",
            Self::Node => "node",
            Self::Other => "other",
        }
    }
}

/// The statuses that requests are answered with.
pub(super) static STATUSES: [StatusCode; 8] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Of one document, requests by status: those of [`STATUSES`], then any other.
#[derive(Debug, Default)]
struct ByStatus {
    known: [AtomicU64; STATUSES.len()],
    other: AtomicU64,
}

/// Of one namespace, requests by document and status.
#[derive(Debug, Default)]
struct Counts([ByStatus; Document::ALL.len()]);

impl Counts {
    fn count(&self, document: Document, status: StatusCode) {
        let Some(ByStatus { known, other }) = self.0.get(document as usize) else { return };
        let known = STATUSES.iter().zip(known).find(|(known, _)| **known == status);
        known.map_or(other, |(_, counter)| counter).fetch_add(1, Ordering::Relaxed);
    }

    /// Each document and status, with how often it was.
    fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let documents = Document::ALL.into_iter().zip(&self.0);
        documents.flat_map(|(document, ByStatus { known, other })| {
            let known = STATUSES.iter().zip(known).map(|(status, count)| (status.as_str(), count));
            let statuses = known.chain([("other", other)]);
            statuses.map(move |(status, count)| {
                (document.label(), status, count.load(Ordering::Relaxed))
            })
        })
    }
}

/// Requests answered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    counted: Arc<Counted>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    took: Arc<[Histogram; Document::ALL.len()]>,
}

#[derive(Debug, Default)]
struct Counted {
    without_namespaces: bool,
    /// Of whoever is no known pod; of everybody, without namespaces.
    nobody: Counts,
    namespaces: RwLock<HashMap<Box<str>, Arc<Counts>>>,
    other: Counts,
}

impl Default for Requests {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Requests {
    /// Counts namespaces apart from each other, or not.
    #[must_use]
    pub fn new(by_namespace: bool) -> Self {
        let seconds: Family<_, _, fn() -> _> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let took = Document::ALL
            .map(|document| seconds.get_or_create_owned(&[("document", document.label())]));
        let counted = Counted { without_namespaces: !by_namespace, ..Counted::default() };
        Self { counted: Arc::new(counted), seconds, took: Arc::new(took) }
    }

    /// Whether it matters whose a request is.
    #[must_use]
    pub fn by_namespace(&self) -> bool {
        !self.counted.without_namespaces
    }

    /// Counts one, asked by a pod of this namespace.
    pub fn count(&self, document: Document, status: StatusCode, namespace: Option<&str>) {
        let Counted { without_namespaces, nobody, namespaces, other } = &*self.counted;
        let Some(namespace) = namespace.filter(|_| !without_namespaces) else {
            return nobody.count(document, status);
        };
        {
            let known = namespaces.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counts) = known.get(namespace) {
                return counts.count(document, status);
            }
            if known.len() >= NAMESPACES {
                return other.count(document, status);
            }
        }
        // Once for each namespace.
        let mut known = namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < NAMESPACES || known.contains_key(namespace) {
            known.entry(namespace.into()).or_default().count(document, status);
        } else {
            other.count(document, status);
        }
    }

    /// Notes what one took.
    pub fn took(&self, document: Document, took: Duration) {
        if let Some(histogram) = self.took.get(document as usize) {
            histogram.observe(took.as_secs_f64());
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "request_duration_seconds",
            "What requests of pods took from their head to their answer, in seconds",
            self.seconds.clone(),
        );
        registry.register_collector(Box::new(AtScrape(Arc::clone(&self.counted))));
    }
}

#[derive(Debug)]
struct AtScrape(Arc<Counted>);

impl Collector for AtScrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests of pods that were answered, by what was asked for, by status, and by the namespace of the pod.";
        let mut requests =
            encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        let Counted { without_namespaces, nobody, namespaces, other } = &*self.0;
        for (document, status, count) in nobody.all() {
            let (document, status) = (("document", document), ("status", status));
            if *without_namespaces {
                encode(&mut requests, &[document, status], count)?;
            } else {
                encode(&mut requests, &[document, status, ("pod_namespace", "")], count)?;
            }
        }
        let known = namespaces.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = known.iter().map(|(namespace, counts)| (&**namespace, &**counts));
        for (namespace, counts) in known.chain([(OTHER_NAMESPACES, other)]) {
            // A namespace asks for few of all that can be asked for.
            for (document, status, count) in counts.all().filter(|(_, _, count)| *count > 0) {
                let (document, status) = (("document", document), ("status", status));
                let labels = [document, status, ("pod_namespace", namespace)];
                encode(&mut requests, &labels, count)?;
            }
        }
        Ok(())
    }
}

fn encode(
    requests: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: u64,
) -> fmt::Result {
    ConstCounter::new(count).encode(requests.encode_family(labels)?)
}
