//! Credentials that are there: until when they are served, and when they are to be refreshed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::schedule::{LEAST_LEFT, asked_for, floor, kept, refresh_left};
use super::{Credentials, SessionRequest};
use crate::credentials::handed::HandedSession;

/// The time by both clocks: the node's time of day may jump, the other stands still in a suspend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// By the clock that never jumps.
    pub(super) instant: Instant,
    /// By the clock that `Expiration` is meant by.
    pub(super) wall: SystemTime,
}

impl Now {
    /// How far the time of day went otherwise than the clock that never jumps.
    pub(super) fn jumped_since(self, before: Self) -> Duration {
        let passed = self.instant.saturating_duration_since(before.instant);
        let ahead = self.wall.duration_since(before.wall + passed);
        ahead.unwrap_or_else(|behind| behind.duration())
    }
}

/// Credentials and what is planned for them.
#[derive(Debug)]
pub(super) struct Held {
    /// What is served.
    pub(super) credentials: Arc<Credentials>,
    /// The end by the clock that never jumps: no session lasts longer than was asked for.
    ends: Instant,
    /// Served at once with so much left, while a refresh goes on.
    pub(super) floor: Duration,
    refresh_left: Duration,
}

impl Held {
    pub(super) fn new(
        credentials: Credentials,
        request: &SessionRequest,
        now: Now,
        chance: f64,
    ) -> Option<Self> {
        let told = credentials.expiration.duration_since(now.wall).unwrap_or_default();
        let lifetime = asked_for(request).map_or(told, |asked| told.min(asked));
        let held = Self {
            credentials: Arc::new(credentials),
            ends: now.instant + lifetime,
            floor: floor(lifetime),
            refresh_left: refresh_left(lifetime, kept(request), chance),
        };
        held.is_servable(now).then_some(held)
    }

    /// What is left, by whichever clock says less.
    pub(super) fn left(&self, now: Now) -> Duration {
        let told = self.credentials.expiration.duration_since(now.wall).unwrap_or_default();
        told.min(self.ends.saturating_duration_since(now.instant))
    }

    /// What another agent held.
    pub(super) fn handed(handed: &HandedSession, now: Now) -> Option<Self> {
        let held = Self {
            credentials: Arc::clone(&handed.credentials),
            ends: now.instant + handed.left,
            floor: handed.floor,
            refresh_left: handed.refresh_left,
        };
        held.is_servable(now).then_some(held)
    }

    /// For the agent that comes after this one.
    pub(super) fn hand_over(&self, request: &Arc<SessionRequest>, now: Now) -> HandedSession {
        HandedSession {
            request: Arc::clone(request),
            credentials: Arc::clone(&self.credentials),
            left: self.left(now),
            floor: self.floor,
            refresh_left: self.refresh_left,
        }
    }

    pub(super) fn is_servable(&self, now: Now) -> bool {
        self.left(now) >= LEAST_LEFT
    }

    /// Whether it is served at once, whatever AWS is doing: a refresh is not late.
    pub(super) fn is_fresh(&self, now: Now) -> bool {
        let left = self.left(now);
        left >= self.floor && left >= LEAST_LEFT
    }

    pub(super) fn refresh_at(&self, now: Now) -> Instant {
        now.instant + self.left(now).saturating_sub(self.refresh_left)
    }
}
