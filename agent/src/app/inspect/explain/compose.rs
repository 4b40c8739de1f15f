//! An explanation, made of what the rooms say of a pod. Pure.

use super::{Explanation, PodFacts, Request, RuleSaid, Tag, TrustPolicy};
use crate::app::inspect::status::{SessionStatus, Verdict as Shown};
use crate::callers::host_network::HostNetwork;
use crate::callers::pods::Pod;
use crate::credentials::trust::{self, Known};
use crate::credentials::{SessionPlan, SessionRequest};
use crate::roles::{Decision, Step, Trace, Verdict};

/// What is known beside the pod and its trace.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Whose word it is.
    pub told_by: &'a str,
    /// How sessions are asked for.
    pub plan: &'a SessionPlan,
    /// How pods in the node's network namespace are told apart.
    pub host_network: &'a HostNetwork,
    /// Who the agent is to AWS, and who makes its pods' tokens.
    pub known: Known<'a>,
}

/// Explains `trace`, which was made for `pod`.
#[must_use]
pub fn compose(pod: &Pod, trace: &Trace, about: About<'_>) -> Explanation {
    let request = match &trace.decision {
        Decision::Granted(grant) => Some((grant, about.plan.request(pod, grant))),
        _ => None,
    };
    let trust_policies = match &request {
        Some((_, Ok(request))) => trust::policies(request, about.known),
        _ => Vec::new(),
    };
    Explanation {
        told_by: about.told_by.to_owned(),
        unknown: Vec::new(),
        pod: PodFacts {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
            service_account: pod.service_account.to_string(),
            host_network: pod.host_network,
            is_node: pod.host_network && about.host_network.is_node(pod),
            host_network_gets: pod.host_network.then(|| about.host_network.says(pod).to_owned()),
        },
        verdict: verdict(&trace.decision),
        rules: trace.steps.iter().map(said).collect(),
        request_refused: match &request {
            Some((_, Err(error))) => Some(error.to_string()),
            _ => None,
        },
        request: match &request {
            Some((grant, Ok(request))) => Some(shown(&grant.rule.source().to_string(), request)),
            _ => None,
        },
        trust_policies: trust_policies
            .into_iter()
            .map(|trust| TrustPolicy { role: trust.role.map(Into::into), policy: trust.policy })
            .collect(),
        session: None::<SessionStatus>,
        unreachable: None,
        advice: None,
    }
}

/// What `status` calls a decision.
pub(crate) fn verdict(decision: &Decision) -> Shown {
    match decision {
        Decision::Granted(_) => Shown::Granted,
        Decision::Refused(_) => Shown::Refused,
        Decision::NotYet(_) => Shown::NotYet,
        Decision::None => Shown::None,
    }
}

fn said(Step { rule, verdict }: &Step) -> RuleSaid {
    let name = match verdict {
        Verdict::Absent(_) => "absent",
        Verdict::Audited(_) => "audited",
        Verdict::Granted { .. } => "granted",
        Verdict::Refused(_) => "refused",
        Verdict::NotYet(_) => "not-yet",
        Verdict::NotAsked => "not-asked",
    };
    RuleSaid { rule: rule.to_string(), verdict: name.to_owned(), says: verdict.to_string() }
}

fn shown(source: &str, request: &SessionRequest) -> Request {
    let mut shown = Request {
        source: source.to_owned(),
        role: None,
        target_role: None,
        session_name: request.session_name().map(str::to_owned),
        tags: Vec::new(),
        transitive: false,
        external_id: None,
        duration_seconds: None,
    };
    match request {
        SessionRequest::AssumeRole(request) => {
            shown.role = Some(request.role.to_string());
            shown.target_role = request.target.as_ref().map(ToString::to_string);
            shown.transitive = request.transitive;
            shown.external_id = request.external_id.as_deref().map(str::to_owned);
            shown.duration_seconds = Some(request.duration.as_secs());
            let tag = |tag: &crate::credentials::session::Tag| Tag {
                key: tag.key.to_string(),
                value: tag.value.to_string(),
            };
            shown.tags = request.tags.iter().map(tag).collect();
        }
        SessionRequest::WebIdentity(request) => {
            shown.role = Some(request.role.to_string());
            shown.duration_seconds = Some(request.duration.as_secs());
        }
        SessionRequest::PodIdentity(_) => {}
    }
    shown
}
