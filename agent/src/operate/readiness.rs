//! Readiness: a latch for each thing that must be there first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Knows what is still missing. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

/// Something that must be there before the agent is ready.
#[derive(Debug)]
#[must_use = "the agent is not ready until it is done"]
pub struct Latch {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Names one more thing to wait for.
    pub fn register(&self, name: &'static str) -> Latch {
        self.lock().insert(name);
        Latch { name, readiness: self.clone() }
    }

    /// What is still missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        // No code that holds it can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// It is there. Dropping a latch without this leaves the agent not ready.
    pub fn done(self) {
        self.readiness.lock().remove(self.name);
    }
}
