//! Readiness: a latch for each thing that must be there.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Knows what is still missing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<BTreeSet<&'static str>>>);

/// Something that must be there before the agent is ready.
#[derive(Debug)]
#[must_use = "the agent is not ready until it is done"]
pub struct Latch {
    name: &'static str,
    readiness: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }
}

impl Readiness {
    /// Names one more thing to wait for.
    pub fn register(&self, name: &'static str) -> Latch {
        self.0.send_modify(|missing| {
            missing.insert(name);
        });
        Latch { name, readiness: self.clone() }
    }

    /// What is still missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.0.borrow().iter().copied().collect()
    }

    /// Waits until what is missing is as wanted.
    pub async fn until(&self, wanted: impl Fn(&BTreeSet<&'static str>) -> bool) {
        // Its sender is held right here.
        let _ = self.0.subscribe().wait_for(|missing| wanted(missing)).await;
    }
}

impl Latch {
    /// It is there. Dropping a latch without this leaves the agent not ready.
    pub fn done(self) {
        self.readiness.0.send_modify(|missing| {
            missing.remove(self.name);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_ready_when_every_latch_is_done() {
        let readiness = Readiness::default();
        let (one, other) = (readiness.register("one"), readiness.register("other"));
        assert_eq!(readiness.missing(), ["one", "other"]);
        one.done();
        assert!(readiness.until(BTreeSet::is_empty).now_or_never().is_none());
        readiness.until(|missing| missing.len() == 1).await;
        drop(other);
        assert_eq!(readiness.missing(), ["other"], "a latch that is lost is not done");
    }
}
