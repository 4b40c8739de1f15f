//! Every metric that podrole has, by name (Prometheus documentation, "Metric and label naming").
//!
//! No label holds the name of a pod, a namespace or a role, and each has few values, all of them known
//! here but for interfaces, whose names are counted in `kernel/drops.rs`. What is counted while a request
//! is answered is counted in atomics that are made at the start: that allocates and locks nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use podrole_ebpf::Event;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;

pub use self::identities::{Identified, Identities};
pub use self::sessions::{Outcome, Sessions, Standing, StsRequests};

mod identities;
pub use self::metadata::{Limited, Limits, UpstreamRequests};

mod metadata;
mod sessions;
#[cfg(test)]
mod tests;

/// The media type of [`Metrics::text`] (OpenMetrics 1.0, "Content Type").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many interfaces have a series of their own in `podrole_forward_drops_total`.
pub const INTERFACES: usize = 20;
/// The series of all further interfaces, and of those that were gone before they had a name.
pub const OTHER_INTERFACES: &str = "other";
/// The series of all interfaces that are a pod's own: their names come and go with the pods.
pub const POD_INTERFACES: &str = "pods";

type Labels<const N: usize> = [(&'static str, &'static str); N];

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
    const ALL: [Self; 6] =
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
static STATUSES: [StatusCode; 8] = [
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
#[derive(Clone, Debug)]
struct ByStatus {
    known: [Counter; STATUSES.len()],
    other: Counter,
}

/// Requests answered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    family: Family<Labels<2>, Counter>,
    answered: Arc<[ByStatus; Document::ALL.len()]>,
}

impl Default for Requests {
    fn default() -> Self {
        let family = Family::<Labels<2>, Counter>::default();
        let answered = Document::ALL.map(|document| {
            let series = |status| [("document", document.label()), ("status", status)];
            ByStatus {
                known: STATUSES
                    .each_ref()
                    .map(|status| family.get_or_create_owned(&series(status.as_str()))),
                other: family.get_or_create_owned(&series("other")),
            }
        });
        Self { family, answered: Arc::new(answered) }
    }
}

impl Requests {
    /// Counts one.
    pub fn count(&self, document: Document, status: StatusCode) {
        let Some(ByStatus { known, other }) = self.answered.get(document as usize) else { return };
        let known = STATUSES.iter().zip(known).find(|(known, _)| **known == status);
        known.map_or(other, |(_, counter)| counter).inc();
    }
}

/// What the kernel's programs counted since they were first attached.
pub trait KernelCounts: Send + Sync + 'static {
    /// How often this happened.
    fn of(&self, event: Event) -> u64;

    /// How often this would have happened to a pod that is in audit.
    fn audited(&self, event: Event) -> u64;

    /// Forwarded packets that were dropped, by the name of the interface that they came in by: at most
    /// [`INTERFACES`] names, [`POD_INTERFACES`] and [`OTHER_INTERFACES`]. None ever shrinks.
    fn forward_drops(&self) -> BTreeMap<Arc<str>, u64>;
}

/// The agent's metrics: handles to count by, and the text of them all.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered.
    pub requests: Requests,
    /// What came of telling whose connections are.
    pub identities: Identities,
    /// 1 where pods are told apart by their source address alone.
    pub source_ip_identity: Gauge,
    /// What pods asked beyond their limits.
    pub limited: Limits,
    /// Questions to the real metadata service.
    pub upstream: UpstreamRequests,
    /// Sessions and the calls that they take.
    pub sessions: Sessions,
    /// Sessions got without their tags.
    pub untagged_sessions: Counter,
    /// Connections that left a pod for the proxy and did not arrive.
    pub redirects_lost: Counter,
    guards_missing: Family<Labels<1>, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("podrole"),
            requests: Requests::default(),
            identities: Identities::default(),
            source_ip_identity: Gauge::default(),
            limited: Limits::default(),
            upstream: UpstreamRequests::default(),
            sessions: Sessions::default(),
            untagged_sessions: Counter::default(),
            redirects_lost: Counter::default(),
            guards_missing: Family::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the agent that runs", version);
        registry.register(
            "requests",
            "Requests of pods that were answered, by what was asked for and by status",
            self.requests.family.clone(),
        );
        registry.register(
            "identities",
            "What came of telling whose a request is, or whose a connection is that is refused at once",
            self.identities.family.clone(),
        );
        registry.register(
            "source_ip_identity",
            "1 where pods are told apart by their source address alone (--identity source-ip)",
            self.source_ip_identity.clone(),
        );
        registry.register(
            "limited",
            "Requests of pods that were answered with 503, and connections that were closed, because one pod asked more than one pod may",
            self.limited.family.clone(),
        );
        registry.register(
            "upstream_requests",
            "Questions to the real metadata service that ended: what is remembered is not asked",
            self.upstream.family.clone(),
        );
        self.sessions.register(registry);
        registry.register(
            "untagged_sessions",
            "Sessions got without their session tags, since STS refused the role with them",
            self.untagged_sessions.clone(),
        );
        registry.register(
            "redirects_lost",
            "Connections that were sent to the proxy and did not arrive there within 2 s: something takes its port or drops them",
            self.redirects_lost.clone(),
        );
        registry.register(
            "guards_missing",
            "1 for a guard that this kernel has no hook for, as --allow-missing-guards permits",
            self.guards_missing.clone(),
        );
        self
    }

    /// Whether the guard of this name is missing: 1, or 0 until that is told.
    #[must_use]
    pub fn missing(&self, guard: &'static str) -> Gauge {
        self.guards_missing.get_or_create_owned(&[("guard", guard)])
    }

    /// Adds what is asked for at each scrape: the kernel's counts and the number of known pods.
    pub fn ask<P>(&mut self, kernel: Arc<dyn KernelCounts>, pods: P)
    where
        P: Fn() -> usize + Send + Sync + 'static,
    {
        self.registry.register_collector(Box::new(AtScrape { kernel, pods }));
    }

    /// All of them in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never, as long as a string takes all that is written to it.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct AtScrape<P> {
    kernel: Arc<dyn KernelCounts>,
    pods: P,
}

impl<P> fmt::Debug for AtScrape<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtScrape").finish_non_exhaustive()
    }
}

/// The label of what a program refuses; none for what it does not refuse.
const fn reason(event: Event) -> Option<&'static str> {
    Some(match event {
        Event::Redirected => return None,
        Event::ConnectRefused => "connect",
        Event::DatagramRefused => "datagram",
        Event::PacketDropped => "packet",
        Event::ForwardDropped => "forward",
        Event::BindRefused => "bind",
        Event::SynDropped => "syn_rate",
    })
}

impl<P: Fn() -> usize + Send + Sync + 'static> Collector for AtScrape<P> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let pods = ConstGauge::new(u64::try_from((self.pods)()).unwrap_or(u64::MAX));
        let help = "Running pods of this node that the agent knows of.";
        pods.encode(encoder.encode_descriptor("pods", help, None, pods.metric_type())?)?;

        let redirects = ConstCounter::new(self.kernel.of(Event::Redirected));
        let counter = redirects.metric_type();
        let help = "Connections of pods to the metadata service that were sent to the proxy.";
        redirects.encode(encoder.encode_descriptor("redirects", help, None, counter)?)?;

        let help = "What pods tried on the metadata service or on podrole's ports and was refused: calls, packets, and SYNs to the proxy beyond a pod's rate.";
        let mut refusals = encoder.encode_descriptor("refusals", help, None, counter)?;
        for (event, reason) in Event::ALL.into_iter().filter_map(|e| Some((e, reason(e)?))) {
            let count = ConstCounter::new(self.kernel.of(event));
            count.encode(refusals.encode_family(&[("reason", reason)])?)?;
        }

        let help =
            "What pods in audit did that enforce would redirect or refuse: calls and packets.";
        let mut audited = encoder.encode_descriptor("audited", help, None, counter)?;
        let would = |event| reason(event).unwrap_or("redirect");
        for event in Event::ALL.into_iter().filter(|event| *event != Event::SynDropped) {
            let count = ConstCounter::new(self.kernel.audited(event));
            count.encode(audited.encode_family(&[("would", would(event))])?)?;
        }

        let help = "Packets to the metadata service that the node would have forwarded, by the interface that they came in by.";
        let mut drops = encoder.encode_descriptor("forward_drops", help, None, counter)?;
        for (interface, count) in self.kernel.forward_drops() {
            let count = ConstCounter::new(count);
            count.encode(drops.encode_family(&[("interface", &*interface)])?)?;
        }
        Ok(())
    }
}
