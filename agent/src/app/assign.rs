//! What follows when what is known of a pod changes: the broker is told which session the pod may
//! have now, and a refusal is told of, once.

use tracing::warn;

use crate::callers::Callers;
use crate::callers::pods::{Change, Pod};
use crate::credentials::broker::{Broker, Prefetch};
use crate::credentials::{SessionPlan, SessionRequest};
use crate::operate::events::{Events, Reason};
use crate::roles::{Decision, Roles};

/// Tells the broker who may have what.
pub(super) struct Assigner {
    /// Who remembers its cgroups.
    pub(super) callers: Callers,
    /// Which role a pod has.
    pub(super) roles: Roles,
    /// How its session is asked for.
    pub(super) plan: SessionPlan,
    /// Who has the sessions.
    pub(super) broker: Broker,
    /// Tells of refusals on the pods concerned.
    pub(super) events: Events,
}

impl Assigner {
    /// Takes in one change of this node's pods.
    pub(super) fn on_change(&self, change: &Change) {
        match change {
            Change::Gone(pod) => {
                self.callers.forget(pod);
                self.broker.forget(pod.uid.clone());
            }
            Change::Appeared(pod) => self.assign(pod, &self.roles.decide(pod)),
            Change::Changed { before, now } => {
                let decision = self.roles.decide(now);
                if decision != self.roles.decide(before) {
                    self.assign(now, &decision);
                }
            }
        }
    }

    fn assign(&self, pod: &Pod, decision: &Decision) {
        if let Decision::Refused(refusal) = decision {
            warn!(%pod, uid = %pod.uid, "{refusal}");
            self.events.tell(pod.object(), Reason::RoleRefused, refusal.to_string());
        }
        self.broker.assign(pod.uid.clone(), self.session(pod, decision), Prefetch::No);
    }

    fn session(&self, pod: &Pod, decision: &Decision) -> Option<SessionRequest> {
        let Decision::Granted(grant) = decision else { return None };
        match self.plan.request(pod, grant) {
            Ok(request) => Some(request),
            Err(error) => {
                warn!(%pod, uid = %pod.uid, "{error}");
                None
            }
        }
    }
}
