//! Which role a pod may have, and what says so.

pub mod annotations;
pub mod arn;
pub mod associations;
pub mod decide;
pub mod default_role;
pub mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod grant;
pub mod lookups;
pub mod mode;
pub mod refusal;
pub mod restrictions;
mod rules;
pub mod store;
pub mod tags;
pub mod trace;

use std::sync::Arc;

use tokio::sync::watch as channel;
use tokio::time::{Instant, timeout_at};

pub use self::arn::{BaseRoleArn, RoleArn};
pub use self::decide::{Base, LabelTags, Rules};
pub use self::default_role::DefaultRole;
pub use self::facts::{Cause, Facts, Known, Missing, Namespace};
pub use self::grant::{AssumeRole, Grant, Rule, SourceName, Way};
pub use self::lookups::remembered::Memory;
pub use self::lookups::{Lookups, Outside};
pub use self::mode::Mode;
pub use self::refusal::{Reason, Refusal};
pub use self::trace::{Decision, Step, Trace, Verdict};

use crate::callers::pods::{Index, Pod};
use crate::operate::duty::Duty;
use crate::operate::events::Events;

use self::store::Store;

/// The moment that something was decided at.
#[derive(Clone, Debug)]
pub struct AsOf(channel::Receiver<Store>);

impl AsOf {
    /// Whether nothing has changed since that decisions rest on beside the pod itself.
    #[must_use]
    pub fn is_current(&self) -> bool {
        // Where nobody looks up any more, nothing changes.
        !self.0.has_changed().unwrap_or(false)
    }
}

/// Decides for pods by what is known now. Cheap to clone; reads the store that the lookups keep.
#[derive(Clone, Debug)]
pub struct Roles {
    rules: Arc<Rules>,
    store: channel::Receiver<Store>,
}

impl Roles {
    /// Decides by `rules`, and by what the lookups find of `pods` as long as they run.
    #[must_use]
    pub fn new<O: Outside>(
        rules: Rules,
        outside: O,
        pods: channel::Receiver<Index>,
        events: Events,
    ) -> (Self, Lookups<O>) {
        let rules = Arc::new(rules);
        let (writer, store) = channel::channel(Store::default());
        let lookups = Lookups::new(outside, Arc::clone(&rules), pods, writer, events);
        (Self { rules, store }, lookups)
    }

    /// What is known now, without waiting.
    #[must_use]
    pub fn decide(&self, pod: &Pod) -> Decision {
        self.rules.decide(pod, &self.facts(pod))
    }

    /// What is known now, with what each rule said.
    #[must_use]
    pub fn trace(&self, pod: &Pod) -> Trace {
        self.rules.trace(pod, &self.facts(pod))
    }

    /// What is known of `pod` now.
    #[must_use]
    pub fn facts(&self, pod: &Pod) -> Facts {
        self.store.borrow().facts(pod)
    }

    /// What is known of a Namespace now.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Known<Arc<Namespace>> {
        self.store.borrow().namespace(name)
    }

    /// Writes down what is known whenever it has changed, while on duty, for ever.
    pub fn written_to(
        &self,
        memory: Memory,
        duty: Duty,
    ) -> impl Future<Output = ()> + Send + use<> {
        memory.follow(self.store.clone(), duty)
    }

    /// How roles are decided.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Waits until `deadline` for what a rule needs to know; [`Decision::NotYet`] if that comes first.
    pub async fn decided(&self, pod: &Pod, deadline: Instant) -> (Decision, AsOf) {
        let mut store = self.store.clone();
        let is_settled = |store: &Store| {
            !matches!(self.rules.decide(pod, &store.facts(pod)), Decision::NotYet(_))
        };
        // Both ends of the wait (known, or too late) are read from the store itself.
        let _ = timeout_at(deadline, store.wait_for(is_settled)).await;
        let facts = store.borrow_and_update().facts(pod);
        (self.rules.decide(pod, &facts), AsOf(store))
    }

    /// Waits until `deadline` for what the pod's Namespace says; [`Known::NotYet`] if that comes first.
    pub async fn namespace_of(&self, pod: &Pod, deadline: Instant) -> Known<Arc<Namespace>> {
        let now = self.namespace(&pod.namespace);
        if !matches!(now, Known::NotYet(_)) {
            return now;
        }
        let mut store = self.store.clone();
        let is_known = |store: &Store| !matches!(store.namespace(&pod.namespace), Known::NotYet(_));
        // Both ends of the wait (known, or too late) are read from the store itself. Boxed, since it is rare
        // and each request's future would have room for it.
        let _ = timeout_at(deadline, Box::pin(store.wait_for(is_known))).await;
        self.namespace(&pod.namespace)
    }

    /// Waits until something else is known than at the last call; for ever when nobody looks up any more.
    pub async fn changed(&mut self) {
        if self.store.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
impl Roles {
    /// Decides by `rules` in a cluster where there is nothing but pods.
    pub(crate) fn settled(rules: Rules) -> Self {
        let (_, store) = channel::channel(Store::settled());
        Self { rules: Arc::new(rules), store }
    }
}
