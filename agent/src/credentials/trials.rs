//! Roles that pods in audit would have, tried at AWS before anybody depends on them: once an hour for each,
//! as it would be asked for, and where that is refused once more without session tags. What AWS gives is
//! dropped at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::FetchError;
use super::session::{
    AssumeRoleRequest, PodIdentityRequest, SessionRequest, TokenOwner, WebIdentityRequest,
};

/// Between two trials of the same.
const AGAIN_AFTER: Duration = Duration::from_hours(1);
/// The same, where AWS has said nothing of it.
const SOONER_AFTER: Duration = Duration::from_mins(1);

/// What makes two trials the same. A role that several `ServiceAccount`s share is tried for each: their
/// tags may be what its trust policy asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tried(Box<str>);

/// What AWS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// As it would be asked for.
    pub as_it_is: Result<(), FetchError>,
    /// Without session tags, where it was refused with them.
    pub untagged: Option<Result<(), FetchError>>,
}

/// What is known of trials. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Trials(Arc<Mutex<BTreeMap<Tried, State>>>);

#[derive(Clone, Debug)]
struct State {
    due: Instant,
    said: Option<Said>,
}

impl Tried {
    /// Of a session that a pod of this ServiceAccount would have.
    #[must_use]
    pub fn of(request: &SessionRequest, namespace: &str, service_account: &str) -> Self {
        let what = match request {
            SessionRequest::AssumeRole(request) => {
                let AssumeRoleRequest { role, target, external_id, policy, transitive, .. } =
                    &**request;
                format!("{role} {target:?} {external_id:?} {policy:?} {transitive}")
            }
            SessionRequest::WebIdentity(request) => {
                let WebIdentityRequest { role, pod: TokenOwner { audience, .. }, .. } = &**request;
                format!("{role} {audience}")
            }
            SessionRequest::PodIdentity(request) => {
                let PodIdentityRequest { cluster_name, .. } = &**request;
                format!("the association of {cluster_name}")
            }
        };
        Self(format!("{what} {namespace}/{service_account}").into())
    }
}

impl Said {
    /// Whether AWS has said yes or no.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.as_it_is.as_ref().err().is_none_or(|error| error.refusal().is_some())
    }
}

impl Trials {
    /// What AWS said of one, if it was asked.
    #[must_use]
    pub fn said(&self, tried: &Tried) -> Option<Said> {
        self.lock().get(tried)?.said.clone()
    }

    /// Takes in which ones are wanted now, and gives one that is due. A new one is due after what `delay`
    /// says.
    pub fn due<'a>(
        &self,
        wanted: &'a BTreeMap<Tried, SessionRequest>,
        mut delay: impl FnMut() -> Duration,
        now: Instant,
    ) -> Option<(&'a Tried, &'a SessionRequest)> {
        let mut known = self.lock();
        known.retain(|tried, _| wanted.contains_key(tried));
        for tried in wanted.keys().filter(|tried| !known.contains_key(tried)).collect::<Vec<_>>() {
            known.insert(tried.clone(), State { due: now + delay(), said: None });
        }
        let due = wanted
            .iter()
            .filter_map(|(tried, request)| Some((known.get(tried)?.due, tried, request)));
        let (due, tried, request) = due.min_by_key(|(due, ..)| *due)?;
        (due <= now).then_some((tried, request))
    }

    /// Takes in what AWS said.
    pub fn hear(&self, tried: &Tried, said: Said, now: Instant) {
        if let Some(state) = self.lock().get_mut(tried) {
            state.due = now + if said.is_final() { AGAIN_AFTER } else { SOONER_AFTER };
            state.said = Some(said);
        }
    }

    /// Has those tried again now that AWS refused: somebody has changed something, and wants to see.
    pub fn again(&self, now: Instant) {
        for state in self.lock().values_mut() {
            let is_refused = |said: &Said| said.as_it_is.is_err();
            if state.said.as_ref().is_some_and(is_refused) {
                *state = State { due: now, said: None };
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Tried, State>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[&str]) -> BTreeMap<Tried, SessionRequest> {
        let one = |name: &&str| {
            let request = SessionRequest::fixture("web");
            (Tried::of(&request, "shop", name), request)
        };
        names.iter().map(one).collect()
    }

    fn granted() -> Said {
        Said { as_it_is: Ok(()), untagged: None }
    }

    fn none() -> Duration {
        Duration::ZERO
    }

    #[test]
    fn each_is_tried_once_an_hour_and_sooner_where_aws_said_nothing() {
        let (trials, wanted, start) = (Trials::default(), wanted(&["a", "b"]), Instant::now());
        let (first, _) = trials.due(&wanted, none, start).unwrap();
        trials.hear(first, granted(), start);
        let (second, _) = trials.due(&wanted, none, start).unwrap();
        assert_ne!(first, second);
        let throttled = FetchError::Throttled { code: "Throttling".into(), message: "".into() };
        trials.hear(second, Said { as_it_is: Err(throttled), untagged: None }, start);
        assert_eq!(trials.due(&wanted, none, start), None);
        let soon = start + SOONER_AFTER;
        assert_eq!(trials.due(&wanted, none, soon).unwrap().0, second);
        trials.hear(second, granted(), soon);
        assert_eq!(trials.due(&wanted, none, soon), None);
        assert_eq!(trials.due(&wanted, none, start + AGAIN_AFTER).unwrap().0, first);
        assert_eq!(trials.said(first), Some(granted()));
    }

    #[test]
    fn what_was_refused_is_tried_again_where_somebody_asks() {
        let (trials, wanted, start) = (Trials::default(), wanted(&["a", "b"]), Instant::now());
        let refused = FetchError::Refused { code: "AccessDenied".into(), message: "".into() };
        let (first, _) = trials.due(&wanted, none, start).unwrap();
        trials.hear(first, Said { as_it_is: Err(refused), untagged: None }, start);
        let (second, _) = trials.due(&wanted, none, start).unwrap();
        trials.hear(second, granted(), start);
        assert_eq!(trials.due(&wanted, none, start), None);
        trials.again(start);
        assert_eq!(trials.said(first), None);
        assert_eq!(trials.due(&wanted, none, start).unwrap().0, first);
    }

    #[test]
    fn a_new_one_waits_its_turn_and_one_that_is_gone_is_forgotten() {
        let (trials, all, start) = (Trials::default(), wanted(&["a"]), Instant::now());
        let delay = || Duration::from_secs(30);
        assert_eq!(trials.due(&all, delay, start), None);
        let (tried, _) = trials.due(&all, delay, start + Duration::from_secs(30)).unwrap();
        trials.hear(tried, granted(), start);
        assert_eq!(trials.due(&BTreeMap::new(), delay, start), None);
        assert_eq!(trials.said(tried), None);
    }
}
