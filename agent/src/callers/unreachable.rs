//! Pods whose connections leave for the proxy and do not arrive there: something on the way takes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::kernel::{CgroupId, Lost, NoArrival};

use super::attest::Origin;
use super::pods::{Pod, PodUid};
use super::{Callers, Identity, Unidentified};

/// Between two tellings of the same pod.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// What did not arrive of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// How many connections, since the agent started.
    pub connections: u64,
    /// When that was last noticed.
    pub last: Instant,
    told: Instant,
}

/// What did not arrive, by pod; a pod is forgotten when it ends.
#[derive(Debug, Default)]
pub(super) struct Unreached(Mutex<HashMap<PodUid, Unreachable>>);

impl Unreached {
    /// Adds to what is known of a pod, and gives it where it is to be told.
    fn note(&self, pod: &PodUid, connections: u64) -> Option<Unreachable> {
        let now = Instant::now();
        let mut all = self.lock();
        let Some(known) = all.get_mut(pod) else {
            let new = Unreachable { connections, last: now, told: now };
            all.insert(pod.clone(), new);
            return Some(new);
        };
        known.connections += connections;
        known.last = now;
        let due = now.duration_since(known.told) >= TELL_EVERY;
        due.then(|| {
            known.told = now;
            *known
        })
    }

    pub(super) fn forget(&self, pod: &PodUid) {
        self.lock().remove(pod);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PodUid, Unreachable>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callers {
    /// Hears of connections that did not arrive, for ever. `tell` is told of each pod concerned, at most
    /// once a minute, and of cgroups that are no known pod's.
    pub async fn follow_lost(
        &self,
        mut lost: NoArrival,
        mut tell: impl FnMut(Result<(Arc<Pod>, Unreachable), (Lost, Unidentified)>),
    ) {
        while let Some(lost) = lost.recv().await {
            match self.owner_of(lost.cgroup) {
                Ok(pod) => {
                    if let Some(unreachable) = self.unreached.note(&pod.uid, lost.connections) {
                        tell(Ok((pod, unreachable)));
                    }
                }
                Err(why) => tell(Err((lost, why))),
            }
        }
    }

    /// What did not arrive of a pod, if anything.
    #[must_use]
    pub fn unreachable(&self, pod: &PodUid) -> Option<Unreachable> {
        self.unreached.lock().get(pod).copied()
    }

    /// The pod that a cgroup's sockets are of.
    ///
    /// # Errors
    /// Where it is no known pod's, or the kernel is not asked.
    pub fn owner_of(&self, cgroup: CgroupId) -> Result<Arc<Pod>, Unidentified> {
        let Identity::Kernel(attestor) = &*self.identity else { return Err(Unidentified::NoPod) };
        match attestor.of_cgroup(cgroup) {
            Origin::Pod(key) => self.index.borrow().pod(&key),
            _ => Err(Unidentified::NoPod),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_told_of_once_a_minute_with_all_that_was_lost() {
        let unreached = Unreached::default();
        let pod = PodUid::new("a");
        assert_eq!(unreached.note(&pod, 2).unwrap().connections, 2);
        assert_eq!(unreached.note(&pod, 1), None);
        assert!(unreached.note(&PodUid::new("b"), 1).is_some(), "another pod");
        tokio::time::sleep(TELL_EVERY).await;
        assert_eq!(unreached.note(&pod, 1).unwrap().connections, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_has_ended_is_forgotten() {
        let unreached = Unreached::default();
        let pod = PodUid::new("a");
        unreached.note(&pod, 2);
        unreached.forget(&pod);
        assert!(unreached.lock().is_empty());
    }
}
