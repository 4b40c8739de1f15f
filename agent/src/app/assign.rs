//! What follows when what is known of a pod changes: the broker is told which session the pod may
//! have now, and a refusal is told of, once.

use tracing::warn;

use crate::callers::Callers;
use crate::callers::pods::{Change, Pod};
use crate::clock::Clock;
use crate::credentials::broker::{Broker, Prefetch};
use crate::credentials::prefetch::Policy;
use crate::credentials::{PlanError, SessionPlan, SessionRequest};
use crate::metadata::Handler;
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
    /// Whose session is fetched before it is asked for.
    pub(super) prefetch: Policy,
    /// The time of day.
    pub(super) clock: Clock,
    /// Who has the sessions.
    pub(super) broker: Broker,
    /// Tells of refusals on the pods concerned.
    pub(super) events: Events,
}

impl Assigner {
    /// Decides as the metadata service does.
    pub(super) fn beside(handler: &Handler, prefetch: Policy) -> Self {
        Self {
            callers: handler.callers.clone(),
            roles: handler.roles.clone(),
            plan: handler.plan.clone(),
            prefetch,
            clock: handler.clock.clone(),
            broker: handler.broker.clone(),
            events: handler.events.clone(),
        }
    }

    /// Takes in one change of this node's pods.
    pub(super) fn on_change(&self, change: &Change) {
        match change {
            Change::Gone(pod) => {
                self.callers.forget(pod);
                self.broker.forget(pod.uid.clone());
            }
            Change::Appeared(pod) => self.assign(pod, &self.roles.decide(pod)),
            Change::Changed { before, now } => {
                let (was, decision) = (self.roles.decide(before), self.roles.decide(now));
                // The same role may be another session: its tags are the pod's.
                if decision != was || self.session(now, &decision) != self.session(before, &was) {
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
        let session = match self.session(pod, decision).transpose() {
            Ok(session) => session,
            Err(error) => {
                warn!(%pod, uid = %pod.uid, "{error}");
                None
            }
        };
        let prefetch = match decision {
            Decision::Granted(grant) => self.prefetch.of(pod, grant, self.clock.now()),
            Decision::None | Decision::Refused(_) | Decision::NotYet(_) => Prefetch::No,
        };
        self.broker.assign(pod.uid.clone(), session, prefetch);
    }

    fn session(&self, pod: &Pod, decision: &Decision) -> Option<Result<SessionRequest, PlanError>> {
        let Decision::Granted(grant) = decision else { return None };
        Some(self.plan.request(pod, grant))
    }
}
