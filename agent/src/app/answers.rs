//! What the agent answers to the other commands, over its socket.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OnceCell, watch as channel};
use tokio::time::{Instant, timeout};

use super::inspect::Ready;
use super::inspect::explain::{About, Explanation, compose, verdict};
use super::inspect::report::{self, NodeReport};
use super::inspect::status::{HostNetworkStatus, PodStatus, SessionStatus, Status};
use super::modes::{Modal, mapped};
use super::standing::programs;
use super::upgrade::Office;
use crate::callers::Callers;
use crate::callers::pods::Pod;
use crate::clock::Clock;
use crate::credentials::advice::{advise, sentence};
use crate::credentials::broker::{Broker, Phase, SessionState};
use crate::credentials::sts::Sts;
use crate::credentials::trials::Trials;
use crate::credentials::trust::Known;
use crate::credentials::{SessionPlan, SessionRequest};
use crate::kernel::{HostPod, Standing};
use crate::metadata::asks::Asks;
use crate::metadata::{Handler, ImdsV1, NodeMetadata};
use crate::operate::control::hand_over::Successor;
use crate::operate::control::{Answers, Question};
use crate::operate::metrics::Metrics;
use crate::operate::readiness::Readiness;
use crate::report::Chain;
use crate::roles::{Base, Decision, Roles};

/// For asking STS who we are: an explanation does without.
const IDENTITY_DEADLINE: Duration = Duration::from_secs(3);
/// Where a pod has its own token for the API server (Kubernetes documentation, "Accessing the
/// Kubernetes API from a Pod").
const OWN_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Knows what there is to know of this node.
pub(super) struct Knowing {
    /// The node's name.
    node: String,
    /// When the agent started.
    started: SystemTime,
    /// Whether it serves.
    readiness: Readiness,
    /// The node's pods.
    callers: Callers,
    /// Which role a pod has.
    roles: Roles,
    /// How its session is asked for.
    plan: SessionPlan,
    /// Who has the sessions.
    broker: Broker,
    /// What STS taught about roles.
    sts: Sts,
    /// Whom STS takes the agent for.
    own: Own,
    /// What was counted.
    metrics: Arc<Metrics>,
    /// Whether `IMDSv1` is answered.
    imds_v1: ImdsV1,
    /// What pods read of the node.
    metadata: NodeMetadata,
    /// What is done with pods.
    modal: Modal,
    /// What pods in audit asked for.
    asks: Asks,
    /// What AWS said of roles that were tried.
    trials: Trials,
    /// What is handed over to a new agent.
    office: Arc<Office>,
    /// Where the programs are.
    standing: channel::Receiver<Standing>,
    /// The time of day.
    clock: Clock,
}

impl Answers for Knowing {
    async fn answer(&self, question: Question) -> Result<Value, String> {
        match question {
            Question::Ready => json(&self.ready()),
            Question::Status => json(&self.status().await),
            Question::Report { again } => {
                if again {
                    self.trials.again(Instant::now());
                }
                json(&self.report().await)
            }
            Question::Explain { namespace, name } => json(&self.explain(&namespace, &name).await),
            Question::HandOver { .. } => Err("the hand-over is no question".into()),
        }
    }

    async fn hand_over(&self, successor: Successor) {
        self.office.hand_over(successor).await;
    }
}

impl Knowing {
    /// Knows what `handler` knows, and these.
    pub(super) fn beside(
        handler: &Handler,
        node: String,
        readiness: &Readiness,
        metrics: &Arc<Metrics>,
        (sts, own, office): (Sts, Own, &Arc<Office>),
        (standing, modal): (channel::Receiver<Standing>, Modal),
        (asks, trials): (Asks, Trials),
    ) -> Self {
        Self {
            node,
            sts,
            started: handler.started,
            readiness: readiness.clone(),
            callers: handler.callers.clone(),
            roles: handler.roles.clone(),
            plan: handler.plan.clone(),
            broker: handler.broker.clone(),
            own,
            metrics: Arc::clone(metrics),
            imds_v1: handler.imds_v1,
            metadata: handler.node.clone(),
            modal,
            asks,
            trials,
            office: Arc::clone(office),
            standing,
            clock: handler.clock.clone(),
        }
    }

    fn ready(&self) -> Ready {
        let missing: Vec<_> = self.readiness.missing().into_iter().map(str::to_owned).collect();
        Ready { ready: missing.is_empty(), missing }
    }

    async fn status(&self) -> Status {
        let sessions = self.broker.states().await;
        let sessions: HashMap<_, _> =
            sessions.iter().map(|session| (session.pod.as_str(), session)).collect();
        let pods = self.callers.all();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.clone(),
            started: rfc3339(self.started),
            time: rfc3339(self.clock.now()),
            ready: self.ready(),
            host_network_pods: self.callers.host_network().pods.to_string(),
            mode: self.modal.of_node().to_string(),
            changing: self.modal.is_changing(),
            programs: programs(&self.standing.borrow()),
            pods: pods
                .iter()
                .map(|pod| self.pod(pod, sessions.get(pod.uid.as_str()).copied()))
                .collect(),
            counters: self.metrics.text().map(|text| counted(&text)).unwrap_or_default(),
        }
    }

    fn pod(&self, pod: &Pod, session: Option<&SessionState>) -> PodStatus {
        let decision = self.roles.decide(pod);
        let (grant, reason) = match &decision {
            Decision::Granted(grant) => (Some(grant), None),
            Decision::Refused(refusal) => (None, Some(refusal.to_string())),
            Decision::NotYet(what) => (None, Some(what.to_string())),
            Decision::None => (None, None),
        };
        let known = session.and_then(|session| session.role.as_ref());
        PodStatus {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
            verdict: verdict(&decision),
            rule: grant.map(|grant| grant.rule.to_string()),
            role: grant.and_then(|grant| grant.role().or(known)).map(ToString::to_string),
            reason,
            host_network: self.host_network(pod, &decision),
            session: session.and_then(|session| self.session(session)),
        }
    }

    fn host_network(&self, pod: &Pod, decision: &Decision) -> Option<HostNetworkStatus> {
        let word = self.callers.host_network().decide(pod, mapped(decision));
        pod.host_network.then_some(match word {
            Some(HostPod::Node) => HostNetworkStatus::Node,
            Some(HostPod::Held) => HostNetworkStatus::Held,
            None => HostNetworkStatus::NotYet,
        })
    }

    /// Nothing of a pod that may have none.
    fn session(&self, session: &SessionState) -> Option<SessionStatus> {
        let untagged = matches!(
            session.request.as_deref(),
            Some(SessionRequest::AssumeRole(request)) if self.sts.leaves_out_tags(request)
        );
        Some(SessionStatus { untagged, ..session_status(session)? })
    }

    async fn report(&self) -> NodeReport {
        let identity = self.own.arn().await;
        let issuer = own_issuer();
        let known = Known { identity: identity.as_deref(), issuer: issuer.as_deref() };
        let sessions = self.broker.states().await;
        let host_network = self.callers.host_network();
        let base = match &self.roles.rules().base {
            Base::Given(base) => Some(base.clone()),
            Base::Own | Base::None => None,
        };
        let is_node = |pod: &Pod| {
            (pod.host_network && host_network.is_node(pod)).then(|| host_network.says(pod))
        };
        let denies_v1 = |pod: &Pod| {
            let namespace = self.roles.namespace(&pod.namespace);
            self.imds_v1.for_pod(pod).for_namespace(&namespace) == Ok(ImdsV1::Deny)
        };
        let about = report::About {
            node: &self.node,
            trace: &|pod| self.roles.trace(pod),
            mode: &|pod| self.modal.of_pod(pod),
            is_node: &is_node,
            denies_v1: &denies_v1,
            is_for_pods: &|path| self.metadata.is_for_pods(path),
            plan: &self.plan,
            trials: &self.trials,
            left: &self.asks.left(),
            sessions: &sessions,
            base: base.as_ref(),
            known,
        };
        report::compose(&self.callers.all(), &self.asks.all(), &about)
    }

    /// None of a pod that is not on this node, as far as is known.
    async fn explain(&self, namespace: &str, name: &str) -> Option<Explanation> {
        let pods = self.callers.all();
        let pod = pods.iter().find(|pod| &*pod.namespace == namespace && &*pod.name == name)?;
        let identity = self.own.arn().await;
        let issuer = own_issuer();
        let known = Known { identity: identity.as_deref(), issuer: issuer.as_deref() };
        let told_by = format!("the agent on {}", self.node);
        let host_network = self.callers.host_network();
        let about = About { told_by: &told_by, plan: &self.plan, host_network, known };
        let mut explanation = compose(pod, &self.roles.trace(pod), about);
        explanation.unreachable = self.callers.unreachable(&pod.uid).map(|unreachable| {
            let (lost, ago) = (unreachable.connections, unreachable.last.elapsed().as_secs());
            format!(
                "{lost} connections of this pod to the metadata service did not arrive, the last {ago} s ago: `podrole check --pod {pod}` on its node says where they stop"
            )
        });
        let sessions = self.broker.states().await;
        if let Some(session) = sessions.iter().find(|session| session.pod == pod.uid) {
            explanation.session = self.session(session);
            let failed = session.request.as_ref().zip(session.error.as_ref());
            explanation.advice =
                failed.and_then(|(request, error)| sentence(&advise(request, error)));
        }
        Some(explanation)
    }
}

/// Whom STS takes the agent for: asked once, when somebody wants to know.
pub(super) struct Own {
    /// Who is asked.
    sts: Sts,
    known: OnceCell<Box<str>>,
}

impl Own {
    /// Asks `sts`.
    pub(super) fn new(sts: Sts) -> Self {
        Self { sts, known: OnceCell::new() }
    }

    /// Its ARN, if STS tells it soon.
    async fn arn(&self) -> Option<Box<str>> {
        let ask = async { self.sts.identity().await.map(|identity| identity.arn) };
        let asked = Box::pin(self.known.get_or_try_init(|| ask));
        let known = timeout(IDENTITY_DEADLINE, asked).await;
        known.ok()?.ok().cloned()
    }
}

/// The issuer of this cluster's ServiceAccount tokens, by the agent's own (RFC 7519, section 4.1.1).
fn own_issuer() -> Option<String> {
    let token = std::fs::read_to_string(OWN_TOKEN).ok()?;
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Nothing of a pod that may have none.
fn session_status(session: &SessionState) -> Option<SessionStatus> {
    let state = match session.phase {
        Phase::None => return None,
        Phase::Absent => "not asked for yet",
        Phase::Waiting => "waiting",
        Phase::Fetching => "being fetched",
        Phase::Held => "held",
        Phase::Refreshing => "held, being refreshed",
        Phase::Refused => "refused",
    };
    Some(SessionStatus {
        state: state.to_owned(),
        access_key_id: session.access_key_id.as_deref().map(str::to_owned),
        expires: session.expiration.map(rfc3339),
        untagged: false,
        error: session.error.as_ref().map(|error| Chain(error).to_string()),
    })
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
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(rfc3339(time), "1970-01-01T00:00:01Z");
    }
}
