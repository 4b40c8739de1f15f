//! What one agent holds, and what was refused to it, goes to the next, so that an upgrade asks AWS nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Entry, Held, Key, Now, Owner, Source};
use crate::credentials::handed::{HandedRefusal, HandedSession, HandedSessions};

/// How long what another agent knew is kept for pods that have not been heard of yet.
const HANDED_KEPT: Duration = Duration::from_mins(5);

/// What another agent knew of sessions that nobody may have yet.
pub(super) struct Legacy {
    sessions: HashMap<Key, Known>,
    until: Instant,
}

enum Known {
    Held(Held),
    Refused(HandedRefusal),
}

impl Legacy {
    /// Nothing.
    pub(super) fn none(now: Now) -> Self {
        Self { sessions: HashMap::new(), until: now.instant }
    }

    /// Whether it has no need to be fetched.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.sessions.contains_key(key)
    }

    /// Gives what is known of this session to its entry.
    pub(super) fn give(&mut self, key: &Key, entry: &mut Entry, now: Now) {
        if let Some(known) = self.sessions.remove(key) {
            known.give(entry, now);
        }
    }

    /// Drops what has ended.
    pub(super) fn expire(&mut self, now: Now) {
        let until = self.until;
        self.sessions.retain(|_, known| now.instant < until && known.is_of_use(now));
    }
}

impl Known {
    fn give(self, entry: &mut Entry, now: Now) {
        match self {
            Self::Held(held) => entry.take_over(held, now),
            Self::Refused(refusal) => entry.take_refusal(&refusal, now),
        }
    }

    fn is_of_use(&self, now: Now) -> bool {
        match self {
            Self::Held(held) => held.is_servable(now),
            Self::Refused(_) => true,
        }
    }
}

impl<S: Source> Owner<S> {
    pub(super) fn hand_over(&self) -> HandedSessions {
        let now = self.now();
        let servable =
            self.sessions.iter().filter_map(|(key, entry)| Some((key, entry.servable(now)?)));
        let held = servable.map(|(key, held)| held.hand_over(key, now)).collect();
        let refused =
            self.sessions.iter().filter_map(|(key, entry)| entry.hand_over_refusal(key, now));
        HandedSessions { held, refused: refused.collect() }
    }

    pub(super) fn take_over(&mut self, sessions: HandedSessions) {
        let now = self.now();
        self.legacy.until = now.instant + HANDED_KEPT;
        for session in sessions.held {
            if let Some(held) = Held::handed(&session, now) {
                let HandedSession { request, .. } = session;
                self.take(request, Known::Held(held), now);
            }
        }
        for refusal in sessions.refused {
            let request = Arc::new(refusal.request.clone());
            self.take(request, Known::Refused(refusal), now);
        }
        self.look();
    }

    fn take(&mut self, key: Key, known: Known, now: Now) {
        match self.sessions.get_mut(&key) {
            Some(entry) => {
                known.give(entry, now);
                self.shelf.fill(entry.pods.keys(), &key, entry, now);
            }
            None => drop(self.legacy.sessions.insert(key, known)),
        }
    }
}
