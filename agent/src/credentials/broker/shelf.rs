//! What is held, for readers: a warm answer asks nobody. The broker's task alone puts things here; whoever tells
//! it something new of a pod takes the pod's off first, so that nothing is served by what was said before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::SessionRequest;
use super::entry::Entry;
use super::held::{Held, Now};
use crate::callers::pods::PodUid;

/// What pods may have that is there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<RwLock<HashMap<PodUid, Item>>>);

/// What one pod may have.
#[derive(Clone, Debug)]
struct Item {
    key: Arc<SessionRequest>,
    held: Arc<Held>,
    /// Whether anybody took it: sessions that are not kept in any case are kept while they are used.
    taken: Arc<AtomicBool>,
}

impl Shelf {
    /// What `pod` may have now of `request`, where that needs no decision: it is fresh.
    pub(super) fn take(
        &self,
        pod: &PodUid,
        request: &SessionRequest,
        now: Now,
    ) -> Option<Arc<Held>> {
        let items = self.read();
        let item = items.get(pod).filter(|item| *item.key == *request)?;
        if !item.held.is_fresh(now) {
            return None;
        }
        item.taken.store(true, Ordering::Relaxed);
        Some(Arc::clone(&item.held))
    }

    /// Puts there for these pods what `entry` holds, if it may be served.
    pub(super) fn fill<'a>(
        &self,
        pods: impl IntoIterator<Item = &'a PodUid>,
        key: &Arc<SessionRequest>,
        entry: &Entry,
        now: Now,
    ) {
        let Some(held) = entry.servable(now) else { return };
        let item = Item { key: Arc::clone(key), held: Arc::clone(held), taken: entry.taken() };
        self.write().extend(pods.into_iter().map(|pod| (pod.clone(), item.clone())));
    }

    pub(super) fn remove(&self, pod: &PodUid) {
        self.write().remove(pod);
    }

    // Each change is whole before anything can panic.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<PodUid, Item>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<PodUid, Item>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
