//! Every metric that podrole has, by name (Prometheus documentation, "Metric and label naming").
//!
//! No label holds the name of a pod or a role, and each has few values, all of them known here but for
//! interfaces, whose names are counted in `kernel/drops.rs`, and namespaces, which are counted in
//! `requests`. What is counted while a request is answered has its place from the start: nothing is
//! allocated for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use podrole_ebpf::Event;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;

pub use self::ages::{Since, Watched, Watches, Word};
pub use self::decisions::{Decided, DecidedBy, Decisions};
pub use self::identities::{Identified, Identities};
pub use self::metadata::{Limited, Limits, UpstreamRequests};
pub use self::requests::{Document, NAMESPACES, OTHER_NAMESPACES, Requests};
pub use self::sessions::{CalledBy, Outcome, Sessions, Standing, StsRequests};

use self::process::OwnProcess;
use super::readiness::Readiness;

mod ages;
mod decisions;
mod identities;
mod metadata;
mod process;
pub mod reference;
mod requests;
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

/// Of every name but those of the process, which all exporters share.
const PREFIX: &str = "podrole";

type Labels<const N: usize> = [(&'static str, &'static str); N];

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
    /// What the rules said.
    pub decisions: Decisions,
    /// What came of telling whose connections are.
    pub identities: Identities,
    /// 1 where pods are told apart by their source address alone.
    pub source_ip_identity: Gauge,
    /// What pods asked beyond their limits.
    pub limited: Limits,
    /// Questions to the real metadata service.
    pub upstream: UpstreamRequests,
    /// When the answer of the real metadata service was asked for that is remembered longest.
    pub upstream_oldest: Since,
    /// When the API server was heard of last.
    pub watches: Watches,
    /// Sessions and the calls that they take.
    pub sessions: Sessions,
    /// Sessions got without their tags.
    pub untagged_sessions: Counter,
    /// Connections that left a pod for the proxy and did not arrive.
    pub redirects_lost: Counter,
    /// 1 while the programs shall be on the node.
    pub programs_wanted: Gauge,
    /// 1 while all of them are.
    pub programs_attached: Gauge,
    guards_missing: Family<Labels<1>, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Metrics {
    /// All of them. Requests are counted by the namespace of the pod that asks, or not.
    #[must_use]
    pub fn new(by_namespace: bool) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Requests::new(by_namespace),
            decisions: Decisions::default(),
            identities: Identities::default(),
            source_ip_identity: Gauge::default(),
            limited: Limits::default(),
            upstream: UpstreamRequests::default(),
            upstream_oldest: Since::default(),
            watches: Watches::default(),
            sessions: Sessions::default(),
            untagged_sessions: Counter::default(),
            redirects_lost: Counter::default(),
            programs_wanted: Gauge::default(),
            programs_attached: Gauge::default(),
            guards_missing: Family::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        self.registry.register_collector(Box::new(OwnProcess));
        let registry = self.registry.sub_registry_with_prefix(PREFIX);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the agent that runs", version);
        self.requests.register(registry);
        registry.register(
            "decisions",
            "What the rules said of a pod that asked for something of its role, by the rule that decided",
            self.decisions.family.clone(),
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
            "programs_wanted",
            "1 where the programs shall be on the node, 0 where its mode is off",
            self.programs_wanted.clone(),
        );
        registry.register(
            "programs_attached",
            "1 while every program is where it belongs: on the pods' cgroup, and first on the way out of each interface that is guarded",
            self.programs_attached.clone(),
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

    /// Adds what is asked for at each scrape: the kernel's counts, the number of known pods, whether the
    /// agent serves, and how old things are.
    pub fn ask<P>(&mut self, kernel: Arc<dyn KernelCounts>, pods: P, readiness: Readiness)
    where
        P: Fn() -> usize + Send + Sync + 'static,
    {
        let caches = [
            ("credentials", self.sessions.oldest.clone()),
            ("node_metadata", self.upstream_oldest.clone()),
        ];
        let watches = self.watches.clone();
        let at_scrape = AtScrape { kernel, pods, readiness, caches, watches };
        let registry = self.registry.sub_registry_with_prefix(PREFIX);
        registry.register_collector(Box::new(at_scrape));
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
    readiness: Readiness,
    caches: [(&'static str, Since); 2],
    watches: Watches,
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
        pods.encode(encoder.encode_descriptor("pods", help, None, MetricType::Gauge)?)?;

        let ready = ConstGauge::new(u64::from(self.readiness.missing().is_empty()));
        let help = "1 while the agent serves: what /readyz says.";
        ready.encode(encoder.encode_descriptor("ready", help, None, MetricType::Gauge)?)?;

        self.encode_ages(&mut encoder)?;

        let redirects = ConstCounter::new(self.kernel.of(Event::Redirected));
        let counter = MetricType::Counter;
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

impl<P> AtScrape<P> {
    fn encode_ages(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How old the oldest of what is remembered is, in seconds; 0 if nothing is.";
        let mut ages =
            encoder.encode_descriptor("cache_age_seconds", help, None, MetricType::Gauge)?;
        for (cache, oldest) in &self.caches {
            let age = ConstGauge::new(oldest.age().as_secs_f64());
            age.encode(ages.encode_family(&[("cache", *cache)])?)?;
        }
        let help = "How long the API server has not been heard of by a watch, in seconds: of several of a kind, by the one that is silent longest. Within a few minutes it says at least that nothing has changed.";
        let mut silences =
            encoder.encode_descriptor("watch_silence_seconds", help, None, MetricType::Gauge)?;
        for watched in Watched::ALL {
            let silence = ConstGauge::new(self.watches.silence(watched).as_secs_f64());
            silence.encode(silences.encode_family(&[("resource", watched.label())])?)?;
        }
        Ok(())
    }
}
