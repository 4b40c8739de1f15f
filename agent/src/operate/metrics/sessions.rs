//! What is told of sessions: calls to AWS, what they took and came to, and what is held.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Counter, Gauge, Labels, Since};

/// What calls take: from a near STS to one that does not answer.
const CALL_SECONDS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// What credentials have left: the windows of SDKs (5, 10 and 15 min), the floor, the ordinary.
const LEFT_SECONDS: [f64; 8] = [60.0, 300.0, 600.0, 900.0, 1500.0, 2100.0, 3600.0, 21600.0];

/// What came of a call to STS, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Credentials.
    Ok,
    /// A refusal that concerns the role.
    Refused,
    /// The agent's own credentials or clock are bad.
    Node,
    /// The pod's own token is not there or not accepted.
    Token,
    /// AWS wants fewer requests.
    Throttled,
    /// Failing, slow or out of reach.
    Unavailable,
    /// An answer that cannot be used.
    Unusable,
}

impl Outcome {
    pub(super) const ALL: [Self; 7] = [
        Self::Ok,
        Self::Refused,
        Self::Node,
        Self::Token,
        Self::Throttled,
        Self::Unavailable,
        Self::Unusable,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Node => "node",
            Self::Token => "token",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Unusable => "unusable",
        }
    }
}

/// Where credentials come from, as `--sources` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalledBy {
    /// AssumeRole
    Sts,
    /// `AssumeRoleWithWebIdentity`
    WebIdentity,
    /// `AssumeRoleForPodIdentity`
    EksPodIdentity,
}

impl CalledBy {
    pub(super) const ALL: [Self; 3] = [Self::Sts, Self::WebIdentity, Self::EksPodIdentity];

    const fn label(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::WebIdentity => "web-identity",
            Self::EksPodIdentity => "eks-pod-identity",
        }
    }
}

/// Calls to AWS by one source.
#[derive(Debug)]
struct OfSource {
    ended: [Counter; Outcome::ALL.len()],
    took: Histogram,
}

/// Calls to AWS for credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StsRequests {
    ended: Family<Labels<2>, Counter>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    of_source: Arc<[OfSource; CalledBy::ALL.len()]>,
}

impl Default for StsRequests {
    fn default() -> Self {
        let ended = Family::<Labels<2>, Counter>::default();
        let seconds: Family<_, _, fn() -> _> =
            Family::new_with_constructor(|| Histogram::new(CALL_SECONDS));
        let of_source = CalledBy::ALL.map(|source| {
            let source = ("source", source.label());
            OfSource {
                ended: Outcome::ALL.map(|outcome| {
                    ended.get_or_create_owned(&[source, ("outcome", outcome.label())])
                }),
                took: seconds.get_or_create_owned(&[source]),
            }
        });
        Self { ended, seconds, of_source: Arc::new(of_source) }
    }
}

impl StsRequests {
    /// Counts one that ended.
    pub fn count(&self, source: CalledBy, outcome: Outcome, took: Duration) {
        let Some(of_source) = self.of_source.get(source as usize) else { return };
        of_source.ended.get(outcome as usize).map(Counter::inc);
        of_source.took.observe(took.as_secs_f64());
    }
}

/// Sessions and the calls that they take. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Calls to AWS that ended.
    pub calls: StsRequests,
    /// What credentials had left when they were served, in seconds.
    pub left: Histogram,
    held: Gauge,
    least_left: Gauge,
    pub(super) oldest: Since,
    waiting: Gauge,
    running: Gauge,
    rate: Gauge<f64, AtomicU64>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            calls: StsRequests::default(),
            left: Histogram::new(LEFT_SECONDS),
            held: Gauge::default(),
            least_left: Gauge::default(),
            oldest: Since::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            rate: Gauge::default(),
        }
    }
}

/// How things stand now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Sessions whose credentials are held.
    pub held: usize,
    /// What the one that ends first has left.
    pub least_left: Option<Duration>,
    /// When the one that was got first was got.
    pub oldest: Option<Instant>,
    /// Fetches that are due and wait for their turn.
    pub waiting: usize,
    /// Fetches under way.
    pub running: usize,
    /// Calls a second that are allowed.
    pub rate: f64,
}

impl Sessions {
    /// Says how things stand.
    pub fn show(&self, standing: &Standing) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let seconds = standing.least_left.unwrap_or_default().as_secs();
        self.held.set(count(standing.held));
        self.least_left.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.oldest.set(standing.oldest);
        self.waiting.set(count(standing.waiting));
        self.running.set(count(standing.running));
        self.rate.set(standing.rate);
    }

    /// Sessions whose credentials are held.
    #[must_use]
    pub fn held(&self) -> i64 {
        self.held.get()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sts_requests",
            "Calls to AWS for credentials that ended",
            self.calls.ended.clone(),
        );
        registry.register(
            "sts_request_duration_seconds",
            "What calls to AWS for credentials took, in seconds",
            self.calls.seconds.clone(),
        );
        registry.register(
            "credentials_left_seconds",
            "What credentials had left when pods were given them, in seconds",
            self.left.clone(),
        );
        registry.register("sessions", "Sessions whose credentials are held now", self.held.clone());
        registry.register(
            "sessions_least_left_seconds",
            "What the session that ends first has left, in seconds; 0 if none is held",
            self.least_left.clone(),
        );
        registry.register(
            "sts_requests_waiting",
            "Calls to AWS that are due and wait for their turn",
            self.waiting.clone(),
        );
        registry.register(
            "sts_requests_running",
            "Calls to AWS that have not ended yet",
            self.running.clone(),
        );
        registry.register(
            "sts_requests_allowed",
            "Calls to AWS that are allowed a second; fewer while AWS throttles or fails",
            self.rate.clone(),
        );
    }
}
