//! What is told of an answer beside the pod's own: audit lines, Events on the pod, and counters.

use crate::callers::pods::Pod;
use crate::credentials::advice::{advise, report, sentence};
use crate::credentials::{Credentials, FetchError, PlanError, SessionRequest};
use crate::metadata::response::{Answer, refused, unavailable};
use crate::operate::audit::{self, Denial, Issue};
use crate::operate::events::Reason;
use crate::operate::metrics::{Decided, DecidedBy};
use crate::roles::{Decision, Grant, Refusal, RoleArn, Rule, Verdict};

use super::Handler;

/// The code of a refusal of ours.
const ROLE_REFUSED: &str = "RoleRefused";
/// The code where AWS would refuse what would be asked of it.
const SESSION_REFUSED: &str = "SessionRefused";

impl Handler {
    /// Counts what the rules say of `pod`.
    pub(super) fn count_decision(&self, pod: &Pod, decision: &Decision) {
        let (by, decided) = match decision {
            Decision::Granted(grant) => (decided_by(grant.rule), Decided::Granted),
            Decision::Refused(refusal) => (decided_by(refusal.rule), Decided::Refused),
            Decision::NotYet(_) => {
                let steps = self.roles.trace(pod).steps;
                let waits = |verdict: &Verdict| matches!(verdict, Verdict::NotYet(_));
                // It may be known by now, and is counted all the same when the pod asks again.
                let Some(step) = steps.iter().find(|step| waits(&step.verdict)) else { return };
                (decided_by(step.rule), Decided::NotYet)
            }
            Decision::None => (DecidedBy::Nothing, Decided::None),
        };
        self.decisions.count(by, decided);
    }

    /// Answers that a rule refuses `pod` its role.
    pub(super) fn role_refused(&self, pod: &Pod, refusal: &Refusal) -> Answer {
        let reason = refusal.to_string();
        let denial = Denial { rule: None, role: None, code: ROLE_REFUSED, reason: &reason };
        audit::refused(pod.subject(), denial);
        let answer = refused(ROLE_REFUSED, &reason, self.clock.now());
        self.events.tell(pod.object(), Reason::RoleRefused, reason);
        answer
    }

    /// Answers that the session which `grant` gives cannot be asked for.
    pub(super) fn session_refused(&self, pod: &Pod, grant: &Grant, error: &PlanError) -> Answer {
        let reason = error.to_string();
        deny(pod, grant, SESSION_REFUSED, &reason);
        let answer = refused(SESSION_REFUSED, &reason, self.clock.now());
        self.events.tell(pod.object(), Reason::RoleRefused, reason);
        answer
    }

    /// Answers that AWS gave no credentials. Its own message names the node's identity, which is none of
    /// the pod's business: that goes to the log and to the Event alone.
    pub(super) fn no_credentials(
        &self,
        pod: &Pod,
        grant: &Grant,
        request: &SessionRequest,
        error: &FetchError,
    ) -> Answer {
        let reason = report(request, error);
        let now = self.clock.now();
        let answer = match error.refusal() {
            Some(code) => {
                deny(pod, grant, code, &reason);
                let advice = sentence(&advise(request, error));
                let advice =
                    advice.as_deref().unwrap_or("The log of podrole on this node has its reason");
                refused(
                    code,
                    &format!("AWS refused {request} to pod {pod} ({code}). {advice}"),
                    now,
                )
            }
            None => unavailable(
                &format!(
                    "AWS gave no credentials for {request} now; the log of podrole on this node has its reason"
                ),
                now,
            ),
        };
        self.events.tell(pod.object(), Reason::AssumeRoleFailed, reason);
        answer
    }
}

/// Writes down that `pod` is given `credentials`; `held_back` is how often it was not written down since the
/// last time.
pub(super) fn issued(
    pod: &Pod,
    grant: &Grant,
    request: &SessionRequest,
    credentials: &Credentials,
    held_back: u64,
) {
    let issue = Issue {
        rule: &grant.rule.to_string(),
        role: credentials.role.as_str(),
        session: request.session_name(),
        access_key_id: &credentials.access_key_id,
        expires: credentials.expiration,
        held_back,
    };
    audit::issued(pod.subject(), issue);
}

fn decided_by(rule: Rule) -> DecidedBy {
    match rule {
        Rule::RoleAssociation => DecidedBy::RoleAssociation,
        Rule::PodAnnotation => DecidedBy::PodAnnotation,
        Rule::PodIdentity => DecidedBy::PodIdentity,
        Rule::ServiceAccountAnnotation => DecidedBy::ServiceAccountAnnotation,
        Rule::DefaultRole => DecidedBy::DefaultRole,
    }
}

fn deny(pod: &Pod, grant: &Grant, code: &str, reason: &str) {
    let role = grant.role().map(RoleArn::as_str);
    let denial = Denial { rule: Some(&grant.rule.to_string()), role, code, reason };
    audit::refused(pod.subject(), denial);
}
