//! What the broker tells: the log, and the state of each pod's session for whoever asks.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::entry::{Entry, State};
use super::held::Now;
use super::{Answer, FetchError, Refused, SessionRequest};
use crate::callers::pods::PodUid;
use crate::credentials::advice::{advise, sentence};
use crate::report::Chain;
use crate::roles::RoleArn;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The pod may have no session.
    None,
    /// It is fetched when the pod asks.
    Absent,
    /// It waits for its turn to be fetched.
    Waiting,
    /// It is being fetched.
    Fetching,
    /// It is there.
    Held,
    /// It is there, and a newer one is being fetched.
    Refreshing,
    /// It could not be had.
    Refused,
}

/// Of one pod, its session. No secret.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// The pod.
    pub pod: PodUid,
    /// What is asked of AWS for it.
    pub request: Option<Arc<SessionRequest>>,
    /// The role of the credentials, or that is asked for; EKS alone may know it before.
    pub role: Option<RoleArn>,
    /// Where it is.
    pub phase: Phase,
    /// The id of the key that is held.
    pub access_key_id: Option<Box<str>>,
    /// The end of what is held.
    pub expiration: Option<SystemTime>,
    /// When it is fetched or refreshed next, unless the pod asks before.
    pub next: Option<SystemTime>,
    /// Fetches that failed since one succeeded.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<FetchError>,
}

impl SessionState {
    pub(super) fn of(
        pod: &PodUid,
        session: Option<(&Arc<SessionRequest>, &Entry)>,
        now: Now,
    ) -> Self {
        let held = session.and_then(|(_, entry)| entry.servable(now));
        let held = held.map(|held| &held.credentials);
        let asked_for = session.and_then(|(request, _)| request.role());
        Self {
            pod: pod.clone(),
            request: session.map(|(request, _)| Arc::clone(request)),
            role: held.map(|held| &held.role).or(asked_for).cloned(),
            phase: session.map_or(Phase::None, |(_, entry)| phase(&entry.state)),
            access_key_id: held.map(|held| held.access_key_id.clone()),
            expiration: held.map(|held| held.expiration),
            next: session.and_then(|(_, entry)| entry.due()).map(|due| by_wall(due, now)),
            failures: session.map_or(0, |(_, entry)| entry.failures),
            error: session.and_then(|(_, entry)| entry.error.clone()),
        }
    }
}

fn phase(state: &State) -> Phase {
    match state {
        State::Absent => Phase::Absent,
        State::Wanted { .. } => Phase::Waiting,
        State::Fetching => Phase::Fetching,
        State::Held { .. } => Phase::Held,
        State::Refreshing { .. } => Phase::Refreshing,
        State::Refused { .. } => Phase::Refused,
    }
}

fn by_wall(at: Instant, now: Now) -> SystemTime {
    now.wall + at.saturating_duration_since(now.instant)
}

/// Whether asking less often may help, or any other request would fail the same way.
pub(super) fn is_of_the_node(error: &FetchError) -> bool {
    match error {
        FetchError::Throttled { .. }
        | FetchError::Unavailable(_)
        | FetchError::NodeCredentials { .. }
        | FetchError::ClockSkew { .. } => true,
        FetchError::Refused { .. }
        | FetchError::RegionDisabled { .. }
        | FetchError::PodToken(_)
        | FetchError::Unusable(_) => false,
    }
}

/// One line for each fetch that ended.
pub(super) fn log(request: &SessionRequest, entry: &Entry, answer: &Answer, now: Now) {
    match (answer, entry.servable(now)) {
        (Ok(credentials), _) => info!(
            %request,
            role = %credentials.role,
            access_key_id = %credentials.access_key_id,
            "credentials obtained"
        ),
        (Err(error), Some(held)) => warn!(
            %request,
            error = %Chain(error),
            seconds_left = held.left(now).as_secs(),
            "no new credentials; those that are held are served"
        ),
        (Err(error), None) => {
            let advice = sentence(&advise(request, error));
            warn!(%request, error = %Chain(error), advice, "no credentials");
        }
    }
}

/// Tells of a refusal to pods for which the session is kept although they do not ask. One whose grounds
/// have changed in the meantime is none.
pub(super) fn tell(
    refusals: Option<&mpsc::Sender<Refused>>,
    request: &Arc<SessionRequest>,
    entry: &Entry,
    answer: &Answer,
) {
    let (Some(refusals), Err(error)) = (refusals, answer) else { return };
    let kept = entry.pods.iter().filter(|(_, kept)| **kept).map(|(pod, _)| pod.clone());
    let pods: Vec<_> = kept.collect();
    if error.refusal().is_some() && entry.failures > 0 && !pods.is_empty() {
        // Where nobody keeps up it is told again with the next attempt.
        let _ =
            refusals.try_send(Refused { pods, request: Arc::clone(request), error: error.clone() });
    }
}
