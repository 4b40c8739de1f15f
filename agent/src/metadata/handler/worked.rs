//! What was worked out for a pod's last request: its next one rests on the same, nearly always, and takes it
//! as it is. Nothing is taken that rests on facts of before: the pod's, those of roles, the credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;

use crate::callers::pods::{Pod, PodUid};
use crate::callers::throttle::Throttle;
use crate::credentials::{Credentials, PlanError, SessionPlan, SessionRequest};
use crate::metadata::response::Answer;
use crate::roles::{AsOf, Decision, Grant};

use super::Handler;

/// Of each pod. Cheap to clone.
#[derive(Clone, Default)]
pub struct WorkedOut(Arc<Mutex<HashMap<PodUid, Arc<Worked>>>>);

/// What was decided for a pod, and what follows from it.
pub(super) struct Worked {
    pod: Arc<Pod>,
    as_of: AsOf,
    /// Which role it has.
    pub(super) decision: Decision,
    /// How its session is asked for, of one that has a role.
    request: OnceLock<Result<SessionRequest, PlanError>>,
    /// The metadata service's document of its credentials.
    pub(super) document: Kept,
    /// That for container credentials.
    pub(super) container: Kept,
}

/// The document of the credentials that a pod has now.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<Arc<Made>>>);

/// A document of credentials, as it is sent.
pub(super) struct Made {
    credentials: Arc<Credentials>,
    pub(super) answer: Answer,
    /// When it was told last that they were given.
    pub(super) told: Throttle,
}

impl WorkedOut {
    /// Forgets a pod that has ended or may have something else now, and its secrets.
    pub fn forget(&self, pod: &PodUid) {
        self.lock().remove(pod);
    }

    fn current(&self, pod: &Arc<Pod>) -> Option<Arc<Worked>> {
        let known = self.lock();
        let worked = known.get(&pod.uid)?;
        (Arc::ptr_eq(&worked.pod, pod) && worked.as_of.is_current()).then(|| Arc::clone(worked))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PodUid, Arc<Worked>>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler {
    /// Which role `pod` has; what a rule needs to know is waited for until `deadline`.
    pub(super) async fn worked_out(&self, pod: &Arc<Pod>, deadline: Instant) -> Arc<Worked> {
        if let Some(worked) = self.worked_out.current(pod) {
            return worked;
        }
        // Boxed, since it is rare and each request's future would have room for it.
        let (decision, as_of) = Box::pin(self.roles.decided(pod, deadline)).await;
        let is_settled = !matches!(decision, Decision::NotYet(_));
        let worked = Arc::new(Worked {
            pod: Arc::clone(pod),
            as_of,
            decision,
            request: OnceLock::new(),
            document: Kept::default(),
            container: Kept::default(),
        });
        // What is not known yet is waited for each time.
        if is_settled {
            let mut known = self.worked_out.lock();
            // One that has ended meanwhile would stay for ever: it is forgotten only once.
            if self.callers.knows(pod) {
                known.insert(pod.uid.clone(), Arc::clone(&worked));
            }
        }
        worked
    }
}

impl Worked {
    /// How the session of `grant`, which is this decision's, is asked for.
    pub(super) fn request(
        &self,
        plan: &SessionPlan,
        grant: &Grant,
    ) -> Result<&SessionRequest, &PlanError> {
        self.request.get_or_init(|| plan.request(&self.pod, grant)).as_ref()
    }
}

impl Kept {
    /// That of `credentials`, as `written` where it is not there yet.
    pub(super) fn of<E>(
        &self,
        credentials: &Arc<Credentials>,
        written: impl FnOnce(&Credentials) -> Result<Answer, E>,
    ) -> Result<Arc<Made>, E> {
        let Self(known) = self;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) =
            known.as_ref().filter(|made| Arc::ptr_eq(&made.credentials, credentials))
        {
            return Ok(Arc::clone(made));
        }
        let made = Made {
            credentials: Arc::clone(credentials),
            answer: written(credentials)?,
            told: Throttle::default(),
        };
        Ok(Arc::clone(known.insert(Arc::new(made))))
    }
}
