//! What one agent holds goes to the next, so that an upgrade asks AWS nothing.

use std::sync::Arc;
use std::time::Duration;

use super::{Held, Owner, Source};
use crate::credentials::handed::HandedSession;

/// How long what another agent held is kept for pods that have not been heard of yet.
const HANDED_KEPT: Duration = Duration::from_mins(5);

impl<S: Source> Owner<S> {
    pub(super) fn hand_over(&self) -> Vec<HandedSession> {
        let now = self.now();
        let held =
            self.sessions.iter().filter_map(|(key, entry)| Some((key, entry.servable(now)?)));
        held.map(|(key, held)| held.hand_over(key, now)).collect()
    }

    pub(super) fn take_over(&mut self, sessions: &[HandedSession]) {
        let now = self.now();
        self.handed_until = now.instant + HANDED_KEPT;
        for session in sessions {
            let Some(held) = Held::handed(session, now) else { continue };
            match self.sessions.get_mut(&session.request) {
                Some(entry) => {
                    entry.take_over(held, now);
                    self.shelf.fill(entry.pods.keys(), &session.request, entry, now);
                }
                None => drop(self.handed.insert(Arc::clone(&session.request), held)),
            }
        }
        self.look();
    }
}
