//! How much one pod may ask of the agent: connections at a time and requests a second. What one pod does
//! beyond that is its own loss; no other pod's requests wait for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::callers::Caller;
use crate::callers::pod_key::PodKey;
use crate::operate::metrics::{Limited, Limits as Counters};

#[cfg(test)]
mod tests;

/// Connections beyond the limit that wait for one to end, for each that is allowed; more are closed.
const WAITING: usize = 3;
/// Tokens are cheap, and a client that gets none may do without for ever: so many times the requests.
const TOKENS: u32 = 10;
/// A burst is so many times what a second allows.
const BURST: u32 = 2;
/// Pods that are remembered before those that are quiet are dropped.
const REMEMBERED: usize = 256;

/// Events a second, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

impl Rate {
    fn of(per_second: u32) -> Self {
        Self { per_second, burst: per_second.saturating_mul(BURST) }
    }
}

/// What is left of a rate, as the moment at which all of it will be (ITU-T I.371, "Generic cell rate
/// algorithm").
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let one = Duration::from_secs(1) / rate.per_second.max(1);
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + one;
        let fits = full_at.duration_since(now) <= one * rate.burst.max(1);
        if fits {
            self.full_at = Some(full_at);
        }
        fits
    }

    /// Whether nothing was taken that has not come back.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// A pod's, by the kernel's word.
    Pod(PodKey),
    /// Those of an address, where the kernel names no pod.
    Address(IpAddr),
}

impl Whose {
    /// The side that counts for a connection.
    pub(crate) fn of(caller: &Caller) -> Self {
        caller.origin.key().map_or(Self::Address(caller.address), |key| Self::Pod(*key))
    }
}

/// Counts what each pod uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits {
    connections: usize,
    requests: Rate,
    tokens: Rate,
    users: Arc<Mutex<HashMap<Whose, Arc<Usage>>>>,
    counters: Counters,
}

/// What one pod uses now.
#[derive(Debug)]
struct Usage {
    /// Open connections, served or waiting.
    open: AtomicUsize,
    served: Arc<Semaphore>,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    requests: Bucket,
    tokens: Bucket,
}

impl Buckets {
    fn is_full(&self, now: Instant) -> bool {
        self.requests.is_full(now) && self.tokens.is_full(now)
    }
}

impl Limits {
    /// `connections` at a time and `requests` a second for each pod.
    #[must_use]
    pub fn new(connections: u32, requests: u32, counters: Counters) -> Self {
        Self {
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            requests: Rate::of(requests),
            tokens: Rate::of(requests.saturating_mul(TOKENS)),
            users: Arc::default(),
            counters,
        }
    }

    /// A place for one more connection; `None` where it is to be closed at once.
    pub(crate) fn open(&self, whose: Whose) -> Option<Place> {
        let usage = self.usage(whose);
        let open = usage.open.fetch_add(1, Ordering::Relaxed);
        // Counted down again when this is dropped.
        let served = Arc::clone(&usage.served).try_acquire_owned().ok();
        let place = Place { usage, served: Mutex::new(served) };
        if open < self.connections.saturating_mul(1 + WAITING) {
            Some(place)
        } else {
            self.counters.count(Limited::Connections);
            None
        }
    }

    /// Whether a request may be answered now, on a connection that has a place.
    pub(crate) fn admits(&self, place: &Place, is_token: bool, now: Instant) -> bool {
        let mut buckets = lock(&place.usage.buckets);
        let admitted = if is_token {
            buckets.tokens.take(self.tokens, now)
        } else {
            buckets.requests.take(self.requests, now)
        };
        if !admitted {
            self.counters.count(Limited::Requests);
        }
        admitted
    }

    /// Waits until the connection is among those that are served.
    pub(crate) async fn serves(&self, place: &Place, deadline: Instant) -> bool {
        if lock(&place.served).is_some() {
            return true;
        }
        let turn = Arc::clone(&place.usage.served).acquire_owned();
        // Boxed, since it is rare and each request's future would have room for it.
        let Ok(Ok(permit)) = Box::pin(timeout_at(deadline, turn)).await else {
            self.counters.count(Limited::Connections);
            return false;
        };
        lock(&place.served).replace(permit);
        true
    }

    fn usage(&self, whose: Whose) -> Arc<Usage> {
        let mut users = lock(&self.users);
        if users.len() >= REMEMBERED && !users.contains_key(&whose) {
            let now = Instant::now();
            users.retain(|_, usage| {
                Arc::strong_count(usage) > 1 || !lock(&usage.buckets).is_full(now)
            });
        }
        let usage = users.entry(whose).or_insert_with(|| {
            Arc::new(Usage {
                open: AtomicUsize::new(0),
                served: Arc::new(Semaphore::new(self.connections.min(Semaphore::MAX_PERMITS))),
                buckets: Mutex::default(),
            })
        });
        Arc::clone(usage)
    }
}

/// A connection's place among those of its pod; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    usage: Arc<Usage>,
    served: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.usage.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Nothing that panics is done while one is held.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
