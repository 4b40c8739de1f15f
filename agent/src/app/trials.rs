//! Has the roles tried that pods in audit would have.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::callers::Callers;
use crate::callers::pods::Pod;
use crate::credentials::sources::Sources;
use crate::credentials::trials::{Trials, Tried};
use crate::credentials::{SessionPlan, SessionRequest};
use crate::metadata::Handler;
use crate::metadata::asks::{Asks, Left};
use crate::operate::duty::Duty;
use crate::roles::{Decision, Grant, Mode, Roles, Trace, Verdict};

use super::modes::Modal;

/// Between two looks at whether one is due.
const EVERY: Duration = Duration::from_secs(1);

/// Which pods, and what they would have.
pub(super) struct Trier {
    /// The pods.
    pub(super) callers: Callers,
    /// Which role they would have.
    pub(super) roles: Roles,
    /// How it is asked for.
    pub(super) plan: SessionPlan,
    /// Which of them are in audit.
    pub(super) modal: Modal,
    /// Whose pods may be gone.
    pub(super) asks: Asks,
    /// Who is asked.
    pub(super) sources: Sources,
    /// What was said.
    pub(super) trials: Trials,
    /// Of two agents, one tries.
    pub(super) duty: Duty,
    /// Over how long the first trials are spread, so that all nodes of a cluster may start at once.
    pub(super) spread: Duration,
}

impl Trier {
    /// Tries what `handler` would ask for, at `sources`.
    pub(super) fn beside(
        handler: &Handler,
        sources: Sources,
        (modal, asks, trials): (Modal, Asks, Trials),
        (duty, spread): (Duty, Duration),
    ) -> Self {
        Self {
            callers: handler.callers.clone(),
            roles: handler.roles.clone(),
            plan: handler.plan.clone(),
            modal,
            asks,
            sources,
            trials,
            duty,
            spread,
        }
    }

    /// Tries, for ever.
    pub(super) async fn run(mut self) {
        loop {
            self.duty.begins().await;
            let wanted = self.wanted();
            let due = self.trials.due(&wanted, || self.some_time(), Instant::now());
            let Some((tried, request)) = due else {
                sleep(EVERY).await;
                continue;
            };
            let said = self.sources.try_out(request).await;
            debug!(%request, ?said, "tried");
            self.trials.hear(tried, said, Instant::now());
        }
    }

    fn wanted(&self) -> BTreeMap<Tried, SessionRequest> {
        let pods = self.callers.all();
        let all = pods.iter().filter_map(|pod| {
            let trace = self.roles.trace(pod);
            let grant = tried_grant(self.modal.of_pod(pod), &trace)?;
            self.request(pod, grant)
        });
        // Of a job that runs no more: with the agent's own identity it can be asked for still.
        let left = self.asks.left().into_iter().filter_map(|(who, Left { request, .. })| {
            let request = request.filter(|it| matches!(it, SessionRequest::AssumeRole(_)))?;
            Some((Tried::of(&request, &who.namespace, &who.service_account), request))
        });
        left.chain(all).collect()
    }

    fn request(&self, pod: &Pod, grant: &Grant) -> Option<(Tried, SessionRequest)> {
        let request = self.plan.request(pod, grant).ok()?;
        Some((Tried::of(&request, &pod.namespace, &pod.service_account), request))
    }

    fn some_time(&self) -> Duration {
        let most = u64::try_from(self.spread.as_millis()).unwrap_or(u64::MAX);
        let random = RandomState::new().hash_one(());
        Duration::from_millis(random.checked_rem(most).unwrap_or_default())
    }
}

/// What a pod would have that it does not have yet: by the decision while it is in audit, else by an
/// association that is.
pub(super) fn tried_grant(mode: Mode, trace: &Trace) -> Option<&Grant> {
    match &trace.decision {
        Decision::Granted(grant) if mode != Mode::Enforce => Some(grant),
        _ => audited(trace),
    }
}

/// What a RoleAssociation in `mode: Audit` would give.
pub(super) fn audited(trace: &Trace) -> Option<&Grant> {
    trace.steps.iter().find_map(|step| match &step.verdict {
        Verdict::Audited(grant) => Some(grant),
        _ => None,
    })
}
