//! What follows when what is known of a pod changes: the broker is told which session the pod may
//! have now, and a refusal is told of, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch as channel;
use tracing::warn;

use crate::callers::Callers;
use crate::callers::pods::{Change, Pod, PodUid};
use crate::clock::Clock;
use crate::credentials::advice::report;
use crate::credentials::broker::{Broker, Prefetch, Refused};
use crate::credentials::prefetch::Policy;
use crate::credentials::{PlanError, SessionPlan, SessionRequest};
use crate::metadata::asks::{Asks, Left, Who};
use crate::metadata::{Handler, WorkedOut};
use crate::operate::events::{Events, Reason};
use crate::roles::{Cause, Decision, Mode, Roles};

use super::modes::Modal;

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
    /// Who is enforced: others ask for nothing here.
    pub(super) modal: Modal,
    /// What pods ask for in audit, which is told of when they are gone too.
    pub(super) asks: Asks,
    /// The time of day.
    pub(super) clock: Clock,
    /// Who has the sessions.
    pub(super) broker: Broker,
    /// Tells of refusals on the pods concerned.
    pub(super) events: Events,
    /// What the metadata service keeps for pods.
    pub(super) worked_out: WorkedOut,
    /// What was decided last.
    decided: Decided,
    /// Whether something is decided of every pod.
    settled: channel::Sender<bool>,
}

/// The pods of this node with what was decided last. Two futures of one task use it in turn.
#[derive(Default)]
struct Decided(Mutex<HashMap<PodUid, Known>>);

#[derive(Clone)]
struct Known {
    pod: Arc<Pod>,
    mode: Mode,
    decision: Decision,
    session: Option<Result<SessionRequest, PlanError>>,
}

impl Decided {
    fn pods(&self) -> MutexGuard<'_, HashMap<PodUid, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Assigner {
    /// Decides as the metadata service does.
    pub(super) fn beside(handler: &Handler, prefetch: Policy, modal: Modal, asks: Asks) -> Self {
        Self {
            callers: handler.callers.clone(),
            roles: handler.roles.clone(),
            plan: handler.plan.clone(),
            prefetch,
            modal,
            asks,
            clock: handler.clock.clone(),
            broker: handler.broker.clone(),
            events: handler.events.clone(),
            worked_out: handler.worked_out.clone(),
            decided: Decided::default(),
            settled: channel::Sender::new(true),
        }
    }

    /// Waits until something is decided of every pod that is known.
    pub(super) async fn settled(&self) {
        // Its sender is held right here.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    fn settle(&self) {
        // What RBAC forbids nobody waits for: those pods have no role, and the rest is served.
        let is_open = |known: &Known| match known.decision {
            Decision::NotYet(missing) => missing.cause != Cause::Forbidden,
            _ => false,
        };
        self.settled.send_replace(!self.decided.pods().values().any(is_open));
    }

    /// Takes in one change of this node's pods.
    pub(super) fn on_change(&self, change: &Change) {
        match change {
            Change::Gone(pod) => {
                let known = self.decided.pods().remove(&pod.uid);
                if let Some(Known { decision, session, .. }) = known {
                    let request = session.and_then(Result::ok);
                    self.asks.leave(&Who::of(pod), Left { decision, request });
                }
                self.callers.forget(pod);
                self.worked_out.forget(&pod.uid);
                self.broker.forget(pod.uid.clone());
            }
            Change::Appeared(pod) | Change::Changed { now: pod, .. } => self.decide(pod),
        }
        self.settle();
    }

    /// Tells on each pod concerned what AWS refuses it although it has not asked, for ever.
    pub(super) async fn tell_refusals(&self) {
        let mut refusals = self.broker.refusals();
        // The broker ends only with the process.
        while let Some(Refused { pods, request, error }) = refusals.recv().await {
            let decided = self.decided.pods();
            for Known { pod, .. } in pods.iter().filter_map(|uid| decided.get(uid)) {
                let note = report(&request, &error);
                self.events.tell(pod.object(), Reason::AssumeRoleFailed, note);
            }
        }
    }

    /// Decides anew for every pod whenever something else changes that decisions rest on, for ever.
    pub(super) async fn follow(&self) {
        let mut roles = self.roles.clone();
        let mut label = self.modal.label.clone();
        loop {
            tokio::select! {
                () = roles.changed() => {}
                // The watch on the Node ends only with the process.
                _ = label.changed() => {}
            }
            let pods: Vec<_> =
                self.decided.pods().values().map(|known| Arc::clone(&known.pod)).collect();
            for pod in pods {
                self.decide(&pod);
            }
            self.settle();
        }
    }

    fn decide(&self, pod: &Arc<Pod>) {
        let decision = self.roles.decide(pod);
        let session = self.session(pod, &decision);
        let mode = self.modal.of_pod(pod);
        let now = Known { pod: Arc::clone(pod), mode, decision, session };
        let before = self.decided.pods().insert(pod.uid.clone(), now.clone());
        let changed = match &before {
            // Sessions may be there from before this agent: what is not known yet takes none away.
            None => !matches!(now.decision, Decision::NotYet(_)),
            // The same role may be another session: its tags are the pod's.
            Some(before) => {
                before.decision != now.decision
                    || before.session != now.session
                    || before.mode != now.mode
            }
        };
        if changed {
            self.assign(now);
        }
    }

    fn assign(&self, Known { pod, mode, decision, session }: Known) {
        let is_enforced = mode == Mode::Enforce;
        if let (Decision::Refused(refusal), true) = (&decision, is_enforced) {
            warn!(%pod, uid = %pod.uid, "{refusal}");
            self.events.tell(pod.object(), Reason::RoleRefused, refusal.to_string());
        }
        let prefetch = match &decision {
            Decision::Granted(grant) if is_enforced => {
                self.prefetch.of(&pod, grant, self.clock.now())
            }
            Decision::Granted(_) | Decision::None | Decision::Refused(_) | Decision::NotYet(_) => {
                Prefetch::No
            }
        };
        let session = session.transpose().unwrap_or_else(|error| {
            warn!(%pod, uid = %pod.uid, "{error}");
            if prefetch != Prefetch::No {
                self.events.tell(pod.object(), Reason::RoleRefused, error.to_string());
            }
            None
        });
        // What was made for it before holds secrets that it may not have any more.
        self.worked_out.forget(&pod.uid);
        self.broker.assign(pod.uid.clone(), session, prefetch);
    }

    fn session(&self, pod: &Pod, decision: &Decision) -> Option<Result<SessionRequest, PlanError>> {
        let Decision::Granted(grant) = decision else { return None };
        Some(self.plan.request(pod, grant))
    }
}
