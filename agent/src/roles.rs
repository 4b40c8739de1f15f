//! Which role a pod may have, and what says so.

pub mod annotations;
pub mod arn;
pub mod decide;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod grant;

use std::sync::Arc;

use tokio::time::Instant;

pub use self::arn::{BaseRoleArn, RoleArn};
pub use self::decide::{Decision, Refusal, Rules};
pub use self::grant::{AssumeRole, Grant, Rule, Way};

use crate::callers::pods::Pod;

/// Decides for pods by what is known now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Roles {
    rules: Arc<Rules>,
}

impl Roles {
    /// Decides by `rules`.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules: Arc::new(rules) }
    }

    /// What is known now, without waiting.
    #[must_use]
    pub fn decide(&self, pod: &Pod) -> Decision {
        self.rules.decide(pod)
    }

    /// Waits until `deadline` for what a rule needs to know; [`Decision::NotYet`] if that comes first.
    pub fn decided(&self, pod: &Pod, _deadline: Instant) -> impl Future<Output = Decision> {
        std::future::ready(self.decide(pod))
    }
}
