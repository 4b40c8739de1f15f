//! What is held, for readers: a warm answer asks nobody. The broker's task alone puts things here; whoever tells
//! it something new of a pod takes the pod's off first, so that nothing is served by what was said before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::SessionRequest;
use super::entry::{Held, Now};
use crate::callers::pods::PodUid;

/// What pods may have that is there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<RwLock<HashMap<PodUid, Item>>>);

/// What one pod may have.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) key: Arc<SessionRequest>,
    pub(super) held: Arc<Held>,
    /// Whether anybody took it: sessions that are not kept in any case are kept while they are used.
    pub(super) taken: Arc<AtomicBool>,
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

    pub(super) fn put(&self, pod: PodUid, item: Item) {
        self.write().insert(pod, item);
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
