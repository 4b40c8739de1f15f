//! What others are shown of the sessions.

use std::time::SystemTime;

use super::{Assigned, Entry, Now, Owner, SessionState, Source};
use crate::callers::pods::PodUid;
use crate::operate::metrics::Standing;

impl<S: Source> Owner<S> {
    pub(super) fn measure(&self, now: Now) {
        let held = self.sessions.values().filter_map(|entry| entry.servable(now));
        let mut standing = Standing { rate: self.limiter.rate(), ..Standing::default() };
        let mut oldest = None;
        for held in held {
            let (left, obtained) = (held.left(now), held.credentials.obtained);
            standing.held += 1;
            standing.least_left = Some(standing.least_left.map_or(left, |least| least.min(left)));
            oldest = Some(oldest.map_or(obtained, |oldest: SystemTime| oldest.min(obtained)));
        }
        let age = oldest.map(|oldest| now.wall.duration_since(oldest).unwrap_or_default());
        standing.oldest = age.and_then(|age| now.instant.checked_sub(age));
        let due = |entry: &&Entry| entry.due().is_some_and(|due| due <= now.instant);
        standing.waiting = self.sessions.values().filter(due).count();
        standing.running = self.fetches.len();
        self.meters.show(&standing);
    }

    pub(super) fn states(&self) -> Vec<SessionState> {
        let now = self.now();
        let known = self.pods.iter().filter(|(_, assigned)| assigned.known);
        let state = |(pod, assigned): (&PodUid, &Assigned)| {
            let session = assigned.session.as_ref();
            let entry = session.and_then(|key| Some((key, self.sessions.get(key)?)));
            SessionState::of(pod, entry, now)
        };
        known.map(state).collect()
    }
}
