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
pub mod refusal;
pub mod restrictions;
mod rules;
pub mod tags;
pub mod trace;

use std::sync::Arc;

use tokio::time::Instant;

pub use self::arn::{BaseRoleArn, RoleArn};
pub use self::decide::{Base, LabelTags, Rules};
pub use self::default_role::DefaultRole;
pub use self::facts::{Facts, Known, Missing};
pub use self::grant::{AssumeRole, Grant, Rule, SourceName, Way};
pub use self::refusal::{Reason, Refusal};
pub use self::trace::{Decision, Step, Trace, Verdict};

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
        self.rules.decide(pod, &self.facts(pod))
    }

    /// What is known now, with what each rule said.
    #[must_use]
    pub fn trace(&self, pod: &Pod) -> Trace {
        self.rules.trace(pod, &self.facts(pod))
    }

    /// What is known of `pod` now.
    #[must_use]
    pub fn facts(&self, _pod: &Pod) -> Facts {
        Facts {
            association: Known::Absent,
            namespace: Known::Absent,
            service_account: Known::Absent,
            ..Facts::unanswered()
        }
    }

    /// How roles are decided.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Waits until `deadline` for what a rule needs to know; [`Decision::NotYet`] if that comes first.
    pub fn decided(&self, pod: &Pod, _deadline: Instant) -> impl Future<Output = Decision> {
        std::future::ready(self.decide(pod))
    }
}
